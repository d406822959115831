"""A file of fixed-size records in the order of their iterations: appended to, cut off, read in parts.

It is read, never mapped: a reader of a mapped file dies when the training that writes it cuts it off.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


class RecordFile:
    """Records of one dtype. A half-written last one is ignored, and cut off before the next append.

    Args:
        path: the file, there or not.
        dtype: of one record; it has a field "iteration", which never falls from one record to the next.
    """

    def __init__(self, path: Path, dtype: np.dtype[np.void]) -> None:
        self.path = path
        self.dtype = dtype

    def append(self, rows: npt.NDArray[np.void]) -> None:
        """Add records, (n,) of the dtype."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            torn = file.tell() % self.dtype.itemsize
            if torn:
                file.truncate(file.tell() - torn)
            file.write(rows.tobytes())

    def sync(self) -> None:
        """Force what was appended onto the disk."""
        if self.path.exists():
            with self.path.open("rb+") as file:
                os.fsync(file.fileno())

    def __len__(self) -> int:
        try:
            return self.path.stat().st_size // self.dtype.itemsize
        except OSError:
            return 0

    def read(self, start: int = 0, stop: int | None = None) -> npt.NDArray[Any]:
        """Complete records from ``start`` up to ``stop``, (n,) of the dtype; fewer when the file ends before."""
        size = self.dtype.itemsize
        count = -1 if stop is None else max(0, stop - start) * size
        try:
            with self.path.open("rb") as file:
                file.seek(start * size)
                data = file.read(count)
        except FileNotFoundError:
            return np.empty(0, self.dtype)
        return np.frombuffer(data[: len(data) - len(data) % size], self.dtype)

    def after(self, iteration: int) -> int:
        """Number of records up to and including an iteration; a few reads, however long the file is."""
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            found = self.read(middle, middle + 1)
            if len(found) and found["iteration"][0] <= iteration:
                low = middle + 1
            else:
                high = middle
        return low

    def truncate(self, iteration: int) -> None:
        """Drop every record after an iteration."""
        keep = self.after(iteration)
        if keep < len(self):
            with self.path.open("rb+") as file:
                file.truncate(keep * self.dtype.itemsize)


def bucket_edges(count: int, points: int) -> npt.NDArray[np.int64]:
    """Where ``count`` records are cut into at most ``points`` buckets of equal length: (buckets + 1,) ascending."""
    return np.unique(np.linspace(0, count, min(points, count) + 1).astype(np.int64))
