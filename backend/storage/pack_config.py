"""The config of a faceset.pak: one pickled dictionary for every face.

A pack may hold tens of thousands of faces, and nearly all of its config repeats what the faces themselves hold. Reading
keeps only the names and builds nothing else; writing stores all that DeepFaceLab expects.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, BinaryIO

import numpy as np

from backend.core.errors import DamagedFileError
from backend.core.faces import Face
from backend.storage import pickle_writer
from backend.storage.face_file import dict_of_face
from backend.storage.pickle_machine import Machine, PickleRefusedError
from backend.storage.pickle_opcodes import OPCODES, Step
from backend.storage.pickle_writer import Made, Named
from backend.storage.safe_pickle import DAMAGE, FACE_NAMES

SAMPLE_TYPE = Named("samplelib.Sample", "SampleType")
FACE_TYPE = Named("facelib.FaceType", "FaceType")
_FACE_SAMPLE = Made(SAMPLE_TYPE, 1)
"""DeepFaceLab's sample type of an aligned face. As members of an enum do, each of these occurs once."""

_FACE_TYPES: Mapping[str, Made] = MappingProxyType(
    {
        stored: Made(FACE_TYPE, number)
        for stored, number in (
            ("half_face", 0),
            ("midfull_face", 1),
            ("full_face", 2),
            ("full_face_no_align", 3),
            ("whole_face", 4),
            ("head", 10),
            ("head_no_align", 20),
            ("mark_only", 100),
        )
    }
)
"""Stored string -> DeepFaceLab's face type."""

MAX_CONFIG_BYTES = 1 << 30

_KEPT = ("filename", "person_name")
_MAX_MEMORY = 192 << 20
_MAX_WAITING = 1 << 18
_TEXT_BYTES, _ENTRY_BYTES = 64, 300


@dataclass(frozen=True)
class PackedName:
    """What a face of a pack is called.

    Attributes:
        name: file name as stored, "" when it is missing.
        person: the person's, "" when there is none.
    """

    name: str
    person: str


def dump(entries: Iterable[Mapping[str, Any]], count: int, write: Callable[[bytes], object]) -> None:
    """Write the config: what entry() made of every face, how many there are, and where the bytes go."""
    pickle_writer.dump_list(entries, count, write)


def entry(name: str, person: str, face: Face, size: tuple[int, int]) -> dict[str, Any]:
    """What a config holds of a face.

    Args:
        name: its file name.
        person: name of the person or "".
        face: its data.
        size: (width, height) of its picture in px.
    """
    stored = dict_of_face(face)
    return {
        "sample_type": _FACE_SAMPLE,
        "filename": name,
        "face_type": _FACE_TYPES[face.face_type.value],
        "shape": (size[1], size[0], 3),
        "landmarks": stored["landmarks"],
        "seg_ie_polys": stored.get("seg_ie_polys", {"polys": []}),
        "xseg_mask": None,
        "xseg_mask_compressed": None if face.xseg_mask is None else np.asarray(face.xseg_mask, np.uint8),
        "eyebrows_expand_mod": stored["eyebrows_expand_mod"],
        "source_filename": face.source_filename,
        "person_name": person or None,
    }


# -- reading


def read(file: BinaryIO, start: int, length: int) -> list[PackedName]:
    """The names of all faces in their order; nothing else of the config is built or held in memory.

    Args:
        file: the pack, a real file.
        start, length: where its config lies, in bytes; all of it is there.

    Raises:
        DamagedFileError: it is damaged, names what a config never holds, or is no list of dictionaries.
    """
    if length > MAX_CONFIG_BYTES:
        raise _refused(f"takes {length:,} bytes")
    with mmap.mmap(file.fileno(), start + length, access=mmap.ACCESS_READ) as data:
        skimmer = _Skimmer(data, _ALLOWED, _ignore_state)
        skimmer.at = start
        try:
            entries = skimmer.run(_SKIMMING)
        except PickleRefusedError as refusal:
            raise _refused(f"holds {refusal}") from refusal
        except DAMAGE as error:
            raise _refused(f"is damaged ({type(error).__name__})") from error
    if type(entries) is not list:
        raise _refused("is no list")
    return [PackedName(*(_text(entry, key) for key in _KEPT)) for entry in entries]


def _refused(why: str) -> DamagedFileError:
    return DamagedFileError(f"The list of faces in the pack {why}.", "Take the file from a source you trust.")


def _text(entry: Mapping[str, object], key: str) -> str:
    value = entry.get(key)
    return value if type(value) is str else ""


class _Unread:
    """Stands for everything that is not kept."""


_UNREAD = _Unread()


def _unread(*_: object) -> _Unread:
    return _UNREAD


def _ignore_state(*_: object) -> None:
    """Nothing is built, so nothing has a state."""


_POLYGON_CLASSES = ("SegIEPolys", "SegIEPoly", "SegIEPolyType")
_ALLOWED: Mapping[tuple[str, str], Callable[..., Any]] = MappingProxyType(
    dict.fromkeys(
        [
            *FACE_NAMES,
            (SAMPLE_TYPE.module, SAMPLE_TYPE.name),
            (FACE_TYPE.module, FACE_TYPE.name),
            *(("core.imagelib.SegIEPolys", name) for name in _POLYGON_CLASSES),
        ],
        _unread,
    )
)


class _Skimmer(Machine):
    """Keeps dictionaries in lists, and in them the names; everything else is forgotten as soon as it is read.

    Only texts and names of classes are remembered: nothing else of a config that is kept occurs twice.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.memory_left = _MAX_MEMORY

    def check_room(self) -> None:
        """What waits on the stacks is held in memory too."""
        super().check_room()
        if len(self.stack) + sum(map(len, self.marks)) > _MAX_WAITING:
            raise PickleRefusedError("far more values than faces")

    def container(self, kind: type) -> None:
        """Put an empty list, dictionary or set onto the stack."""
        self.stack.append(kind())

    def tuple_of(self, items: Iterable[Any]) -> None:
        """A tuple is an argument and not kept."""
        self.stack.append(())

    def remember(self, place: int | None = None) -> None:
        """Put what lies on top into the memo when it may be named again, else a stand-in."""
        value = self.stack[-1]
        if type(value) is str:
            self.memory_left -= _TEXT_BYTES + len(value)
        elif value is not _unread:
            self.stack[-1] = _UNREAD
        super().remember(place)
        self.stack[-1] = value

    def extend(self, items: list[Any]) -> None:
        """Append dictionaries to the list on top."""
        kept = [item for item in items if type(item) is dict]
        self.memory_left -= _ENTRY_BYTES * len(kept)
        super().extend(kept)

    def set_items(self, pairs: list[Any]) -> None:
        """Put the names into the dictionary on top."""
        kept = [part for pair in zip(pairs[::2], pairs[1::2], strict=True) if pair[0] in _KEPT for part in pair]
        super().set_items(kept)


def _new_object(m: Machine) -> None:
    """An instance of a class: what it is made of is not kept."""
    arguments = m.stack.pop()
    m.stack.append(m.call(m.stack.pop(), arguments))


_SKIMMING: Mapping[int, Step] = MappingProxyType({**OPCODES, 0x81: _new_object})
