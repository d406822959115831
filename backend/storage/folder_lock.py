"""One writer per folder: a lock file held open by its owner and let go by the system when the owner's process ends."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from backend.storage.file_lock import try_lock


class LockOwner(BaseModel):
    """Who writes a folder.

    Attributes:
        name: what the user knows the owner by, for example the job's id.
        pid, pid_started: the process and its start time (psutil create_time).
        host: name of the machine.
        since: unix time at which the lock was taken.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    pid: int
    pid_started: float
    host: str
    since: float

    @classmethod
    def this_process(cls, name: str) -> LockOwner:
        """The running process under a name."""
        started = psutil.Process().create_time()
        return cls(name=name, pid=os.getpid(), pid_started=started, host=socket.gethostname(), since=time.time())

    def alive(self) -> bool:
        """Whether the owner's process runs; an owner on another machine counts as running."""
        if self.host != socket.gethostname():
            return True
        try:
            return abs(psutil.Process(self.pid).create_time() - self.pid_started) < 2.0
        except psutil.Error:
            return False


@contextlib.contextmanager
def locked(path: Path, owner: LockOwner) -> Iterator[LockOwner | None]:
    """Hold the lock file while the block runs.

    The operating system holds the lock for the open file, so that it is free again the moment its process is gone,
    however it ended. The text inside only says who it is.

    Yields:
        the vanished owner whose lock was taken over, or None.

    Raises:
        BlockingIOError: another process, or another block of this one, holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not try_lock(descriptor):
            raise BlockingIOError(f"{path} is locked by another process")
        before = read_owner(path)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, owner.model_dump_json().encode())
        try:
            yield before
        finally:
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def read_owner(path: Path) -> LockOwner | None:
    """Who the lock file names, whether or not it still runs; None when nobody."""
    try:
        return LockOwner.model_validate(json.loads(path.read_text("utf-8") or "null"))
    except (OSError, ValueError, ValidationError):
        return None
