"""Pickles are read as data. Nothing in them runs, nothing in them can take all memory or time."""

from __future__ import annotations

import io
import math
import os
import pickle
import pickletools
import struct
import time
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.core.errors import DamagedFileError
from backend.storage import jpeg, safe_pickle

PLAIN = {
    "a": [1, -7, 2**40, -(2**70), 1.5, math.inf, None, True, False],
    "ö": ("x" * 300, b"y" * 300, (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
    "nested": {"d": {"e": []}, "set": {1, 2}, "frozen": frozenset((3,)), "bytes": b""},
}
ARRAYS = {
    "rect": np.arange(4),
    "mat": np.arange(6.0).reshape(2, 3) / 7,
    "column": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(3, 2)),
    "big endian": np.arange(3, dtype=">i4"),
    "png": np.arange(256, dtype=np.uint8),
    "empty": np.zeros((0, 2), np.float32),
    "scalar": np.float32(1.5),
    "int": np.int64(-3),
    "flag": np.array([True, False]),
}


def same(first: Any, second: Any) -> bool:
    """Equal in value, type and shape."""
    if isinstance(first, np.ndarray):
        return type(second) is np.ndarray and first.dtype == second.dtype and np.array_equal(first, second)
    if isinstance(first, dict):
        return list(first) == list(second) and all(same(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple):
        return type(first) is type(second) and len(first) == len(second) and all(map(same, first, second))
    return type(first) is type(second) and bool(first == second)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("obj", [PLAIN, ARRAYS], ids=["plain", "arrays"])
def test_reads_what_python_writes(obj: Any, protocol: int) -> None:
    old = {key: value for key, value in obj.items() if key not in ("nested", "empty")}
    data = pickle.dumps(obj if protocol > 3 else old, protocol)
    assert same(safe_pickle.loads(data), pickle.loads(data))


def test_shared_arrays_and_types_stay_right() -> None:
    array = np.arange(5, dtype=">f8")
    read = safe_pickle.loads(pickle.dumps([array, array, np.arange(2, dtype=">f8")]))
    assert read[0] is read[1]
    assert np.array_equal(read[2], [0, 1])


class Numpy1Unpickler(pickle.Unpickler):
    """Knows only the names that numpy 1 has."""

    def find_class(self, module: str, name: str) -> Any:
        from numpy._core import multiarray

        known = {
            ("numpy.core.multiarray", "_reconstruct"): multiarray._reconstruct,
            ("numpy.core.multiarray", "scalar"): multiarray.scalar,
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
        }
        return known[module, name]


def test_what_is_written_can_be_read_with_numpy_1() -> None:
    obj = {**ARRAYS, **PLAIN}
    data = safe_pickle.dumps(obj)
    read = Numpy1Unpickler(io.BytesIO(data)).load()
    native = {**obj, "big endian": obj["big endian"].astype("<i4")}
    assert same(read, native)
    assert same(safe_pickle.loads(data), native)
    strings = [argument for _, argument, _ in pickletools.genops(data)]
    assert "numpy.core.multiarray" in strings
    assert not any(isinstance(s, str) and "_core" in s for s in strings)
    assert data[:2] == b"\x80\x04"
    assert max(op.proto for op, _, _ in pickletools.genops(data)) <= 4


@pytest.mark.parametrize("obj", [object(), np.array([object()]), np.array(["a"]), {1j: 2}, np.longdouble(1)])
def test_only_plain_data_is_written(obj: Any) -> None:
    with pytest.raises(TypeError):
        safe_pickle.dumps(obj)


class Run:
    """Pickles into a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> Any:
        return self._call


class Colour(IntEnum):
    """An enum of another program."""

    RED = 1


def text(string: str) -> bytes:
    """Opcode of a short string."""
    return b"\x8c" + bytes((len(string),)) + string.encode()


def named(module: str, name: str) -> bytes:
    """Opcodes that ask for a name."""
    return text(module) + text(name) + b"\x93"


DTYPE_F8 = named("numpy", "dtype") + text("f8") + b"\x85R"
SHELL = named("numpy.core.multiarray", "_reconstruct") + named("numpy", "ndarray") + b"K\x00\x85C\x01b\x87R"
BUFFER = named("numpy.core.numeric", "_frombuffer")
HOSTILE = {
    "os.system": pickle.dumps(Run(os.system, "true")),
    "eval": pickle.dumps(Run(eval, "1/0")),
    "getattr": pickle.dumps(Run(getattr, [], "append")),
    "numpy.load": pickle.dumps(Run(np.load, "x")),
    "runstring": b"cnumpy.testing._private.utils\nrunstring\n(S'1'\ntR.",
    "dotted name": b"\x80\x04" + named("numpy", "ndarray.tofile") + b".",
    "method of a method": b"\x80\x04" + named("numpy.core.multiarray", "scalar.__globals__") + b".",
    "enum": pickle.dumps(Colour.RED),
    "object array": pickle.dumps(np.array([1, "a"], dtype=object)),
    "structured array": pickle.dumps(np.zeros(2, [("a", "f8"), ("b", "O")])),
    "text array": pickle.dumps(np.array(["a"])),
    "date": pickle.dumps(np.datetime64("2020-01-01")),
    "object dtype": b"\x80\x04" + named("numpy", "dtype") + text("O8") + b"\x85R.",
    "ndarray made by hand": b"\x80\x04" + named("numpy", "ndarray") + b"J\xff\xff\xff\x7f\x85\x85R.",
    "a name as value": b"\x80\x04" + named("numpy", "ndarray") + b".",
    "a dtype as value": b"\x80\x04" + DTYPE_F8 + b".",
    "huge shape": b"\x80\x04" + SHELL + b"(K\x01J\xff\xff\xff\x7f\x85" + DTYPE_F8 + b"\x89C\x08" + bytes(8) + b"tb.",
    "negative shape": b"\x80\x04"
    + SHELL
    + b"(K\x01J\xff\xff\xff\xff\x85"
    + DTYPE_F8
    + b"\x89C\x08"
    + bytes(8)
    + b"tb.",
    "overflowing shape": b"\x80\x04"
    + SHELL
    + b"(K\x01"
    + b"J\x00\x00\x00\x04" * 3
    + b"\x87"
    + DTYPE_F8
    + b"\x89C\x00tb.",
    "list as data": b"\x80\x04" + SHELL + b"(K\x01K\x01\x85" + DTYPE_F8 + b"\x89](K\x01etb.",
    "state of a list": b"\x80\x04]}b.",
    "fields of a dtype": b"\x80\x04"
    + DTYPE_F8
    + b"(K\x03"
    + text("<")
    + b"N"
    + text("a")
    + b"}J\xff\xff\xff\xffK\x00tb.",
    "array bomb": b"\x80\x04B\x00\x00\x01\x00"
    + bytes(65536)
    + b"\x940]\x94("
    + (BUFFER + b"h\x00" + named("numpy", "dtype") + text("u1") + b"\x85RJ\x00\x00\x01\x00\x85\x87R") * 900
    + b"e.",
    "laughs": b"\x80\x04]\x94" + b"(h\x00h\x00h\x00h\x00h\x00h\x00h\x00h\x00l\x94q\x00" * 60 + b".",
    "contains itself": b"\x80\x04]\x94h\x00a.",
    "very deep": b"\x80\x04" + b"]" * 100_000 + b"a" * 99_999 + b".",
    "claims many bytes": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b".",
    "claims a long text": b"\x80\x04X\xff\xff\xff\xff.",
    "claims a long frame": b"\x80\x04\x95" + b"\xff" * 7 + b".",
    "far memo": b"\x80\x04]r\xff\xff\xff\xffj\xfe\xff\xff\xff.",
    "big number": b"\x80\x04\x8b\x00\x00\x10\x00" + b"\xff" * (1 << 20) + b".",
    "long decimal": b"I" + b"9" * 100_000 + b"\n.",
    "colliding keys": b"\x80\x04}(" + b"".join(pickle.dumps((1 << 61) * k)[2:-1] + b"N" for k in range(1, 9)) + b"u.",
    "persistent id": b"\x80\x04Pabc\n.",
    "instance": b"(ios\nsystem\n.",
    "extension": b"\x80\x04\x82\x01.",
    "empty stack": b"\x80\x04.",
    "empty": b"",
    "no stop": b"\x80\x04N",
    "marks": b"\x80\x04t.",
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_pickles_are_refused_at_once(data: bytes) -> None:
    begun = time.monotonic()
    with pytest.raises(DamagedFileError):
        safe_pickle.loads(data)
    assert time.monotonic() - begun < 5


def test_nothing_is_run(tmp_path: Path) -> None:
    data = pickle.dumps([1, Run(os.mkdir, str(tmp_path / "made"))])
    with pytest.raises(DamagedFileError):
        safe_pickle.loads(data)
    assert not list(tmp_path.iterdir())
    pickle.loads(data)
    assert (tmp_path / "made").exists()


def test_the_refusal_names_what_was_asked_for() -> None:
    with pytest.raises(DamagedFileError, match=r"'system'"):
        safe_pickle.loads(HOSTILE["os.system"])


def test_too_large_is_refused() -> None:
    with pytest.raises(DamagedFileError, match="101"):
        safe_pickle.loads(bytes(101), max_bytes=100)


def test_a_narrower_allow_list_is_kept() -> None:
    assert safe_pickle.loads(pickle.dumps([1]), allow={}) == [1]
    with pytest.raises(DamagedFileError):
        safe_pickle.loads(pickle.dumps(np.arange(3)), allow={})


JSON_LIKE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_subnormal=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=20,
)


@settings(max_examples=80, deadline=None)
@given(JSON_LIKE, st.integers(3, 5))
def test_agrees_with_python(obj: Any, protocol: int) -> None:
    assert same(safe_pickle.loads(pickle.dumps(obj, protocol)), obj)
    assert same(pickle.loads(safe_pickle.dumps(obj)), obj)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_gives_one_clear_error_or_plain_data(data: st.DataObject) -> None:
    broken = bytearray(pickle.dumps({"a": [1.5] * 5, "m": np.arange(6.0).reshape(2, 3), "s": np.float32(2)}, 4))
    for _ in range(data.draw(st.integers(1, 4))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    try:
        safe_pickle.loads(bytes(broken))
    except DamagedFileError:
        return


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60))
def test_noise_gives_one_clear_error_or_plain_data(noise: bytes) -> None:
    try:
        safe_pickle.loads(b"\x80\x04" + noise + b".")
    except DamagedFileError:
        return


def test_golden_metadata(golden: Path) -> None:
    stored = safe_pickle.loads((golden / "meta.dat").read_bytes())
    assert len(stored) == 6
    for name, (shape, values) in stored.items():
        assert shape == (192, 192, 3)
        in_file = safe_pickle.loads(jpeg.read_payload((golden / "dfl_faceset" / name).read_bytes()) or b"")
        assert same(values, in_file)
