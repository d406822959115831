"""Copying faces into a faceset byte for byte: what is there already is skipped, persons come along."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from backend.core.errors import DamagedFileError
from backend.core.faces import Face
from backend.pipeline.context import StageContext
from backend.pipeline.face_sources import FaceSource, Offered
from backend.pipeline.face_work import RESERVE_BYTES, bring_in, each, staging, tell_problems
from backend.storage.atomic import require_free_disk, write_bytes
from backend.storage.face_file import read_sized_face
from backend.storage.face_trash import free_name
from backend.storage.faceset import Faceset
from backend.storage.workspace import SideFiles


@dataclass
class Copied:
    """What became of the faces of a source.

    Attributes:
        names: name among the faces -> the face of the source, of those that were copied.
        kinds: face type and size -> how many of those.
        duplicates: how many were there already, byte for byte.
        left: how many cannot be used.
        persons: how many persons came along.
    """

    names: dict[str, Offered] = field(default_factory=dict)
    kinds: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    left: int = 0
    persons: int = 0

    def numbers(self) -> dict[str, int]:
        """For the result of a stage: how many were "renamed" as their name was taken, and the other numbers."""
        renamed = sum(name != offered.name for name, offered in self.names.items())
        return {"renamed": renamed, "duplicates": self.duplicates, "left": self.left, "persons": self.persons}


def copy_in(source: FaceSource, side: SideFiles, method: str, ctx: StageContext) -> Copied:
    """Copy the faces of a source among those of a side; names that are taken get a number.

    All new faces appear at the end, together. On any error and on a stop the faceset is as it was.

    Args:
        method: how the source's persons were told apart, noted when the side has no persons yet.

    Raises:
        DiskFullError: they do not fit.
    """
    require_free_disk(side.frames_dir, source.bytes + RESERVE_BYTES)
    copied, problems, staged = Copied(), list[str](), dict[str, Offered]()
    with staging(side) as folder:
        work = _Copy(folder, side.aligned_dir, source)
        for offered, taken in each(source.faces, work, ctx, "copying"):
            copied.duplicates += taken.duplicate
            problems += [taken.problem] if taken.problem else []
            if taken.kind:
                staged[work.names[offered.key]] = offered
                copied.kinds[taken.kind] += 1
        tell_problems(problems, ctx)
        ctx.check_stop()
        names = bring_in(folder, side)
    copied.left = len(problems)
    copied.names = {names[name]: offered for name, offered in staged.items()}
    copied.persons = _carry_persons(side.faceset(), copied.names, source.titles, method)
    return copied


def kind_of(face: Face, size: tuple[int, int]) -> str:
    """Face type and size of a picture in words, for telling mixed sets."""
    return f"{face.face_type.value}, {size[0]} x {size[1]} px"


class _Taken(NamedTuple):
    """A face that was copied: its type and size, for the warning about mixed sets. A problem when it was not."""

    kind: str = ""
    duplicate: bool = False
    problem: str = ""


class _Copy:
    """Copies one face into a folder when it is usable and new. Called from several threads."""

    def __init__(self, folder: Path, aligned: Path, source: FaceSource) -> None:
        self._folder = folder
        self._source = source
        self._known = _Known(aligned)
        taken: set[str] = set()
        self.names = {offered.key: free_name(offered.name, taken) for offered in source.faces}

    def __call__(self, offered: Offered) -> _Taken:
        try:
            data = self._source.read(offered)
            if self._known.has(data):
                return _Taken(duplicate=True)
            target = self._folder / self.names[offered.key]
            write_bytes(target, data, durable=False)
        except (DamagedFileError, FileNotFoundError) as error:
            return _Taken(problem=f"Left out: {error}")
        try:
            face, size = read_sized_face(target)
        except DamagedFileError as error:
            target.unlink()
            return _Taken(problem=f"Left out: {error.what}")
        return _Taken(kind_of(face, size))


class _Known:
    """The files of a folder by size, and their digests once a file of the same size is asked about."""

    def __init__(self, folder: Path) -> None:
        self._by_size: dict[int, list[Path]] = {}
        if folder.is_dir():
            for path in folder.iterdir():
                if path.is_file():
                    self._by_size.setdefault(path.stat().st_size, []).append(path)
        self._digests: dict[Path, bytes] = {}

    def has(self, data: bytes) -> bool:
        """Whether a file of exactly these bytes is there."""
        same_size = self._by_size.get(len(data), ())
        digest = hashlib.blake2b(data, digest_size=20).digest() if same_size else b""
        return any(self._digest(path) == digest for path in same_size)

    def _digest(self, path: Path) -> bytes:
        if path not in self._digests:
            self._digests[path] = hashlib.blake2b(path.read_bytes(), digest_size=20).digest()
        return self._digests[path]


def _carry_persons(faceset: Faceset, added: Mapping[str, Offered], titles: Mapping[int, str], method: str) -> int:
    """Give the new faces the persons they had, as persons of their own; how many persons there are among them."""
    theirs = {name: offered.person for name, offered in added.items() if offered.person is not None}
    if theirs:
        faceset.add_persons(theirs, method, titles)
    return len(set(theirs.values()))
