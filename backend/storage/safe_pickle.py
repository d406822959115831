"""Reading and writing pickles without running what they ask for.

Face images, saved metadata and weights of DeepFaceLab are pickles, and a plain unpickler runs whatever code their maker
put in. Here a small machine of our own reads the opcodes: it builds plain containers, text, numbers, bytes and numeric
numpy arrays, and knows nothing else. A name that asks for anything more ends the reading.

What is written is protocol 4 with the module names of numpy 1, so that DeepFaceLab's Python can read it.
"""

from __future__ import annotations

import contextlib
import functools
import math
import struct
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from backend.core.errors import DamagedFileError
from backend.storage import pickle_writer
from backend.storage.pickle_machine import Data, Machine, PickleRefusedError, check_key
from backend.storage.pickle_opcodes import OPCODES

MAX_PICKLE_BYTES = 512 << 20
MAX_ARRAY_BYTES = 64 << 20
MAX_DEPTH = 64

_SMALL = 100_000
_TEXT_BYTES = 64
_END, _FORGOTTEN = object(), object()

Build = Callable[..., Any]

DAMAGE = (ValueError, TypeError, IndexError, KeyError, OverflowError, MemoryError, struct.error)
"""What reading a damaged pickle may raise."""

_LEAVES = frozenset((type(None), bool, int, float, complex, str, bytes, bytearray, np.ndarray))


class _Dtype:
    """A numeric dtype while its byte order is not told yet."""

    def __init__(self, code: object, *_flags: object) -> None:
        if not isinstance(code, str) or not pickle_writer.PLAIN_DTYPE.fullmatch(code):
            raise PickleRefusedError(
                f"an array of type {code[:40]!a}" if isinstance(code, str) else "an array of no type"
            )
        self.dtype = np.dtype(code)

    def set_state(self, state: object) -> None:
        """The state is (version, byte order, ...); the rest describes structured types and is empty for numbers."""
        if not isinstance(state, tuple) or len(state) < 2 or any(part is not None for part in state[2:5]):
            raise PickleRefusedError("a structured array type")
        if state[1] not in ("<", ">", "|", "="):
            raise PickleRefusedError("an unknown byte order")
        self.dtype = self.dtype.newbyteorder(state[1])


def _array_class(*_: object) -> None:
    """Stands for the class a pickled array names; calling it would make an array of any size."""
    raise PickleRefusedError("an array made by hand")


def _new_array(kind: object, _shape: object, _code: object) -> np.ndarray[Any, Any]:
    if kind is not _array_class:
        raise PickleRefusedError("an array of another class")
    return np.ndarray((0,), np.uint8)


def _set_array_state(array: np.ndarray[Any, Any], state: object, most: int) -> None:
    if not isinstance(state, tuple) or len(state) != 5 or array.size:
        raise PickleRefusedError("an array with a strange state")
    _version, shape, dtype, fortran, data = state
    checked = _check_shape(shape, dtype, data, most)
    trusted: Any = (1, checked, dtype.dtype, bool(fortran), bytes(data))
    array.__setstate__(trusted)


def _array_from_buffer(
    data: object, dtype: object, shape: object, order: object = "C", *, most: int = MAX_ARRAY_BYTES
) -> np.ndarray[Any, Any]:
    checked = _check_shape(shape, dtype, data, most)
    values = np.frombuffer(bytes(data), dtype.dtype)  # type: ignore[call-overload,union-attr]
    return values.reshape(checked, order="F" if order == "F" else "C").copy()


def _check_shape(shape: object, dtype: object, data: object, most: int) -> tuple[int, ...]:
    if not isinstance(dtype, _Dtype) or not isinstance(data, bytes | bytearray) or not isinstance(shape, tuple):
        raise PickleRefusedError("an array with a strange state")
    sizes = [n for n in shape if type(n) is int and 0 <= n <= most]
    if len(sizes) != len(shape) or len(shape) > 8:
        raise PickleRefusedError("an array with a strange shape")
    if len(data) > most or math.prod(sizes) * dtype.dtype.itemsize != len(data):
        raise PickleRefusedError("an array whose size does not fit its shape")
    return tuple(sizes)


