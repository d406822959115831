"""Pickles come out as Python itself writes them, byte for byte, whole or item by item."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from backend.storage import pickle_writer
from backend.storage.pickle_writer import Made, Named
from tests.storage import layouts
from tests.storage.test_safe_pickle import same

SHARED = ["a", "b"]
PLAIN = {
    "empty": [(), [], {}, "", b""],
    "tuples": [(1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
    "numbers": [0, 255, 256, 65535, 65536, -1, -128, 2**31, -(2**31) - 1, 2**63, -(2**63), -(2**39), 2**255],
    "constants": [None, True, False, 1.5, float("inf")],
    "texts": ["ü" * 300, b"y" * 300, "\ud800"],
    "one": {"a": [1]},
    "twice": [SHARED, SHARED, "key", "key"],
    "a batch": list(range(1000)),
    "a batch and one": list(range(1001)),
    "pairs in a batch": {str(n): n for n in range(1000)},
    "pairs in batches": {str(n): float(n) for n in range(2500)},
    "frames": [[float(n), 2.0] for n in range(8000)],
    "many memo places": [str(n) for n in range(300)] * 2,
}


@pytest.mark.parametrize("obj", PLAIN.values(), ids=PLAIN.keys())
def test_plain_data_as_python_writes_it(obj: Any) -> None:
    assert pickle_writer.dumps(obj) == pickle.dumps(obj, 4)


def test_arrays_as_numpy_1_writes_them() -> None:
    obj = {
        "rect": np.arange(4),
        "mat": np.arange(6.0).reshape(2, 3),
        "again": np.arange(4),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "bytes": np.zeros(5, np.uint8),
        "number": np.float32(1.5),
        "flag": np.array([True]),
    }
    assert pickle_writer.dumps(obj) == layouts.foreign_pickle(obj)
    assert same(layouts.strict_loads(pickle_writer.dumps(obj)), obj)


def test_members_of_foreign_enums() -> None:
    face = Made(Named("facelib.FaceType", "FaceType"), 4)
    written = pickle_writer.dumps([face, face])
    assert written == layouts.foreign_pickle([layouts.FaceType.WHOLE_FACE] * 2)
    assert layouts.strict_loads(written) == [layouts.FaceType.WHOLE_FACE] * 2


@pytest.mark.parametrize("count", [0, 1, 2, 999, 1000, 1001, 2000])
def test_item_by_item_is_the_same(count: int) -> None:
    out = bytearray()
    pickle_writer.dump_list(([float(n), {"key": "x"}] for n in range(count)), count, out.extend)
    assert pickle.loads(bytes(out)) == [[float(n), {"key": "x"}] for n in range(count)]
    assert bytes(out) == pickle.dumps([[float(n), {"key": "x"}] for n in range(count)], 4)
    pairs = [(f"n{n}", (n, [n])) for n in range(count)]
    out.clear()
    pickle_writer.dump_dict(iter(pairs), count, out.extend)
    assert pickle.loads(bytes(out)) == dict(pairs)
    if count % 1000 or not count:
        assert bytes(out) == pickle.dumps(dict(pairs), 4)
