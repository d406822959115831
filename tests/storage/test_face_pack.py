"""faceset.pak goes both ways: DeepFaceLab's is read whatever its form, ours is the same file it would write."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.core.errors import BadInputError, DamagedFileError
from backend.storage.face_file import read_face, write_face_image
from backend.storage.face_pack import BY_PACK, FaceToPack, PackedFace, pack_faceset, read_index, write_pack
from backend.storage.faceset import Faceset
from tests.storage import layouts
from tests.storage.faces import fill, make_face, picture
from tests.storage.layouts import FaceType, SampleType, SegIEPoly, SegIEPolys, make_pack, plain_jpeg, read_pack

FILES = [plain_jpeg(seed=n) + bytes(n) for n in range(3)]


def entry(name: str, person: str | None = None, **more: Any) -> dict[str, Any]:
    """Config of one face as DeepFaceLab writes it."""
    face = make_face("00001.png")
    return {
        "sample_type": SampleType.FACE,
        "filename": name,
        "face_type": FaceType.WHOLE_FACE,
        "shape": (64, 64, 3),
        "landmarks": face.landmarks.tolist(),
        "seg_ie_polys": {"polys": [{"type": 1, "pts": np.ones((3, 2), np.float32)}]},
        "xseg_mask": None,
        "xseg_mask_compressed": np.arange(40, dtype=np.uint8).reshape(-1, 1),
        "eyebrows_expand_mod": 1.0,
        "source_filename": "00001.png",
        "person_name": person,
        **more,
    }


ENTRIES = [entry(f"0000{n}_0.jpg") for n in range(3)]


@pytest.fixture
def faceset(tmp_path: Path) -> Faceset:
    """Five faces."""
    fill(tmp_path / "aligned", 5)
    return Faceset(tmp_path / "aligned", tmp_path / "trash")


def open_pack(path: Path) -> Iterator[tuple[PackedFace, bytes]]:
    """The faces of a pack, each with the bytes of its file."""
    with path.open("rb") as file:
        for face in read_index(path):
            file.seek(face.start)
            yield face, file.read(face.size)


def unpack(path: Path, faceset: Faceset) -> None:
    """Write the faces of a pack as loose files."""
    faceset.folder.mkdir(exist_ok=True)
    for face, data in open_pack(path):
        (faceset.folder / face.name).write_bytes(data)


# -- reading


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("absolute_end", [True, False])
@pytest.mark.parametrize("tail", [b"", b"more bytes"])
def test_every_form_is_read(tmp_path: Path, protocol: int, absolute_end: bool, tail: bytes) -> None:
    path = tmp_path / "a.pak"
    path.write_bytes(make_pack(ENTRIES, FILES, absolute_end, protocol) + tail)
    faces = list(open_pack(path))
    assert [face.name for face, _ in faces] == [e["filename"] for e in ENTRIES]
    assert {face.person for face, _ in faces} == {""}
    assert [data for _, data in faces[:2]] == FILES[:2]
    assert faces[2][1] == FILES[2] + (tail if absolute_end else b"")


ODD = {
    "older keys": entry("a.jpg", pitch_yaw_roll=(0.1, np.float32(0.2), 0.3)),
    "no polygons": entry("a.jpg", seg_ie_polys=None),
    "polygons as objects": entry("a.jpg", seg_ie_polys=SegIEPolys([SegIEPoly(1, [[1, 2], [3, 4]])])),
    "a mask": entry("a.jpg", xseg_mask_compressed=None, xseg_mask=np.zeros((4, 4, 1), np.float32)),
    "landmarks as array": entry("a.jpg", landmarks=np.ones((68, 2))),
    "the name alone": {"filename": "a.jpg"},
    "keys nobody knows": entry("a.jpg", later={"x": [1, {2}]}),
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD.keys())
def test_only_names_are_needed(tmp_path: Path, odd: dict[str, Any]) -> None:
    path = tmp_path / "a.pak"
    path.write_bytes(make_pack([entry("b.jpg"), odd], FILES[:2]))
    assert [face.name for face in read_index(path)] == ["b.jpg", "a.jpg"]


@pytest.mark.parametrize(
    ("stored", "name"),
    [
        ("..\\..\\evil.jpg", "evil.jpg"),
        ("/etc/evil.jpg", "evil.jpg"),
        ("C:evil.jpg", "evil.jpg"),
        ("a.JPG", "a.JPG"),
        (".hidden.jpg", "hidden.jpg"),
        ("a.png", "a.jpg"),
        ("", "00000.jpg"),
        (5, "00000.jpg"),
        ("..", "00000.jpg"),
        ("a\nb\ud800\0.jpg", "ab.jpg"),
        ("x" * 300 + ".jpg", "x" * 200 + ".jpg"),
    ],
)
def test_names_lead_nowhere_else(tmp_path: Path, stored: object, name: str) -> None:
    path = tmp_path / "a.pak"
    path.write_bytes(make_pack([entry("b.jpg", filename=stored)], FILES[:1]))
    assert [face.name for face in read_index(path)] == [name]


def head(version: int = 1, length: int = 0) -> bytes:
    """The first sixteen bytes."""
    return struct.pack("<QQ", version, length)


GOOD = make_pack(ENTRIES, FILES)
CONFIG_END = 16 + struct.unpack_from("<Q", GOOD, 8)[0]


def with_offset(number: int, value: int) -> bytes:
    """The good pack with one other offset."""
    at = CONFIG_END + 8 * number
    return GOOD[:at] + struct.pack("<Q", value) + GOOD[at + 8 :]


BROKEN = {
    "empty": b"",
    "short": GOOD[:15],
    "other version": head(2) + GOOD[16:],
    "no pack": plain_jpeg(),
    "config longer than the file": head(1, 1 << 63) + GOOD[16:],
    "config of no length": head(1, 0) + GOOD[16:],
    "config cut": head(1, 100) + GOOD[16:],
    "cut in the config": GOOD[: CONFIG_END - 5],
    "cut in the table": GOOD[: CONFIG_END + 9],
    "cut in the faces": GOOD[: CONFIG_END + 32 + 10],
    "offset behind the end": with_offset(1, 1 << 40),
    "huge offset": with_offset(2, (1 << 64) - 1),
    "offsets that go back": with_offset(1, len(FILES[0]) + len(FILES[1]) + 5),
    "end before the last": with_offset(3, 1),
    "config is no list": make_pack([], [])[:8] + struct.pack("<Q", 5) + b"\x80\x04}.." + bytes(8),
    "hostile config": head(1, 26) + b"cos\nsystem\n(S'touch x'\ntR." + bytes(64),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
def test_broken_packs_give_one_clear_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.pak").write_bytes(data)
    with pytest.raises(DamagedFileError):
        list(open_pack(tmp_path / "a.pak"))


def test_the_golden_pack_holds_the_golden_faces(golden: Path) -> None:
    faces = list(open_pack(golden / "faceset.pak"))
    assert len(faces) == 6
    for face, data in faces:
        assert data == (golden / "dfl_faceset" / face.name).read_bytes()


# -- writing


def test_packing_the_golden_faces_again_gives_the_same_file(golden: Path, tmp_path: Path) -> None:
    faceset = Faceset(tmp_path / "aligned", tmp_path / "trash")
    unpack(golden / "faceset.pak", faceset)
    assert len(faceset.names()) == 6
    assert faceset.pack_file is None
    assert pack_faceset(faceset, tmp_path / "a.pak") == faceset.names()
    assert (tmp_path / "a.pak").read_bytes() == (golden / "faceset.pak").read_bytes()


def test_masks_and_polygons_are_in_the_config(golden: Path, tmp_path: Path) -> None:
    """These two faces are not in the golden pack."""
    names = ["painting_00055_0.jpg", "painting_00073_0.jpg"]
    write_pack(tmp_path / "a.pak", [FaceToPack(golden / "dfl_faceset" / name, name) for name in names])
    (masked, _), (labelled, data) = read_pack((tmp_path / "a.pak").read_bytes())
    mask = read_face(golden / "dfl_faceset" / names[0]).xseg_mask
    assert mask is not None
    assert np.array_equal(masked["xseg_mask_compressed"], mask)
    assert masked["seg_ie_polys"] == {"polys": []}
    assert [p["type"] for p in labelled["seg_ie_polys"]["polys"]] == [1, 0]
    assert labelled["xseg_mask_compressed"] is None
    assert data == (golden / "dfl_faceset" / names[1]).read_bytes()


def test_ours_are_read_from_the_layout_alone(faceset: Faceset, tmp_path: Path) -> None:
    faceset.set_order(faceset.names()[::-1], "yaw")
    told: list[tuple[int, int]] = []
    names = pack_faceset(faceset, tmp_path / "a.pak", lambda done, total: told.append((done, total)))
    packed = read_pack((tmp_path / "a.pak").read_bytes())
    assert names == faceset.names()
    assert [e["filename"] for e, _ in packed] == faceset.names()
    for stored, data in packed:
        assert data == (faceset.folder / stored["filename"]).read_bytes()
        face = faceset.metadata(stored["filename"])
        assert stored["sample_type"] is SampleType.FACE
        assert stored["face_type"] is FaceType.WHOLE_FACE
        assert stored["shape"] == (64, 64, 3)
        assert stored["landmarks"] == face.landmarks.tolist()
        assert stored["source_filename"] == face.source_filename
        assert stored["person_name"] is None
        assert stored["xseg_mask"] is None
        assert stored["eyebrows_expand_mod"] == 1.0
    assert told == [(n, 5) for n in range(1, 6)]


def test_what_cannot_be_packed(faceset: Faceset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = Faceset(tmp_path / "none", tmp_path / "none_trash")
    with pytest.raises(BadInputError):
        pack_faceset(empty, tmp_path / "b.pak")
    plain = tmp_path / "plain.jpg"
    plain.write_bytes(plain_jpeg())
    with pytest.raises(DamagedFileError):
        write_pack(tmp_path / "a.pak", [FaceToPack(plain, "plain.jpg")])
    assert not (tmp_path / "a.pak").exists()

    def grow(done: int, total: int) -> None:
        write_face_image(faceset.folder / "00005_0.jpg", picture(96), make_face("x.png"))

    with pytest.raises(BadInputError, match=r"00005_0\.jpg changed"):
        pack_faceset(faceset, tmp_path / "b.pak", grow)
    assert not (tmp_path / "b.pak").exists()


def test_persons_of_a_pack(tmp_path: Path, faceset: Faceset) -> None:
    """Named persons go into a pack; numbers that this program gave do not, for DeepFaceLab makes folders of them."""
    path = tmp_path / "a.pak"
    path.write_bytes(make_pack([entry("1.jpg", "bea"), entry("1.jpg", "anna"), entry("2.jpg")], FILES))
    assert [(face.name, face.person) for face in read_index(path)] == [
        ("1.jpg", "bea"),
        ("1.jpg", "anna"),
        ("2.jpg", ""),
    ]
    persons = {"00001_0.jpg": 1, "00002_0.jpg": 0, "00003_0.jpg": 2}
    for method, expected in ((BY_PACK, ["bea", "anna", "2", None, None]), ("track", [None] * 5)):
        faceset.set_persons(persons, method, {0: "anna", 1: "bea"})
        pack_faceset(faceset, path)
        assert [e["person_name"] for e, _ in read_pack(path.read_bytes())] == expected


def test_memory_stays_small_however_large_the_pack(tmp_path: Path) -> None:
    """150 faces of 0.3 MB: neither the faces nor the config are ever held together."""
    path = tmp_path / "a.pak"
    config = layouts.foreign_pickle([entry(f"{n}.jpg", source_filename=f"{n}.png") for n in range(150)])
    size = 300_000
    start = 16 + len(config) + 8 * 151
    offsets = [size * n for n in range(150)] + [start + size * 150]
    with path.open("wb") as file:
        file.write(head(1, len(config)) + config + struct.pack("<151Q", *offsets))
        file.truncate(offsets[-1])
    tracemalloc.start()
    try:
        assert sum(len(data) for _, data in open_pack(path)) == 150 * size
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_500_000, f"{peak:,} bytes"


def test_of_a_config_only_the_names_are_kept(tmp_path: Path) -> None:
    """400 faces take half a megabyte; with their landmarks it would be four."""
    path = tmp_path / "a.pak"
    names = [f"{n}.jpg" for n in range(400)]
    path.write_bytes(make_pack([entry(name) for name in names], [b"x"] * 400))
    tracemalloc.start()
    try:
        assert [face.name for face in read_index(path)] == names
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000, f"{peak:,} bytes"
