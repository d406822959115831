"""Reading and writing pickles without running what they ask for.

Face images, saved metadata and weights of DeepFaceLab are pickles, and a plain unpickler runs whatever code their maker
put in. Here a small machine of our own reads the opcodes: it builds plain containers, text, numbers, bytes and numeric
numpy arrays, and knows nothing else. A name that asks for anything more ends the reading.

What is written is protocol 4 with the module names of numpy 1, so that DeepFaceLab's Python can read it.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from backend.core.errors import DamagedFileError
from backend.storage.pickle_opcodes import OPCODES, Machine, PickleRefusedError

MAX_PICKLE_BYTES = 512 << 20
MAX_ARRAY_BYTES = 64 << 20
MAX_DEPTH = 64

Build = Callable[..., Any]

_DTYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|c8|c16)")
_LEAVES = frozenset((type(None), bool, int, float, complex, str, bytes, bytearray, np.ndarray))


class _Dtype:
    """A numeric dtype while its byte order is not told yet."""

    def __init__(self, code: object, *_flags: object) -> None:
        if not isinstance(code, str) or not _DTYPE.fullmatch(code):
            raise PickleRefusedError(f"an array of type {code!r:.40}")
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


def _set_array_state(array: np.ndarray[Any, Any], state: object) -> None:
    if not isinstance(state, tuple) or len(state) != 5 or array.size:
        raise PickleRefusedError("an array with a strange state")
    _version, shape, dtype, fortran, data = state
    checked = _check_shape(shape, dtype, data)
    trusted: Any = (1, checked, dtype.dtype, bool(fortran), bytes(data))
    array.__setstate__(trusted)


def _array_from_buffer(data: object, dtype: object, shape: object, order: object = "C") -> np.ndarray[Any, Any]:
    checked = _check_shape(shape, dtype, data)
    values = np.frombuffer(bytes(data), dtype.dtype)  # type: ignore[call-overload,union-attr]
    return values.reshape(checked, order="F" if order == "F" else "C").copy()


def _check_shape(shape: object, dtype: object, data: object) -> tuple[int, ...]:
    if not isinstance(dtype, _Dtype) or not isinstance(data, bytes | bytearray) or not isinstance(shape, tuple):
        raise PickleRefusedError("an array with a strange state")
    sizes = [n for n in shape if type(n) is int and 0 <= n <= MAX_ARRAY_BYTES]
    if len(sizes) != len(shape) or len(shape) > 8:
        raise PickleRefusedError("an array with a strange shape")
    if len(data) > MAX_ARRAY_BYTES or math.prod(sizes) * dtype.dtype.itemsize != len(data):
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


def loads(data: bytes, allow: Mapping[tuple[str, str], Build] = FACE_NAMES, max_bytes: int = MAX_PICKLE_BYTES) -> Any:
    """Read a pickle of plain data; nothing in it is ever run.

    Args:
        data: the pickle, any protocol that Python 3 wrote.
        allow: the names that may occur, each with the function that builds what it stands for.
        max_bytes: larger pickles are refused.

    Returns:
        None, bool, int, float, str, bytes, numeric ndarrays and numpy numbers in list, tuple, dict and set.

    Raises:
        DamagedFileError: it is damaged, or asks for something else, and says what.
    """
    if len(data) > max_bytes:
        raise _refused(f"it takes {len(data):,} bytes")
    machine = Machine(data, allow, _set_state)
    try:
        result = machine.run(OPCODES)
        _check_tree(result, [16 * len(data)], MAX_DEPTH)
    except PickleRefusedError as refusal:
        raise _refused(f"it holds {refusal}") from refusal
    except (ValueError, TypeError, IndexError, KeyError, OverflowError, MemoryError, struct.error) as error:
        raise _refused(f"it is damaged ({type(error).__name__})") from error
    return result


def _refused(why: str) -> DamagedFileError:
    return DamagedFileError(f"The pickled data is refused: {why}.", "Take the file from a source you trust.")


def _set_state(target: object, state: object) -> None:
    if isinstance(target, np.ndarray):
        _set_array_state(target, state)
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


# -- writing


def dumps(obj: Any) -> bytes:
    """Write plain data as a pickle of protocol 4 that numpy 1 and 2 can read.

    Args:
        obj: None, bool, int, float, str, bytes, numeric ndarrays and numpy numbers in list, tuple and dict.

    Raises:
        TypeError: anything else.
    """
    parts = [b"\x80\x04"]
    _emit(obj, parts, MAX_DEPTH)
    parts.append(b".")
    return b"".join(parts)


def _emit(value: Any, out: list[bytes], depth: int) -> None:
    if depth == 0:
        raise TypeError("too deep to be pickled")
    if isinstance(value, np.ndarray):
        _emit_array(value, out)
    elif isinstance(value, np.generic):
        _emit_scalar(value, out)
    elif isinstance(value, dict):
        out.append(b"}(")
        for key, item in value.items():
            _emit(key, out, depth - 1)
            _emit(item, out, depth - 1)
        out.append(b"u")
    elif isinstance(value, list | tuple):
        out.append(b"](" if isinstance(value, list) else b"(")
        for item in value:
            _emit(item, out, depth - 1)
        out.append(b"e" if isinstance(value, list) else b"t")
    else:
        out.append(_leaf(value))


def _leaf(value: Any) -> bytes:
    if value is None or isinstance(value, bool):
        return b"N" if value is None else b"\x88" if value else b"\x89"
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    if isinstance(value, int):
        return _int(value)
    if isinstance(value, str):
        return _counted(value.encode("utf-8", "surrogatepass"), b"\x8c", b"X")
    if isinstance(value, bytes | bytearray):
        return _counted(bytes(value), b"C", b"B")
    raise TypeError(f"a {type(value).__name__} is no plain data")


def _int(value: int) -> bytes:
    if -(1 << 31) <= value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    return _counted(value.to_bytes((value.bit_length() >> 3) + 1, "little", signed=True), b"\x8a", b"\x8b")


def _counted(data: bytes, short: bytes, long: bytes) -> bytes:
    """Data behind its length, with the opcode for one or for four bytes of length."""
    length = len(data)
    return (short + bytes((length,)) if length < 256 else long + struct.pack("<I", length)) + data


def _emit_array(array: np.ndarray[Any, Any], out: list[bytes]) -> None:
    plain = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(array.shape)
    out.append(_global("numpy.core.multiarray", "_reconstruct") + _global("numpy", "ndarray"))
    out.append(_leaf(0) + b"\x85" + _leaf(b"b") + b"\x87R(" + _leaf(1))
    _emit(plain.shape, out, 2)
    out.append(_dtype(plain.dtype) + b"\x89" + _leaf(plain.tobytes()) + b"tb")


def _emit_scalar(value: np.generic, out: list[bytes]) -> None:
    plain = np.asarray(value)
    plain = plain.astype(plain.dtype.newbyteorder("<"))
    out.append(_global("numpy.core.multiarray", "scalar") + _dtype(plain.dtype) + _leaf(plain.tobytes()) + b"\x86R")


def _dtype(dtype: np.dtype[Any]) -> bytes:
    code = dtype.str.lstrip("<>|=")
    if not _DTYPE.fullmatch(code):
        raise TypeError(f"an array of {dtype} is no plain data")
    order = b"|" if dtype.itemsize == 1 else b"<"
    head = _global("numpy", "dtype") + _leaf(code) + b"\x89\x88\x87R"
    return head + b"(" + _leaf(3) + _leaf(order.decode()) + b"NNN" + _leaf(-1) + _leaf(-1) + _leaf(0) + b"tb"


def _global(module: str, name: str) -> bytes:
    return _leaf(module) + _leaf(name) + b"\x93"
