"""Files made to do harm: nothing in them runs, none takes long or much memory, each gives one clear error.

Inputs come from hypothesis, the same ones every time.
"""

from __future__ import annotations

import itertools
import json
import os
import pickle
import struct
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.core.errors import BadInputError, DamagedFileError
from backend.storage import face_index, jpeg, safe_pickle
from backend.storage.face_file import OWN_KEY, dict_of_face, face_of_dict, read_face, write_face
from backend.storage.face_meta import META_NAME, read_meta, restore_meta
from backend.storage.face_pack import read_index
from backend.storage.faceset import Faceset
from tests.storage import layouts
from tests.storage.faces import fill
from tests.storage.layouts import foreign_pickle, make_pack, plain_jpeg, with_face_data
from tests.storage.test_face_pack import entry, open_pack
from tests.storage.test_interchange import FULL
from tests.storage.test_safe_pickle import HOSTILE, Run, named, text

MAX_SECONDS = 5
MAX_BYTES = 256 << 20

bounded = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)

FACE_FILE = with_face_data(plain_jpeg(), foreign_pickle(FULL))
PACK = make_pack([entry("a.jpg"), entry("b.jpg", "anna")], [FACE_FILE, FACE_FILE])
META = foreign_pickle({"a.jpg": ((64, 64, 3), FULL), "b.jpg": ((64, 64, 3), FULL)})


def face_in(tmp: Path, data: bytes) -> object:
    """Read a face file."""
    (tmp / "x.jpg").write_bytes(data)
    return read_face(tmp / "x.jpg")


def payload_in(tmp: Path, data: bytes) -> object:
    """Read face data as if it stood in a file."""
    return face_in(tmp, jpeg.with_payload(plain_jpeg(), data[: jpeg.MAX_PAYLOAD]))


def pack_in(tmp: Path, data: bytes) -> object:
    """Read a pack in full."""
    (tmp / "faceset.pak").write_bytes(data)
    return [face for face, _ in open_pack(tmp / "faceset.pak")]


def config_in(tmp: Path, data: bytes) -> object:
    """Read a pack that has this config and no faces."""
    return pack_in(tmp, struct.pack("<QQ", 1, len(data)) + data + bytes(4096))


def meta_in(tmp: Path, data: bytes) -> object:
    """Read saved metadata."""
    (tmp / META_NAME).write_bytes(data)
    return list(read_meta(tmp / META_NAME))


Reader = Callable[[Path, bytes], object]
READERS: dict[str, tuple[Reader, bytes]] = {
    "face file": (face_in, FACE_FILE),
    "face data": (payload_in, foreign_pickle(FULL)),
    "face data, old protocol": (payload_in, foreign_pickle(FULL, 2)),
    "face data, new protocol": (payload_in, foreign_pickle(FULL, 5)),
    "pack": (pack_in, PACK),
    "config of a pack": (config_in, PACK[16 : 16 + struct.unpack_from("<Q", PACK, 8)[0]]),
    "metadata": (meta_in, META),
}
each_reader = pytest.mark.parametrize("kind", READERS)
PICKLE_READERS = [kind for kind in READERS if kind not in ("face file", "pack")]
JUNK = st.sampled_from([0, 1, 2, 0x28, 0x5D, 0x65, 0x7F, 0x80, 0x94, 0xD8, 0xD9, 0xDA, 0xEF, 0xFE, 0xFF])
HUGE = st.sampled_from([b"\xff" * 8, b"\xff\xff\xff\x7f", b"\0" * 8, struct.pack("<Q", 1 << 40), struct.pack(">H", 0)])


def survives(kind: str, tmp: Path, data: bytes) -> None:
    """The reader ends at once, with a result or with one clear error."""
    begun = time.monotonic()
    try:
        READERS[kind][0](tmp, data)
    except DamagedFileError as error:
        assert error.what.strip()
        assert len(error.what) < 400
        assert "\n" not in error.what
    assert time.monotonic() - begun < MAX_SECONDS


# -- any damage


