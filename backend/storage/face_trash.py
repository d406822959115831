"""Removed faces: every removal is a batch that can be taken back, every file can be restored.

Only emptying the trash deletes anything.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.core.errors import BadInputError, DamagedFileError
from backend.storage.atomic import read_json, write_json
from backend.storage.face_index import stamps
from backend.storage.face_persons import FacePersons
from backend.storage.moving import move_all

LOG_NAME = ".batches.json"
PUT_ASIDE = "put-aside"
"""Folder in the trash for files of a faceset that are no faces: PNG files and packs."""

_REMOVED, _SWAPPED, _TAKEN_BACK = "removed", "swapped", "taken back"


@dataclass(frozen=True)
class TrashBatch:
    """Faces that were removed together.

    Attributes:
        id: names the batch.
        time: unix time.
        reason: why they were removed, "" when nobody said.
        names: of those that are still in the trash, as they are called there.
    """

    id: str
    time: float
    reason: str
    names: tuple[str, ...]


class FaceTrash:
    """The trash folder of a faceset. Not thread-safe by itself; a Faceset guards it.

    Args:
        folder: where the faces lie.
        trash: where removed ones go.
        persons: of the folder; removed faces get their person back.
    """

    def __init__(self, folder: Path, trash: Path, persons: FacePersons) -> None:
        self._folder = folder
        self._trash = trash
        self._persons = persons

    def put(self, names: Collection[str], reason: str = "", packed: bool = False) -> str:
        """Move files here as one batch and return its id, "" when none of them exists; see Faceset.trash().

        The batch is noted before the files move, so that an interruption leaves nothing that cannot be taken back.
        """
        batch = self._note(names, reason, _REMOVED)
        if batch is None:
            return ""
        for name, stored in batch["moves"]:
            (self._folder / name).rename(self._trash / stored)
        if not packed:
            self._persons.drop({name for name, _ in batch["moves"]})
        return str(batch["id"])

    def swap(self, incoming: Path, reason: str) -> str:
        """All faces of the folder become one batch and those of another folder take their place; the batch's id.

        Raises:
            BadInputError: no face lies there, or it lies outside the project.
            OSError: a file could not be moved; all are where they were.
        """
        fresh = list(stamps(incoming))
        if not fresh:
            raise BadInputError(f"There is no face in {incoming}.")
        self._folder.mkdir(parents=True, exist_ok=True)
        batch = self._note(list(stamps(self._folder)), reason, _SWAPPED)
        old = [] if batch is None else batch["moves"]
        out = [(self._folder / name, self._trash / stored) for name, stored in old]
        move_all(self._folder, [*out, *((incoming / name, self._folder / name) for name in fresh)])
        self._persons.drop({name for name, _ in old}.difference(fresh))
        with contextlib.suppress(OSError):
            incoming.rmdir()
        return "" if batch is None else str(batch["id"])

    def undo(self) -> list[str]:
        """Bring the newest batch back that still has files here; the names they have now, empty when there is none.

        After swap() everything that lies in the folder now goes to the trash in turn. Such a batch can be restored,
        but is not what a further undo brings back.
        """
        for batch in reversed(self._batches()):
            present = [stored for _, stored in batch["moves"] if (self._trash / stored).is_file()]
            if present and batch.get("kind") == _SWAPPED:
                return self._swap_back(batch, set(present))
            if present and batch.get("kind") != _TAKEN_BACK:
                return self.restore(present)
        return []

    def restore(self, stored_names: Iterable[str]) -> list[str]:
        """Bring single files back, by their names in the trash; the names they have now."""
        first_names = {stored: name for batch in self._batches() for name, stored in batch["moves"]}
        wanted = [n for n in dict.fromkeys(stored_names) if (self._trash / n).is_file() and Path(n).name == n]
        self._folder.mkdir(parents=True, exist_ok=True)
        taken = {path.name.lower() for path in self._folder.iterdir()}
        back = {stored: free_name(first_names.get(stored, stored), taken) for stored in wanted}
        self._give_persons(back)
        for stored, name in back.items():
            (self._trash / stored).rename(self._folder / name)
        if back:
            self._write(self._batches())
        return list(back.values())

    def names(self) -> list[str]:
        """Names of the files here."""
        return list(stamps(self._trash))

    def batches(self) -> list[TrashBatch]:
        """The batches that still have files here, newest first."""
        there = stamps(self._trash).keys()
        found = []
        for batch in reversed(self._batches()):
            names = tuple(stored for _, stored in batch["moves"] if stored in there)
            if names:
                when = batch.get("time")
                noted = float(when) if isinstance(when, int | float) else 0.0
                found.append(TrashBatch(str(batch.get("id", "")), noted, str(batch.get("reason", "")), names))
        return found

    def persons(self) -> list[int]:
        """Numbers of the persons that faces here may get back."""
        return [n for batch in self._batches() for n in self._persons.numbers_in(batch.get("persons"))]

    def empty(self) -> int:
        """Delete every face here, and every file that was put aside, for good; how many there were."""
        aside = self._trash / PUT_ASIDE
        files = [self._trash / name for name in self.names()]
        files += [path for path in aside.iterdir() if path.is_file()] if aside.is_dir() else []
        for path in files:
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            aside.rmdir()
        if self._trash.is_dir():
            self._write(self._batches())
        return len(files)

    def _swap_back(self, batch: Mapping[str, Any], present: Collection[str]) -> list[str]:
        faces = stamps(self._folder).keys()
        aside = self._note(faces, str(batch.get("reason", "")), _TAKEN_BACK)
        taken = {path.name.lower() for path in self._folder.iterdir() if path.name not in faces}
        back = {stored: free_name(name, taken) for name, stored in batch["moves"] if stored in present}
        self._give_persons(back)
        out = [] if aside is None else [(self._folder / name, self._trash / stored) for name, stored in aside["moves"]]
        move_all(self._folder, [*out, *((self._trash / stored, self._folder / name) for stored, name in back.items())])
        self._write(self._batches())
        return list(back.values())

    def _note(self, names: Collection[str], reason: str, kind: str) -> dict[str, Any] | None:
        """Write down a batch of those names that exist, before its files move; None when none does."""
        present = [name for name in names if (self._folder / name).is_file()]
        if not present:
            return None
        self._trash.mkdir(parents=True, exist_ok=True)
        taken = {path.name.lower() for path in self._trash.iterdir()}
        moves = {name: free_name(name, taken) for name in present}
        batch = {
            "id": f"{time.time_ns():x}-{secrets.token_hex(3)}",
            "time": time.time(),
            "reason": reason,
            "kind": kind,
            "moves": [list(move) for move in moves.items()],
            "persons": self._persons.of(moves),
        }
        self._write(self._batches(), batch)
        return batch

    def _give_persons(self, back: Mapping[str, str]) -> None:
        """Persons of the files that come back, name here -> name there."""
        for batch in self._batches():
            mine = {stored: back[stored] for _, stored in batch["moves"] if stored in back}
            if mine and batch.get("persons"):
                self._persons.give_back(batch["persons"], mine)

    def _write(self, batches: Iterable[Mapping[str, Any]], *new: Mapping[str, Any]) -> None:
        """Store the batches without what is no longer here, and new ones whose files are to come."""
        there = {path.name for path in self._trash.iterdir()}
        left = [{**b, "moves": [move for move in b["moves"] if move[1] in there]} for b in batches]
        write_json(self._trash / LOG_NAME, {"batches": [*(batch for batch in left if batch["moves"]), *new]})

    def _batches(self) -> list[dict[str, Any]]:
        """The noted batches, oldest first; none when the log is missing or damaged."""
        try:
            batches = read_json(self._trash / LOG_NAME)["batches"]
            return [b for b in batches if all(_is_move(move) for move in b["moves"])]
        except (OSError, DamagedFileError, KeyError, TypeError):
            return []


def free_name(name: str, taken: set[str]) -> str:
    """The name, or the first with _1, _2 ... behind its stem that is not taken; it is taken from then on.

    Args:
        name: the wanted name.
        taken: names in lower case.
    """
    path = Path(name)
    candidate, number = name, 0
    while candidate.lower() in taken:
        number += 1
        candidate = f"{path.stem}_{number}{path.suffix}"
    taken.add(candidate.lower())
    return candidate


def _is_move(move: Sequence[object]) -> bool:
    return len(move) == 2 and all(isinstance(name, str) and Path(name).name == name for name in move)
