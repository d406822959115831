"""Writing files so that a reader or a power cut never meets half of one."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from backend.core.errors import DamagedFileError, DiskFullError

MIN_FREE_BYTES = 1 << 30
"""Below this much free disk nothing is begun."""

_REPLACE_ATTEMPTS = 25
_REPLACE_PAUSE_S = 0.02


@contextlib.contextmanager
def replacing(path: Path, durable: bool = True) -> Iterator[BinaryIO]:
    """Write a file beside its target and put it in place when the block ends; nothing is left behind when it fails.

    Args:
        path: the target; its folder exists.
        durable: also wait until the disk has it. Without, a crash of the program is still harmless, only a power cut
            may lose the newest files: right for bulk output that can be made again.
    """
    temporary = path.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        with temporary.open("xb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        move_over(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(path.parent)


def move_over(source: Path, target: Path) -> None:
    """Rename over an existing file. On Windows a file that is being read cannot be replaced, so this waits a little."""
    for attempt in range(_REPLACE_ATTEMPTS):
        try:
            source.replace(target)
            return
        except PermissionError:
            if attempt == _REPLACE_ATTEMPTS - 1:
                raise
            time.sleep(_REPLACE_PAUSE_S)


def sync_folder(folder: Path) -> None:
    """Make renames and new names in a folder survive a power cut; does nothing where folders cannot be opened."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_bytes(path: Path, data: bytes, durable: bool = True) -> None:
    """Replace a file's content as a whole; see replacing()."""
    with replacing(path, durable) as file:
        file.write(data)


def write_json(path: Path, obj: Any, durable: bool = True) -> None:
    """Replace a file with an object as JSON, readable for people. ValueError for numbers that JSON does not know."""
    text = json.dumps(obj, ensure_ascii=False, allow_nan=False, indent=1)
    write_bytes(path, text.encode("utf-8"), durable)


def read_json(path: Path) -> Any:
    """The object in a JSON file.

    Raises:
        OSError: the file cannot be read, for example because it is not there.
        DamagedFileError: it is no JSON.
    """
    data = path.read_bytes()
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(
            f"{path.name} in {path.parent} is damaged ({type(error).__name__}).",
            "Restore it from a copy, or remove it.",
        ) from error


def free_bytes(path: Path) -> int:
    """Free disk in bytes where the path lies or would lie."""
    folder = path.absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def require_free_disk(path: Path, need_bytes: int = MIN_FREE_BYTES) -> None:
    """DiskFullError when less than ``need_bytes`` are free where the path lies or would lie."""
    free = free_bytes(path)
    if free < need_bytes:
        raise DiskFullError(
            f"The disk of {path} has {_size(free)} left, and {_size(need_bytes)} are needed.",
            "Free some space or use a workspace on another disk.",
        )


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
