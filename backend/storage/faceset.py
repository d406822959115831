"""The aligned faces of one side: their order, their trash, and their data without decoding a picture."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from backend.core.errors import BadInputError, DamagedFileError
from backend.core.faces import Face
from backend.storage.atomic import read_json, write_json
from backend.storage.face_file import read_face, scaled, write_face, write_face_image
from backend.storage.face_index import Entry, FaceIndex, is_face_name, stamps
from backend.storage.face_persons import FacePersons
from backend.storage.face_trash import FaceTrash, TrashBatch
from backend.storage.folder_lock import LockOwner, locked
from backend.storage.jpeg import read_file, read_header
from backend.storage.moving import MOVING_NAME, resume
from backend.storage.renaming import JOURNAL_NAME, forget, recover, rename_all

ORDER_NAME = ".order.json"
LOCK_NAME = ".faceset.lock"
PACK_NAME = "faceset.pak"
BY_NAME = "name"


@dataclass(frozen=True)
class FaceRecord:
    """A face file and the face in it."""

    path: Path
    face: Face


class Faceset:
    """The faces of one folder. Threads may share it; other processes may change the folder at any time.

    Args:
        folder: where the faces lie, there or not.
        trash: where removed ones go.
    """

    def __init__(self, folder: Path, trash: Path) -> None:
        self.folder = folder
        self.trash_dir = trash
        self._index = FaceIndex(folder)
        self._persons = FacePersons(folder)
        self._trash = FaceTrash(folder, trash, self._persons)
        self._lock = threading.RLock()
        self._fresh_at = 0
        self._held = 0
        self._stems: tuple[Mapping[str, Entry], frozenset[str]] = ({}, frozenset())

    # -- reading

    def records(self) -> list[FaceRecord]:
        """All usable faces in their order. Only files that changed since the last time are read."""
        entries = self._refresh()
        good = {n: e.face for n, e in entries.items() if e.face is not None and not e.problem}
        return [FaceRecord(self.folder / name, good[name]) for name in self._ordered(good)]

    def names(self) -> list[str]:
        """File names of all usable faces in their order."""
        return [record.path.name for record in self.records()]

    def damaged(self) -> list[tuple[str, str]]:
        """(file name, reason) of the files that cannot be used."""
        return [(name, entry.problem) for name, entry in self._refresh().items() if entry.problem]

    def sizes(self) -> dict[str, tuple[int, int]]:
        """File name -> (width, height) of every picture whose size is known."""
        return {name: entry.size for name, entry in self._refresh().items()}

    def metadata(self, name: str) -> Face:
        """The face of one file. BadInputError when there is no such file; DamagedFileError when it cannot be used."""
        entry = self._refresh().get(name)
        if entry is None:
            raise BadInputError(f"There is no face {name} in {self.folder}.")
        if entry.face is None or entry.problem:
            raise DamagedFileError(f"{name}: {entry.problem}", "Restore its data, extract it again or remove the file.")
        return entry.face

    def faces_by_frame(self) -> dict[str, list[FaceRecord]]:
        """Stem of the frame's file name -> its faces, in order."""
        found: dict[str, list[FaceRecord]] = {}
        for record in self.records():
            found.setdefault(_stem(record.face), []).append(record)
        return found

    def known_frames(self) -> frozenset[str] | None:
        """Stems of the frames that have a face, when that is known without reading anything; else None."""
        try:
            stamp = self.folder.stat().st_mtime_ns
        except OSError:
            return frozenset()
        if not self._lock.acquire(timeout=0.2):
            return None  # another thread reads the faces, which may take long
        try:
            if stamp != self._fresh_at:
                return None
            if self._stems[0] is not (known := self._index.known()):
                self._stems = known, frozenset(_stem(e.face) for e in known.values() if e.face is not None)
            return self._stems[1]
        finally:
            self._lock.release()

    @property
    def pack_file(self) -> Path | None:
        """The faceset.pak in the folder, None when there is none. DeepFaceLab uses it in place of loose faces."""
        path = self.folder / PACK_NAME
        return path if path.is_file() else None

    # -- persons

    def persons(self) -> dict[str, int]:
        """File name -> number of its person, of the usable faces that have one."""
        entries = self._refresh()
        with self._lock:
            numbers = self._persons.read().numbers
        return {name: numbers[name] for name, entry in entries.items() if name in numbers and not entry.problem}

    @property
    def persons_by(self) -> str:
        """How persons were told apart; "" when they never were."""
        with self._lock:
            return self._persons.read().method

    @property
    def person_titles(self) -> dict[int, str]:
        """Person -> what it is called, for those that have a name."""
        with self._lock:
            return dict(self._persons.read().titles)

    def set_persons(self, mapping: Mapping[str, int], method: str, titles: Mapping[int, str] | None = None) -> None:
        """Store who the faces show, in place of what was known. Renamed, removed and restored faces keep their person.

        Args:
            mapping: file name -> number of the person, 0 and up; faces may be left out.
            method: how they were told apart, not empty.
            titles: person -> a name for it.
        """
        with self._alone():
            self._persons.write(mapping, method, titles or {})

    def add_persons(self, mapping: Mapping[str, int], method: str, titles: Mapping[int, str]) -> None:
        """Say who further faces show: persons of their own, with numbers behind all others. See set_persons()."""
        with self._alone():
            self._persons.extend(mapping, method, titles, self._trash.persons())

    # -- order

    @property
    def order_by(self) -> str:
        """What the faces were ordered by last; "name" at first."""
        return self._stored_order()[0]

    def set_order(self, names: Sequence[str], by: str) -> None:
        """Store an order. Faces that are not named come last, by file name."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / ORDER_NAME, {"version": 1, "by": by, "names": list(dict.fromkeys(names))})

    def apply_order(self) -> int:
        """Rename the files to 00000.jpg, 00001.jpg ... in their order, as DeepFaceLab's sorting does.

        Files that cannot be used come behind the others. Interrupted in the middle, the next look at the faceset
        finishes it or takes it back.

        Returns:
            how many files got another name.
        """
        with self._alone():
            return self._rename({old: f"{number:05d}.jpg" for number, old in enumerate(self._all_in_order())})

    def rename(self, names: Mapping[str, str]) -> int:
        """Give files other names, as safely as apply_order(). Order and persons follow.

        Args:
            names: old -> new; a new name may be the old one of another file. Files that are gone are left out.

        Returns:
            how many files got another name.

        Raises:
            BadInputError: a new name is no face's, is given twice or belongs to a file that keeps it.
        """
        with self._alone():
            wanted = {old: names.get(old, old) for old in self._all_in_order()}
            changed = [new for old, new in wanted.items() if old != new]
            bad = [new for new in changed if not is_face_name(new) or Path(new).name != new]
            others = {path.name.lower() for path in self.folder.iterdir() if path.name not in wanted}
            counts = Counter(new.lower() for new in wanted.values())
            bad += [new for new in changed if counts[new.lower()] > 1 or new.lower() in others]
            if bad:
                raise BadInputError(f"A face cannot be called {bad[0]}.", "Give every face a free name ending in .jpg.")
            return self._rename(wanted)

    # -- changing

    def add(self, name: str, image_bgr: npt.NDArray[np.uint8], face: Face, quality: int = 90) -> Path:
        """Write a face: (h, w, 3) uint8 with its data. ``name`` ends in .jpg; a file of that name is replaced."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / name
        write_face_image(path, image_bgr, face, quality)
        return path

    def replace(self, name: str, face: Face) -> None:
        """Give a file other face data; its picture stays byte for byte."""
        with self._alone():
            write_face(self.folder / name, face)

    def restore_metadata(self) -> list[str]:
        """Put face data back into files that lost it to an image editor; the names of the mended files.

        A picture that was enlarged or reduced keeps its new size, and the data is fitted to it. One that is damaged,
        or was cropped, stays as it is.
        """
        with self._alone():
            lost = {n: e for n, e in self._refresh().items() if e.problem and e.face is not None}
            return [name for name, entry in lost.items() if self._mend(name, entry)]

    def trash(self, names: Iterable[str], reason: str = "", packed: bool = False) -> str:
        """Move faces to the trash as one batch, with a note why; its id, "" when none of them exists.

        Persons are forgotten with their faces and come back with them; those of packed faces stay known.
        """
        with self._alone():
            return self._trash.put([name for name in dict.fromkeys(names) if Path(name).name == name], reason, packed)

    def begin_fresh(self, reason: str = "extracted again") -> str:
        """Before extracting again: all faces go to the trash as one batch, order and persons are forgotten; its id."""
        with self._alone():
            batch = self._trash.put(list(stamps(self.folder)), reason)
            (self.folder / ORDER_NAME).unlink(missing_ok=True)
            self._persons.forget()
            return batch

    def swap_in(self, folder: Path, reason: str) -> str:
        """All faces go to the trash as one batch and the faces of another folder take their place.

        A face of the same name as before keeps its place in the order and its person. Interrupted in the middle, the
        next look at the faceset finishes it.

        Args:
            folder: inside the project, on the same file system; it is removed when nothing else lies in it.
            reason: a note for the batch.

        Returns:
            the batch's id, "" when there were no faces before.

        Raises:
            BadInputError: there is no face in the folder, or it lies outside the project.
            OSError: a file could not be moved; all are where they were.
        """
        with self._alone():
            return self._trash.swap(folder, reason)

    def undo(self) -> list[str]:
        """Bring the last batch back from the trash; the names of its files now, empty when there is nothing to undo.

        After swap_in() the faces that lie here now go to the trash in turn and those of before come back.
        """
        with self._alone():
            return self._trash.undo()

    def trashed(self) -> list[str]:
        """File names in the trash folder."""
        return self._trash.names()

    def trash_batches(self) -> list[TrashBatch]:
        """What was removed when and why, newest first, as far as it is still in the trash."""
        return self._trash.batches()

    def empty_trash(self) -> int:
        """Delete the faces in the trash, and other files that tools put aside there, for good; how many there were."""
        with self._alone():
            return self._trash.empty()

    def restore(self, names: Iterable[str]) -> list[str]:
        """Bring single faces back, by their names in the trash; their names now."""
        with self._alone():
            return self._trash.restore(names)

    # -- inside

    def _refresh(self) -> dict[str, Entry]:
        with self._lock:
            if self._interrupted() and not self._recovered():
                return dict(self._index.known())
            entries = dict(self._index.refresh())
            before = self._modified()
            self._fresh_at = before if stamps(self.folder).keys() == entries.keys() else 0
            return entries

    def _interrupted(self) -> bool:
        return any((self.folder / name).exists() for name in (JOURNAL_NAME, MOVING_NAME))

    def _recovered(self) -> bool:
        """Put an interrupted change in order; False while it still runs elsewhere."""
        try:
            with self._alone():
                return True
        except (BadInputError, OSError):
            return False

    def _settle(self) -> None:
        """Finish or take back what was interrupted."""
        names = recover(self.folder)
        self._persons.settle(bool(names))
        if names:
            self._keep_order(names)
        forget(self.folder)
        resume(self.folder)

    def _rename(self, names: Mapping[str, str]) -> int:
        """Rename files; ``names`` is old -> new of all files, in their order."""
        moved = sum(old != new for old, new in names.items())
        if moved:
            self._persons.expect(names)
            rename_all(self.folder, names)
            self._index.rename(names)
            self._persons.settle(True)
        self._keep_order(list(names.values()))
        forget(self.folder)
        return moved

    def _keep_order(self, names: Sequence[str]) -> None:
        """Store the order of renamed files; an order by name follows from the names."""
        if self.order_by == BY_NAME:
            (self.folder / ORDER_NAME).unlink(missing_ok=True)
        else:
            self.set_order(names, self.order_by)

    def _all_in_order(self) -> list[str]:
        """Every face file in order; those that cannot be used come behind the others."""
        entries = self._refresh()
        return [
            *self._ordered(n for n, e in entries.items() if not e.problem),
            *(n for n in entries if entries[n].problem),
        ]

    def _modified(self) -> int:
        try:
            return self.folder.stat().st_mtime_ns
        except OSError:
            return 0

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """While no other thread or process renames or moves faces of this folder."""
        with self._lock, contextlib.ExitStack() as stack:
            if not self._held:
                try:
                    stack.enter_context(locked(self.folder / LOCK_NAME, LockOwner.this_process("faceset")))
                except BlockingIOError as error:
                    raise BadInputError(
                        "Another program is changing these faces at the moment.", "Try again in a moment."
                    ) from error
                if self._interrupted():
                    self._settle()
            self._held += 1
            try:
                yield
            finally:
                self._held -= 1

    def _mend(self, name: str, entry: Entry) -> bool:
        path = self.folder / name
        if entry.face is None:
            return False
        try:
            header = read_header(read_file(path))
            factor = header.width / max(entry.size[0], 1)
            if abs(entry.size[1] * factor - header.height) > 1:
                return False
            write_face(path, entry.face if factor == 1 else scaled(entry.face, factor))
            read_face(path)
        except (DamagedFileError, OSError):
            return False
        return True

    def _stored_order(self) -> tuple[str, list[str]]:
        try:
            stored = read_json(self.folder / ORDER_NAME)
            return str(stored["by"]), [str(name) for name in stored["names"]]
        except (OSError, DamagedFileError, KeyError, TypeError):
            return BY_NAME, []

    def _ordered(self, names: Iterable[str]) -> list[str]:
        place = {name: number for number, name in enumerate(self._stored_order()[1])}
        return sorted(names, key=lambda name: (place.get(name, len(place)), name.lower(), name))


def _stem(face: Face) -> str:
    return face.source_filename.rpartition(".")[0] or face.source_filename
