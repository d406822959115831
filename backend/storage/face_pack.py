"""DeepFaceLab's faceset.pak, version 1: many face files in one. Never more than one face of it is in memory.

Layout, little-endian: version and length of the config as uint64, the config (see pack_config), a table of N + 1 uint64
offsets, the face files one behind the other. Offsets count from the first face; DeepFaceLab writes the last one, the
end, as a position in the file instead.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PureWindowsPath
from typing import Any, BinaryIO

import numpy as np

from backend.core.errors import BadInputError, DamagedFileError
from backend.storage import jpeg, pack_config
from backend.storage.atomic import replacing, require_free_disk
from backend.storage.face_file import read_sized_face
from backend.storage.face_index import FACE_SUFFIXES
from backend.storage.faceset import Faceset

VERSION = 1
BY_PACK = "pack"
"""How persons were told apart when a pack named them."""

Progress = Callable[[int, int], None]

_HEAD = struct.Struct("<QQ")
_AGAIN = "Get the pack again from where it came from."


@dataclass(frozen=True)
class PackedFace:
    """One face of a pack.

    Attributes:
        name: file name, without folders, ending in .jpg.
        person: name of the person, "" when the pack names none.
        start: where its file begins in the pack, in bytes.
        size: bytes of its file.
    """

    name: str
    person: str
    start: int
    size: int


@dataclass(frozen=True)
class FaceToPack:
    """A face file and what it is to be called in a pack; ``person`` is "" or the name of a person."""

    path: Path
    name: str
    person: str = ""


def read_index(path: Path) -> list[PackedFace]:
    """What a pack holds, in its order. Sizes are taken from the table, and the last from the end of the file.

    Raises:
        DamagedFileError: it is no pack of version 1, is cut off, or its table makes no sense.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return _read_index(file, path)


def write_pack(path: Path, faces: Sequence[FaceToPack], progress: Progress | None = None) -> None:
    """Write a pack that DeepFaceLab reads; the face files go into it byte for byte.

    Args:
        path: the pack; a file that is there is replaced when the new one is complete.
        faces: what goes into it, in this order.
        progress: called with (done, total).

    Raises:
        DamagedFileError: a face cannot be used.
        BadInputError: there is no face, or a face changed meanwhile.
        OSError, DiskFullError: a file cannot be read or written.
    """
    if not faces:
        raise BadInputError("There is no face to pack.")
    sizes = [face.path.stat().st_size for face in faces]
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype("<u8")
    require_free_disk(path, int(offsets[-1]) + 4096 * len(faces) + (64 << 20))
    steps = _Steps(len(faces), progress)
    with replacing(path) as file:
        file.write(_HEAD.pack(VERSION, 0))
        pack_config.dump(_entries(faces, steps), len(faces), file.write)
        length = file.tell() - _HEAD.size
        data_start = file.tell() + offsets.nbytes
        file.write(offsets[:-1].tobytes() + (offsets[-1:] + np.uint64(data_start)).tobytes())
        for face, end in zip(faces, offsets[1:], strict=True):
            with face.path.open("rb") as source:
                shutil.copyfileobj(source, file)
            if file.tell() != data_start + int(end):
                raise BadInputError(f"{face.path.name} changed while it was packed.", "Pack again.")
            steps.next()
        file.seek(0)
        file.write(_HEAD.pack(VERSION, length))


def _entries(faces: Sequence[FaceToPack], steps: _Steps) -> Iterator[dict[str, Any]]:
    for face in faces:
        yield pack_config.entry(face.name, face.person, *read_sized_face(face.path))
        steps.next()


class _Steps:
    """Progress of two rounds over all faces, told as one."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._total = total
        self._progress = progress
        self._done = 0

    def next(self) -> None:
        """One face of one round is done."""
        self._done += 1
        if self._progress and self._done % 2 == 0:
            self._progress(self._done // 2, self._total)


def pack_faceset(faceset: Faceset, path: Path, progress: Progress | None = None) -> list[str]:
    """Pack all usable faces, in their order.

    Args:
        faceset: the faces, which stay.
        path: the pack; a file that is there is replaced when the new one is complete.
        progress: called with (done, total).

    Returns:
        names of the faces in it. Errors as write_pack().
    """
    titles, persons = (faceset.person_titles, faceset.persons()) if faceset.persons_by == BY_PACK else ({}, {})
    names = faceset.names()
    people = {name: titles.get(number, str(number)) for name, number in persons.items()}
    write_pack(path, [FaceToPack(faceset.folder / n, n, people.get(n, "")) for n in names], progress)
    return names


def _read_index(file: BinaryIO, path: Path) -> list[PackedFace]:
    size = path.stat().st_size
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        raise DamagedFileError(f"{path.name} is no faceset.pak.", _AGAIN)
    version, length = _HEAD.unpack(head)
    if version != VERSION:
        raise DamagedFileError(f"{path.name} is no faceset.pak of version {VERSION}.", _AGAIN)
    if length > size - _HEAD.size:
        raise DamagedFileError(f"{path.name} is cut off.", _AGAIN)
    names = pack_config.read(file, _HEAD.size, length)
    if not names:
        raise DamagedFileError(f"{path.name} holds no faces.", _AGAIN)
    data_start = _HEAD.size + length + 8 * (len(names) + 1)
    if data_start > size:
        raise DamagedFileError(f"{path.name} is cut off.", _AGAIN)
    file.seek(_HEAD.size + length)
    table = np.frombuffer(file.read(8 * (len(names) + 1)), "<u8")
    ends = np.minimum(table, np.uint64(size - data_start))
    if (table[:-1] != ends[:-1]).any() or (np.diff(ends.astype(np.int64)) < 0).any():
        raise DamagedFileError(f"{path.name} is cut off, or its table of faces makes no sense.", _AGAIN)
    places = [data_start + int(offset) for offset in ends]
    if any(end - start > jpeg.MAX_JPEG_BYTES for start, end in pairwise(places)):
        raise DamagedFileError(f"{path.name} holds a face that is larger than any JPEG file.", _AGAIN)
    return [
        PackedFace(_clean(packed.name, number), _plain(packed.person), start, end - start)
        for number, (packed, (start, end)) in enumerate(zip(names, pairwise(places), strict=True))
    ]


def _clean(name: str, number: int) -> str:
    """A file name without folders that is a face's; made up from the number when nothing is left."""
    last = _plain(PureWindowsPath(name).name).lstrip(".")
    stem = Path(last).stem if last else f"{number:05d}"
    return last if last.lower().endswith(FACE_SUFFIXES) else f"{stem}.jpg"


def _plain(text: str) -> str:
    """Without characters that no file name and no JSON can hold."""
    return "".join(c for c in text if c.isprintable() and c not in '<>:"/\\|?*')[:200]
