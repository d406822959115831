"""Removed faces: every removal is a batch that can be taken back, every file can be restored. Nothing is deleted."""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from backend.core.errors import DamagedFileError
from backend.storage.atomic import read_json, write_json
from backend.storage.face_index import stamps

LOG_NAME = ".batches.json"


class FaceTrash:
    """The trash folder of a faceset. Not thread-safe by itself; a Faceset guards it.

    Args:
        folder: where the faces lie.
        trash: where removed ones go.
    """

    def __init__(self, folder: Path, trash: Path) -> None:
        self._folder = folder
        self._trash = trash

    def put(self, names: Collection[str]) -> str:
        """Move files here as one batch and return its id, "" when none of them exists.

        The batch is noted before the files move, so that an interruption leaves nothing that cannot be taken back.
        """
        present = [name for name in names if (self._folder / name).is_file()]
        if not present:
            return ""
        self._trash.mkdir(parents=True, exist_ok=True)
        taken = {path.name.lower() for path in self._trash.iterdir()}
        moves = [[name, _free_name(name, taken)] for name in present]
        batch = {"id": f"{time.time_ns():x}-{secrets.token_hex(3)}", "time": time.time(), "moves": moves}
        write_json(self._trash / LOG_NAME, {"batches": [*self._batches(), batch]})
        for name, stored in moves:
            (self._folder / name).rename(self._trash / stored)
        return str(batch["id"])

    def undo(self) -> list[str]:
        """Bring the newest batch back that still has files here; the names they have now, empty when there is none."""
        for batch in reversed(self._batches()):
            present = [stored for _, stored in batch["moves"] if (self._trash / stored).is_file()]
            if present:
                return self.restore(present)
        return []

    def restore(self, stored_names: Iterable[str]) -> list[str]:
        """Bring single files back, by their names in the trash; the names they have now."""
        batches = self._batches()
        first_names = {stored: name for batch in batches for name, stored in batch["moves"]}
        wanted = [name for name in stored_names if (self._trash / name).is_file() and Path(name).name == name]
        self._folder.mkdir(parents=True, exist_ok=True)
        taken = {path.name.lower() for path in self._folder.iterdir()}
        restored = []
        for stored in wanted:
            name = _free_name(first_names.get(stored, stored), taken)
            (self._trash / stored).rename(self._folder / name)
            restored.append(name)
        if restored:
            gone = set(wanted)
            left = [{**b, "moves": [m for m in b["moves"] if m[1] not in gone]} for b in batches]
            write_json(self._trash / LOG_NAME, {"batches": [batch for batch in left if batch["moves"]]})
        return restored

    def names(self) -> list[str]:
        """Names of the files here."""
        return list(stamps(self._trash))

    def _batches(self) -> list[dict[str, Any]]:
        """The noted batches, oldest first; none when the log is missing or damaged."""
        try:
            batches = read_json(self._trash / LOG_NAME)["batches"]
            return [b for b in batches if all(_is_move(move) for move in b["moves"])]
        except (OSError, DamagedFileError, KeyError, TypeError):
            return []


def _is_move(move: Sequence[object]) -> bool:
    return len(move) == 2 and all(isinstance(name, str) and Path(name).name == name for name in move)


def _free_name(name: str, taken: set[str]) -> str:
    """The name, or the first with _1, _2 ... behind its stem that is not taken; it is taken from then on."""
    path = Path(name)
    candidate, number = name, 0
    while candidate.lower() in taken:
        number += 1
        candidate = f"{path.stem}_{number}{path.suffix}"
    taken.add(candidate.lower())
    return candidate
