"""Stage denoise-frames: take noise out of one side's frames, in place, and bring the frames back as they were."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backend.core.errors import BadInputError, DamagedFileError
from backend.core.settings import DenoiseFramesSettings
from backend.environment import usable_cores
from backend.ops.denoise import REACH, SourceFrame, UInt8, denoise, noise_level, prepare
from backend.pipeline.context import StageContext
from backend.pipeline.cores import one_thread_each
from backend.storage.atomic import MIN_FREE_BYTES, require_free_disk
from backend.storage.frames_before import Denoised, FramesBefore
from backend.storage.image import list_images, read_image, write_image
from backend.storage.workspace import SideFiles

_MOST_WORKERS = 4
_NOTE_EVERY = 25
_MEASURE_EVERY = 20
_JPEG_QUALITY = 95


@dataclass(frozen=True)
class FrameNoise:
    """Noise of one frame before and after, None where it was not measured; see backend.ops.denoise.noise_level.

    A frame that could not be read stays as it is; ``problem`` says why.
    """

    before: float | None = None
    after: float | None = None
    problem: str = ""


def run(settings: DenoiseFramesSettings, ctx: StageContext) -> dict[str, Any]:
    """Denoise the frames of one side, or undo that.

    It always starts from the frames as they were, where they are kept. A run that was stopped goes on where it ended,
    and can be undone as well.

    Returns:
        {"frames", "unreadable": how many of them stay as they are, "factor", "noise_before", "noise_after": in levels
        of 0..255, "took_s"}, or {"undone": frames}.

    Raises:
        BadInputError: no frames, or nothing to undo.
        DiskFullError: the frames would not fit twice.
        StopRequested: what was changed stays changed; it can be gone on with or undone.
    """
    side = ctx.project.side(settings.side)
    return _undo(side, ctx) if settings.undo else _denoise(settings, side, ctx)


def _undo(side: SideFiles, ctx: StageContext) -> dict[str, Any]:
    before = FramesBefore(side.frames_dir)
    if not before.kept():
        raise BadInputError(
            f"The {side.name} frames cannot be brought back: no earlier state of them is kept.",
            "Extract the frames of the clip again.",
        )

    def each(done: int, total: int) -> None:
        ctx.check_stop()
        ctx.progress(done, total, "frames")

    undone = before.put_back(each)
    ctx.log(f"{undone} frames are as they were before denoising.")
    return {"undone": undone}


def _denoise(settings: DenoiseFramesSettings, side: SideFiles, ctx: StageContext) -> dict[str, Any]:
    began = time.monotonic()
    frames = list_images(side.frames_dir)
    if not frames:
        raise BadInputError(f"There are no {side.name} frames.", "Extract the frames of the clip first.")
    before = FramesBefore(side.frames_dir)
    note = before.note()
    first = note.done if note is not None and note.goes_on(settings.factor, frames) else 0
    _require_disk(frames[first:], side)
    _tell(note, first, side, ctx)
    note = Denoised(factor=settings.factor, done=first, total=len(frames), first=frames[0].name, last=frames[-1].name)
    before.write_note(note)
    made = list(_work(frames, before, note, ctx))
    measured = [noise for noise in made if noise.before is not None]
    before.write_note(note.model_copy(update={"done": len(frames), "complete": True}))
    if not settings.keep_originals:
        before.drop()
        ctx.log("The frames as they were are not kept; denoising again would add to this.")
    return {
        "frames": len(frames),
        "unreadable": sum(bool(noise.problem) for noise in made),
        "factor": settings.factor,
        "noise_before": _mean([noise.before for noise in measured]),
        "noise_after": _mean([noise.after for noise in measured]),
        "took_s": round(time.monotonic() - began, 2),
    }


def _require_disk(frames: Sequence[Path], side: SideFiles) -> None:
    """The new frames are hardly larger than the ones they replace, which stay beside them."""
    require_free_disk(side.frames_dir, MIN_FREE_BYTES + sum(path.stat().st_size for path in frames))


def _tell(note: Denoised | None, first: int, side: SideFiles, ctx: StageContext) -> None:
    if first:
        ctx.log(f"Going on behind the {first} frames that were done before the stop.")
    elif note is not None and note.kept:
        ctx.log("The frames were denoised before; this starts from the frames as they were before that.")
    elif note is not None:
        ctx.log(
            f"The frames were denoised before with strength {note.factor}, and the frames as they were before that "
            "are not kept: this adds to it.",
            "warning",
        )
    if list_images(side.aligned_dir):
        ctx.log("The faces in the faceset still show the noise; extract the faces again to have them without.")


def _work(frames: Sequence[Path], before: FramesBefore, note: Denoised, ctx: StageContext) -> Iterator[FrameNoise]:
    """Denoise the frames behind the first note.done, in order; what is done is noted now and then, and at a stop."""
    began, at = time.monotonic(), note.done
    try:
        for noise in _in_order(frames, before, note, ctx):
            at += 1
            if at % _NOTE_EVERY == 0:
                before.write_note(note.model_copy(update={"done": at}))
            if noise.problem:
                ctx.log(f"{frames[at - 1].name} stays as it is: {noise.problem}", "warning")
            ctx.progress(at, len(frames), "frames", (at - note.done) / max(1e-6, time.monotonic() - began))
            yield noise
    finally:
        before.write_note(note.model_copy(update={"done": at}))


def _in_order(frames: Sequence[Path], before: FramesBefore, note: Denoised, ctx: StageContext) -> Iterator[FrameNoise]:
    """A few frames are worked on at once; each is read once and kept in memory while a neighbour needs it."""
    workers = min(_MOST_WORKERS, usable_cores())
    sources: dict[int, Future[SourceFrame | str]] = {}
    waiting: deque[Future[FrameNoise]] = deque()

    def work(at: int, around: dict[int, Future[SourceFrame | str]]) -> FrameNoise:
        found = {index: future.result() for index, future in around.items()}
        source = found.pop(at)
        if isinstance(source, str):
            return FrameNoise(problem=source)
        near = [other for other in found.values() if not isinstance(other, str)]
        result = _one(frames[at], before, source, near, note.factor)
        if (at - note.done) % _MEASURE_EVERY:
            return FrameNoise()
        return FrameNoise(noise_level(source.frame_bgr), noise_level(result))

    with one_thread_each(), ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(workers) as pool:
        try:
            for at in range(note.done, len(frames)):
                ctx.check_stop()
                span = range(max(0, at - REACH), min(len(frames), at + REACH + 1))
                for index in span:
                    if index not in sources:
                        sources[index] = reader.submit(_read, before.original(frames[index]))
                waiting.append(pool.submit(work, at, {index: sources[index] for index in span}))
                sources.pop(at - REACH, None)
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            reader.shutdown(wait=True, cancel_futures=True)
            pool.shutdown(wait=True, cancel_futures=True)


def _read(path: Path) -> SourceFrame | str:
    """The frame, or why it cannot be read."""
    try:
        return prepare(read_image(path))
    except DamagedFileError as error:
        return error.what


def _one(frame: Path, before: FramesBefore, source: SourceFrame, around: list[SourceFrame], factor: int) -> UInt8:
    result = denoise(source, around, factor)
    before.keep(frame)
    write_image(frame, result, _JPEG_QUALITY)
    return result


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(float(np.mean(known)), 2) if known else None
