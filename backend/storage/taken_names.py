"""Giving things names that nothing else has."""

from __future__ import annotations

from pathlib import Path


def take_name(folder: Path, stem: str, suffix: str, finished: Path) -> Path:
    """Give a finished file the name <stem><suffix>, with -2, -3, ... behind the stem while that is taken.

    A name whose sidecar <stem>.json exists is taken too. Two processes never get the same name.

    Args:
        folder: where it goes.
        stem, suffix: of the wanted name.
        finished: the file, on the same disk; it is moved.

    Returns:
        where it lies now.
    """
    number = 1
    while True:
        name = stem if number == 1 else f"{stem}-{number}"
        number += 1
        if (folder / f"{name}.json").exists():
            continue
        target = folder / f"{name}{suffix}"
        try:
            target.touch(exist_ok=False)
        except FileExistsError:
            continue
        finished.replace(target)
        return target
