"""Moving files of a faceset between folders all at once; an interruption leaves a state that can be finished.

A journal in the faceset's folder lists every move before the first one is made. Each target is free when its turn
comes, so that a target that is there tells that its move was made.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from backend.core.errors import BadInputError, DamagedFileError
from backend.storage.atomic import read_json, sync_folder, write_json
from backend.storage.face_index import is_face_name

MOVING_NAME = ".moving.json"

Move = tuple[Path, Path]


def move_all(folder: Path, moves: Sequence[Move]) -> None:
    """Make moves of face files, in their order.

    Args:
        folder: the faceset's folder, where the journal is kept.
        moves: (from, to) on one file system and inside the project; a target may be the source of an earlier move.

    Raises:
        BadInputError: one lies outside the project.
        OSError: a file could not be moved; all are where they were.
    """
    if not all(_inside(folder, path) for move in moves for path in move):
        raise BadInputError("The faces lie outside the project.", "Put them into a folder of the project first.")
    listed = [[os.path.relpath(source, folder), os.path.relpath(target, folder)] for source, target in moves]
    write_json(folder / MOVING_NAME, {"version": 1, "moves": listed})
    done: list[Move] = []
    try:
        for source, target in moves:
            source.rename(target)
            done.append((source, target))
    except OSError:
        for source, target in reversed(done):
            target.rename(source)
        (folder / MOVING_NAME).unlink(missing_ok=True)
        raise
    _finish(folder, moves)


def resume(folder: Path) -> None:
    """Finish the moves of the journal, if there is one. OSError when a file cannot be moved: the journal stays."""
    try:
        stored = read_json(folder / MOVING_NAME)
        moves = [(folder / str(source), folder / str(target)) for source, target in stored["moves"]]
    except FileNotFoundError:
        return
    except (DamagedFileError, KeyError, TypeError, ValueError):
        moves = []
    if all(_inside(folder, path) for move in moves for path in move):
        for source, target in moves:
            if source.exists() and not target.exists():
                source.rename(target)
    _finish(folder, moves)


def _finish(folder: Path, moves: Sequence[Move]) -> None:
    for parent in {path.parent for move in moves for path in move}:
        sync_folder(parent)
    (folder / MOVING_NAME).unlink(missing_ok=True)


def _inside(folder: Path, path: Path) -> bool:
    """Whether a path is one of a face in the project that a faceset's folder belongs to."""
    parents = folder.resolve().parents
    project = parents[min(1, len(parents) - 1)]
    return is_face_name(path.name) and path.parent.resolve().is_relative_to(project)
