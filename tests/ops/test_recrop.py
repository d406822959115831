from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest

from backend.core.faces import Face, FaceType
from backend.ops.align import face_matrix, invert, transform_points, warp_face
from backend.ops.recrop import (
    MAX_MASK_BYTES,
    compose,
    cut,
    decode_mask,
    encode_mask,
    frame_matrix,
    moved_face,
    moved_mask,
    moved_matrix,
    outside_share,
    shows_the_same,
)
from tests.drawn_faces import draw_face


@pytest.fixture
def drawn(rng: np.random.Generator) -> tuple[np.ndarray, Face]:
    frame, landmarks = draw_face(400, rng)
    matrix = face_matrix(landmarks, 192, FaceType.WHOLE)
    face = Face(
        source_filename="00001.png",
        source_rect=np.array([1, 2, 3, 4]),
        source_landmarks=landmarks,
        landmarks=transform_points(landmarks, matrix),
        image_to_face_mat=matrix,
        face_type=FaceType.WHOLE,
        seg_ie_polys=((1, np.float32([[20, 20], [150, 20], [90, 150]])),),
        pose_rad=(0.1, 0.2, 0.3),
    )
    return frame, face


def test_a_point_of_the_frame_is_followed_into_the_new_crop(drawn) -> None:
    _, face = drawn
    matrix = moved_matrix(face, 192, 100, FaceType.FULL)
    moved = moved_face(face, matrix, 192, 100, FaceType.FULL)
    expected = face_matrix(face.source_landmarks, 100, FaceType.FULL)
    assert moved.face_type is FaceType.FULL
    np.testing.assert_allclose(moved.image_to_face_mat, expected, atol=1e-9)
    np.testing.assert_allclose(moved.landmarks, transform_points(face.source_landmarks, expected), atol=1e-9)
    corner_in_frame = transform_points(face.seg_ie_polys[0][1], invert(face.image_to_face_mat))
    np.testing.assert_allclose(moved.seg_ie_polys[0][1], transform_points(corner_in_frame, expected), atol=1e-3)
    assert moved.source_landmarks is face.source_landmarks
    assert moved.source_rect is face.source_rect
    assert moved.pose_rad is not None
    assert moved.pose_rad != face.pose_rad


def test_another_size_keeps_type_pose_and_mask(drawn) -> None:
    _, face = drawn
    face = dataclasses.replace(face, xseg_mask=encode_mask(np.full((64, 64), 255, np.uint8)))
    moved = moved_face(face, moved_matrix(face, 192, 96, face.face_type), 192, 96, face.face_type)
    np.testing.assert_allclose(moved.landmarks, face.landmarks / 2)
    np.testing.assert_allclose(moved.image_to_face_mat, face.image_to_face_mat / 2)
    np.testing.assert_allclose(moved.seg_ie_polys[0][1], face.seg_ie_polys[0][1] / 2)
    assert moved.xseg_mask is face.xseg_mask
    assert moved.pose_rad == face.pose_rad


def test_an_old_file_without_matrix(drawn) -> None:
    _, face = drawn
    bare = dataclasses.replace(face, image_to_face_mat=None)
    np.testing.assert_allclose(frame_matrix(bare), face.image_to_face_mat, atol=1e-6)
    np.testing.assert_allclose(
        moved_matrix(bare, 192, 100, FaceType.FULL), moved_matrix(face, 192, 100, FaceType.FULL), atol=1e-6
    )


def test_a_crop_from_the_aligned_picture_equals_one_from_the_frame(drawn) -> None:
    frame, face = drawn
    aligned = cut(frame, face.image_to_face_mat, 192)
    matrix = moved_matrix(face, 192, 128, FaceType.FULL)
    from_aligned = cut(aligned, matrix, 128).astype(int)
    from_frame = cut(frame, compose(matrix, face.image_to_face_mat), 128).astype(int)
    assert np.abs(from_aligned - from_frame).mean() < 2.0


