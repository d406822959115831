"""Stage edit-clip: cut or rescale one side's clip; the clip as it was is kept and can be brought back."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from backend.core.errors import BadInputError
from backend.core.frames import VideoInfo
from backend.core.settings import EditClipSettings
from backend.pipeline.context import StageContext
from backend.storage.atomic import MIN_FREE_BYTES, require_free_disk
from backend.storage.audio import AudioRange, track_count
from backend.storage.clip_copy import check_copy, copy_part, copy_suffix, plan_copy
from backend.storage.clip_history import bring_back
from backend.storage.image import list_images
from backend.storage.video import SAME_TIME_S, decode, frame_times, hdr_kind, probe
from backend.storage.video_writer import FrameClock, Picture, VideoWriter, check, frame_clock
from backend.storage.workspace import SideFiles

_SPEED = "medium"
_MARGIN = 1.2
"""An encoder may exceed its mean bit rate by a little."""


@dataclass(frozen=True)
class Cut:
    """The frames of a clip to keep.

    Attributes:
        clip: the clip; info: what it is.
        times_s: (n,) seconds of the frames to keep.
        clock: when they are shown in the new clip.
    """

    clip: Path
    info: VideoInfo
    times_s: npt.NDArray[np.float64]
    clock: FrameClock


def run(settings: EditClipSettings, ctx: StageContext) -> dict[str, Any]:
    """Put a part of the clip, or the clip in another size, in its place; or bring back the clip as it was.

    Returns:
        {"width", "height", "frames", "seconds", "starts_at_s": in the clip as it was, "audio": "copied", "aac" or
        "none", "took_s"}, or {"restored": file name}.

    Raises:
        BadInputError: no clip, nothing in the range, no such sound track, or nothing to bring back.
        DamagedFileError: the written clip is not as it has to be; the clip stays as it was.
        DiskFullError: the new clip would not fit beside the old one.
    """
    began = time.monotonic()
    side = ctx.project.side(settings.side)
    if settings.restore:
        clip = bring_back(ctx.project.path, side.name, side.video)
        ctx.log(f"The {side.name} clip is {_words(probe(clip))} again; the changed one is kept in its place.")
        _warn(side, ctx)
        return {"restored": clip.name}
    clip = side.video
    if clip is None:
        raise BadInputError(f"There is no {side.name} clip.", "Bring one in on the Project tab.")
    info = probe(clip)
    tracks = track_count(clip)
    if settings.audio_track >= max(1, tracks):
        raise BadInputError(
            f"{clip.name} has {tracks} sound track{'' if tracks == 1 else 's'}; there is no number "
            f"{settings.audio_track}.",
            f"Choose 0 to {tracks - 1}, or -1 for none." if tracks > 1 else "Choose 0 or -1.",
        )
    make = _copied if settings.method == "copy" else _encoded
    suffix = copy_suffix(clip) if settings.method == "copy" else ".mp4"
    partial = ctx.project.path / f".{side.name}.{ctx.job_dir.name}.partial{suffix}"
    try:
        facts = make(settings, info, partial, ctx)
        ctx.check_stop()
        made = probe(partial)
        ctx.project.import_video(side.name, partial)
    finally:
        partial.unlink(missing_ok=True)
    ctx.log(f"The {side.name} clip is now {_words(made)}; the clip as it was is kept.")
    _warn(side, ctx)
    return {
        "width": made.width,
        "height": made.height,
        **facts,
        "took_s": round(time.monotonic() - began, 2),
    }


def _copied(settings: EditClipSettings, info: VideoInfo, partial: Path, ctx: StageContext) -> dict[str, Any]:
    clip = info.path
    plan = plan_copy(clip, settings.start_s, settings.end_s)
    seconds = plan.end_s - plan.start_s
    share = min(1.0, seconds / info.duration_s) if info.duration_s else 1.0
    require_free_disk(ctx.project.path, MIN_FREE_BYTES + int(clip.stat().st_size * share * _MARGIN))
    total = len(plan.times_s)

    def each(done: int) -> None:
        ctx.check_stop()
        ctx.progress(done, total, "frames")

    sound = copy_part(clip, partial, plan, settings.audio_track, each)
    check_copy(partial, plan, sound != "none")
    ctx.log(
        f"The copy begins at the key frame at {plan.start_s:.3f} s, {settings.start_s - plan.start_s:.3f} s before the "
        f"start that was asked for, and ends at {plan.end_s:.3f} s."
    )
    return {
        "frames": total,
        "seconds": round(seconds, 3),
        "starts_at_s": round(plan.start_s, 3),
        "audio": sound,
    }


def _encoded(settings: EditClipSettings, info: VideoInfo, partial: Path, ctx: StageContext) -> dict[str, Any]:
    cut = _cut(settings, info)
    length = cut.clock.length_s
    bitrate = round(settings.bitrate_mbit * 1e6)
    require_free_disk(ctx.project.path, MIN_FREE_BYTES + int(bitrate / 8 * length * _MARGIN))
    width, height = _new_size(info, settings.height)
    picture = Picture(width, height, info.pixel_aspect, speed=_SPEED, bitrate=bitrate)
    sound = None
    if settings.audio_track >= 0 and info.has_audio:
        sound = AudioRange(cut.clip, float(cut.times_s[0]), length, settings.audio_track)
    kind = hdr_kind(info)
    if kind:
        ctx.log(f"{cut.clip.name} is high dynamic range video, {kind}; the new clip has its tones mapped to BT.709.")
    if any(picture.padding):
        ctx.log("The picture gets one more line or column at its edge: H.264 stores even sizes only.")
    writer = VideoWriter(partial, picture, cut.clock, sound)
    repeated = _write(writer, cut, ctx)
    if repeated:
        ctx.log(f"{repeated} frames could not be decoded; the one before is shown in their place.", "warning")
    check(partial, writer.expectation())
    return {
        "frames": len(cut.times_s),
        "seconds": round(length, 3),
        "starts_at_s": round(float(cut.times_s[0]), 3),
        "audio": writer.audio.mode if writer.audio else "none",
    }


def _cut(settings: EditClipSettings, info: VideoInfo) -> Cut:
    times = frame_times(info.path)
    inside = times >= settings.start_s - SAME_TIME_S
    if settings.end_s:
        inside &= times < settings.end_s - SAME_TIME_S
    kept = np.flatnonzero(inside)
    if not len(kept):
        raise BadInputError(
            f"No frame of {info.path.name} lies in that range; the clip lasts {info.duration_s:.2f} s.",
            "Choose a range inside the clip.",
        )
    behind = int(kept[-1]) + 1
    last = float(times[behind - 1] - times[behind - 2]) if behind > 1 else float(1 / info.fps)
    end = float(times[behind]) if behind < len(times) else max(info.duration_s, float(times[-1]) + last / 2)
    return Cut(info.path, info, times[kept], frame_clock(times[kept].tolist(), end, info.fps))


def _new_size(info: VideoInfo, height: int) -> tuple[int, int]:
    """Width and height of the new clip; the width is even and keeps the shape."""
    if not height:
        return info.width, info.height
    return max(2, round(info.width * height / info.height / 2) * 2), height


def _write(writer: VideoWriter, cut: Cut, ctx: StageContext) -> int:
    """Encode the frames; returns how many could not be decoded and repeat the one before."""
    began, repeated, done, total = time.monotonic(), 0, 0, len(cut.times_s)
    size = writer.picture.width, writer.picture.height
    last: npt.NDArray[np.uint8] | None = None
    with writer:
        for frame in decode(cut.clip, float(cut.times_s[0]), float(cut.times_s[-1]) + 2 * SAME_TIME_S):
            ctx.check_stop()
            picture = _resized(frame.frame_bgr, size)
            at = int(np.argmin(np.abs(cut.times_s - frame.time_s)))
            for _ in range(done, at):
                writer.write(picture if last is None else last)
                repeated += 1
            if at >= done:
                writer.write(picture)
            done, last = max(done, at + 1), picture
            ctx.progress(done, total, "frames", done / max(1e-6, time.monotonic() - began))
        if last is None:
            raise BadInputError("No frame could be decoded in that range.", "The clip is damaged there.")
        for _ in range(done, total):
            writer.write(last)
            repeated += 1
    return repeated


def _resized(frame_bgr: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    height, width = frame_bgr.shape[:2]
    if (width, height) == size:
        return frame_bgr
    how = cv2.INTER_AREA if size[1] < height else cv2.INTER_LANCZOS4
    return np.asarray(cv2.resize(frame_bgr, size, interpolation=how), dtype=np.uint8)


def _warn(side: SideFiles, ctx: StageContext) -> None:
    """Say what still belongs to the clip as it was."""
    left = [
        f"{len(found)} {word}"
        for folder, word in ((side.frames_dir, "frames"), (side.aligned_dir, "faces"))
        if (found := list_images(folder))
    ]
    if left:
        ctx.log(f"The {' and '.join(left)} of this side belong to the clip as it was; extract them again.", "warning")


def _words(info: VideoInfo) -> str:
    return f"{info.width} x {info.height}, {info.duration_s:.2f} s"
