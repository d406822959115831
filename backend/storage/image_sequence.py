"""Numbered PNG pictures in a folder, written like a video: in order, whole or not at all."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from backend.core.errors import BadInputError, DamagedFileError
from backend.storage.image import encode_image, list_images, read_image

ENCODERS = 2
WAITING = 4
"""Pictures that are being encoded at once; more would only fill memory."""

DIGITS = 5
"""Of a picture's number at least; a longer sequence gets as many as its last number has, so that names sort."""

BYTES_PER_PIXEL = 2.0
"""Upper estimate of a picture's size, for the disk check."""


class SequenceWriter:
    """Writes frames as 00001.png, 00002.png, ... A context manager: leaving it by an exception removes the folder.

    Args:
        folder: to be made; it must not exist.
        size: width and height of the frames.
        frames: how many will be written.
        finished: made of each file's bytes before they are written, for example with a mark in them.
    """

    def __init__(
        self,
        folder: Path,
        size: tuple[int, int],
        frames: int,
        finished: Callable[[bytes], bytes] = lambda data: data,
    ) -> None:
        self.path = folder
        self.size = size
        self.frames = frames
        self.bytes_written = 0
        self._finished = finished
        self._digits = max(DIGITS, len(str(frames)))
        self._given = 0
        folder.mkdir(parents=True)
        self._pool = ThreadPoolExecutor(ENCODERS, thread_name_prefix="pictures")
        self._waiting: deque[Future[int]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.finish()
            return
        self._pool.shutdown(wait=True, cancel_futures=True)
        shutil.rmtree(self.path, ignore_errors=True)

    def write(self, frame: npt.NDArray[np.uint8]) -> None:
        """Write the next frame, (h, w) gray, (h, w, 3) BGR or (h, w, 4) straight BGRA uint8; it may be reused after.

        BadInputError for another size.
        """
        height, width = frame.shape[:2]
        if (width, height) != self.size:
            raise BadInputError(
                f"Frame {self._given + 1} is {width} x {height}, the first one {self.size[0]} x {self.size[1]}.",
                "All frames of a result must have one size.",
            )
        self._given += 1
        path = self.path / f"{self._given:0{self._digits}d}.png"
        self._waiting.append(self._pool.submit(self._store, path, frame.copy()))
        while len(self._waiting) > WAITING:
            self.bytes_written += self._waiting.popleft().result()

    def finish(self) -> None:
        """Wait for the last pictures. DamagedFileError when frames are missing."""
        try:
            while self._waiting:
                self.bytes_written += self._waiting.popleft().result()
        except BaseException:
            shutil.rmtree(self.path, ignore_errors=True)
            raise
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)
        if self._given != self.frames:
            shutil.rmtree(self.path, ignore_errors=True)
            raise DamagedFileError(f"{self._given} of {self.frames} frames were given to {self.path.name}.")

    def check(self) -> None:
        """DamagedFileError when a picture is missing, or the first or last one cannot be read at the right size."""
        found = list_images(self.path)
        if len(found) != self.frames:
            raise DamagedFileError(f"{self.path.name} holds {len(found)} pictures instead of {self.frames}.")
        for path in (found[0], found[-1]):
            height, width = read_image(path).shape[:2]
            if (width, height) != self.size:
                raise DamagedFileError(f"{path.name} is {width} x {height} instead of {self.size[0]} x {self.size[1]}.")

    def _store(self, path: Path, frame: npt.NDArray[np.uint8]) -> int:
        data = self._finished(encode_image(frame, ".png"))
        path.write_bytes(data)
        return len(data)
