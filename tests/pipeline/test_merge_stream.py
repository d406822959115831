from __future__ import annotations

from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from backend.core.errors import BadInputError, StopRequested
from backend.core.faces import FaceType
from backend.core.settings import MergeSettings
from backend.pipeline import merge_stream as module
from backend.pipeline.merge_stream import Depths, Sink, Step, StreamPlan, merge_stream, slot_layout
from backend.pipeline.merge_types import FramePlan, PredictedFaces
from backend.pipeline.merge_workers import Shapes, ThreadWorkers

FRAMES = 300
SETTINGS = MergeSettings(color_transfer="none")
DEPTHS = Depths(read=3, batch=4, predictors=2, steady=0, finish=3)


class NoFaces:
    """Models that nobody has to ask."""

    shapes: Shapes = MappingProxyType({"model": (FaceType.FULL, 8)})
    batch_size = 4

    def predict(self, cuts: Any) -> list[PredictedFaces]:
        raise AssertionError("there is no face")


@pytest.fixture
def scene(tmp_path: Path) -> Any:
    """Many tiny frames; each tells its number by its brightness."""
    frames = []
    for index in range(FRAMES):
        path = tmp_path / f"{index + 1:05d}.png"
        cv2.imwrite(str(path), np.full((6, 8, 3), index % 251, np.uint8))
        frames.append(SimpleNamespace(index=index, stem=path.stem, file=path, time_s=index / 25))
    video = SimpleNamespace(width=8, height=6)
    return SimpleNamespace(
        frames=tuple(frames),
        clip=None,
        table=SimpleNamespace(video=video),
        plan=lambda index, settings: FramePlan(index, frames[index].stem, settings.look),
    )


def plan_of(scene: Any, sink: Sink, steps: list[Step] | None = None) -> StreamPlan:
    layout = slot_layout(scene, sink, 0)._replace(count=DEPTHS.slots)
    chosen = steps or [Step(index, "merge") for index in range(FRAMES)]
    return StreamPlan(scene, SETTINGS, chosen, sink, DEPTHS, layout, lambda look: 0)


def test_frames_come_in_order_and_never_more_are_under_way_than_slots(
    scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    free: list[int] = []
    begin = module._Stream._start

    def start(self: Any, step: Step) -> Any:
        begun = begin(self, step)
        free.append(len(self._free))
        return begun

    monkeypatch.setattr(module._Stream, "_start", start)
    stream = merge_stream(plan_of(scene, Sink(pixels=True, original=True)), NoFaces(), ThreadWorkers(2), lambda: None)
    for number, frame in enumerate(stream):
        assert frame.index == number
        assert frame.merged_bgr is not None
        assert frame.original_bgr is not None
        assert frame.mask is not None
        assert (frame.merged_bgr == number % 251).all()
        assert np.array_equal(frame.original_bgr, frame.merged_bgr)
        assert frame.mask.max() == 0
    assert number == FRAMES - 1
    assert DEPTHS.slots < 30
    assert 0 <= min(free) < DEPTHS.slots - DEPTHS.batch


def test_frames_that_are_only_context_are_not_given(scene: Any) -> None:
    steps = [Step(0, "context"), Step(1, "merge"), Step(2, "context"), Step(5, "merge")]
    stream = merge_stream(plan_of(scene, Sink(pixels=True), steps), NoFaces(), ThreadWorkers(1), lambda: None)
    assert [frame.index for frame in stream] == [1, 5]


def test_a_stop_ends_the_workers(scene: Any) -> None:
    workers = ThreadWorkers(1)
    seen = 0

    def check() -> None:
        if seen == 5:
            raise StopRequested

    with pytest.raises(StopRequested):
        for _ in merge_stream(plan_of(scene, Sink(pixels=True)), NoFaces(), workers, check):
            seen += 1
    with pytest.raises(RuntimeError):
        workers.submit(SimpleNamespace())  # type: ignore[arg-type]


def test_a_frame_of_another_size_is_named(scene: Any) -> None:
    cv2.imwrite(str(scene.frames[20].file), np.zeros((40, 50, 3), np.uint8))
    given = 0
    with pytest.raises(BadInputError, match=r"00021\.png is 50x40"):
        for _ in merge_stream(plan_of(scene, Sink(pixels=True)), NoFaces(), ThreadWorkers(1), lambda: None):
            given += 1
    assert given <= 20
