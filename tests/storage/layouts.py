"""Files of DeepFaceLab made by hand from the description of their bytes, and readers that know nothing else.

Nothing of the program's own readers and writers is used here.
"""

from __future__ import annotations

import io
import pickle
import struct
import sys
from collections.abc import Mapping, Sequence
from enum import IntEnum
from itertools import pairwise
from types import FunctionType
from typing import Any, ClassVar

import cv2
import numpy as np

from tests.storage.faces import picture

NUMPY_1, NUMPY_2 = "numpy.core", "numpy._core"


class SampleType(IntEnum):
    """DeepFaceLab's, of samplelib.Sample."""

    IMAGE = 0
    FACE = 1
    FACE_PERSON = 2
    FACE_TEMPORAL_SORTED = 3


class FaceType(IntEnum):
    """DeepFaceLab's, of facelib.FaceType."""

    HALF = 0
    MID_FULL = 1
    FULL = 2
    FULL_NO_ALIGN = 3
    WHOLE_FACE = 4
    HEAD = 10
    HEAD_NO_ALIGN = 20
    MARK_ONLY = 100


class SegIEPolyType(IntEnum):
    """DeepFaceLab's, of core.imagelib.SegIEPolys and older modules."""

    EXCLUDE = 0
    INCLUDE = 1


class SegIEPoly:
    """A polygon as an object, as old packs may hold it."""

    def __init__(self, kind: int, points: Sequence[Sequence[float]]) -> None:
        self.type = SegIEPolyType(kind)
        self.pts = np.array(points, np.float32)


class SegIEPolys:
    """Polygons as an object."""

    def __init__(self, polys: Sequence[SegIEPoly]) -> None:
        self.polys = list(polys)


class ForeignPickler(pickle._Pickler):
    """Python's pickler, with the module names of the program and the numpy that are to have written the file."""

    dispatch: ClassVar[dict[type, Any]] = dict(pickle._Pickler.dispatch)

    def __init__(self, file: io.BytesIO, protocol: int, numpy: str, polygons: str) -> None:
        super().__init__(file, protocol)
        self._numpy = numpy
        self._modules = {
            "SampleType": "samplelib.Sample",
            "FaceType": "facelib.FaceType",
            "SegIEPolyType": polygons,
            "SegIEPoly": polygons,
            "SegIEPolys": polygons,
        }

    def save_global(self, obj: Any, name: str | None = None) -> None:
        """Write a name under the module it had there."""
        name = name or obj.__name__
        module = sys.intern(self._modules.get(name, obj.__module__).replace(NUMPY_2, self._numpy))
        if self.proto >= 4:
            self.save(module)
            self.save(name)
            self.write(pickle.STACK_GLOBAL)
        else:
            self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())
        self.memoize(obj)

    dispatch[FunctionType] = save_global
    dispatch[type] = save_global


def foreign_pickle(
    obj: Any, protocol: int = 4, numpy: str = NUMPY_1, polygons: str = "core.imagelib.SegIEPolys"
) -> bytes:
    """A pickle as another program writes it."""
    file = io.BytesIO()
    ForeignPickler(file, protocol, numpy, polygons).dump(obj)
    return file.getvalue()


# -- JPEG


def plain_jpeg(side: int = 64, seed: int = 0, progressive: bool = False, restart: int = 0) -> bytes:
    """A JPEG file without face data."""
    options = [cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive), cv2.IMWRITE_JPEG_RST_INTERVAL, restart]
    return cv2.imencode(".jpg", picture(side, seed), options)[1].tobytes()


def segment(marker: int, body: bytes) -> bytes:
    """One segment of a JPEG header; the length counts itself."""
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body


def app0_length(jpeg: bytes) -> int:
    """Bytes of the start marker and the first segment."""
    return 4 + struct.unpack(">H", jpeg[4:6])[0]


def with_face_data(jpeg: bytes, payload: bytes) -> bytes:
    """The file with an APP15 segment behind its first one."""
    place = app0_length(jpeg)
    return jpeg[:place] + segment(0xEF, payload) + jpeg[place:]


def face_data(jpeg: bytes) -> bytes:
    """The APP15 segment of a file, found by walking the segments."""
    at = 2
    while jpeg[at + 1] != 0xEF:
        at += 2 + struct.unpack(">H", jpeg[at + 2 : at + 4])[0]
    return jpeg[at + 4 : at + 2 + struct.unpack(">H", jpeg[at + 2 : at + 4])[0]]


# -- reading what we write, with the names of numpy 1 and of DeepFaceLab alone


class StrictUnpickler(pickle.Unpickler):
    """Finds what DeepFaceLab's Python has, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """The class of a name; KeyError for every other."""
        from numpy._core import multiarray

        known = {
            ("numpy.core.multiarray", "_reconstruct"): multiarray._reconstruct,
            ("numpy.core.multiarray", "scalar"): multiarray.scalar,
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
            ("samplelib.Sample", "SampleType"): SampleType,
            ("facelib.FaceType", "FaceType"): FaceType,
        }
        return known[module, name]


def strict_loads(data: bytes) -> Any:
    """Read a pickle; any name that DeepFaceLab's Python does not have is an error."""
    return StrictUnpickler(io.BytesIO(data)).load()


# -- faceset.pak


def make_pack(
    entries: Sequence[Mapping[str, Any]], files: Sequence[bytes], absolute_end: bool = True, protocol: int = 4
) -> bytes:
    """A pack of version 1, with the last offset as DeepFaceLab writes it or as its table means it."""
    config = foreign_pickle([dict(entry) for entry in entries], protocol)
    start = 16 + len(config) + 8 * (len(files) + 1)
    offsets = [sum(map(len, files[:number])) for number in range(len(files) + 1)]
    offsets[-1] += start if absolute_end else 0
    return struct.pack("<QQ", 1, len(config)) + config + struct.pack(f"<{len(offsets)}Q", *offsets) + b"".join(files)


def read_pack(pack: bytes) -> list[tuple[dict[str, Any], bytes]]:
    """Config and file of every face, as DeepFaceLab reads them: the last file is clipped by the end of the pack."""
    version, length = struct.unpack_from("<QQ", pack)
    assert version == 1
    entries = strict_loads(pack[16 : 16 + length])
    offsets = struct.unpack_from(f"<{len(entries) + 1}Q", pack, 16 + length)
    assert offsets[-1] == len(pack)
    start = 16 + length + 8 * len(offsets)
    spans = pairwise(offsets)
    return [(e, pack[start + a :][: b - a]) for e, (a, b) in zip(entries, spans, strict=True)]
