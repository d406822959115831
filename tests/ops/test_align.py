from __future__ import annotations

import cv2
import numpy as np
import pytest

from backend.core.faces import FaceType
from backend.ops.align import (
    CANONICAL_2D,
    averaged_yaw,
    crop_corners,
    face_matrix,
    invert,
    transform_points,
    umeyama,
    warp_face,
)

CROPS = [kind for kind in FaceType if kind is not FaceType.MARK_ONLY]
GOLDEN_NAMES = {
    "half": FaceType.HALF,
    "mid_full": FaceType.MID_FULL,
    "full": FaceType.FULL,
    "full_no_align": FaceType.FULL_NO_ALIGN,
    "whole_face": FaceType.WHOLE,
    "head": FaceType.HEAD,
    "head_no_align": FaceType.HEAD_NO_ALIGN,
}


@pytest.mark.parametrize("angle", [-3.0, -0.4, 0.0, 1.0, 2.5])
def test_umeyama_recovers_a_similarity(angle, rng):
    src = rng.normal(size=(33, 2)) * 40
    linear = 1.7 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    expected = np.column_stack([linear, [30.0, -12.0]])
    assert np.allclose(umeyama(src, transform_points(src, expected)), expected, atol=1e-10)


def test_umeyama_never_reflects(rng):
    src = rng.normal(size=(20, 2))
    mat = umeyama(src, src * (-1.0, 1.0))
    assert np.linalg.det(mat[:, :2]) > 0


@pytest.mark.parametrize(
    ("src", "dst"),
    [
        (np.ones((5, 2)), np.zeros((5, 2))),
        (np.full((5, 2), np.nan), np.zeros((5, 2))),
        (np.eye(2), np.full((2, 2), np.inf)),
        (np.zeros((4, 2)), np.zeros((5, 2))),
    ],
)
def test_umeyama_refuses_what_has_no_answer(src, dst):
    with pytest.raises(ValueError):
        umeyama(src, dst)


def test_invert_round_trip(rng):
    mat = np.column_stack([rng.normal(size=(2, 2)) + np.eye(2) * 3, rng.normal(size=2) * 100])
    points = rng.normal(size=(50, 2)) * 500
    assert np.allclose(transform_points(transform_points(points, mat), invert(mat)), points, atol=1e-9)


def test_invert_refuses_a_flat_matrix():
    with pytest.raises(ValueError):
        invert(np.zeros((2, 3)))


@pytest.mark.parametrize("face_type", CROPS)
def test_crop_scales_with_size_and_follows_the_face(face_type, landmarks):
    small, large = face_matrix(landmarks, 128, face_type), face_matrix(landmarks, 256, face_type)
    assert np.allclose(large, small * 2)
    moved = face_matrix(landmarks * 2 + (10, -5), 128, face_type)
    assert np.allclose(transform_points(landmarks * 2 + (10, -5), moved), transform_points(landmarks, small), atol=1e-9)


def test_nested_types_show_more(landmarks):
    sides = []
    for face_type in (FaceType.HALF, FaceType.MID_FULL, FaceType.FULL, FaceType.WHOLE, FaceType.HEAD):
        corners = crop_corners(face_matrix(landmarks, 256, face_type), 256)
        sides.append(np.linalg.norm(corners[1] - corners[0]))
        assert np.isclose(sides[-1] / sides[0], 2 * (face_type.padding * np.sqrt(2) + 0.5))
    assert sides == sorted(sides)


def test_scale_enlarges_the_face_about_the_middle(landmarks):
    points = transform_points(landmarks, face_matrix(landmarks, 256, FaceType.WHOLE)) - 128
    larger = transform_points(landmarks, face_matrix(landmarks, 256, FaceType.WHOLE, 1.25)) - 128
    assert np.allclose(larger, points * 1.25, atol=1e-9)


@pytest.mark.parametrize("face_type", [FaceType.FULL_NO_ALIGN, FaceType.HEAD_NO_ALIGN])
def test_no_align_does_not_turn_the_image(face_type, landmarks):
    mat = face_matrix(landmarks, 256, face_type)
    assert np.allclose(mat[[0, 1], [1, 0]], 0, atol=1e-12)
    assert mat[0, 0] == pytest.approx(mat[1, 1])


def test_mark_only_and_bad_landmarks_are_refused(landmarks):
    with pytest.raises(ValueError):
        face_matrix(landmarks, 256, FaceType.MARK_ONLY)
    with pytest.raises(ValueError):
        face_matrix(landmarks[:5], 256, FaceType.FULL)
    with pytest.raises(ValueError):
        face_matrix(np.zeros((68, 2)), 256, FaceType.FULL)


def test_averaged_yaw_is_antisymmetric(landmarks):
    mirror = [*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29]
    mirrored = landmarks.copy()
    mirrored[:30] = landmarks[mirror] * (-1, 1)
    assert averaged_yaw(mirrored) == pytest.approx(-averaged_yaw(landmarks))


def test_warp_face_puts_landmarks_where_the_matrix_says(frame, landmarks):
    marked = np.zeros_like(frame)
    cv2.circle(marked, tuple(int(v) for v in landmarks[30]), 3, (255, 255, 255), -1)
    mat = face_matrix(landmarks, 256, FaceType.FULL)
    rows, columns = np.nonzero(warp_face(marked, mat, 256)[:, :, 0] > 128)
    expected = transform_points(np.trunc(landmarks[30:31]), mat)[0]
    assert np.allclose([columns.mean(), rows.mean()], expected, atol=0.5)


def test_canonical_table_is_complete_and_locked():
    assert CANONICAL_2D.shape == (51, 2)
    assert not CANONICAL_2D.flags.writeable


def test_matrices_agree_with_deepfacelab(golden):
    data = np.load(golden / "dfl_alignment.npz")
    corners = np.array([(0, 0), (256, 0), (256, 256), (0, 256), (128, 128)], dtype=float)
    for index, name in enumerate(data["types"]):
        for face, expected in zip(data["landmarks"], data["mat_256"][:, index], strict=True):
            mat = face_matrix(face, 256, GOLDEN_NAMES[str(name)])
            back = transform_points(transform_points(corners, invert(expected)), mat)
            assert np.abs(back - corners).max() < 1e-3, name
            assert np.abs(mat - expected).max() < 1e-3, name
    for face, expected in zip(data["landmarks"], data["mat_256_scale1.1_whole_face"], strict=True):
        assert np.abs(face_matrix(face, 256, FaceType.WHOLE, 1.1) - expected).max() < 1e-3


def test_averaged_yaw_agrees_with_deepfacelab(golden):
    data = np.load(golden / "dfl_alignment.npz")
    for face, expected in zip(data["landmarks"], data["averaged_yaw_full256"], strict=True):
        aligned = transform_points(face, face_matrix(face, 256, FaceType.FULL))
        assert averaged_yaw(aligned) == pytest.approx(expected, abs=1e-3)
