"""Every form in which DeepFaceLab and its forks stored a face is read; what we write they can read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from backend.core.errors import DamagedFileError
from backend.core.faces import FaceType
from backend.storage import jpeg
from backend.storage.face_file import dict_of_face, read_face, write_face, write_face_image
from tests.storage import layouts
from tests.storage.faces import make_face, picture
from tests.storage.layouts import NUMPY_1, NUMPY_2, foreign_pickle, plain_jpeg, segment, with_face_data
from tests.storage.test_safe_pickle import same

FACE = make_face("00007.png", 3)
MASK = cv2.imencode(".png", np.full((16, 16), 255, np.uint8))[1]
POINTS = [[1.5, 2.0], [3.0, 4.0], [5.0, 1.0]]
assert FACE.image_to_face_mat is not None

FULL: dict[str, Any] = {
    "face_type": "whole_face",
    "landmarks": FACE.landmarks.tolist(),
    "source_filename": "00007.png",
    "source_rect": np.array([100, 100, 300, 300], np.int32),
    "source_landmarks": FACE.source_landmarks.tolist(),
    "image_to_face_mat": FACE.image_to_face_mat,
    "seg_ie_polys": {
        "polys": [{"type": 0, "pts": np.array(POINTS, np.float32)}, {"type": 1, "pts": np.array(POINTS, np.float32)}]
    },
    "xseg_mask": MASK,
    "eyebrows_expand_mod": 1.25,
}
"""What DeepFaceLab writes today, mask as OpenCV gives it."""

VARIANTS: dict[str, dict[str, Any]] = {
    "as written today": {},
    "landmarks as arrays": {"landmarks": FACE.landmarks, "source_landmarks": FACE.source_landmarks.astype(np.float32)},
    "landmarks as tuples": {"landmarks": tuple(map(tuple, FACE.landmarks.tolist()))},
    "landmarks as numbers of numpy": {"landmarks": [list(point) for point in FACE.landmarks]},
    "landmarks in columns": {"landmarks": np.asfortranarray(FACE.landmarks)},
    "rectangle as list": {"source_rect": [100, 100, 300, 300]},
    "rectangle as tuple": {"source_rect": (100, 100, 300, 300)},
    "rectangle of int64": {"source_rect": np.array([100, 100, 300, 300], np.int64)},
    "rectangle of numbers of numpy": {"source_rect": list(np.array([100, 100, 300, 300], np.int64))},
    "rectangle of floats": {"source_rect": np.array([100.2, 99.8, 300.0, 300.0])},
    "rectangle the wrong way round": {"source_rect": np.array([300, 100, 100, 300])},
    "matrix as list": {"image_to_face_mat": FACE.image_to_face_mat.tolist()},
    "matrix of big-endian numbers": {"image_to_face_mat": FACE.image_to_face_mat.astype(">f8")},
    "polygons as pairs": {"seg_ie_polys": [(0, POINTS), (1, np.array(POINTS))]},
    "polygons as lists": {"seg_ie_polys": [[0, POINTS], [1, POINTS]]},
    "polygons with their type as enum": {
        "seg_ie_polys": [(layouts.SegIEPolyType.EXCLUDE, POINTS), (layouts.SegIEPolyType.INCLUDE, POINTS)]
    },
    "polygons in a dictionary with their type as enum": {
        "seg_ie_polys": {
            "polys": [
                {"type": layouts.SegIEPolyType.INCLUDE, "pts": np.array(POINTS, np.float32)},
                {"type": layouts.SegIEPolyType.EXCLUDE, "pts": POINTS},
            ]
        }
    },
    "mask of one dimension": {"xseg_mask": MASK.reshape(-1)},
    "mask of one column": {"xseg_mask": MASK.reshape(-1, 1)},
    "mask as bytes": {"xseg_mask": MASK.tobytes()},
    "brows as number of numpy": {"eyebrows_expand_mod": np.float64(1.25)},
    "name with folders": {"source_filename": "D:\\workspace\\data_dst\\00007.png"},
    "name with folders of the other kind": {"source_filename": "/content/workspace/data_dst/00007.png"},
    "keys of older versions": {
        "ie_polys": [(0, POINTS)],
        "fanseg_mask": np.frombuffer(plain_jpeg(16), np.uint8),
        "relighted": True,
        "pitch_yaw_roll": (0.1, np.float32(-0.2), 0.0),
        "yaw_value": 0.1,
        "pitch_value": np.float64(0.2),
    },
    "keys without value": {"ie_polys": None, "fanseg_mask": None},
    "type in capitals": {"face_type": "WHOLE_FACE"},
    "a key nobody knows": {"later": {"a": [1, {2, 3}], "b": frozenset((4,))}},
}


def put(path: Path, stored: dict[str, Any], **form: Any) -> Path:
    """Write a face file."""
    path.write_bytes(with_face_data(plain_jpeg(), foreign_pickle(stored, **form)))
    return path


def check(path: Path) -> None:
    """The face is the one of FULL."""
    face = read_face(path)
    assert face.face_type is FaceType.WHOLE
    assert face.source_filename == "00007.png"
    assert np.allclose(face.landmarks, FACE.landmarks, atol=1e-12)
    assert np.allclose(face.source_landmarks, FACE.source_landmarks, atol=1e-4)
    assert sorted(face.source_rect.tolist()) == [100, 100, 300, 300]
    assert face.source_rect.dtype == np.int64
    assert face.image_to_face_mat is not None
    assert np.array_equal(face.image_to_face_mat, np.asarray(FACE.image_to_face_mat))
    assert [kind for kind, _ in face.seg_ie_polys] == [1, 0]
    assert all(np.array_equal(points, np.array(POINTS, np.float32)) for _, points in face.seg_ie_polys)
    assert face.xseg_mask is not None
    assert face.xseg_mask.tobytes() == MASK.tobytes()
    assert face.eyebrows_expand_mod == 1.25


@pytest.mark.parametrize("numpy", [NUMPY_1, NUMPY_2])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS.keys())
def test_every_form_is_read(tmp_path: Path, variant: dict[str, Any], protocol: int, numpy: str) -> None:
    if protocol < 4:
        variant = {key: value for key, value in variant.items() if key != "later"}
    check(put(tmp_path / "a.jpg", {**FULL, **variant}, protocol=protocol, numpy=numpy))


@pytest.mark.parametrize("numpy", [NUMPY_1, NUMPY_2])
def test_the_names_are_those_meant(numpy: str) -> None:
    """So that the test above cannot pass by reading what this Python writes anyway."""
    for protocol in (2, 3, 4, 5):
        data = foreign_pickle(FULL, protocol, numpy)
        assert numpy.encode() in data
        assert (NUMPY_2 if numpy == NUMPY_1 else NUMPY_1).encode() not in data
        assert data[1] == protocol
    assert b"_codecs" in foreign_pickle(FULL, 2)
    assert b"_frombuffer" in foreign_pickle(FULL, 5)


@pytest.mark.parametrize(
    "module", ["core.imagelib.SegIEPolys", "imagelib.SegIEPolys", "core.imagelib.IEPolys", "imagelib.IEPolys"]
)
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_types_of_polygons_are_found_in_every_module_they_were_in(tmp_path: Path, module: str, protocol: int) -> None:
    variant = VARIANTS["polygons with their type as enum"]
    path = put(tmp_path / "a.jpg", {**FULL, **variant}, protocol=protocol, polygons=module)
    assert module.encode() in path.read_bytes()
    check(path)


def test_a_face_of_the_first_version(tmp_path: Path) -> None:
    """No matrix, no brows, the type left out, a mask of the old kind."""
    old = {
        "landmarks": FULL["landmarks"],
        "source_filename": "00007.jpg",
        "source_rect": (1, 2, 3, 4),
        "source_landmarks": FULL["source_landmarks"],
        "fanseg_mask": VARIANTS["keys of older versions"]["fanseg_mask"],
        "ie_polys": {"polys": []},
    }
    face = read_face(put(tmp_path / "a.jpg", old, protocol=3))
    assert face.face_type is FaceType.FULL
    assert face.image_to_face_mat is None
    assert face.eyebrows_expand_mod == 1.0
    assert face.xseg_mask is None
    assert np.allclose(face.source_landmarks, FACE.source_landmarks)


def test_without_frame_landmarks_they_follow_from_the_matrix(tmp_path: Path) -> None:
    old = {k: v for k, v in FULL.items() if k not in ("source_landmarks", "source_rect")}
    face = read_face(put(tmp_path / "a.jpg", old))
    assert np.allclose(face.source_landmarks, FACE.source_landmarks)
    left, top, right, bottom = face.source_rect
    assert left <= face.source_landmarks[:, 0].min() <= face.source_landmarks[:, 0].max() <= right
    assert top <= face.source_landmarks[:, 1].min() <= face.source_landmarks[:, 1].max() <= bottom
    with pytest.raises(DamagedFileError, match=r"a\.jpg.*image_to_face_mat"):
        read_face(put(tmp_path / "a.jpg", {k: v for k, v in old.items() if k != "image_to_face_mat"}))


PLAIN = plain_jpeg()
BARE = PLAIN[:2] + PLAIN[layouts.app0_length(PLAIN) :]

FORMS = {
    "progressive": plain_jpeg(progressive=True),
    "restart markers": plain_jpeg(restart=2),
    "without APP0": BARE,
    "APP1 in place of APP0": BARE[:2] + segment(0xE1, b"Exif\0\0more") + BARE[2:],
    "Adobe and comment": PLAIN[:2] + segment(0xEE, b"Adobe\0d\0\0\0\0\0\1") + segment(0xFE, b"note") + PLAIN[2:],
    "fill bytes": PLAIN[:2] + b"\xff\xff\xff" + PLAIN[2:],
    "bytes behind the end": PLAIN + b"\x00\xff\xd8trailing\xff\xef",
}


@pytest.mark.parametrize("plain", FORMS.values(), ids=FORMS.keys())
def test_every_kind_of_jpeg_carries_a_face(tmp_path: Path, plain: bytes) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg.with_payload(plain, foreign_pickle(FULL)))
    check(path)
    before = cv2.imdecode(np.frombuffer(plain, np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR), before)
    assert jpeg.with_payload(path.read_bytes(), None) == plain


def test_the_forms_are_what_they_say() -> None:
    assert b"\xff\xc2" in FORMS["progressive"]
    assert b"\xff\xdd\x00\x04" in FORMS["restart markers"]
    assert b"JFIF" not in FORMS["without APP0"]
    assert FORMS["APP1 in place of APP0"][3] == 0xE1


# -- ours


def test_our_faces_are_read_from_the_layout_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    write_face_image(path, picture(), read_face(put(tmp_path / "b.jpg", FULL)))
    stored = layouts.strict_loads(layouts.face_data(path.read_bytes()))
    assert stored.keys() == FULL.keys()
    for key in ("face_type", "landmarks", "source_filename", "source_landmarks", "image_to_face_mat"):
        assert same(stored[key], FULL[key])
    assert same(stored["source_rect"], np.array([100, 100, 300, 300]))
    assert stored["xseg_mask"].dtype == np.uint8
    assert cv2.imdecode(stored["xseg_mask"], cv2.IMREAD_GRAYSCALE).shape == (16, 16)
    assert [(p["type"], p["pts"].tolist()) for p in stored["seg_ie_polys"]["polys"]] == [(1, POINTS), (0, POINTS)]
    assert stored["eyebrows_expand_mod"] == 1.25


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_foreign_data_we_change_stays_readable_there(tmp_path: Path, protocol: int) -> None:
    """Rewriting a face of another program, written with numpy 2, leaves data that numpy 1 reads, nothing lost."""
    legacy = VARIANTS["keys of older versions"]
    path = put(tmp_path / "a.jpg", {**FULL, **legacy}, protocol=protocol, numpy=NUMPY_2)
    face = read_face(path)
    before = path.read_bytes()
    write_face(path, face)
    assert path.read_bytes() == before
    changed = dict_of_face(face)["landmarks"]
    changed[0] = [1.0, 2.0]
    write_face(path, type(face)(**{**vars(face), "landmarks": np.array(changed)}))
    stored = layouts.strict_loads(layouts.face_data(path.read_bytes()))
    assert stored["landmarks"][0] == [1.0, 2.0]
    for key in FULL.keys() - {"landmarks"}:
        assert same(stored[key], FULL[key]), key
    for key, value in legacy.items():
        assert same(stored[key], value), key


def test_golden_faces_rewritten_keep_pixels_and_other_keys(golden: Path, tmp_path: Path) -> None:
    for source in sorted((golden / "dfl_faceset").glob("*.jpg")):
        path = tmp_path / source.name
        path.write_bytes(source.read_bytes())
        face = read_face(path)
        write_face(path, type(face)(**{**vars(face), "eyebrows_expand_mod": 1.75}))
        first = layouts.strict_loads(layouts.face_data(source.read_bytes()))
        second = layouts.strict_loads(layouts.face_data(path.read_bytes()))
        assert second.pop("eyebrows_expand_mod") == 1.75
        first.pop("eyebrows_expand_mod", None)
        assert same({k: second[k] for k in first}, first)
        assert second.keys() == first.keys()
        assert jpeg.with_payload(path.read_bytes(), None) == jpeg.with_payload(source.read_bytes(), None)
