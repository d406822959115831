"""Replacing the frames of one side: the new ones are gathered beside the folder and change places when complete."""

from __future__ import annotations

import errno
import shutil
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from backend.core.errors import DiskFullError
from backend.storage.frames_before import FOLDER as FRAMES_BEFORE
from backend.storage.image import encode_image, list_images

ImageFormat = Literal["png", "jpg"]

WRITERS = 2
WAITING = 8
"""Images encoded at once, and images held in memory at most."""


def frame_name(number: int, total: int, image_format: ImageFormat) -> str:
    """File name of the frame counted from 1: five digits, more only when so many frames would sort wrongly."""
    return f"{number:0{max(5, len(str(total)))}d}.{image_format}"


class FrameGathering:
    """Images being written into a folder of their own, on a few threads.

    Args:
        folder: where to write; it exists and is empty.
        image_format: "png" (lossless) or "jpg".
        jpeg_quality: 0..100.
    """

    def __init__(self, folder: Path, image_format: ImageFormat, jpeg_quality: int) -> None:
        self.folder = folder
        self.image_format: ImageFormat = image_format
        self._suffix = f".{image_format}"
        self._quality = jpeg_quality
        self._pool = ThreadPoolExecutor(WRITERS, thread_name_prefix="frames")
        self._pending: deque[Future[None]] = deque()

    def add(self, name: str, image_bgr: npt.NDArray[np.uint8]) -> None:
        """Write one image, (h, w, 3) uint8 BGR. Waits when many are on their way; errors of earlier ones come here."""
        while len(self._pending) >= WAITING:
            self._pending.popleft().result()
        self._pending.append(self._pool.submit(self._write, self.folder / name, image_bgr))

    def finish(self) -> None:
        """Wait for all images. DiskFullError when the disk became full."""
        while self._pending:
            self._pending.popleft().result()

    def close(self) -> None:
        """Stop the threads; images not begun are dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _write(self, path: Path, image_bgr: npt.NDArray[np.uint8]) -> None:
        data = encode_image(image_bgr, self._suffix, self._quality)
        try:
            path.write_bytes(data)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise DiskFullError(f"The disk became full while writing {path.name}.", "Free some space.") from error


@contextmanager
def gathering(frames_dir: Path, image_format: ImageFormat, jpeg_quality: int) -> Iterator[FrameGathering]:
    """A fresh gathering beside the frames folder. Removed at the end; the frames folder itself is not touched."""
    folder = frames_dir.parent / f".{frames_dir.name}.extracting"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    gathered = FrameGathering(folder, image_format, jpeg_quality)
    try:
        yield gathered
    finally:
        gathered.close()
        shutil.rmtree(folder, ignore_errors=True)


def replace_frames(frames_dir: Path, gathered: Path) -> int:
    """Put the gathered images in the place of the old ones; subfolders (aligned faces, merged frames) stay.

    The old images, and what is kept of them from before they were denoised, wait beside the folder until the new ones
    are in. Returns how many old images there were.
    """
    frames_dir.mkdir(parents=True, exist_ok=True)
    before = frames_dir.parent / f".{frames_dir.name}.before"
    shutil.rmtree(before, ignore_errors=True)
    before.mkdir()
    if (frames_dir / FRAMES_BEFORE).is_dir():
        (frames_dir / FRAMES_BEFORE).rename(before / FRAMES_BEFORE)
    old = list_images(frames_dir)
    for path in old:
        path.rename(before / path.name)
    for path in list_images(gathered):
        path.rename(frames_dir / path.name)
    shutil.rmtree(before, ignore_errors=True)
    return len(old)
