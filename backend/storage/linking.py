"""A second name for a file that never changes, or a copy where the file system knows no second names."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

Progress = Callable[[int], None]
"""Told how many bytes were done since the last time; whatever it raises ends the work."""

CHUNK = 4 << 20


def no_progress(count: int) -> None:
    """For callers who do not want to know."""


def pass_on(source: BinaryIO, targets: Iterable[Callable[[bytes], object]], progress: Progress = no_progress) -> int:
    """Read a stream to its end and give each piece to all targets. Returns the bytes."""
    total, to = 0, tuple(targets)
    while chunk := source.read(CHUNK):
        for give in to:
            give(chunk)
        total += len(chunk)
        progress(len(chunk))
    return total


def copy_file(source: Path, target: Path, progress: Progress = no_progress) -> None:
    """Copy a file's content and force it onto the disk; the target must not exist."""
    with source.open("rb") as read, target.open("xb") as written:
        pass_on(read, [written.write], progress)
        written.flush()
        os.fsync(written.fileno())


def link_file(source: Path, target: Path, progress: Progress = no_progress) -> None:
    """A second name for a file that is only ever replaced, never written into; a copy where that cannot be."""
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        copy_file(source, target, progress)
        return
    progress(source.stat().st_size)


def link_folder(source: Path, target: Path, progress: Progress = no_progress) -> None:
    """A folder with second names for all files of another one, which has no folders inside."""
    target.mkdir(parents=True)
    for path in sorted(source.iterdir()):
        if path.is_file():
            link_file(path, target / path.name, progress)


def folder_bytes(folder: Path) -> int:
    """Sum of the sizes of all files in a folder, at any depth; files that vanish meanwhile count nothing."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(root) / name).stat().st_size
            except OSError:
                continue
    return total
