from __future__ import annotations

import pytest
import torch

from backend.pipeline import merge_crew
from backend.pipeline.merge_crew import FEW_FRAMES, choose_crew, choose_depths, computing_threads, with_room
from backend.pipeline.merge_steady import RADIUS
from backend.pipeline.merge_workers import ThreadWorkers


class FakeProcesses(ThreadWorkers):
    """Only counted."""


@pytest.fixture(autouse=True)
def no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge_crew, "ProcessWorkers", FakeProcesses)


@pytest.mark.parametrize(
    ("cores", "on_cpu", "count"), [(1, True, 1), (2, True, 2), (12, True, 4), (2, False, 1), (16, False, 15)]
)
def test_the_crew_fits_the_cores(monkeypatch: pytest.MonkeyPatch, cores: int, on_cpu: bool, count: int) -> None:
    monkeypatch.setattr(merge_crew, "usable_cores", lambda: cores)
    many = choose_crew(0, 1000, on_cpu)
    assert (type(many), many.count) == (FakeProcesses, count)
    assert type(choose_crew(0, FEW_FRAMES - 1, on_cpu)) is ThreadWorkers
    assert choose_crew(3, 1, on_cpu).count == 3


def test_few_frames_are_under_way_when_they_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    workers = FakeProcesses(2)
    small = choose_depths(workers, 16, False, 1 << 20)
    assert (small.batch, small.steady) == (16, 0)
    monkeypatch.setattr(merge_crew, "room_for_sharing", lambda: 64 << 20)
    large = choose_depths(workers, 16, True, 4 << 20)
    assert large.batch < 16
    assert large.steady == RADIUS
    assert large.slots * (4 << 20) <= 64 << 20


def test_threads_stand_in_where_nothing_can_be_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge_crew, "room_for_sharing", lambda: 1 << 20)
    workers = FakeProcesses(3)
    assert with_room(workers, 1 << 19) is workers
    stand_in = with_room(workers, 1 << 21)
    assert (type(stand_in), stand_in.count) == (ThreadWorkers, 3)


def test_torch_leaves_cores_to_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    monkeypatch.setattr(merge_crew, "usable_cores", lambda: 2)
    with computing_threads(ThreadWorkers(2)):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
