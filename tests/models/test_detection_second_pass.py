from __future__ import annotations

import numpy as np
import pytest

from backend.core.faces import Detection, FaceType
from backend.models.detection.second_pass import SecondPass
from backend.ops.align import face_matrix, transform_points
from backend.ops.pose import LANDMARKS_3D

FRAME = np.zeros((300, 400, 3), np.uint8)
FOUND = Detection(np.array([100, 80, 220, 240], np.float32), 0.9)
BOX = Detection(np.array([60, 50, 190, 210], np.float32), 0.95)


def face_points() -> np.ndarray:
    """68 points of an upright face in the frame."""
    flat = LANDMARKS_3D[:, :2] - LANDMARKS_3D[:, :2].mean(axis=0)
    return (flat / np.ptp(flat[:, 0]) * 90 + (160, 160)).astype(np.float32)


class Placer:
    """Places the points of the frame; on the cut face, the same ones moved by what the box says."""

    name = "placer"

    def __init__(self) -> None:
        self.boxes: list[np.ndarray] = []

    def landmarks(self, frame, detection):
        if frame.shape == FRAME.shape:
            return face_points()
        assert frame.shape == (256, 256, 3)
        self.boxes.append(detection.box_xyxy)
        true = transform_points(face_points(), face_matrix(face_points(), 256, FaceType.FULL))
        return (true + 3 * (detection.box_xyxy[:2] - BOX.box_xyxy[:2]) + (6.0, -4.0)).astype(np.float32)


class Looker:
    name = "looker"

    def __init__(self, found) -> None:
        self._found = found

    def detect(self, frame):
        assert frame.shape == (256, 256, 3)
        return self._found


def test_five_looks_at_the_cut_face_are_averaged_and_mapped_back() -> None:
    placer = Placer()
    landmarker = SecondPass(placer, Looker([BOX]))
    assert landmarker.name == "placer"
    points = landmarker.landmarks(FRAME, FOUND)
    shifts = np.array(placer.boxes) - BOX.box_xyxy
    assert sorted(map(tuple, shifts[:, :2])) == [(-1, -1), (-1, 1), (0, 0), (1, -1), (1, 1)]
    np.testing.assert_array_equal(shifts[:, :2], shifts[:, 2:])
    matrix = face_matrix(face_points(), 256, FaceType.FULL)
    moved = transform_points(points, matrix) - transform_points(face_points(), matrix)
    np.testing.assert_allclose(moved, np.tile((6.0, -4.0), (68, 1)), atol=1e-2)


@pytest.mark.parametrize("found", [[], [BOX, BOX]])
def test_without_exactly_one_face_the_first_points_stay(found) -> None:
    points = SecondPass(Placer(), Looker(found)).landmarks(FRAME, FOUND)
    np.testing.assert_array_equal(points, face_points())


def test_points_that_span_no_face_stay() -> None:
    class Collapsed(Placer):
        def landmarks(self, frame, detection):
            return np.full((68, 2), 50, np.float32)

    assert (SecondPass(Collapsed(), Looker([BOX])).landmarks(FRAME, FOUND) == 50).all()
