"""The clips of one side that were there before: none is lost when another takes its place, and the last one can return.

::

    data_src.mp4               the clip
    data_src.previous.mp4      the one before it
    data_src.previous-2.mov    earlier ones, the higher the later
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from backend.core.errors import BadInputError
from backend.storage.atomic import move_over

_NAME = r"\.previous(?:-(\d+))?\.[^.]+$"


def former_clips(folder: Path, side: str) -> list[Path]:
    """Earlier clips of a side in a project's folder, the last one first."""
    pattern = re.compile(f"data_{side}{_NAME}", re.IGNORECASE)
    found: list[tuple[float, int, Path]] = []
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            match = pattern.fullmatch(entry.name)
            if match and entry.is_file():
                number = float(match[1]) if match[1] else float("inf")
                found.append((number, entry.stat().st_ctime_ns, Path(entry.path)))
    return [path for _, _, path in sorted(found, reverse=True)]


def set_aside(clip: Path) -> Path:
    """Make the clip data_<side>.<suffix> an earlier one, the last; returns its new name."""
    _number(clip.parent, clip.stem.lower().removeprefix("data_"))
    former = clip.with_name(f"{clip.stem}.previous{clip.suffix}")
    move_over(clip, former)
    return former


def bring_back(folder: Path, side: str, current: Path | None) -> Path:
    """The last earlier clip becomes the clip again, and the clip becomes the last earlier one.

    Args:
        folder: the project's folder.
        side: "src" or "dst".
        current: the side's clip now.

    Returns:
        the clip. BadInputError when there is no earlier one.
    """
    former = next(iter(former_clips(folder, side)), None)
    if former is None:
        raise BadInputError(f"There is no earlier {side} clip.", "Bring the clip in again on the Project tab.")
    aside = _numbered(current.with_name(f"{current.stem}.previous{current.suffix}")) if current else None
    if current and aside:
        move_over(current, aside)
    clip = folder / f"data_{side}{former.suffix}"
    move_over(former, clip)
    if aside:
        move_over(aside, clip.with_name(f"data_{side}.previous{aside.suffix}"))
    return clip


def _number(folder: Path, side: str) -> None:
    """Free the name of the last earlier clip: those that have it get a number."""
    for path in former_clips(folder, side):
        if re.search(r"\.previous\.[^.]+$", path.name, re.IGNORECASE):
            move_over(path, _numbered(path))


def _numbered(previous: Path) -> Path:
    """The name data_<side>.previous-<n>.<suffix> behind all that are there."""
    stem, side = previous.name[: -len(previous.suffix)], previous.name.split(".")[0].lower().removeprefix("data_")
    used = [re.search(r"-(\d+)\.[^.]+$", path.name) for path in former_clips(previous.parent, side)]
    return previous.with_name(f"{stem}-{max([1, *(int(m[1]) for m in used if m)]) + 1}{previous.suffix}")
