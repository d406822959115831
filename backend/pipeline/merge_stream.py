"""The stream of merging: read -> cut -> predict in batches -> steady -> composite and write, in order.

Only so many frames are under way as there are slots, however long the clip is. This process decodes, predicts and
keeps the order; reading, cutting, compositing and writing are done by workers, see backend.pipeline.merge_workers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from backend.core.settings import MergeLook, MergeSettings
from backend.pipeline.frame_source import ClipReader
from backend.pipeline.merge_options import merge_options
from backend.pipeline.merge_scene import MergeScene
from backend.pipeline.merge_steady import SteadyReport, steadied
from backend.pipeline.merge_types import CutFaces, FramePlan, PredictedFaces, ReadyFaces
from backend.pipeline.merge_work import (
    CutDone,
    CutTask,
    Finished,
    FinishTask,
    LoadTask,
    Output,
    Size,
    SlotLayout,
    Slots,
)
from backend.pipeline.merge_workers import Shapes, ThreadWorkers
from backend.storage.image import read_image

UInt8 = npt.NDArray[np.uint8]

Doing = Literal["merge", "load", "context"]
"""merge; take what was merged earlier; or only predict, because a neighbour is steadied by it."""

_NO_SIZE = (0, 0)


class Models(Protocol):
    """What the stream needs of backend.pipeline.merge_models.MergeModels."""

    @property
    def shapes(self) -> Shapes:
        """Name of a model -> its face type and the side of its crops."""
        ...

    @property
    def batch_size(self) -> int:
        """Faces that are predicted at once."""
        ...

    def predict(self, cuts: Sequence[CutFaces]) -> list[PredictedFaces]:
        """Run the models on the faces of some frames."""
        ...


class Step(NamedTuple):
    """One frame of the stream.

    Attributes:
        index: in the table, from 0.
        doing: what is done with it.
        predicted: whether its faces are predicted: for itself, or for its neighbours.
    """

    index: int
    doing: Doing
    predicted: bool = True


@dataclass(frozen=True)
class Sink:
    """Where merged frames go.

    Attributes:
        merged_dir, mask_dir: folders; None writes no files.
        pixels: whether whoever takes the frames wants to see them.
        original: whether it also wants the frame as it was.
    """

    merged_dir: Path | None = None
    mask_dir: Path | None = None
    pixels: bool = False
    original: bool = False


class FinishedFrame(NamedTuple):
    """A frame that is done. The pictures are views that hold until the next frame is asked for.

    Attributes:
        index: in the table, from 0.
        stem: file name without suffix.
        merged_bgr: (h, w, 3) uint8; None unless the sink wants pixels.
        mask: (h, w) uint8; None unless the sink wants pixels.
        original_bgr: (h, w, 3) uint8; None unless the sink wants it.
        outcomes: what became of each face, see backend.ops.face_swap.MergedFrame.
        left: how many faces were left as they are by a rule.
        reused: whether it was merged by an earlier run.
    """

    index: int
    stem: str
    merged_bgr: UInt8 | None
    mask: UInt8 | None
    original_bgr: UInt8 | None
    outcomes: tuple[str, ...]
    left: int
    reused: bool


@dataclass(frozen=True)
class Depths:
    """How far the parts of the stream run ahead of each other, in frames.

    Attributes:
        read: read and cut before they are predicted.
        batch: predicted at once; batches begin at multiples of it, see whole_batches().
        predictors: batches that are predicted side by side.
        steady: looked ahead for steadying.
        finish: composited after they are predicted.
    """

    read: int
    batch: int
    predictors: int
    steady: int
    finish: int

    @property
    def slots(self) -> int:
        """Frames that can be under way at once."""
        return self.read + (self.predictors + 2) * self.batch + self.steady + self.finish + 4


@dataclass(frozen=True)
class StreamPlan:
    """Everything a stream works by.

    Attributes:
        scene: the frames and their faces.
        settings: how they are merged.
        steps: what is done with which frame, in order of the table.
        sink: where they go.
        depths: how far parts run ahead.
        layout: of the slots.
        square: side of the square that a look gives in place of the frame, 0 when it gives the frame.
        report: takes in how much the faces tremble.
    """

    scene: MergeScene
    settings: MergeSettings
    steps: Sequence[Step]
    sink: Sink
    depths: Depths
    layout: SlotLayout
    square: Callable[[MergeLook], int]
    report: SteadyReport | None = None


@dataclass
class _Underway:
    """A frame on its way through the stream."""

    step: Step
    plan: FramePlan
    slot: int
    cut: Future[Any] | None = None
    size: Size = _NO_SIZE
    done: Future[Any] | None = None


def merge_stream(
    plan: StreamPlan, models: Models, workers: ThreadWorkers, check_stop: Callable[[], None]
) -> Iterator[FinishedFrame]:
    """Merge frames and give them in order, without those that are only context.

    Args:
        plan: what is done with which frame.
        models: loaded ones.
        workers: who reads, composites and writes; they are closed at the end.
        check_stop: raises when the user wants to stop.

    Raises:
        BadInputError, DamagedFileError: a frame cannot be read. LookalikeError: a worker died.
        OSError: a file cannot be written. Frames that were given before stay as they are.
    """
    with ExitStack() as stack:
        stack.callback(workers.close)
        stream = _Stream(plan, models, workers, check_stop)
        stack.callback(stream.close)
        yield from stream.frames()


class _Stream:
    def __init__(
        self, plan: StreamPlan, models: Models, workers: ThreadWorkers, check_stop: Callable[[], None]
    ) -> None:
        self._scene, self._settings, self._sink, self._depths = plan.scene, plan.settings, plan.sink, plan.depths
        self._steps, self._square, self._report = plan.steps, plan.square, plan.report
        self._models, self._workers, self._check_stop = models, workers, check_stop
        self._slots: Slots = workers.open(plan.layout, models.shapes)
        self._free = deque(range(plan.depths.slots))
        self._clip = ClipReader(plan.scene.clip)
        self._decoder = ThreadPoolExecutor(1, thread_name_prefix="decode")
        self._predictors = ThreadPoolExecutor(plan.depths.predictors, thread_name_prefix="predict")
        self._steadying: deque[_Underway] = deque()

    def close(self) -> None:
        """End after what is under way."""
        self._decoder.shutdown(wait=True, cancel_futures=True)
        self._predictors.shutdown(wait=True, cancel_futures=True)

    def frames(self) -> Iterator[FinishedFrame]:
        """The finished frames in order."""
        waiting: deque[_Underway] = deque()
        for frame in self._begun():
            waiting.append(frame)
            if len(waiting) > self._depths.finish:
                yield from self._given(waiting.popleft())
        while waiting:
            yield from self._given(waiting.popleft())

    # -- the parts of the stream, last one first

    def _given(self, frame: _Underway) -> Iterator[FinishedFrame]:
        """A finished frame, unless it was only context; then its slot is free again."""
        self._check_stop()
        if frame.done is not None:
            finished: Finished = frame.done.result()
            pixels, size = self._sink.pixels, finished.size
            yield FinishedFrame(
                frame.plan.index,
                frame.plan.stem,
                self._slots.picture(frame.slot, size) if pixels else None,
                self._slots.mask(frame.slot, size) if pixels else None,
                self._slots.original(frame.slot, frame.size) if self._sink.original else None,
                finished.outcomes,
                frame.plan.left,
                frame.step.doing == "load",
            )
        self._free.append(frame.slot)

    def _begun(self) -> Iterator[_Underway]:
        """Frames whose compositing has begun."""
        smooth_mask, smooth_color = self._settings.smooth_mask, self._settings.smooth_color
        for ready in steadied(self._predicted(), smooth_mask, smooth_color, self._report):
            frame = self._steadying.popleft()
            assert frame.plan.index == ready.plan.index, "steadying keeps the order"
            if frame.step.doing != "context":
                frame.done = self._workers.submit(self._last_task(frame, ready))
            yield frame

    def _predicted(self) -> Iterator[PredictedFaces]:
        """Frames with their faces predicted; the next batches are predicted meanwhile."""
        running: deque[tuple[list[_Underway], Future[list[PredictedFaces]]]] = deque()
        for _, frames in groupby(self._read(), lambda frame: frame.plan.index // self._depths.batch):
            batch = list(frames)
            running.append((batch, self._predictors.submit(self._predict, batch)))
            if len(running) > self._depths.predictors:
                yield from self._in_order(*running.popleft())
        while running:
            yield from self._in_order(*running.popleft())

    def _in_order(self, batch: list[_Underway], predicted: Future[list[PredictedFaces]]) -> Iterator[PredictedFaces]:
        self._check_stop()
        for frame, faces in zip(batch, predicted.result(), strict=True):
            self._steadying.append(frame)
            yield faces

    def _predict(self, batch: list[_Underway]) -> list[PredictedFaces]:
        cuts: list[CutFaces] = []
        for frame in batch:
            cut = CutDone(frame.size, CutFaces(frame.plan, ()))
            if frame.cut is not None:
                cut = frame.cut.result()
            frame.size = cut.size
            cuts.append(cut.cut)
        predicted = {id(cut): made for cut, made in self._with_faces(cuts)}
        return [predicted.get(id(cut)) or PredictedFaces(cut.plan, ()) for cut in cuts]

    def _with_faces(self, cuts: list[CutFaces]) -> Iterator[tuple[CutFaces, PredictedFaces]]:
        """Frames that have faces, with what the models made of them."""
        some = [cut for cut in cuts if cut.targets]
        return zip(some, self._models.predict(some) if some else (), strict=True)

    def _read(self) -> Iterator[_Underway]:
        """Frames that are being read and cut, so many ahead as are wanted."""
        ahead: deque[_Underway] = deque()
        for step in self._steps:
            ahead.append(self._start(step))
            if len(ahead) > self._depths.read:
                yield ahead.popleft()
        yield from ahead

    # -- tasks

    def _start(self, step: Step) -> _Underway:
        frame, slot = self._scene.frames[step.index], self._free.popleft()
        plan = self._scene.plan(step.index, self._settings)
        plan = plan if step.predicted else replace(plan, faces=())
        underway = _Underway(step, plan, slot)
        if self._taken_over(underway):
            return underway
        if frame.file is not None:
            underway.cut = self._workers.submit(CutTask(slot, plan, frame.file))
            return underway
        video = self._scene.table.video
        decoding = self._decoder.submit(self._decode, step.index, slot)
        task = CutTask(slot, plan, None, (video.height, video.width))
        underway.cut = self._workers.submit(task, decoding)
        return underway

    def _decode(self, index: int, slot: int) -> None:
        frame, video = self._scene.frames[index], self._scene.table.video
        picture = self._clip.read(frame.time_s, frame.stem)
        size = self._slots.put(slot, picture, f"Frame {frame.stem} of the clip")
        assert size == (video.height, video.width), "the clip was checked before"

    def _taken_over(self, frame: _Underway) -> bool:
        """Whether nobody has to see the frame: it has no face to swap and is only written as it is."""
        if frame.plan.faces or self._sink.original:
            return False
        if frame.step.doing != "merge":
            return True
        return not self._sink.pixels and self._output(frame).original is not None

    def _last_task(self, frame: _Underway, ready: ReadyFaces) -> FinishTask | LoadTask:
        output = self._output(frame)
        if frame.step.doing == "load":
            assert output.merged is not None and output.mask is not None, "only written frames are taken again"
            return LoadTask(frame.slot, frame.size, output.merged, output.mask)
        options = merge_options(frame.plan.look)
        return FinishTask(frame.slot, frame.size, ready.swaps, options, self._square(frame.plan.look), output)

    def _output(self, frame: _Underway) -> Output:
        name, sink, file = f"{frame.plan.stem}.png", self._sink, self._scene.frames[frame.plan.index].file
        kept = file is not None and file.suffix.lower() == ".png" and not self._settings.alpha_png
        return Output(
            sink.merged_dir / name if sink.merged_dir else None,
            sink.mask_dir / name if sink.mask_dir else None,
            self._settings.alpha_png,
            file if kept and not self._square(frame.plan.look) else None,
        )


def whole_batches(indices: Iterable[int], batch: int) -> set[int]:
    """Frames that share a batch with any of some frames.

    A network's rounding depends on how many faces it is given at once. Batches that always hold the same frames give
    the same bytes, whatever was merged before and wherever a range begins.
    """
    begins = {index // batch * batch for index in indices}
    return {begin + step for begin in begins for step in range(batch)}


def frame_size(scene: MergeScene) -> Size:
    """(height, width) of the first frame, as it lies in the folder or in the clip."""
    file = next((frame.file for frame in scene.frames if frame.file is not None), None)
    if file is None:
        return scene.table.video.height, scene.table.video.width
    height, width = read_image(file).shape[:2]
    return height, width


def slot_layout(scene: MergeScene, sink: Sink, square: int) -> SlotLayout:
    """One slot that takes any frame, and a square of this side."""
    height, width = frame_size(scene)
    video = scene.table.video
    return SlotLayout(1, max(height * width, video.height * video.width, square * square), sink.original)
