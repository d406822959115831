"""One small file of every kind the program exports, with the marks it gets."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from backend.storage.image import write_image
from backend.storage.video_mark import mark_file, tags

VIDEOS = ("mp4", "mov", "mkv", "webm", "avi", "gif")
PICTURES = ("png", "jpg")
SIGNABLE = ("mp4", "mov", "avi", "gif", "png", "jpg")
FRAMES = 5

_FORMATS = {"mkv": "matroska"}
_CODECS = {"webm": ("libvpx-vp9", "yuv420p"), "gif": ("gif", "bgr8")}


def frame(number: int) -> np.ndarray:
    """(48, 64, 3) uint8, different for every number."""
    image = np.full((48, 64, 3), 30 + 30 * number, np.uint8)
    image[:24, :32] = (200, 40, 20)
    return image


def make_file(folder: Path, kind: str, marked: bool = True) -> Path:
    """Write film.<kind>."""
    path = folder / f"film.{kind}"
    if kind in PICTURES:
        write_image(path, frame(2))
    else:
        _write_video(path, kind, marked)
    if marked:
        mark_file(path, kind)
    return path


def _write_video(path: Path, kind: str, marked: bool) -> None:
    codec, pixels = _CODECS.get(kind, ("libx264", "yuv420p"))
    with av.open(str(path), "w", format=_FORMATS.get(kind, kind)) as container:
        container.metadata.update(tags(kind) if marked else {})
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
        for number in range(FRAMES):
            picture = av.VideoFrame.from_ndarray(frame(number), "bgr24").reformat(format=pixels)
            picture.pts, picture.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def pixels_of(path: Path) -> np.ndarray:
    """All decoded frames, (n, h, w, 3)."""
    with av.open(str(path)) as container:
        return np.stack([picture.to_ndarray(format="bgr24") for picture in container.decode(video=0)])
