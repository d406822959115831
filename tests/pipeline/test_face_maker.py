from __future__ import annotations

from pathlib import Path

import numpy as np

from backend.core.faces import MANUAL, FaceType
from backend.ops.pose import LANDMARKS_3D
from backend.pipeline.face_maker import FaceMaker, FoundFace, crop_xys
from backend.storage.face_file import read_face
from backend.storage.image import read_image

POINTS = LANDMARKS_3D[:, :2] * 0.8 + (160, 130)
BOX = np.array([100.4, 80.6, 220, 210], np.float32)


def test_the_record_carries_what_was_found() -> None:
    found = FoundFace(BOX, POINTS, 0.75, 3, MANUAL, "mtcnn", "facemesh")
    face = FaceMaker(FaceType.WHOLE, 128, 90).face(found, "a_b.png")
    assert face is not None
    assert (face.source_filename, face.score, face.track, face.origin) == ("a_b.png", 0.75, 3, MANUAL)
    assert (face.detector, face.landmarker, face.face_type) == ("mtcnn", "facemesh", FaceType.WHOLE)
    assert face.source_rect.tolist() == [100, 81, 220, 210]
    assert max(abs(angle) for angle in face.pose_rad or ()) < 0.1


def test_the_rule_about_large_crops_spares_hand_made_faces_and_wide_types() -> None:
    tiny = np.array([150, 120, 170, 140], np.float32)
    full = FaceMaker(FaceType.FULL, 128, 90)
    assert full.face(FoundFace(tiny, POINTS), "a.png") is None
    assert full.face(FoundFace(tiny, POINTS, origin=MANUAL), "a.png") is not None
    assert full.face(FoundFace(BOX, POINTS), "a.png") is not None
    assert FaceMaker(FaceType.WHOLE, 128, 90).face(FoundFace(tiny, POINTS), "a.png") is not None


def test_points_that_make_no_crop_make_no_face() -> None:
    maker = FaceMaker(FaceType.FULL, 128, 90)
    assert maker.face(FoundFace(BOX, np.full((68, 2), 7.0)), "a.png") is None
    assert maker.face(FoundFace(BOX, np.full((68, 2), np.nan)), "a.png") is None


def test_written_faces_are_the_crop_with_its_data(tmp_path: Path) -> None:
    frame = np.random.default_rng(0).integers(0, 255, (16, 20, 3), np.uint8).repeat(16, axis=0).repeat(16, axis=1)
    maker = FaceMaker(FaceType.FULL, 96, 95)
    face = maker.face(FoundFace(BOX, POINTS, 0.9, 0), "a.png")
    assert face is not None
    maker.write(frame, face, tmp_path / "a_0.jpg")
    stored = read_face(tmp_path / "a_0.jpg")
    assert read_image(tmp_path / "a_0.jpg").shape == (96, 96, 3)
    assert (stored.track, stored.score) == (0, 0.9)
    assert stored.sharpness is not None
    assert stored.sharpness > 1


def test_crop_in_frame_pixels() -> None:
    matrix = np.array([[0.5, 0.0, -10.0], [0.0, 0.5, -20.0]])
    assert crop_xys(matrix, 100) == (120.0, 140.0, 200.0)
