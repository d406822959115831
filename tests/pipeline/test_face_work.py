from __future__ import annotations

import time
from pathlib import Path

import pytest

from backend.core.errors import DiskFullError, StopRequested
from backend.pipeline.face_work import bring_in, each, publish, staging, tell_problems
from backend.storage.workspace import Project
from tests.pipeline.faceset_project import bytes_of, context, make_project, stop_after


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path)


def test_results_come_in_order_with_their_weight(project: Project) -> None:
    def work(item: int) -> int:
        time.sleep(0.002 * (item % 3))
        return item * 10

    made = context(project)
    assert list(each(range(20), work, made, "busy", lambda item: 2)) == [(item, item * 10) for item in range(20)]
    last = [data for kind, data in made.emit.all if kind == "progress"][-1]
    assert (last["done"], last["total"], last["message"]) == (40, 40, "busy")


def test_a_stop_ends_it_and_an_error_comes_out(project: Project) -> None:
    seen = []
    with pytest.raises(StopRequested):
        list(each(range(100), seen.append, context(project, stop_requested=stop_after(5)), ""))
    assert len(seen) <= 5

    def fail(item: int) -> None:
        if item == 3:
            raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        list(each(range(10), fail, context(project), ""))


def test_a_disk_that_fills_up_ends_it(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.storage.atomic.free_bytes", lambda path: 1 << 20)
    with pytest.raises(DiskFullError):
        list(each(range(3), lambda item: item, context(project), ""))


def test_a_staged_folder_is_gone_or_published(project: Project) -> None:
    side = project.side("src")
    target = side.frames_dir / "made"
    for content in (b"first", b"second"):
        with staging(side) as folder:
            (folder / "x").write_bytes(content)
            publish(folder, target)
        assert bytes_of(target) == {"x": content}
    with pytest.raises(RuntimeError), staging(side):
        raise RuntimeError
    assert [path.name for path in side.frames_dir.iterdir()] == ["made"]


def test_brought_in_under_free_names(project: Project) -> None:
    side = project.side("src")
    side.aligned_dir.mkdir(parents=True)
    (side.aligned_dir / "A.jpg").write_bytes(b"old")
    with staging(side) as folder:
        (folder / "a.jpg").write_bytes(b"new")
        (folder / "b.jpg").write_bytes(b"other")
        assert bring_in(folder, side) == {"a.jpg": "a_1.jpg", "b.jpg": "b.jpg"}
    assert bytes_of(side.aligned_dir) == {"A.jpg": b"old", "a_1.jpg": b"new", "b.jpg": b"other"}


def test_many_problems_are_cut_short(project: Project) -> None:
    made = context(project)
    tell_problems([f"problem {number}" for number in range(30)], made, listed=3)
    assert made.emit.warnings() == ["problem 0", "problem 1", "problem 2", "27 more of this kind."]
