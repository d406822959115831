"""How much disk the frames of a clip will take, before they are extracted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from backend.core.errors import LookalikeError
from backend.core.frames import VideoInfo
from backend.storage.atomic import MIN_FREE_BYTES, free_bytes
from backend.storage.image import list_images, read_image

BYTES_PER_PIXEL = MappingProxyType({"png": 1.8, "jpg": 0.4})
"""Upper estimate of an image's size where nothing was measured."""

SAMPLES = 24
MARGIN = 1.15
"""Frames elsewhere in the clip may be larger than those that were measured."""


@dataclass(frozen=True)
class Need:
    """Disk for frames.

    Attributes:
        frames: how many there will be.
        frame_bytes: size of one.
        free: what is free on that disk.
        measured: whether the size was measured on frames of the clip that are there.
    """

    frames: int
    frame_bytes: float
    free: int
    measured: bool

    @property
    def bytes(self) -> int:
        """What all frames take."""
        return int(self.frames * self.frame_bytes)

    @property
    def fits(self) -> bool:
        """Whether the disk holds them and keeps its reserve."""
        return self.free >= self.bytes + MIN_FREE_BYTES


def estimate(info: VideoInfo, frames: int, image_format: str, frames_dir: Path) -> Need:
    """Disk for so many frames of a clip; the arguments are those of frame_bytes()."""
    size, measured = frame_bytes(info, image_format, frames_dir)
    return Need(frames, size, free_bytes(frames_dir), measured)


def frame_bytes(info: VideoInfo, image_format: str, frames_dir: Path) -> tuple[float, bool]:
    """Size of one frame in bytes, and whether it was measured.

    Args:
        info: the clip.
        image_format: "png" or "jpg".
        frames_dir: where they will lie; frames of this size and format that are there are measured.
    """
    measured = _measured(info, image_format, frames_dir)
    if measured is not None:
        return measured, True
    return info.width * info.height * BYTES_PER_PIXEL[image_format], False


def frames_expected(info: VideoInfo, start_s: float, end_s: float, fps: float) -> int:
    """About how many frames lie in a range, without reading the clip; the arguments are those of extract-frames."""
    end = min(end_s or info.duration_s, info.duration_s)
    seconds = max(0.0, end - start_s)
    rate = float(info.fps)
    if info.frame_count and info.duration_s:
        rate = info.frame_count / info.duration_s
    return round(seconds * (min(fps, rate) if fps else rate))


def _measured(info: VideoInfo, image_format: str, frames_dir: Path) -> float | None:
    found = [path for path in list_images(frames_dir) if path.suffix.lower() == f".{image_format}"]
    if not found:
        return None
    try:
        if read_image(found[0]).shape[:2] != (info.height, info.width):
            return None
        chosen = found[:: max(1, len(found) // SAMPLES)]
        return MARGIN * sum(path.stat().st_size for path in chosen) / len(chosen)
    except (LookalikeError, OSError):
        return None
