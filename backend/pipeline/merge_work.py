"""The work on one frame that needs no model: reading it, cutting faces, compositing, writing.

Imports no torch: worker processes run it. Pixels lie in slots that all processes see; tasks and answers are small.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from backend.core.errors import BadInputError, DamagedFileError
from backend.core.faces import FaceType
from backend.ops.composite import composite_frame
from backend.ops.face_swap import FaceSwap, MergedFrame, MergeOptions
from backend.pipeline.merge_cut import cut_faces
from backend.pipeline.merge_types import CutFaces, FramePlan
from backend.storage.atomic import write_bytes
from backend.storage.image import encode_image, read_image
from backend.storage.png_mark import marked_png

UInt8 = npt.NDArray[np.uint8]
Size = tuple[int, int]
"""(height, width) in pixels."""

_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"IEND\xaeB`\x82"


class SlotLayout(NamedTuple):
    """How a block of memory is divided into slots.

    Attributes:
        count: how many slots there are.
        pixels: of the largest picture a slot takes.
        original: whether a slot also keeps the frame as it was.
    """

    count: int
    pixels: int
    original: bool

    @property
    def slot_bytes(self) -> int:
        """Bytes of one slot."""
        return self.pixels * (7 if self.original else 4)

    @property
    def total_bytes(self) -> int:
        """Bytes of all slots."""
        return self.count * self.slot_bytes


class Slots:
    """Views of the pictures in a block of memory.

    Args:
        buffer: at least ``layout.total_bytes``.
        layout: how it is divided.
    """

    def __init__(self, buffer: memoryview, layout: SlotLayout) -> None:
        self.layout = layout
        self._bytes: UInt8 = np.frombuffer(buffer, np.uint8, layout.total_bytes).reshape(layout.count, -1)

    def picture(self, slot: int, size: Size) -> UInt8:
        """(h, w, 3) view of a slot's frame, later of what became of it."""
        return self._view(slot, 0, (*size, 3))

    def mask(self, slot: int, size: Size) -> UInt8:
        """(h, w) view of a slot's mask."""
        return self._view(slot, 3, size)

    def original(self, slot: int, size: Size) -> UInt8:
        """(h, w, 3) view of a slot's frame as it was, where the layout keeps it."""
        return self._view(slot, 4, (*size, 3))

    def put(self, slot: int, picture: UInt8, name: str) -> Size:
        """Lay a picture into a slot. BadInputError when it is larger than the slots; ``name`` is what that calls it."""
        height, width = picture.shape[:2]
        if height * width > self.layout.pixels:
            raise BadInputError(
                f"{name} is {width}x{height} and larger than the frames before it.",
                "All frames of a clip must have one size: extract them again.",
            )
        self.picture(slot, (height, width))[:] = picture
        return height, width

    def release(self) -> None:
        """Let go of the memory, so that it can be closed. Views taken before must not be used any more."""
        self._bytes = np.empty((0, 0), np.uint8)

    def _view(self, slot: int, plane: int, shape: tuple[int, ...]) -> UInt8:
        start = plane * self.layout.pixels
        return self._bytes[slot, start : start + int(np.prod(shape))].reshape(shape)


@dataclass(frozen=True)
class CutTask:
    """Read a frame into its slot and cut its faces.

    Attributes:
        slot: where the frame goes.
        plan: of the frame.
        file: its picture; None when it lies in the slot already.
        size: of the frame in the slot, where it lies there already.
    """

    slot: int
    plan: FramePlan
    file: Path | None
    size: Size = (0, 0)


class CutDone(NamedTuple):
    """A frame's size, and its faces as their models see them."""

    size: Size
    cut: CutFaces


@dataclass(frozen=True)
class Output:
    """Where a merged frame goes.

    Attributes:
        merged, mask: files to write; None writes none.
        alpha: whether the merged picture gets the mask as alpha channel.
        original: the frame's own PNG file, taken over byte for byte when nothing changes in it; None when it has none.
    """

    merged: Path | None = None
    mask: Path | None = None
    alpha: bool = False
    original: Path | None = None


@dataclass(frozen=True)
class FinishTask:
    """Put the faces into the frame of a slot and write it.

    Attributes:
        slot: where the frame is; the merged frame and its mask take its place.
        size: of the frame; (0, 0) when it was not read because its file is taken over as it is.
        swaps: its faces.
        options: how to put them in.
        blank_side: in place of a frame without faces a black square of this side; 0 leaves the frame.
        output: where it goes.
    """

    slot: int
    size: Size
    swaps: tuple[FaceSwap, ...]
    options: MergeOptions
    blank_side: int
    output: Output


@dataclass(frozen=True)
class LoadTask:
    """Read a frame that was merged earlier into a slot. ``size`` is that of the frame in the slot, (0, 0) when none."""

    slot: int
    size: Size
    merged: Path
    mask: Path


