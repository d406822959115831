"""Face data in a JPEG: DeepFaceLab's own is read in full, ours is what it expects, the picture never changes."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from backend.core.errors import BadInputError, DamagedFileError
from backend.core.faces import Face, FaceType
from backend.storage import jpeg, safe_pickle
from backend.storage.face_file import dict_of_face, face_of_dict, read_face, scaled, write_face, write_face_image
from backend.storage.image import encode_image, read_image
from tests.storage.faces import make_face, names_in, picture
from tests.storage.test_safe_pickle import Numpy1Unpickler, same


def stored_in(path: Path) -> dict[str, Any]:
    """The dictionary in a file."""
    return safe_pickle.loads(jpeg.read_payload(path.read_bytes()) or b"")


def put(path: Path, values: object) -> None:
    """Write a picture with any data."""
    path.write_bytes(jpeg.with_payload(encode_image(picture(), ".jpg"), safe_pickle.dumps(values)))


def equal(first: Face, second: Face) -> bool:
    """Same values in every field."""
    return same(dict_of_face(first), dict_of_face(second))


@pytest.fixture
def full(rng: np.random.Generator) -> Face:
    """A face with every field set."""
    return replace(
        make_face("00007.png"),
        seg_ie_polys=((1, rng.random((5, 2)).astype(np.float32)), (0, rng.random((3, 2)).astype(np.float32))),
        xseg_mask=np.frombuffer(encode_image(np.full((16, 16), 255, np.uint8), ".png"), np.uint8),
        eyebrows_expand_mod=1.5,
        pose_rad=(0.1, -0.2, 0.3),
        sharpness=12.5,
        detector="mtcnn",
        landmarker="facemesh",
        provenance={"project": "film"},
    )


def test_round_trip(tmp_path: Path, full: Face) -> None:
    write_face_image(tmp_path / "a.jpg", picture(), full, 90)
    assert equal(read_face(tmp_path / "a.jpg"), full)
    assert read_image(tmp_path / "a.jpg").shape == picture().shape
    assert names_in(tmp_path) == ["a.jpg"]


def test_types_are_those_deepfacelab_expects(tmp_path: Path, full: Face) -> None:
    write_face_image(tmp_path / "a.jpg", picture(), full)
    payload = jpeg.read_payload((tmp_path / "a.jpg").read_bytes()) or b""
    stored = Numpy1Unpickler(io.BytesIO(payload)).load()
    assert stored["face_type"] == "whole_face"
    for key in ("landmarks", "source_landmarks"):
        assert len(stored[key]) == 68
        assert all(type(point) is list and [type(v) for v in point] == [float, float] for point in stored[key])
    assert type(stored["source_rect"]) is np.ndarray
    assert stored["source_rect"].dtype == np.int64
    assert stored["image_to_face_mat"].dtype == np.float64
    assert stored["image_to_face_mat"].shape == (2, 3)
    assert [p["type"] for p in stored["seg_ie_polys"]["polys"]] == [1, 0]
    assert stored["seg_ie_polys"]["polys"][0]["pts"].dtype == np.float32
    assert cv2.imdecode(stored["xseg_mask"], cv2.IMREAD_GRAYSCALE).shape == (16, 16)
    assert stored["eyebrows_expand_mod"] == 1.5
    own = json.loads(stored["lookalike"])
    assert own["version"] == 2
    assert own["pose"] == [0.1, -0.2, 0.3]


def test_nothing_is_stored_for_what_is_not_there(tmp_path: Path) -> None:
    write_face_image(tmp_path / "a.jpg", picture(), make_face("a.png"))
    assert not {"seg_ie_polys", "xseg_mask", "lookalike"} & stored_in(tmp_path / "a.jpg").keys()


def test_only_the_data_changes(tmp_path: Path, full: Face) -> None:
    path = tmp_path / "a.jpg"
    put(
        path, {**dict_of_face(full), "unknown": [1, "x"], "lookalike": '{"version": 9, "later": 1, "detector": "s3fd"}'}
    )
    before = path.read_bytes()
    write_face(path, read_face(path))
    assert path.read_bytes() == before
    write_face(path, replace(read_face(path), sharpness=3.0, xseg_mask=None))
    stored = stored_in(path)
    assert stored["unknown"] == [1, "x"]
    assert "xseg_mask" not in stored
    assert json.loads(stored["lookalike"]) == {"version": 2, "later": 1, "detector": "s3fd", "sharpness": 3.0}
    assert jpeg.with_payload(path.read_bytes(), None) == jpeg.with_payload(before, None)


def test_data_replaces_what_cannot_be_read(tmp_path: Path, full: Face) -> None:
    path = tmp_path / "a.jpg"
    for payload in (None, b"cos\nsystem\n(S'true'\ntR.", safe_pickle.dumps({"landmarks": [1]})):
        path.write_bytes(jpeg.with_payload(encode_image(picture(), ".jpg"), payload))
        write_face(path, full)
        assert equal(read_face(path), full)


def test_too_much_data_is_refused_and_the_file_stays(tmp_path: Path, full: Face) -> None:
    path = tmp_path / "a.jpg"
    write_face_image(path, picture(), full)
    before = path.read_bytes()
    with pytest.raises(BadInputError, match=r"a\.jpg"):
        write_face(path, replace(full, seg_ie_polys=((1, np.zeros((9000, 2), np.float32)),)))
    assert path.read_bytes() == before


def test_old_forms_are_understood() -> None:
    face = make_face("00001.png")
    stored = dict_of_face(face)
    del stored["face_type"], stored["eyebrows_expand_mod"]
    old = {
        **stored,
        "landmarks": np.asarray(stored["landmarks"], np.float32),
        "source_rect": tuple(stored["source_rect"].tolist()),
        "image_to_face_mat": stored["image_to_face_mat"].tolist(),
        "source_filename": "C:\\films\\one\\00001.png",
        "seg_ie_polys": [(0, [[1, 2], [3, 4], [5, 6]]), (1, np.ones((4, 2)))],
        "xseg_mask": np.ones((9, 1), np.uint8),
        "ie_polys": "legacy",
        "pitch_yaw_roll": (1, 2, 3),
    }
    read = face_of_dict(old)
    assert read.face_type is FaceType.FULL
    assert read.eyebrows_expand_mod == 1.0
    assert read.source_filename == "00001.png"
    assert [kind for kind, _ in read.seg_ie_polys] == [1, 0]
    assert read.xseg_mask is not None
    assert read.xseg_mask.shape == (9,)
    assert np.allclose(read.landmarks, face.landmarks, atol=1e-3)
    assert np.array_equal(read.source_rect, face.source_rect)


def test_missing_frame_landmarks_come_from_the_matrix() -> None:
    face = make_face("a.png")
    stored = dict_of_face(face)
    del stored["source_landmarks"], stored["source_rect"]
    read = face_of_dict(stored)
    assert np.allclose(read.source_landmarks, face.source_landmarks)
    assert read.source_rect.shape == (4,)
    del stored["image_to_face_mat"]
    with pytest.raises(DamagedFileError, match="image_to_face_mat"):
        face_of_dict(stored)
    assert face_of_dict({**stored, "face_type": "mark_only"}).image_to_face_mat is None


@pytest.mark.parametrize(
    "change",
    [
        {"landmarks": np.zeros((5, 2))},
        {"landmarks": None},
        {"landmarks": [[float("nan"), 0.0]] * 68},
        {"landmarks": "text"},
        {"landmarks": [[1, 2]] * 67 + [[1]]},
        {"source_rect": [1, 2, 3]},
        {"source_rect": [1, 2, 3, 1e300]},
        {"image_to_face_mat": np.zeros((3, 3))},
        {"face_type": "nose"},
        {"face_type": ["x"]},
        {"eyebrows_expand_mod": "wide"},
        {"eyebrows_expand_mod": float("inf")},
        {"seg_ie_polys": {"polys": [{"type": 7, "pts": np.zeros((3, 2))}]}},
        {"seg_ie_polys": {"polys": [{"pts": np.zeros((3, 2))}]}},
        {"seg_ie_polys": {"polys": 3}},
        {"seg_ie_polys": 5},
        {"xseg_mask": np.zeros((2, 2), np.uint8)},
        {"xseg_mask": np.zeros(4, np.float32)},
        {"xseg_mask": 7},
        {"lookalike": '{"pose": [1, 2]}'},
        {"lookalike": '{"sharpness": "very"}'},
    ],
)
def test_nonsense_gives_one_clear_error(tmp_path: Path, change: dict[str, Any]) -> None:
    put(tmp_path / "bad.jpg", {**dict_of_face(make_face("a.png")), **change})
    with pytest.raises(DamagedFileError, match=r"bad\.jpg"):
        read_face(tmp_path / "bad.jpg")


def test_our_own_key_may_hold_anything() -> None:
    stored = dict_of_face(make_face("a.png"))
    for own in (5, "no json", "[1]", '{"provenance": 3}', "[" * 50_000):
        assert face_of_dict({**stored, "lookalike": own}).detector == ""


def test_what_is_no_face_file_says_so(tmp_path: Path) -> None:
    good = encode_image(picture(), ".jpg")
    face = jpeg.with_payload(good, safe_pickle.dumps(dict_of_face(make_face("a.png"))))
    start = face.index(b"\xff\xc0") + 5
    huge = face[:start] + (30_000).to_bytes(2, "big") * 2 + face[start + 4 :]
    for data, reason in (
        (good, "no face data"),
        (face[: len(face) - 40], "cut off"),
        (b"", "no JPEG"),
        (huge, "30000 x 30000 px"),
        (jpeg.with_payload(good, safe_pickle.dumps([1])), "no dictionary"),
        (jpeg.with_payload(good, b"cos\nsystem\n(S'true'\ntR."), "'os'.'system'"),
    ):
        (tmp_path / "x.jpg").write_bytes(data)
        with pytest.raises(DamagedFileError, match=f"^x.jpg: .*{reason}"):
            read_face(tmp_path / "x.jpg")


def test_scaling_fits_the_enlarged_picture(full: Face) -> None:
    twice = scaled(full, 2.0)
    assert twice.image_to_face_mat is not None
    points = np.hstack([twice.source_landmarks, np.ones((68, 1))]) @ twice.image_to_face_mat.T
    assert np.allclose(points, twice.landmarks)
    assert np.allclose(twice.seg_ie_polys[0][1], full.seg_ie_polys[0][1] * 2)


def golden_names() -> list[str]:
    """The twelve face files of the golden data."""
    address = [f"address_{n:05d}_0.jpg" for n in (1, 41, 81, 161, 241, 259)]
    return address + [f"painting_{n:05d}_0.jpg" for n in (1, 19, 37, 55, 73, 91)]


@pytest.mark.parametrize("name", golden_names())
def test_golden_faces_are_read_in_full(golden: Path, tmp_path: Path, name: str) -> None:
    path = golden / "dfl_faceset" / name
    face, stored = read_face(path), stored_in(path)
    assert face.face_type is FaceType.WHOLE
    assert face.source_filename == stored["source_filename"] == name.replace("_0.jpg", ".png")
    assert np.array_equal(face.landmarks, np.array(stored["landmarks"]))
    assert np.array_equal(face.source_landmarks, np.array(stored["source_landmarks"]))
    assert np.array_equal(face.source_rect, stored["source_rect"])
    mat = face.image_to_face_mat
    assert mat is not None
    assert np.array_equal(mat, stored["image_to_face_mat"])
    moved = np.hstack([face.source_landmarks, np.ones((68, 1))]) @ mat.T
    assert np.abs(moved - face.landmarks).max() < 1e-3
    assert face.eyebrows_expand_mod == 1.0
    assert read_image(path).shape == (192, 192, 3)
    handled = {"face_type", "source_filename", "landmarks", "source_landmarks", "source_rect", "image_to_face_mat"}
    assert stored.keys() - handled <= {"seg_ie_polys", "xseg_mask", "eyebrows_expand_mod"}
    copy = tmp_path / name
    copy.write_bytes(path.read_bytes())
    write_face(copy, face)
    assert copy.read_bytes() == path.read_bytes()
    write_face(copy, replace(face, detector="mtcnn"))
    assert same({k: v for k, v in stored_in(copy).items() if k != "lookalike"}, stored)
    assert np.array_equal(read_image(copy), read_image(path))


def test_golden_mask_and_polygons(golden: Path) -> None:
    masked = read_face(golden / "dfl_faceset" / "painting_00055_0.jpg").xseg_mask
    assert masked is not None
    mask = cv2.imdecode(masked, cv2.IMREAD_GRAYSCALE)
    assert mask.shape == (256, 256)
    assert 0.05 < (mask > 127).mean() < 0.95
    polygons = read_face(golden / "dfl_faceset" / "painting_00073_0.jpg").seg_ie_polys
    assert [kind for kind, _ in polygons] == [1, 0]
    assert all(points.shape[1] == 2 and points.min() > 0 and points.max() < 192 for _, points in polygons)
