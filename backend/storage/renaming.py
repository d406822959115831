"""Renaming the files of a folder all at once; an interruption leaves a state that can be finished or taken back.

Every file first gets a hidden name, then its new one. A journal tells which half was reached: before the middle all
files go back to their old names, after it on to the new ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from backend.core.errors import DamagedFileError
from backend.storage.atomic import read_json, sync_folder, write_json

JOURNAL_NAME = ".renaming.json"

_HIDDEN = ".renaming-"


def rename_all(folder: Path, names: Mapping[str, str]) -> None:
    """Rename files; the journal stays until forget().

    Args:
        folder: where they are.
        names: old -> new; a new name may be the old one of another file, and equal ones stay.

    Raises:
        OSError: a file could not be renamed; all have their old names again.
    """
    write_json(folder / JOURNAL_NAME, {"hidden": False, "names": dict(names)})
    try:
        for old, new in names.items():
            if old != new:
                (folder / old).rename(folder / f"{_HIDDEN}{new}")
    except OSError:
        recover(folder)
        forget(folder)
        raise
    sync_folder(folder)
    write_json(folder / JOURNAL_NAME, {"hidden": True, "names": dict(names)})
    recover(folder)


def recover(folder: Path) -> list[str]:
    """Finish or take back the renaming of the journal. Returns all new names when it is finished, else nothing."""
    try:
        stored = read_json(folder / JOURNAL_NAME)
        finish, names = bool(stored["hidden"]), {Path(old).name: Path(new).name for old, new in stored["names"].items()}
    except (OSError, DamagedFileError, KeyError, TypeError, AttributeError):
        return []
    for old, new in names.items():
        hidden = folder / f"{_HIDDEN}{new}"
        if hidden.exists():
            hidden.rename(folder / (new if finish else old))
    sync_folder(folder)
    return list(names.values()) if finish else []


def forget(folder: Path) -> None:
    """Remove the journal: whatever depends on the names knows them now."""
    (folder / JOURNAL_NAME).unlink(missing_ok=True)
