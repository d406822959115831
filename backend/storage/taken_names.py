"""Giving things names that nothing else has."""

from __future__ import annotations

from pathlib import Path


def take_name(folder: Path, stem: str, suffix: str, finished: Path, sidecar: bool = False) -> Path:
    """Give a finished file or folder the name <stem><suffix>, with -2, -3, ... behind the stem while that is taken.

    A name is taken as well where its sidecar <stem>.json exists: result.mov beside result.mp4 would share it. Two
    processes never get the same name, and with ``sidecar`` never the same sidecar.

    Args:
        folder: where it goes.
        stem, suffix: of the wanted name; a folder has no suffix.
        finished: the file or folder, on the same disk; it is moved.
        sidecar: whether it gets one; needed for folders.

    Returns:
        where it lies now. Its sidecar is there too, still empty, so that nobody else takes the name.
    """
    number = 1
    while True:
        name = stem if number == 1 else f"{stem}-{number}"
        number += 1
        target, beside = folder / f"{name}{suffix}", folder / f"{name}.json"
        if beside.exists() or target.exists():
            continue
        claim = beside if sidecar else target
        try:
            claim.touch(exist_ok=False)
        except FileExistsError:
            continue
        try:
            return finished.replace(target)
        except BaseException:
            claim.unlink(missing_ok=True)
            raise
