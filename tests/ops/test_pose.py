from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy.stats import spearmanr

from backend.core.faces import FaceType
from backend.ops.align import face_matrix, transform_points
from backend.ops.pose import LANDMARKS_3D, estimate_pose, head_rotation


def _project(yaw: float, size: int = 256) -> np.ndarray:
    """Landmarks of the generic head turned about the vertical axis, seen by the camera the estimate assumes."""
    rotation = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    camera = np.array([[size, 0, size / 2], [0, size, size / 2], [0, 0, 1]], dtype=np.float64)
    vector = cv2.Rodrigues(rotation)[0]
    return cv2.projectPoints(LANDMARKS_3D, vector, np.array([0.0, 0.0, 320.0]), camera, None)[0][:, 0]


@pytest.mark.parametrize("yaw", [-0.8, -0.2, 0.0, 0.3, 0.9])
def test_pose_of_a_turned_head(yaw):
    pitch, measured, roll = estimate_pose(_project(yaw), 256)
    assert measured == pytest.approx(yaw, abs=1e-3)
    assert pitch == pytest.approx(0, abs=1e-3)
    assert roll == pytest.approx(0, abs=1e-3)


def test_pose_does_not_depend_on_the_size_of_the_crop():
    assert np.allclose(estimate_pose(_project(0.4), 256), estimate_pose(_project(0.4) * 2, 512), atol=1e-4)


def test_pose_without_an_answer_is_zero():
    assert estimate_pose(np.full((68, 2), np.nan), 256) == (0.0, 0.0, 0.0)


def test_poses_order_faces_as_deepfacelab_does(golden):
    """Its own angles carry the error of its solver, so their order is compared; the averaged yaw has no such error."""
    data = np.load(golden / "dfl_alignment.npz")
    poses = np.array(
        [
            estimate_pose(transform_points(face, face_matrix(face, 256, FaceType.FULL)), 256)
            for face in data["landmarks"]
        ]
    )
    assert np.corrcoef(poses[:, 1], data["averaged_yaw_full256"])[0, 1] > 0.99
    for column, least in ((0, 0.85), (1, 0.97)):
        assert spearmanr(poses[:, column], data["pitch_yaw_roll_full256"][:, column]).statistic > least
    assert np.abs(poses[:, 2]).max() < 0.5


@pytest.mark.parametrize("degrees", [(0, 0, 0), (10, -25, 5), (-15, 40, -20), (0, 60, 0)])
def test_rotation_of_a_head_in_front_of_the_camera(degrees: tuple[int, int, int]) -> None:
    rotation = cv2.Rodrigues(np.radians(degrees))[0]
    placed = LANDMARKS_3D @ rotation.T + (0, 0, 400)
    points = placed[:, :2] / placed[:, 2:] * 256 + 128
    found = head_rotation(points, 256)
    assert found is not None
    assert np.allclose(found, rotation, atol=1e-4)


def test_points_without_any_extent_have_no_rotation() -> None:
    assert head_rotation(np.full((68, 2), np.nan), 256) is None