@pytest.mark.parametrize("finer", [2, 3, 4])
def test_shrinking_averages_and_does_not_shift(finer: int) -> None:
    size = 40
    wave = np.cos(np.arange(size * finer) * 0.08) * 100 + 128
    picture = np.tile(wave, (size * finer, 1)).astype(np.uint8)
    small = cut(picture, np.array([[1 / finer, 0, 0], [0, 1 / finer, 0]]), size)
    expected = np.cos(np.arange(size) * finer * 0.08) * 100 + 128
    np.testing.assert_allclose(small[size // 2, 2:-2], expected[2:-2], atol=3)
    checks = (np.indices((size * finer, size * finer)).sum(axis=0) % 2 * 255).astype(np.uint8)
    assert cut(checks, np.array([[1 / finer, 0, 0], [0, 1 / finer, 0]]), size)[5:-5, 5:-5].std() < 25


def test_growing_is_the_warp_of_extraction(drawn) -> None:
    frame, face = drawn
    matrix = face_matrix(face.source_landmarks, 512, FaceType.FULL)
    assert np.array_equal(cut(frame, matrix, 512), warp_face(frame, matrix, 512, cv2.INTER_LANCZOS4))


def test_mask_follows_the_picture() -> None:
    mask = np.zeros((100, 100), np.uint8)
    mask[40:60, 40:60] = 255
    nearer = np.array([[2.0, 0, -100], [0, 2.0, -100]])
    moved = decode_mask(moved_mask(encode_mask(mask), nearer, 200, 200))
    assert moved is not None
    assert moved.shape == (100, 100)
    assert set(np.unique(moved)) <= {0, 255}
    inside = np.argwhere(moved > 0)
    np.testing.assert_allclose(inside.min(axis=0), 30, atol=1)
    np.testing.assert_allclose(inside.max(axis=0), 69, atol=1)


def test_soft_masks_stay_soft_and_other_bytes_are_no_mask() -> None:
    soft = cv2.GaussianBlur(np.pad(np.full((30, 30), 255, np.uint8), 20), (0, 0), 5)
    moved = decode_mask(moved_mask(encode_mask(soft), np.array([[1.0, 0, 3], [0, 1.0, 0]]), 70, 70))
    assert len(np.unique(moved)) > 50
    assert moved_mask(np.arange(50, dtype=np.uint8), np.eye(2, 3), 70, 70) is None


def test_a_large_mask_becomes_a_jpeg(rng: np.random.Generator) -> None:
    noise = rng.integers(0, 256, (512, 512), dtype=np.uint8)
    encoded = encode_mask(noise)
    assert encoded.size <= MAX_MASK_BYTES
    assert bytes(encoded[:2]) == b"\xff\xd8"
    assert bytes(encode_mask(np.zeros((256, 256), np.uint8))[:4]) == b"\x89PNG"


def test_share_outside() -> None:
    assert outside_share(np.eye(2, 3), (100, 100), 100) == 0
    assert outside_share(np.array([[1.0, 0, 50], [0, 1.0, 0]]), (100, 100), 100) == pytest.approx(0.5)
    assert outside_share(np.array([[0.5, 0, 25], [0, 0.5, 25]]), (100, 100), 100) == pytest.approx(0.75)


def test_an_edited_picture_is_told_from_its_frame(drawn) -> None:
    frame, face = drawn
    aligned = cut(frame, face.image_to_face_mat, 192)
    compressed = cv2.imdecode(cv2.imencode(".jpg", aligned, [cv2.IMWRITE_JPEG_QUALITY, 75])[1], cv2.IMREAD_COLOR)
    assert shows_the_same(frame, compressed, face.image_to_face_mat)
    assert not shows_the_same(frame, 255 - aligned, face.image_to_face_mat)
    assert not shows_the_same(np.roll(frame, 30, axis=1), aligned, face.image_to_face_mat)
    warmer = np.clip(aligned.astype(int) + np.array([-25, 0, 25]), 0, 255).astype(np.uint8)
    assert not shows_the_same(frame, warmer, face.image_to_face_mat)
