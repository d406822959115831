from __future__ import annotations

import cv2
import numpy as np
import pytest

from backend.ops.face_finish import (
    bicubic_degrade,
    color_degrade,
    denoise,
    finish_crop,
    motion_blur,
    motion_length,
    needs_crop,
    sharpen,
)
from backend.ops.face_swap import STILL, MergeOptions, Motion

SIZE = 64
UPRIGHT = np.array([[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]])


@pytest.fixture
def texture(rng) -> np.ndarray:
    """(64, 64, 3) float32 0..1 with spots."""
    spots = rng.uniform(0.2, 0.8, (16, 16, 3)).astype(np.float32)
    return np.clip(cv2.resize(spots, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC), 0, 1)


@pytest.fixture
def dot() -> np.ndarray:
    """(64, 64, 3) float32, one white pixel in the middle."""
    image = np.zeros((SIZE, SIZE, 3), np.float32)
    image[32, 32] = 1.0
    return image


def _spread(image: np.ndarray) -> tuple[float, float]:
    """Deviation along x and y of a dot's light."""
    light = image[:, :, 0] / image[:, :, 0].sum()
    y, x = np.mgrid[:SIZE, :SIZE]
    return tuple(float(np.sqrt((light * (axis - (light * axis).sum()) ** 2).sum())) for axis in (x, y))


@pytest.mark.parametrize(
    ("options", "motion", "needed"),
    [
        ({}, Motion(50.0), False),
        ({"motion_blur": 50}, STILL, False),
        ({"motion_blur": 50}, Motion(1.0), False),
        ({"motion_blur": 50}, Motion(2.0), True),
        ({"sharpen_amount": 20}, STILL, False),
        ({"sharpen_amount": -20}, STILL, True),
        ({"sharpen_amount": 20, "sharpen_mode": "box"}, STILL, True),
        ({"denoise": 1}, STILL, True),
        ({"bicubic_degrade": 1}, STILL, True),
        ({"color_degrade": 100}, STILL, False),
    ],
)
def test_the_crop_is_made_only_when_something_changes_it(texture, options, motion, needed):
    settings = MergeOptions(**options)
    assert needs_crop(settings, motion) is needed
    changed = not np.array_equal(finish_crop(texture, settings, motion, UPRIGHT, False), texture)
    assert changed is needed


@pytest.mark.parametrize(("power", "way", "length"), [(50, 20.0, 11), (100, 200.0, 50), (10, 9.0, 0), (10, 10.0, 2)])
def test_length_of_the_motion_blur(power, way, length):
    assert motion_length(power, Motion(way)) == length


@pytest.mark.parametrize(("angle", "wide"), [(0.0, 0), (90.0, 1), (180.0, 0)])
def test_motion_blurs_along_its_direction(dot, angle, wide):
    spread = _spread(motion_blur(dot, 11, angle))
    assert spread[wide] == pytest.approx(np.sqrt((11**2 - 1) / 12), rel=0.05)
    assert spread[1 - wide] < 0.5


def test_counter_clockwise_is_up_on_the_right(dot):
    blurred = motion_blur(dot, 11, 45.0)[:, :, 0]
    assert blurred[29, 35] > 0.03
    assert blurred[35, 35] == 0


def test_motion_follows_the_face_when_the_crop_is_turned(dot):
    """A frame seen turned by a quarter: what moves right in the frame moves down or up in the crop."""
    turned = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]])
    blurred = finish_crop(dot, MergeOptions(motion_blur=100), Motion(10.0, 0.0), turned, False)
    across, along = _spread(blurred)
    assert along > 2
    assert across < 0.5


def test_motion_is_twice_as_long_in_an_enlarged_crop(dot):
    settings = MergeOptions(motion_blur=100)
    plain, large = (finish_crop(dot, settings, Motion(10.0), UPRIGHT, enlarged) for enlarged in (False, True))
    assert _spread(large)[0] == pytest.approx(2 * _spread(plain)[0], rel=0.1)


@pytest.mark.parametrize("mode", ["box", "gaussian"])
def test_sharpening_raises_detail_and_keeps_what_is_flat(texture, mode):
    sharp = sharpen(texture, mode, 3)
    assert sharp.std() > texture.std()
    assert sharp.mean() == pytest.approx(texture.mean(), abs=0.01)
    flat = np.full((16, 16, 3), 0.4, np.float32)
    assert np.allclose(sharpen(flat, mode, 50), flat, atol=1e-4)


def test_negative_amounts_blur_in_any_mode(texture):
    passes = texture
    for _ in range(3):
        passes = cv2.medianBlur(passes, 5)
    expected = 0.5 * passes + 0.5 * cv2.medianBlur(passes, 5)
    for mode in ("none", "box", "gaussian"):
        assert np.allclose(sharpen(texture, mode, -35), expected, atol=1e-6)


def test_denoising_takes_single_pixels_out(rng):
    flat = np.full((SIZE, SIZE, 3), 0.5, np.float32)
    noisy = np.clip(flat + rng.normal(0, 0.1, flat.shape), 0, 1).astype(np.float32)
    left = [np.abs(denoise(noisy, power) - flat).mean() for power in (0, 20, 100, 300)]
    assert left == sorted(left, reverse=True)
    assert left[2] < 0.3 * left[0]


def test_a_hundred_is_one_full_pass_and_nine_that_fade(texture):
    expected = cv2.medianBlur(texture, 5)
    for share in (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1):
        expected = (1 - share) * expected + share * cv2.medianBlur(expected.astype(np.float32), 5)
    assert np.allclose(denoise(texture, 100), expected, atol=1e-5)


@pytest.mark.parametrize("size", [1, 5, 64])
def test_bicubic_degrade_softens_and_keeps_the_shape(texture, size):
    image = texture[:size, :size]
    for power in (1, 50, 100):
        assert bicubic_degrade(image, power).shape == image.shape
    if size > 5:
        detail = [np.abs(np.diff(bicubic_degrade(image, power), axis=1)).mean() for power in (20, 70, 95)]
        assert detail == sorted(detail, reverse=True)


def test_colour_degrade_leaves_few_colours(rng):
    image = rng.uniform(0, 1, (SIZE, SIZE, 3)).astype(np.float32)
    few = color_degrade(image, 100)
    assert len(np.unique(few.reshape(-1, 3), axis=0)) <= 256
    assert np.abs(few - image).mean() < 0.1
    half = color_degrade(image, 50)
    assert np.allclose(half, 0.5 * (image + few), atol=1e-5)


def test_colour_degrade_keeps_the_order_of_the_channels():
    blue = np.zeros((8, 8, 3), np.float32)
    blue[:, :, 0] = 1.0
    assert np.allclose(color_degrade(blue, 100), blue, atol=1 / 255)