@each_reader
def test_cut_off_anywhere(tmp_path: Path, kind: str) -> None:
    whole = READERS[kind][1]
    for length in itertools.chain(range(0, min(len(whole), 300), 3), range(300, len(whole), 173)):
        survives(kind, tmp_path, whole[:length])


@each_reader
@bounded
@given(data=st.data())
def test_flipped_bits(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    broken = bytearray(READERS[kind][1])
    for _ in range(data.draw(st.integers(1, 6))):
        broken[data.draw(st.integers(0, len(broken) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    survives(kind, tmp_path, bytes(broken))


@each_reader
@bounded
@given(data=st.data())
def test_other_bytes_and_huge_lengths(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    broken = bytearray(READERS[kind][1])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, min(len(broken) - 1, 600)))
        new = data.draw(HUGE | st.lists(JUNK, min_size=1, max_size=6).map(bytes) | st.binary(max_size=8))
        broken[at : at + data.draw(st.integers(0, 8))] = new
    survives(kind, tmp_path, bytes(broken))


OPCODES = [bytes((code,)) for code in range(256)]
PIECES = st.sampled_from(
    [
        *OPCODES,
        *(b"(", b"]\x94", b"}\x94", b"h\x00", b"h\x01", b"a", b"e", b"u", b"t", b"R", b"b", b"0", b"2") * 4,
        named("numpy", "dtype") + b"\x94",
        named("numpy.core.multiarray", "_reconstruct"),
        named("numpy.core.multiarray", "scalar"),
        named("numpy.core.numeric", "_frombuffer"),
        named("numpy", "ndarray"),
        named("_codecs", "encode"),
        named("core.imagelib.SegIEPolys", "SegIEPolyType"),
        text("f8"),
        text("landmarks"),
        b"C\x08" + bytes(8),
        b"K\x01",
        b"J\xff\xff\xff\x7f",
        b"\x85",
        b"\x87",
    ]
)


@pytest.mark.parametrize("kind", PICKLE_READERS)
@bounded
@given(pieces=st.lists(PIECES, max_size=40))
def test_any_instructions(tmp_path: Path, kind: str, pieces: list[bytes]) -> None:
    survives(kind, tmp_path, b"\x80\x04" + b"".join(pieces) + b".")


# -- data that is read but makes no sense

NUMBERS = st.sampled_from([0, 1, -1, 2**70, 1.5, 1e300, float("nan"), float("inf"), np.float32(2), np.uint8(7), True])
ARRAYS = st.sampled_from(
    [
        np.zeros((68, 2)),
        np.full((68, 2), np.nan),
        np.full((68, 2), 1e300),
        np.zeros((68, 2), np.complex64),
        np.full((2, 3), 1e-300),
        np.zeros((2, 3)),
        np.zeros(4, np.uint8),
        np.zeros((0, 2)),
        np.zeros((4, 0, 2)),
        np.float64(3),
    ]
)
VALUES = st.recursive(
    st.none() | NUMBERS | ARRAYS | st.text(max_size=8) | st.binary(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.sampled_from(["polys", "type", "pts", "a"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@bounded
@given(key=st.sampled_from([*FULL, OWN_KEY]), value=VALUES)
@pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning", "ignore::RuntimeWarning")
def test_any_value_of_any_key(tmp_path: Path, key: str, value: Any) -> None:
    """What is understood can be stored in the index, written again and read back."""
    try:
        face = face_of_dict({**FULL, key: value})
    except DamagedFileError:
        return
    json.dumps(face_index._face_to_json(face), allow_nan=False, ensure_ascii=False).encode("utf-8")
    safe_pickle.dumps(dict_of_face(face))


OWN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_subnormal=False)  # training in the same process may have switched subnormal numbers off
    | st.text(max_size=5)
    | st.sampled_from(["\ud800", "\0"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
OWN_KEYS = ["pose", "sharpness", "score", "track", "origin", "detector", "landmarker", "provenance", "version"]


@bounded
@given(own=st.dictionaries(st.sampled_from(OWN_KEYS), OWN, max_size=4))
def test_any_value_of_our_own_fields(tmp_path: Path, own: dict[str, Any]) -> None:
    try:
        face = face_of_dict({**FULL, OWN_KEY: json.dumps(own)})
    except DamagedFileError:
        return
    stored = json.dumps(face_index._face_to_json(face), allow_nan=False, ensure_ascii=False, indent=1)
    assert json.loads(stored.encode("utf-8"))


@pytest.mark.parametrize(
    "own",
    [
        '{"provenance": {"a": NaN}}',
        '{"provenance": {"a": "\\ud800"}}',
        '{"provenance": ' + '{"a":' * 300 + "1" + "}" * 301,
        '{"provenance": ' + "[" * 5000,
        '{"origin": "\\udfff"}',
        '{"track": ' + "9" * 4000 + "}",
    ],
)
def test_one_hostile_face_does_not_spoil_the_faceset(tmp_path: Path, own: str) -> None:
    fill(tmp_path / "aligned", 2)
    path = tmp_path / "aligned" / "x.jpg"
    path.write_bytes(with_face_data(plain_jpeg(), foreign_pickle({**FULL, OWN_KEY: own})))
    for _ in range(2):
        faceset = Faceset(tmp_path / "aligned", tmp_path / "trash")
        assert {"00001_0.jpg", "00002_0.jpg"} <= set(faceset.names())
    assert (tmp_path / "aligned" / face_index.INDEX_NAME).exists()


def test_names_that_are_no_text_are_left_out(tmp_path: Path) -> None:
    (name,) = fill(tmp_path / "aligned", 1)
    try:
        (tmp_path / "aligned" / os.fsdecode(b"\xff\xfe.jpg")).write_bytes(FACE_FILE)
    except OSError:
        pytest.skip("this file system holds no such name")
    path = tmp_path / "aligned" / "x.jpg"
    path.write_bytes(with_face_data(plain_jpeg(), foreign_pickle({**FULL, "source_filename": "\ud800.png"})))
    faceset = Faceset(tmp_path / "aligned", tmp_path / "trash")
    assert faceset.names() == [name, "x.jpg"]
    assert faceset.metadata("x.jpg").source_filename == "?.png"
    assert faceset.trash(["x.jpg"])


def test_foreign_data_with_sets_can_be_changed(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    odd = {"a": {1, 2}, "b": frozenset((3,)), "c": bytearray(b"x"), "d": (), "e": set()}
    path.write_bytes(with_face_data(plain_jpeg(), foreign_pickle({**FULL, "odd": odd}, 5)))
    face = read_face(path)
    write_face(path, type(face)(**{**vars(face), "sharpness": 1.0}))
    assert read_face(path).sharpness == 1.0
    assert layouts.strict_loads(layouts.face_data(path.read_bytes()))["odd"] == {**odd, "c": b"x"}


# -- bombs

N = 8_000
DTYPE = named("numpy", "dtype")
LAUGHS = b"]\x94" + b"(h\x00h\x00h\x00h\x00h\x00h\x00h\x00h\x00l\x94q\x00" * 60
BOMBS = {
    **{f"known: {name}": data for name, data in HOSTILE.items()},
    "lists": b"\x80\x04" + b"]" * 8 * N + b".",
    "sets": b"\x80\x04" + b"\x8f" * 4 * N + b".",
    "dictionaries in a list": b"\x80\x04](" + b"}" * 8 * N + b"e.",
    "lists in lists": b"\x80\x04](" + b"](]e" * N + b"e.",
    "memo": b"\x80\x04N" + b"\x94" * 8 * N + b".",
    "far memo": b"\x80\x04N" + b"".join(b"r" + struct.pack("<I", 7 * n + 9) for n in range(N)) + b".",
    "texts": b"\x80\x04(" + b"\x8c\x02ab\x94" * N + b"l.",
    "numbers": b"\x80\x04](" + b"M\xff\xff" * 2 * N + b"e.",
    "marks": b"\x80\x04" + b"(" * 8 * N + b".",
    "copies": b"\x80\x04]" + b"2" * 8 * N + b".",
    "tuples": b"\x80\x04N" + b"\x85" * 4 * N + b".",
    "small arrays": b"\x80\x04("
    + named("numpy.core.numeric", "_frombuffer")
    + b"\x940C\x00\x94"
    + DTYPE
    + text("u1")
    + b"\x85R\x940(K\x00t\x940("
    + b"h\x00(h\x01h\x02h\x03tR" * (N // 4)
    + b"l.",
    "arrays of a memo": b"\x80\x04B\x00\x00\x08\x00"
    + bytes(1 << 19)
    + b"\x940("
    + (named("numpy.core.numeric", "_frombuffer") + b"(h\x00" + DTYPE + text("u1") + b"\x85RJ\x00\x00\x08\x00\x85tR")
    * 999
    + b"l.",
    "texts as bytes": b"\x80\x04X\x00\x00\x08\x00"
    + b"a" * (1 << 19)
    + b"\x940("
    + (named("_codecs", "encode") + b"h\x00" + text("latin1") + b"\x86R") * 999
    + b"l.",
    "a name of laughs": b"\x80\x04" + LAUGHS + b"0" + DTYPE + b"h\x00\x85R.",
    "a type of depth": b"\x80\x04" + DTYPE + b"]" * 3000 + b"a" * 2999 + b"\x85R.",
    "laughs of numbers": b"\x80\x04"
    + b"(K\x01K\x01l\x94"
    + b"".join(b"(" + b"h" + bytes((n,)) + b"h" + bytes((n,)) + b"l\x94" for n in range(60))
    + b".",
    "laughs as landmarks": b"\x80\x04}"
    + text("landmarks")
    + b"(K\x01K\x01l\x94"
    + b"".join(b"(" + b"h" + bytes((n,)) + b"h" + bytes((n,)) + b"l\x94" for n in range(16))
    + b"s.",
    "recursive": b"\x80\x04}\x94" + text("landmarks") + b"h\x00s" + text("polys") + b"h\x00s.",
    "recursive list as a face": b"\x80\x04}" + text("seg_ie_polys") + b"]\x94(h\x00h\x00es.",
    "a frame of every byte": b"\x80\x05\x95" + b"\xff" * 8 + b".",
    "a long of 4 GB": b"\x80\x04\x8b\xff\xff\xff\x7f.",
    "decimals": b"(" + b"I" + b"9" * 79 + b"\n" + b"I" + b"9" * 80 + b"\nl.",
    "no line end": b"c" + b"a" * 60_000,
}


@pytest.mark.parametrize("kind", ["face data", "config of a pack", "metadata"])
@pytest.mark.parametrize("name", BOMBS)
def test_bombs_stay_small(tmp_path: Path, kind: str, name: str) -> None:
    begun = time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises(DamagedFileError):
            READERS[kind][0](tmp_path, BOMBS[name])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MAX_BYTES, f"{peak / 2**20:.0f} MiB"
    assert time.process_time() - begun < MAX_SECONDS


JPEG_BOMBS = {
    "fill bytes": b"\xff\xd8" + b"\xff" * (8 << 20),
    "segments": b"\xff\xd8" + b"\xff\xe0\x00\x02" * (1 << 20),
    "face data again and again": b"\xff\xd8" + jpeg.with_payload(plain_jpeg(), bytes(60_000))[2:61_000] * 300,
    "restart markers": b"\xff\xd8" + b"\xff\xd0" * (1 << 20),
    "start markers": b"\xff\xd8" * (1 << 20),
    "no end": plain_jpeg()[:-2] + bytes(1 << 20),
}


@pytest.mark.parametrize("data", JPEG_BOMBS.values(), ids=JPEG_BOMBS.keys())
def test_bombs_of_segments(tmp_path: Path, data: bytes) -> None:
    begun = time.process_time()
    with pytest.raises(DamagedFileError):
        face_in(tmp_path, data)
    assert time.process_time() - begun < MAX_SECONDS


def test_a_huge_file_is_not_taken_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    path.write_bytes(FACE_FILE)
    os.truncate(path, 3 << 30)
    tracemalloc.start()
    try:
        with pytest.raises(DamagedFileError, match=r"x\.jpg: it is far too large"):
            read_face(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    (tmp_path / META_NAME).write_bytes(META)
    os.truncate(tmp_path / META_NAME, 3 << 30)
    with pytest.raises(DamagedFileError, match="no saved"):
        list(read_meta(tmp_path / META_NAME))


def test_pack_of_equal_offsets_unfolds_to_no_more_than_it_holds(tmp_path: Path) -> None:
    """Offsets that jump back and forth would give the same bytes again and again."""
    big = plain_jpeg() + bytes(1 << 20)
    pack = make_pack([entry(f"{n}.jpg") for n in range(4)], [big, b"", b"", b""])
    table = 16 + struct.unpack_from("<Q", pack, 8)[0]
    jumping = struct.pack("<5Q", 0, len(big), 0, len(big), len(pack))
    with pytest.raises(DamagedFileError, match="makes no sense"):
        read_index_of(tmp_path, pack[:table] + jumping + pack[table + 40 :])


def read_index_of(tmp: Path, data: bytes) -> object:
    """What a pack holds."""
    (tmp / "a.pak").write_bytes(data)
    return read_index(tmp / "a.pak")


# -- nothing runs


class Object:
    """Pickles as an object with a state."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __setstate__(self, state: dict[str, Path]) -> None:
        state["target"].touch()


def test_nothing_in_any_file_is_run(tmp_path: Path) -> None:
    target = tmp_path / "made"
    calls: list[Any] = [
        Run(os.mkdir, str(target)),
        Run(os.system, f"touch {target}"),
        Run(exec, f"open({str(target)!r}, 'w')"),
        Run(np.save, str(target), np.zeros(1)),
        Run(getattr, os, "system"),
        Object(target),
        target,
    ]
    for call, protocol in itertools.product(calls, (2, 3, 4, 5)):
        hidden = pickle.dumps({"landmarks": call}, protocol) if call is not calls[4] else HOSTILE["getattr"]
        for kind in PICKLE_READERS:
            with pytest.raises(DamagedFileError):
                READERS[kind][0](tmp_path, hidden)
        faceset = Faceset(tmp_path / "aligned", tmp_path / "trash")
        faceset.folder.mkdir(exist_ok=True)
        (faceset.folder / "x.jpg").write_bytes(with_face_data(plain_jpeg(), hidden))
        assert faceset.names() == []
        (faceset.folder / META_NAME).write_bytes(hidden)
        with pytest.raises((DamagedFileError, BadInputError)):
            restore_meta(faceset.folder)
        assert not target.exists()
    pickle.loads(pickle.dumps({"landmarks": calls[0]}))
    assert target.exists()


CHILD = """
import resource, sys
from pathlib import Path
from backend.core.errors import DamagedFileError
from tests.storage.test_hostile_files import READERS
room = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize() + (256 << 20)
resource.setrlimit(resource.RLIMIT_AS, (room, room))
tmp = Path(sys.argv[1])
data = (tmp / 'bomb').read_bytes()
for kind in ('config of a pack', 'metadata'):
    try:
        READERS[kind][0](tmp, data)
    except DamagedFileError as error:
        assert 'MemoryError' not in error.what, (kind, error.what)
    else:
        raise SystemExit(f'{kind} was read')
print('refused')
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of address space is Linux's")
@pytest.mark.parametrize("instruction", [b"}", b"\x8f"], ids=["dictionaries", "sets"])
def test_a_process_with_256_mb_to_spare_refuses_what_would_need_more(tmp_path: Path, instruction: bytes) -> None:
    """Measured by the system and not by Python: all of them would take 340 MB, or 1.1 GB."""
    (tmp_path / "bomb").write_bytes(b"\x80\x04(" + instruction * 5_000_000 + b"l.")
    run = subprocess.run([sys.executable, "-c", CHILD, str(tmp_path)], capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "refused", run.stderr[-2000:]
