"""What an export will take: frames, seconds, size of the picture, about how many bytes, and whether the range fits."""

from __future__ import annotations

import html
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.core.errors import LookalikeError
from backend.core.frames import FrameTable
from backend.core.settings import ExportSettings
from backend.core.settings.export import FIXED_QUALITY
from backend.storage.frame_table import frame_table_for
from backend.storage.project import Project
from backend.storage.video_formats import CODECS, VideoFormat
from ui_tabs.gallery import modified
from ui_tabs.header import size
from ui_tabs.job_panel import duration

USUAL_CRF = 17
CRF_THAT_HALVES = 6
"""So many steps of the rate factor make a file half as large."""
LOSSY_SHARE, SHARE, GIF_SHARE = 0.25, 0.5, 0.75
"""Usual size as a share of the upper estimate that the disk check goes by; files of noisy clips come out larger."""
SOUND_BYTES_PER_S = 20_000
PNG_BYTES = 2.0
"""Bytes per pixel of a PNG picture, upper estimate."""


@dataclass(frozen=True)
class Estimate:
    """What an export takes.

    Attributes:
        first, last: frames, counted from 1.
        frames, seconds: how many, how long.
        width, height: of the result in pixels.
        bytes: about so many.
        free: bytes that the disk has free.
    """

    first: int
    last: int
    frames: int
    seconds: float
    width: int
    height: int
    bytes: int
    free: int


class ClipTables:
    """The frame tables of the projects, kept until they change. Shared by all browser tabs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[Path, tuple[Any, FrameTable | None]] = {}

    def get(self, project: Project) -> FrameTable | None:
        """The destination's frames; None when there are none yet, or the table cannot be read."""
        side = project.side("dst")
        stamp = (modified(side.frame_table_path), modified(side.frames_dir), side.video)
        with self._lock:
            known = self._known.get(project.path)
            if known is None or known[0] != stamp:
                known = self._known[project.path] = (stamp, _table(project))
            return known[1]


def range_fault(table: FrameTable | None, settings: ExportSettings) -> str:
    """What is wrong with the range, naming the field; "" when it fits the clip, or when there is no clip yet."""
    if table is None:
        return ""
    total = len(table.frames)
    for label, wanted in (("First frame", settings.first_frame), ("Last frame", settings.last_frame)):
        if wanted > total:
            return f"{label}: The clip has only {total:,} frames."
    return ""


def estimate(table: FrameTable, settings: ExportSettings, folder: Path) -> Estimate:
    """What an export takes; the range has to fit.

    Args:
        folder: where the result goes.
    """
    last = settings.last_frame or len(table.frames)
    chosen = table.frames[settings.first_frame - 1 : last]
    if settings.preview_s:
        chosen = tuple(f for f in chosen if f.time_s < chosen[0].time_s + settings.preview_s)
    last = settings.first_frame + len(chosen) - 1
    end_s = table.frames[last].time_s if last < len(table.frames) else table.end_s
    seconds = end_s - chosen[0].time_s
    width, height = _picture(table, settings)
    sound = seconds * SOUND_BYTES_PER_S * (table.video.has_audio and settings.audio != "none")
    needed = _bytes(settings, width * height * len(chosen), seconds) + int(sound)
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    return Estimate(settings.first_frame, last, len(chosen), seconds, width, height, needed, free)


def estimate_html(found: Estimate) -> str:
    """The estimate in one line, and a warning when the disk is too small."""
    frames = f"{found.frames:,} frame{'' if found.frames == 1 else 's'} ({found.first:,} to {found.last:,})"
    length = f"{found.seconds:.1f} s" if found.seconds < 60 else duration(found.seconds)
    words = f"{frames}, {length}, {found.width} x {found.height} px, about {size(found.bytes)}."
    kind = "lk-note"
    if found.bytes > found.free:
        kind, words = "lk-notice", f"{words} The disk has only {size(found.free)} free."
    else:
        words += f" {size(found.free)} are free."
    return f'<p class="{kind}">{html.escape(words)}</p>'


def _table(project: Project) -> FrameTable | None:
    try:
        return frame_table_for(project.side("dst"))
    except (LookalikeError, OSError):
        return None


def _picture(table: FrameTable, settings: ExportSettings) -> tuple[int, int]:
    """Width and height of the result."""
    width, height = table.video.width, table.video.height
    if settings.height and height:
        width, height = max(1, round(width * settings.height / height)), settings.height
    return (2 * width if settings.content == "compare" else width), height


def _bytes(settings: ExportSettings, pixels: int, seconds: float) -> int:
    codec = settings.chosen_codec
    fixed = settings.is_lossless or codec in FIXED_QUALITY
    if settings.container == "png":
        return int(pixels * PNG_BYTES * SHARE * (4 / 3 if settings.content == "alpha" else 1))
    if settings.container == "gif":
        return int(pixels * CODECS["gif"].bytes_per_pixel * GIF_SHARE)
    if settings.rate == "bitrate" and not fixed:
        return int(settings.bitrate_mbit * 1e6 / 8 * seconds)
    kind = VideoFormat(settings.container, codec, settings.rate, settings.content == "alpha")
    most = kind.bytes_needed(pixels)
    return int(most * (SHARE if fixed else LOSSY_SHARE * 2 ** ((USUAL_CRF - settings.crf) / CRF_THAT_HALVES)))
