"""Where faces can be taken from: a folder of aligned faces, a faceset.pak, a side of another project."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from backend.core.errors import BadInputError
from backend.storage.face_index import stamps
from backend.storage.face_pack import read_index
from backend.storage.face_persons import FacePersons
from backend.storage.faceset import PACK_NAME
from backend.storage.workspace import SideFiles

_ALIGNED = "aligned"


@dataclass(frozen=True)
class Offered:
    """One face of a source.

    Attributes:
        key: its place in the source.
        name: the file name it would like to have.
        person: number of the person it shows; None when that is not known.
    """

    key: int
    name: str
    person: int | None = None


@dataclass(frozen=True)
class FaceSource:
    """Faces that can be copied.

    Attributes:
        faces: all of them.
        bytes: what they take together.
        titles: person -> what it is called, for those that have a name.
        read: the bytes of one of them; DamagedFileError or OSError when they cannot be had. Threads may share it.
        note: a sentence about what was not taken, "" when nothing was left aside.
    """

    faces: tuple[Offered, ...]
    bytes: int
    read: Callable[[Offered], bytes]
    titles: Mapping[int, str] = field(default_factory=dict)
    note: str = ""


def open_source(named: str, side: SideFiles) -> FaceSource:
    """The faces of a path: a faceset.pak, a folder that holds one, a folder of faces, or one that holds "aligned".

    Loose faces win over a pack beside them, which may hold faces that were sorted out since.

    Raises:
        BadInputError: no path, nothing there, no faces in it, or it is the side that would receive them.
        DamagedFileError: a pack that cannot be read.
    """
    if not named:
        raise BadInputError("No folder was named.", "Name a folder of aligned faces, or a faceset.pak.")
    path = Path(named).expanduser()
    if not path.exists():
        raise BadInputError(f"There is no {path}.", "Check the path.")
    if path.is_file():
        return pack_source(path)
    folder = path
    if not stamps(folder) and not (folder / PACK_NAME).is_file() and (folder / _ALIGNED).is_dir():
        folder = path / _ALIGNED
    if folder.resolve() == side.aligned_dir.resolve():
        raise BadInputError("These are the faces of this side itself.", "Name another folder.")
    found = stamps(folder)
    if found:
        aside = (folder / PACK_NAME).is_file()
        note = f"{PACK_NAME} beside the faces was not read; name the file itself to add its faces." if aside else ""
        return _loose(folder, found, note)
    if (folder / PACK_NAME).is_file():
        return pack_source(folder / PACK_NAME)
    raise BadInputError(f"There are no aligned faces in {path}.", "Name a folder with JPEG faces, or a faceset.pak.")


def _loose(folder: Path, found: Mapping[str, tuple[int, int, int]], note: str) -> FaceSource:
    persons = FacePersons(folder).read()
    faces = tuple(Offered(place, name, persons.numbers.get(name)) for place, name in enumerate(found))
    size = sum(stamp[0] for stamp in found.values())
    return FaceSource(faces, size, lambda face: (folder / face.name).read_bytes(), persons.titles, note)


def pack_source(path: Path) -> FaceSource:
    """The faces of a faceset.pak. DamagedFileError when it cannot be read."""
    listed = read_index(path)
    titles = dict(enumerate(sorted({face.person for face in listed if face.person})))
    numbers = {title: number for number, title in titles.items()}
    faces = tuple(Offered(place, face.name, numbers.get(face.person)) for place, face in enumerate(listed))

    def read(offered: Offered) -> bytes:
        with path.open("rb") as file:
            file.seek(listed[offered.key].start)
            return file.read(listed[offered.key].size)

    return FaceSource(faces, sum(face.size for face in listed), read, titles)
