from __future__ import annotations

import pickle
import zlib

import cv2
import numpy as np
import pytest

from backend.core.errors import BadInputError, DamagedFileError
from backend.core.faces import FaceType
from backend.storage import safe_pickle
from backend.storage.face_png import png_faces, read_png_face
from backend.storage.jpeg import MAX_PAYLOAD


def chunk(name: bytes, body: bytes) -> bytes:
    """A PNG chunk: length, name, body, checksum of name and body."""
    return len(body).to_bytes(4, "big") + name + body + zlib.crc32(name + body).to_bytes(4, "big")


def png(payload: bytes | None, size: int = 32) -> bytes:
    """A PNG with the payload in an fcWp chunk before the end chunk."""
    data = cv2.imencode(".png", np.full((size, size, 3), 90, np.uint8))[1].tobytes()
    return data if payload is None else data[:-12] + chunk(b"fcWp", payload) + data[-12:]


def dictionary(**more) -> dict:
    """What DeepFaceLab 1 stored: its keys, with None for what was not known."""
    rng = np.random.default_rng(1)
    return {
        "face_type": "full_face",
        "landmarks": rng.uniform(0, 32, (68, 2)).tolist(),
        "ie_polys": None,
        "source_filename": "clip_00012.png",
        "source_rect": [10, 20, 110, 120],
        "source_landmarks": rng.uniform(0, 400, (68, 2)),
        "image_to_face_mat": None,
        "fanseg_mask": None,
    } | more


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_the_dictionary_of_the_chunk(protocol: int) -> None:
    stored = dictionary()
    payload = pickle.dumps(stored, protocol)
    found = read_png_face(png(payload))
    assert found is not None
    face, carried = found
    assert carried == payload
    assert (face.source_filename, face.face_type) == ("clip_00012.png", FaceType.FULL)
    np.testing.assert_array_equal(face.landmarks, stored["landmarks"])
    np.testing.assert_array_equal(face.source_landmarks, stored["source_landmarks"])
    assert face.source_rect.tolist() == [10, 20, 110, 120]


def test_no_face_data() -> None:
    assert read_png_face(png(None)) is None


def test_old_masks_give_way_where_there_is_no_room() -> None:
    mask = np.random.default_rng(0).integers(0, 256, 64_000, dtype=np.uint8)
    found = read_png_face(png(pickle.dumps(dictionary(fanseg_mask=mask), 4)))
    assert found is not None
    assert len(found[1]) <= MAX_PAYLOAD
    left = safe_pickle.loads(found[1])
    assert "fanseg_mask" not in left
    assert left["source_filename"] == "clip_00012.png"
    with pytest.raises(BadInputError):
        read_png_face(png(pickle.dumps(dictionary(xseg_mask=mask, relighted=bytes(9_000)), 4)))


class Hostile:
    """Runs something when a plain unpickler reads it."""

    def __reduce__(self):
        return (print, ("ran",))


@pytest.mark.parametrize(
    "data",
    [
        b"no png",
        png(pickle.dumps([1, 2], 4)),
        png(pickle.dumps(dictionary(landmarks=[[1, 2]]), 4)),
        png(pickle.dumps(dictionary(extra=Hostile()), 4)),
        png(pickle.dumps(dictionary(), 4))[:-40],
        png(pickle.dumps(dictionary(), 4)).replace(b"clip_00012", b"clip_00013"),
    ],
    ids=["no png", "list", "landmarks", "hostile", "cut off", "checksum"],
)
def test_what_is_refused(data: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DamagedFileError):
        read_png_face(data)
    assert capsys.readouterr().out == ""


def test_listing(tmp_path) -> None:
    for name in ("b.PNG", "a.png", ".c.png", "d.jpg"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in png_faces(tmp_path)] == ["a.png", "b.PNG"]
    assert png_faces(tmp_path / "missing") == []
