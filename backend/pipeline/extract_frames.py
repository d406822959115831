"""Stage extract-frames: write the frames of one clip as images, and the table of their times."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from backend.core.errors import BadInputError
from backend.core.frames import FrameRef, FrameTable, VideoInfo
from backend.core.settings import ExtractFramesSettings
from backend.pipeline.context import StageContext
from backend.storage.atomic import MIN_FREE_BYTES, require_free_disk
from backend.storage.frame_estimate import estimate
from backend.storage.frame_folder import FrameGathering, frame_name, gathering, replace_frames
from backend.storage.frame_table import save_frame_table
from backend.storage.image import list_images
from backend.storage.video import SAME_TIME_S, DecodedFrame, DecodeReport, decode, frame_times, hdr_kind, probe


def run(settings: ExtractFramesSettings, ctx: StageContext) -> dict[str, Any]:
    """Extract the frames of one side. Earlier frames are replaced only when all new ones are there.

    Returns:
        {"frames", "fps": frames per second on average, "seconds", "took_s", "broken_packets", "damaged_frames",
        "hdr": what kind of high dynamic range was mapped, "no" for none}.

    Raises:
        BadInputError: no clip, no usable clip, or no frame in the range.
        DiskFullError: the images would not fit.
    """
    began = time.monotonic()
    side = ctx.project.side(settings.side)
    clip = side.video
    if clip is None:
        raise BadInputError(f"There is no {settings.side} clip.", "Bring one in on the Project tab.")
    info = probe(clip)
    times = frame_times(clip)
    wanted = frames_to_keep(times, settings)
    total = int(wanted.sum())
    if not total:
        raise BadInputError(
            f"No frame of {clip.name} lies in that range; the clip lasts {info.duration_s:.2f} s.",
            "Choose a range inside the clip.",
        )
    need = estimate(info, total, settings.image_format, side.frames_dir)
    require_free_disk(side.frames_dir, MIN_FREE_BYTES + need.bytes)
    kind = hdr_kind(info)
    if kind:
        ctx.log(f"{clip.name} is high dynamic range video, {kind}; its tones are mapped to BT.709.")
    report = DecodeReport()
    with gathering(side.frames_dir, settings.image_format, settings.jpeg_quality) as gathered:
        kept = _kept(clip, settings, times, wanted, report)
        refs = _write_all(kept, gathered, total, ctx)
        table = _table(info, refs, report)
        ctx.check_stop()
        side.frame_table_path.unlink(missing_ok=True)
        replaced = replace_frames(side.frames_dir, gathered.folder)
        save_frame_table(side, table)
    _tell(ctx, report, bool(replaced) and bool(list_images(side.aligned_dir)))
    seconds = table.end_s - refs[0].time_s
    return {
        "frames": len(refs),
        "fps": round(len(refs) / seconds, 3),
        "seconds": round(seconds, 3),
        "took_s": round(time.monotonic() - began, 2),
        "broken_packets": report.broken_packets,
        "damaged_frames": report.damaged_frames,
        "hdr": kind or "no",
    }


def frames_to_keep(times_s: npt.NDArray[np.float64], settings: ExtractFramesSettings) -> npt.NDArray[np.bool_]:
    """(n,) which frames of a clip to keep: those of the range, and of these the nearest to a regular grid.

    Args:
        times_s: (n,) ascending seconds of all frames.
        settings: range and fps; fps 0 keeps every frame of the range.
    """
    inside = times_s >= settings.start_s - SAME_TIME_S
    if settings.end_s:
        inside &= times_s < settings.end_s - SAME_TIME_S
    if not settings.fps or not inside.any():
        return inside
    candidates = np.flatnonzero(inside)
    steps = int(np.floor((times_s[candidates[-1]] - times_s[candidates[0]]) * settings.fps + 1e-6)) + 1
    grid = times_s[candidates[0]] + np.arange(steps) / settings.fps
    kept = np.zeros(len(times_s), np.bool_)
    kept[candidates[_nearest(times_s[candidates], grid)]] = True
    return kept


def _nearest(times_s: npt.NDArray[np.float64], at_s: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """Index of the time nearest to each of at_s; of two equally near the earlier."""
    after = np.clip(np.searchsorted(times_s, at_s - SAME_TIME_S), 0, len(times_s) - 1)
    before = np.maximum(after - 1, 0)
    earlier = at_s - times_s[before] <= times_s[after] - at_s + SAME_TIME_S
    return np.where(earlier, before, after)


def _kept(
    clip: Path,
    settings: ExtractFramesSettings,
    times_s: npt.NDArray[np.float64],
    wanted: npt.NDArray[np.bool_],
    report: DecodeReport,
) -> Iterator[DecodedFrame]:
    """The wanted frames. Each is known by its time: after a broken packet counting would go wrong."""
    for frame in decode(clip, settings.start_s, settings.end_s, report):
        index = int(_nearest(times_s, np.array([frame.time_s]))[0])
        if wanted[index]:
            yield DecodedFrame(index, frame.time_s, frame.frame_bgr)


def _write_all(
    frames: Iterator[DecodedFrame], gathered: FrameGathering, total: int, ctx: StageContext
) -> list[FrameRef]:
    refs: list[FrameRef] = []
    began = time.monotonic()
    for number, frame in enumerate(frames, start=1):
        ctx.check_stop()
        name = frame_name(number, total, gathered.image_format)
        gathered.add(name, frame.frame_bgr)
        refs.append(FrameRef(file=name, index=frame.index, time_s=frame.time_s))
        ctx.progress(number, total, "frames", number / max(1e-6, time.monotonic() - began))
    gathered.finish()
    if not refs:
        raise BadInputError("No frame could be decoded in that range.", "The clip is damaged there.")
    return refs


def _table(info: VideoInfo, refs: list[FrameRef], report: DecodeReport) -> FrameTable:
    return FrameTable(video=info, frames=tuple(refs), end_s=max(report.end_s, refs[-1].time_s))


def _tell(ctx: StageContext, report: DecodeReport, has_old_faces: bool) -> None:
    if report.broken_packets:
        ctx.log(
            f"{report.broken_packets} damaged pieces of the clip could not be decoded and were left out.", "warning"
        )
    if report.damaged_frames:
        ctx.log(f"{report.damaged_frames} frames show damage, because parts of the clip are broken.", "warning")
    if has_old_faces:
        ctx.log("The faces in the faceset were found on the earlier frames; extract the faces again.", "warning")
