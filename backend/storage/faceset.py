"""The aligned faces of one side: their order, their trash, and their data without decoding a picture."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from backend.core.errors import BadInputError, DamagedFileError
from backend.core.faces import Face
from backend.storage.atomic import read_json, write_json
from backend.storage.face_file import read_face, scaled, write_face, write_face_image
from backend.storage.face_index import Entry, FaceIndex, stamps
from backend.storage.face_trash import FaceTrash
from backend.storage.folder_lock import LockOwner, locked
from backend.storage.jpeg import read_header
from backend.storage.renaming import JOURNAL_NAME, forget, recover, rename_all

ORDER_NAME = ".order.json"
LOCK_NAME = ".faceset.lock"
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
        self._trash = FaceTrash(folder, trash)
        self._lock = threading.RLock()
        self._fresh_at = 0
        self._held = 0

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

    def metadata(self, name: str) -> Face:
        """The face of one file. BadInputError when there is no such file; DamagedFileError when it cannot be used."""
        entry = self._refresh().get(name)
        if entry is None:
            raise BadInputError(f"There is no face {name} in {self.folder}.")
        if entry.face is None or entry.problem:
            raise DamagedFileError(
                f"{name}: {entry.problem}", "Restore its data, extract the face again or remove the file."
            )
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
        with self._lock:
            if stamp != self._fresh_at:
                return None
            return frozenset(_stem(e.face) for e in self._index.known().values() if e.face is not None)

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
            entries = self._refresh()
            ordered = self.names()
            ordered += [name for name, entry in entries.items() if entry.problem]
            names = {old: f"{number:05d}.jpg" for number, old in enumerate(ordered)}
            moved = sum(old != new for old, new in names.items())
            if moved:
                rename_all(self.folder, names)
                self._index.rename(names)
            self.set_order(list(names.values()), self.order_by)
            forget(self.folder)
            return moved

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

    def trash(self, names: Iterable[str]) -> str:
        """Move faces to the trash as one batch; its id, "" when none of them exists."""
        with self._alone():
            return self._trash.put([name for name in dict.fromkeys(names) if Path(name).name == name])

    def begin_fresh(self) -> str:
        """Before extracting again: move all faces to the trash as one batch and forget the order; the batch's id."""
        with self._alone():
            batch = self._trash.put(list(stamps(self.folder)))
            (self.folder / ORDER_NAME).unlink(missing_ok=True)
            return batch

    def undo(self) -> list[str]:
        """Bring the last batch back from the trash; the names of its files now, empty when the trash is empty."""
        with self._alone():
            return self._trash.undo()

    def trashed(self) -> list[str]:
        """File names in the trash folder."""
        return self._trash.names()

    def restore(self, names: Iterable[str]) -> list[str]:
        """Bring single faces back, by their names in the trash; their names now."""
        with self._alone():
            return self._trash.restore(names)

    # -- inside

    def _refresh(self) -> dict[str, Entry]:
        with self._lock:
            if (self.folder / JOURNAL_NAME).exists() and not self._recovered():
                return dict(self._index.known())
            entries = dict(self._index.refresh())
            before = self._modified()
            self._fresh_at = before if stamps(self.folder).keys() == entries.keys() else 0
            return entries

    def _recovered(self) -> bool:
        """Put an interrupted renaming in order; False while the renaming still runs elsewhere."""
        try:
            with self._alone():
                names = recover(self.folder)
                if names:
                    self.set_order(names, self.order_by)
                forget(self.folder)
                return True
        except BadInputError:
            return False

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
            header = read_header(path.read_bytes())
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