def _scalar(dtype: object, data: object = b"") -> Any:
    return _array_from_buffer(data, dtype, (1,))[0]


def _encode(text: object, encoding: object = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise PickleRefusedError("an unknown text encoding")
    try:
        return text.encode("latin1")
    except UnicodeEncodeError as error:
        raise PickleRefusedError("text that is no bytes") from error


def _polygon_type(value: object) -> int:
    if type(value) is not int:
        raise PickleRefusedError("a strange polygon type")
    return value


_POLYGON_MODULES = (
    "core.imagelib.SegIEPolys",
    "imagelib.SegIEPolys",
    "core.imagelib.IEPolys",
    "imagelib.IEPolys",
)

NUMPY_NAMES: Mapping[tuple[str, str], Build] = MappingProxyType(
    {
        ("numpy.core.multiarray", "_reconstruct"): _new_array,
        ("numpy._core.multiarray", "_reconstruct"): _new_array,
        ("numpy.core.multiarray", "scalar"): _scalar,
        ("numpy._core.multiarray", "scalar"): _scalar,
        ("numpy.core.numeric", "_frombuffer"): _array_from_buffer,
        ("numpy._core.numeric", "_frombuffer"): _array_from_buffer,
        ("numpy", "ndarray"): _array_class,
        ("numpy", "dtype"): _Dtype,
        ("_codecs", "encode"): _encode,
    }
)
"""What arrays and numbers of numpy name, each with the stand-in that builds it here."""

FACE_NAMES: Mapping[tuple[str, str], Build] = MappingProxyType(
    {**NUMPY_NAMES, **{(module, "SegIEPolyType"): _polygon_type for module in _POLYGON_MODULES}}
)
"""What the data of a face may name."""


def loads(
    data: bytes,
    allow: Mapping[tuple[str, str], Build] = FACE_NAMES,
    max_bytes: int = MAX_PICKLE_BYTES,
    max_array: int = MAX_ARRAY_BYTES,
) -> Any:
    """Read a pickle of plain data; nothing in it is ever run.

    Args:
        data: the pickle, any protocol that Python 3 wrote.
        allow: the names that may occur, each with the function that builds what it stands for.
        max_bytes: larger pickles are refused.
        max_array: bytes of the largest array.

    Returns:
        None, bool, int, float, str, bytes, numeric ndarrays and numpy numbers in list, tuple, dict and set.

    Raises:
        DamagedFileError: it is damaged, or asks for something else, and says what.
    """
    if len(data) > max_bytes:
        raise _refused(f"it takes {len(data):,} bytes")
    with _refusing():
        result = Machine(data, *_with_arrays(allow, max_array)).run(OPCODES)
        _check_tree(result, [2 * len(data) + _SMALL], MAX_DEPTH)
    return result


def load_pairs(
    data: Data, allow: Mapping[tuple[str, str], Build] = FACE_NAMES, max_array: int = MAX_ARRAY_BYTES
) -> Iterator[tuple[Any, Any]]:
    """Read a pickled dictionary pair by pair, so that a long one is never in memory as a whole.

    Args:
        data: the pickle, for example a file mapped into memory.
        allow, max_array: as for loads().

    Yields:
        every key with its value; values as loads() gives them.

    Raises:
        DamagedFileError: as loads(); it is no dictionary; or two of its values share a part. May come after some pairs.
    """
    reader = _PairReader(data, *_with_arrays(allow, max_array))
    blocks = reader.blocks(OPCODES)
    going = True
    while going:
        with _refusing():
            going = next(blocks, _END) is not _END
            reader.check_room()
            found = reader.take_pairs()
            for pair in found:
                _check_tree(pair, [2 * len(data) + _SMALL], MAX_DEPTH)
        yield from found
        found.clear()
    if not reader.stack or type(reader.stack[-1]) is not dict:
        raise _refused("it is no dictionary")


class _PairReader(Machine):
    """Hands out what is put into the outermost dictionary, and remembers only what the next values may name again."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.memory_left = self._room = 128 << 20
        self._pairs: list[tuple[Any, Any]] = []

    def take_pairs(self) -> list[tuple[Any, Any]]:
        """The pairs read since the last call."""
        found, self._pairs = self._pairs, []
        return found

    def set_items(self, pairs: list[Any]) -> None:
        """Put keys and values into the dictionary on top, or hand them out when it is the outermost."""
        if self.marks or len(self.stack) > 1:
            super().set_items(pairs)
            return
        super().set_items(pairs[:0])
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            check_key(key)
            self._pairs.append((key, value))
        self.memory_left = self._room

    def remember(self, place: int | None = None) -> None:
        """Put what lies on top into the memo, or a stand-in for what is not named again."""
        value = self.stack[-1]
        if isinstance(value, list | dict | tuple | set | frozenset | np.ndarray) or _is_long(value):
            self.stack[-1] = _FORGOTTEN
        elif isinstance(value, str | bytes | bytearray):
            self._room -= _TEXT_BYTES + len(value)
        else:
            self._room -= 8
        super().remember(place)
        self.stack[-1] = value

    def recall(self, place: int) -> None:
        """Put what the memo has at a place onto the stack."""
        super().recall(place)
        if self.stack[-1] is _FORGOTTEN:
            raise PickleRefusedError("values that share a part")


def _is_long(value: object) -> bool:
    return isinstance(value, str | bytes | bytearray) and len(value) > 255


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    """Whatever a hostile or damaged pickle makes go wrong is one clear error."""
    try:
        yield
    except PickleRefusedError as refusal:
        raise _refused(f"it holds {refusal}") from refusal
    except DAMAGE as error:
        raise _refused(f"it is damaged ({type(error).__name__})") from error


def _refused(why: str) -> DamagedFileError:
    return DamagedFileError(f"The pickled data is refused: {why}.", "Take the file from a source you trust.")


def _with_arrays(
    allow: Mapping[tuple[str, str], Build], most: int
) -> tuple[Mapping[tuple[str, str], Build], Callable[[object, object], None]]:
    """The names and the setter of states for arrays of so many bytes at most."""
    sized = functools.partial(_array_from_buffer, most=most)
    names = {name: sized if made is _array_from_buffer else made for name, made in allow.items()}
    return names, functools.partial(_set_state, most=most)


def _set_state(target: object, state: object, most: int) -> None:
    if isinstance(target, np.ndarray):
        _set_array_state(target, state, most)
    elif isinstance(target, _Dtype):
        target.set_state(state)
    else:
        raise PickleRefusedError("an object of a class")


def _check_tree(value: Any, left: list[int], depth: int) -> None:
    """Refuse what is not plain data, nests too deep, contains itself or unfolds to far more values than were stored."""
    kind = type(value)
    if kind in _LEAVES or isinstance(value, np.generic):
        return
    if depth == 0:
        raise PickleRefusedError("data that nests too deep")
    if kind is dict:
        items: Any = [*value, *value.values()]
    elif kind in (list, tuple, set, frozenset):
        items = value
    else:
        raise PickleRefusedError("a name without use")
    left[0] -= len(items)
    if left[0] < 0:
        raise PickleRefusedError("too many values")
    for item in items:
        if type(item) not in _LEAVES:
            _check_tree(item, left, depth - 1)


def dumps(obj: Any) -> bytes:
    """Write plain data as a pickle of protocol 4 that numpy 1 and 2 can read; see pickle_writer.dumps()."""
    return pickle_writer.dumps(obj)