class Finished(NamedTuple):
    """Size of the picture in the slot, and what became of each face; see backend.ops.face_swap.MergedFrame.

    Nothing becomes of faces in mode "original", which only gives their mask.
    """

    size: Size
    outcomes: tuple[str, ...]


Task = CutTask | FinishTask | LoadTask
Done = CutDone | Finished


class FrameDesk:
    """Where tasks are done. Several threads may share it.

    Args:
        slots: the pictures.
        shapes: name of a model -> its face type and the side of its crops.
    """

    def __init__(self, slots: Slots, shapes: Mapping[str, tuple[FaceType, int]]) -> None:
        self.slots = slots
        self._shapes = shapes

    def do(self, task: Task) -> Done:
        """Do one task.

        Raises:
            BadInputError: a frame is larger than the slots.
            DamagedFileError: a picture cannot be read.
            OSError: a file cannot be read or written.
        """
        if isinstance(task, CutTask):
            return self._cut(task)
        return self._finish(task) if isinstance(task, FinishTask) else self._load(task)

    def _cut(self, task: CutTask) -> CutDone:
        size = task.size
        if task.file is not None:
            size = self.slots.put(task.slot, read_image(task.file), task.file.name)
        return CutDone(size, cut_faces(self.slots.picture(task.slot, size), task.plan, self._shapes))

    def _load(self, task: LoadTask) -> Finished:
        self._keep_original(task.slot, task.size)
        size = self.slots.put(task.slot, read_image(task.merged), task.merged.name)
        self.slots.mask(task.slot, size)[:] = read_image(task.mask, channels=1)
        return Finished(size, ())

    def _finish(self, task: FinishTask) -> Finished:
        if task.size == (0, 0):
            _take_over(task.output)
            return Finished(task.size, ())
        self._keep_original(task.slot, task.size)
        picture = self.slots.picture(task.slot, task.size)
        merged = _merge(picture, task)
        mask = cv2.convertScaleAbs(merged.mask, alpha=255.0)
        changed = _is_changed(merged, task)
        _write(merged.frame_bgr, mask, task.output, changed)
        size = self.slots.put(task.slot, merged.frame_bgr, task.output.merged.name if task.output.merged else "A frame")
        self.slots.mask(task.slot, size)[:] = mask
        return Finished(size, () if task.options.mode == "original" else merged.outcomes)

    def _keep_original(self, slot: int, size: Size) -> None:
        if self.slots.layout.original:
            self.slots.original(slot, size)[:] = self.slots.picture(slot, size)


def _merge(picture: UInt8, task: FinishTask) -> MergedFrame:
    """The merged frame; nothing is copied of a frame without faces."""
    if task.swaps:
        return composite_frame(picture, task.swaps, task.options)
    if task.blank_side:
        picture = np.zeros((task.blank_side, task.blank_side, 3), np.uint8)
    return MergedFrame(picture, np.zeros(picture.shape[:2], np.float32), ())


def _is_changed(merged: MergedFrame, task: FinishTask) -> bool:
    """Whether the picture holds anything that a model made."""
    return task.options.mode != "original" and any(outcome != "empty_mask" for outcome in merged.outcomes)


def _write(merged_bgr: UInt8, mask: UInt8, output: Output, changed: bool) -> None:
    """Write a frame and its mask; a PNG frame that nothing changed in stays what it is, byte for byte."""
    if output.merged is not None:
        same = not changed and not output.alpha and output.original is not None
        write_bytes(output.merged, _png(merged_bgr, mask, output, changed) if not same else _own(output), durable=False)
    if output.mask is not None:
        write_bytes(output.mask, encode_image(mask, ".png"), durable=False)


def _png(merged_bgr: UInt8, mask: UInt8, output: Output, changed: bool) -> bytes:
    picture = np.dstack((merged_bgr, mask)) if output.alpha else merged_bgr
    encoded = encode_image(picture, ".png")
    return marked_png(encoded) if changed else encoded


def _take_over(output: Output) -> None:
    """Write a frame that was never decoded: its own file, and a mask of its size from the file's header."""
    data = _own(output)
    if output.merged is not None:
        write_bytes(output.merged, data, durable=False)
    if output.mask is not None:
        size = int.from_bytes(data[20:24], "big"), int.from_bytes(data[16:20], "big")
        write_bytes(output.mask, encode_image(np.zeros(size, np.uint8), ".png"), durable=False)


def _own(output: Output) -> bytes:
    assert output.original is not None, "only a frame with a PNG file is taken over"
    data = output.original.read_bytes()
    if not _is_whole_png(data):
        raise DamagedFileError(
            f"The picture {output.original.name} is cut off or damaged.", "Extract the frames again."
        )
    return data


def _is_whole_png(data: bytes) -> bool:
    return data.startswith(_PNG_START) and _PNG_END in data[-64:]
