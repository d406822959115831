"""An exclusive lock on a file: released by the system when its process dies, however it dies."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backend.storage.file_lock import try_lock


class FileLock:
    """Lock of one holder among all processes (and all FileLock objects of one process).

    Args:
        path: the lock file; it is created and stays behind, its content does not matter.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._file is not None

    def acquire(self) -> bool:
        """Take the lock if it is free; True when this object holds it afterwards. Never waits."""
        if self._file is not None:
            return True
        file = os.open(self.path, os.O_CREAT | os.O_RDWR, 0o644)
        if try_lock(file):
            self._file = file
            return True
        os.close(file)
        return False

    def release(self) -> None:
        """Give the lock back; nothing happens when it is not held."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


@contextmanager
def locked(path: Path, timeout_s: float = 10.0) -> Iterator[None]:
    """Hold the lock of a file for a short while.

    Raises:
        TimeoutError: when another process does not let go of it in time.
    """
    lock = FileLock(path)
    deadline = time.monotonic() + timeout_s
    while not lock.acquire():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path} stays locked by another process")
        time.sleep(0.005)
    try:
        yield
    finally:
        lock.release()
