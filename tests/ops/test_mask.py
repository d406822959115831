from __future__ import annotations

import cv2
import numpy as np
import pytest

from backend.core.faces import FaceType
from backend.ops.align import face_matrix, transform_points
from backend.ops.mask import erode_blur_mask, eyes_mask, eyes_mouth_mask, hull_mask, mouth_mask, polygons_mask


def test_hull_covers_the_face_and_nothing_else(landmarks):
    mask = hull_mask((320, 400), landmarks)
    assert mask.dtype == np.float32
    assert set(np.unique(mask)) == {0.0, 1.0}
    inner = landmarks[27:].astype(int)
    assert (mask[inner[:, 1], inner[:, 0]] == 1).all()
    assert mask[:20].sum() == mask[:, :60].sum() == 0


def test_brows_raise_the_hull(landmarks):
    tops = [np.nonzero(hull_mask((320, 400), landmarks, amount))[0].min() for amount in (0.0, 1.0, 2.0)]
    assert tops[0] > tops[1] > tops[2]


def test_hull_of_a_part_is_the_part_of_the_hull(landmarks):
    whole = hull_mask((320, 400), landmarks)
    assert np.array_equal(hull_mask((100, 120), landmarks, origin_xy=(130, 90)), whole[90:190, 130:250])


def test_eyes_and_mouth_sit_on_eyes_and_mouth(landmarks):
    eyes, mouth = eyes_mask((320, 400), landmarks), mouth_mask((320, 400), landmarks)
    for group, present, absent in (
        (range(36, 42), eyes, mouth),
        (range(42, 48), eyes, mouth),
        (range(60, 68), mouth, eyes),
    ):
        x, y = landmarks[list(group)].mean(axis=0).astype(int)
        assert present[y, x] > 0.9
        assert absent[y, x] == 0
    both = eyes_mouth_mask((320, 400), landmarks)
    assert both.max() <= 1
    assert np.allclose(both, np.minimum(eyes + mouth, 1))


def test_polygons_exclude_after_include():
    square = np.array([(10, 10), (40, 10), (40, 40), (10, 40)], dtype=np.float32)
    hole = np.array([(20, 20), (30, 20), (30, 30), (20, 30)], dtype=np.float32)
    mask = polygons_mask((50, 50), [(0, hole), (1, square)])
    assert mask[15, 15] == 1
    assert mask[25, 25] == 0
    assert mask[45, 45] == 0
    assert polygons_mask((50, 50), []).sum() == 0


def _disc(size: int, radius: int) -> np.ndarray:
    return cv2.circle(np.zeros((size, size), np.float32), (size // 2, size // 2), radius, 1.0, -1)


@pytest.mark.parametrize("erode", [-60, -10, 10, 41, 120])
def test_erosion_changes_the_radius_by_half(erode):
    area = erode_blur_mask(_disc(400, 100), erode, 0).sum()
    assert np.sqrt(area / np.pi) == pytest.approx(100 - erode / 2, abs=2.0)


@pytest.mark.parametrize(("erode", "blur"), [(0, 0), (10, 30), (-30, 15), (39, 0)])
def test_erode_blur_equals_the_plain_way(erode, blur):
    size = 200
    mask = cv2.GaussianBlur(_disc(size, 70), (9, 9), 0)
    padded = np.pad(mask, size)
    if erode:
        ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (abs(erode), abs(erode)))
        padded = (cv2.erode if erode > 0 else cv2.dilate)(padded, ellipse)
    rim = size + blur // 2
    inside = np.zeros_like(padded)
    inside[rim:-rim, rim:-rim] = padded[rim:-rim, rim:-rim]
    kernel = blur + 1 - blur % 2
    expected = cv2.GaussianBlur(inside, (kernel, kernel), 0) if blur else inside
    assert np.allclose(erode_blur_mask(mask, erode, blur), expected[size:-size, size:-size], atol=2e-5)


@pytest.mark.parametrize("blur", [60, 101, 201])
def test_wide_blurs_are_those_of_opencv_within_a_level(blur):
    mask = cv2.GaussianBlur(_disc(401, 90), (9, 9), 0)
    kernel = blur + 1 - blur % 2
    inside = np.zeros_like(mask)
    rim = blur // 2
    inside[rim:-rim, rim:-rim] = mask[rim:-rim, rim:-rim]
    difference = np.abs(erode_blur_mask(mask, 0, blur) - cv2.GaussianBlur(inside, (kernel, kernel), 0))
    assert difference.max() < 0.4 / 255
    assert difference.mean() < 0.02 / 255


@pytest.mark.parametrize("erode", [20, -20])
def test_values_beyond_the_range_do_not_wrap_around(erode):
    """Cubic enlarging leaves some below 0 and above 1."""
    mask = _disc(100, 30) * 1.04 - 0.02
    plain = erode_blur_mask(_disc(100, 30), erode, 0)
    assert np.allclose(erode_blur_mask(mask, erode, 0), plain, atol=0.05)


def test_a_full_mask_fades_to_zero_inside_the_square():
    soft = erode_blur_mask(np.ones((256, 256), np.float32), 0, 40)
    assert soft[0].max() < 0.01
    assert soft[128, 128] == pytest.approx(1)


def test_erosion_that_eats_everything():
    assert erode_blur_mask(_disc(100, 10), 400, 20).sum() == 0
    assert erode_blur_mask(np.zeros((64, 64), np.float32), -20, 20).sum() == 0


def test_masks_agree_with_deepfacelab(golden):
    data = np.load(golden / "dfl_alignment.npz")
    for index, face in enumerate(data["landmarks"]):
        aligned = transform_points(face, face_matrix(face, 256, FaceType.FULL))
        expected = np.unpackbits(data["hull_full256_packbits"][index]).reshape(256, 256)
        border = cv2.morphologyEx(expected, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
        wrong = hull_mask((256, 256), aligned) != expected
        assert not (wrong & ~border).any()
        assert wrong.mean() < 1e-3
        eyes, mouth = eyes_mask((256, 256), aligned)[::4, ::4], mouth_mask((256, 256), aligned)[::4, ::4]
        assert np.abs(eyes * 255 - data["eye_full256_every4th_u8"][index]).max() < 2
        assert np.abs(mouth * 255 - data["mouth_full256_every4th_u8"][index]).max() < 2
