"""Writing pickles byte for byte as Python's own pickler of protocol 4 does, with the module names of numpy 1.

Files that are one pickle, such as a saved set of face data, thus stay the same when nothing in them changes. The name
of a foreign class is written without that class being here. See Python's pickletools for the opcodes.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

FRAME_BYTES = 1 << 16
BATCH = 1000
MAX_DEPTH = 64

PLAIN_DTYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|c8|c16)")
"""Codes of the numbers that arrays may hold."""

Write = Callable[[bytes], object]

_Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Named:
    """A name of a module, as pickles refer to classes and functions."""

    module: str
    name: str


@dataclass(frozen=True)
class Made:
    """What calling a named class with one argument makes, for example a member of an enum."""

    kind: Named
    argument: int


_LASTING = (Named, Made, np.dtype)

RECONSTRUCT = Named("numpy.core.multiarray", "_reconstruct")
SCALAR = Named("numpy.core.multiarray", "scalar")
NDARRAY = Named("numpy", "ndarray")
DTYPE = Named("numpy", "dtype")


def dumps(obj: Any) -> bytes:
    """Write plain data as Python does; an object that occurs twice is stored once.

    Args:
        obj: None, bool, int, float, str, bytes, numeric ndarrays, numpy numbers and Made in list, tuple, dict, set.

    Raises:
        TypeError: anything else, or nesting deeper than MAX_DEPTH.
    """
    out = bytearray()
    writer = _Writer(out.extend)
    writer.save(obj, MAX_DEPTH)
    writer.finish()
    return bytes(out)


def dump_list(items: Iterable[Any], count: int, write: Write) -> None:
    """Write a long list item by item, as dumps() does; what an item holds is not kept in memory.

    Args:
        items: plain data, see dumps(). Lists, arrays and the like that two of them share are stored twice.
        count: how many there are.
        write: called with the next bytes.
    """
    writer = _Writer(write)
    writer.long_list(items, count)
    writer.finish()


def dump_dict(pairs: Iterable[tuple[str, Any]], count: int, write: Write) -> None:
    """Write a long dictionary pair by pair; see dump_list()."""
    writer = _Writer(write)
    writer.long_dict(pairs, count)
    writer.finish()


class _Writer:
    """One pickle in the making. Frames and the memo follow Python's pickler."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._frame = bytearray()
        self._memo: dict[Any, int] = {}
        self._recent: list[tuple[Any, Any]] = []
        self._lasting: list[Any] = []
        self._remembered = 0
        write(b"\x80\x04")

    def finish(self) -> None:
        """The end of the pickle."""
        self._frame += b"."
        self._commit(1)

    def long_list(self, items: Iterable[Any], count: int) -> None:
        """A list whose items are forgotten one by one."""
        self._frame += b"]"
        self._remember(object())
        self._batches(((item,) for item in items), count, (b"a", b"e"))

    def long_dict(self, pairs: Iterable[tuple[Any, Any]], count: int) -> None:
        """A dictionary whose pairs are forgotten one by one."""
        self._frame += b"}"
        self._remember(object())
        self._batches(pairs, count, (b"s", b"u"))

    def _batches(self, groups: Iterable[tuple[Any, ...]], count: int, ends: tuple[bytes, bytes]) -> None:
        """Items or pairs in batches; a single one is put in without a mark."""
        for number, group in enumerate(groups):
            if count > 1 and number % BATCH == 0:
                self._frame += b"("
            for part in group:
                self.save(part, MAX_DEPTH - 1)
            if count == 1 or number % BATCH == BATCH - 1 or number == count - 1:
                self._frame += ends[count > 1]
            self._release()

    def save(self, value: Any, depth: int) -> None:
        """Write one value."""
        self._commit(FRAME_BYTES)
        if type(value) is float:
            self._frame += struct.pack(">cd", b"G", value)
        elif value is None or value is True or value is False:
            self._frame += b"N" if value is None else b"\x88" if value else b"\x89"
        elif type(value) is int:
            self._frame += _int(value)
        elif not self._again(value):
            self._save_object(value, depth)

    def _save_object(self, value: Any, depth: int) -> None:
        if depth == 0:
            raise TypeError("too deep to be pickled")
        if type(value) is str:
            self._text(value)
            self._remember(value)
        elif isinstance(value, bytes | bytearray):
            self._frame += _counted(bytes(value), b"C", b"B")
            self._remember(value)
        elif type(value) is list:
            self._list(value, depth - 1)
        elif type(value) is tuple:
            self._tuple(value, depth - 1)
        elif type(value) is dict:
            self._dict(value, depth - 1)
        elif type(value) in (set, frozenset):
            self._set(value, depth - 1)
        elif isinstance(value, np.ndarray):
            self._array(value)
        elif isinstance(value, np.generic):
            self._scalar(value)
        elif isinstance(value, Made):
            self._made(value)
        else:
            raise TypeError(f"a {type(value).__name__} is no plain data")

    def _list(self, items: Sequence[Any], depth: int) -> None:
        self._frame += b"]"
        self._remember(items)
        if len(items) == 1:
            self.save(items[0], depth)
            self._frame += b"a"
        for start in range(0, len(items), BATCH) if len(items) > 1 else ():
            self._frame += b"("
            for item in items[start : start + BATCH]:
                self.save(item, depth)
            self._frame += b"e"

    def _dict(self, items: Mapping[Any, Any], depth: int) -> None:
        self._frame += b"}"
        self._remember(items)
        pairs = list(items.items())
        if len(pairs) == 1:
            self.save(pairs[0][0], depth)
            self.save(pairs[0][1], depth)
            self._frame += b"s"
        for start in range(0, len(pairs) + (len(pairs) % BATCH == 0), BATCH) if len(pairs) > 1 else ():
            self._frame += b"("
            for key, item in pairs[start : start + BATCH]:
                self.save(key, depth)
                self.save(item, depth)
            self._frame += b"u"

    def _tuple(self, items: tuple[Any, ...], depth: int) -> None:
        if not items:
            self._frame += b")"
            return
        if len(items) > 3:
            self._frame += b"("
        for item in items:
            self.save(item, depth)
        self._frame += b"t" if len(items) > 3 else bytes((0x84 + len(items),))
        self._remember(items)

    def _set(self, items: Iterable[Any], depth: int) -> None:
        fixed = isinstance(items, frozenset)
        if not fixed:
            self._frame += b"\x8f"
            self._remember(items)
        self._frame += b"("
        for item in items:
            self.save(item, depth)
        self._frame += b"\x91" if fixed else b"\x90"
        if fixed:
            self._remember(items)

    def _array(self, array: _Array) -> None:
        fortran = array.flags.f_contiguous and not array.flags.c_contiguous
        plain = array.astype(array.dtype.newbyteorder("<"), copy=False)
        self._named(RECONSTRUCT)
        self._named(NDARRAY)
        self._tuple((0,), 2)
        self.save(b"b", 1)
        self._frame += b"\x87"
        self._remember(object())
        self._reduce(array)
        self._frame += b"("
        self.save(1, 1)
        self.save(plain.shape, 2)
        self._dtype(array.dtype)
        self.save(bool(fortran), 1)
        self.save(plain.tobytes("F" if fortran else "C"), 1)
        self._build()

    def _scalar(self, value: np.generic) -> None:
        plain = np.asarray(value)
        self._named(SCALAR)
        self._dtype(plain.dtype)
        self.save(plain.astype(plain.dtype.newbyteorder("<")).tobytes(), 1)
        self._frame += b"\x86"
        self._remember(object())
        self._reduce(value)

    def _dtype(self, dtype: np.dtype[Any]) -> None:
        if not PLAIN_DTYPE.fullmatch(dtype.str):
            raise TypeError(f"an array of {dtype} is no plain data")
        if self._again(dtype):
            return
        self._named(DTYPE)
        self._text(dtype.str[1:])
        self._remember(object())
        self._frame += b"\x89\x88\x87"
        self._remember(object())
        self._reduce(dtype)
        self._frame += b"("
        self.save(3, 1)
        self.save("|" if dtype.itemsize == 1 else "<", 1)
        self._frame += b"NNN"
        for number in (-1, -1, 0):
            self.save(number, 1)
        self._build()

    def _made(self, made: Made) -> None:
        self._named(made.kind)
        self.save(made.argument, 1)
        self._frame += b"\x85"
        self._remember(object())
        self._reduce(made)

    def _named(self, name: Named) -> None:
        """The name, by its memo when it was written before."""
        self._commit(FRAME_BYTES)
        known = self._memo.get(name)
        if known is not None:
            self._frame += _get(known)
            return
        for part in (name.module, name.name):
            if not self._again(part):
                self._text(part)
                self._remember(part)
        self._frame += b"\x93"
        self._remember(name, name)

    def _reduce(self, made: Any) -> None:
        self._frame += b"R"
        self._remember(made)

    def _build(self) -> None:
        """The end of a state: a tuple of everything since its mark."""
        self._frame += b"t"
        self._remember(object())
        self._frame += b"b"

    def _text(self, value: str) -> None:
        self._frame += _counted(value.encode("utf-8", "surrogatepass"), b"\x8c", b"X")

    def _again(self, value: Any) -> bool:
        """Write a reference to a value that was written before; False when it was not."""
        known = self._memo.get(id(value))
        if known is not None:
            self._frame += _get(known)
        return known is not None

    def _remember(self, value: Any, key: Any = None) -> None:
        """Give what was written last the next place in the memo. It lives on, so that its id stays its own."""
        place = id(value) if key is None else key
        self._memo[place] = self._remembered
        self._remembered += 1
        self._recent.append((place, value))
        self._frame += b"\x94"

    def _release(self) -> None:
        """Forget everything but short texts, names and types: nothing else is shared by the items of a long list."""
        for place, value in self._recent:
            if isinstance(value, _LASTING) or (isinstance(value, str | bytes) and len(value) < 256):
                self._lasting.append(value)
            else:
                self._memo.pop(place, None)
        self._recent.clear()

    def _commit(self, least: int) -> None:
        if len(self._frame) < least:
            return
        if len(self._frame) >= 4:
            self._write(b"\x95" + struct.pack("<Q", len(self._frame)))
        self._write(bytes(self._frame))
        self._frame.clear()


def _get(place: int) -> bytes:
    return b"h" + bytes((place,)) if place < 256 else b"j" + struct.pack("<I", place)


def _int(value: int) -> bytes:
    if 0 <= value < 256:
        return b"K" + bytes((value,))
    if 0 <= value < 1 << 16:
        return b"M" + struct.pack("<H", value)
    if -(1 << 31) <= value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    size = (value.bit_length() >> 3) + 1
    data = value.to_bytes(size, "little", signed=True)
    if value < 0 and data[-1] == 0xFF and size > 1 and data[-2] & 0x80:
        data = data[:-1]
    return _counted(data, b"\x8a", b"\x8b")


def _counted(data: bytes, short: bytes, long: bytes) -> bytes:
    """Data behind its length, with the opcode for one or for four bytes of length."""
    length = len(data)
    return (short + bytes((length,)) if length < 256 else long + struct.pack("<I", length)) + data
