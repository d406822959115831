from __future__ import annotations

import cv2
import numpy as np

from backend.ops.gray_face import color_back


def test_luma_is_the_prediction_and_colours_stay_in_range(rng):
    gray, crop = rng.random((64, 64, 1), dtype=np.float32), rng.random((64, 64, 3), dtype=np.float32)
    crop[:32] *= (0.1, 0.4, 1)
    result = color_back(gray, crop)
    assert result.shape == (64, 64, 3)
    assert result.dtype == np.float32
    assert 0 <= result.min() <= result.max() <= 1
    assert np.abs(cv2.cvtColor(result, cv2.COLOR_BGR2GRAY) - gray[..., 0]).max() < 1e-5


def test_hue_and_saturation_are_the_crops():
    skin = np.full((32, 32, 3), (0.35, 0.45, 0.6), np.float32)
    luma = cv2.cvtColor(skin, cv2.COLOR_BGR2GRAY)[..., None]
    for light in (0.3, 1.0, 1.4):
        assert np.abs(color_back(luma * light, skin) - skin * light).max() < 1e-5


def test_dark_brows_of_the_crop_do_not_shine_through(rng):
    """They are nearly gray; skin above them in the gray face is as coloured as the rest."""
    skin = np.full((96, 96, 3), (0.35, 0.45, 0.6), np.float32)
    browed = skin.copy()
    browed[30:34, 20:44] = (0.1, 0.1, 0.11)
    luma = cv2.cvtColor(skin, cv2.COLOR_BGR2GRAY)[..., None]
    assert np.abs(color_back(luma, browed) - skin).max() < 0.03


def test_what_leaves_the_range_gets_paler_but_keeps_its_hue():
    crop = np.full((4, 4, 3), (0.1, 0.2, 0.9), np.float32)
    result = color_back(np.full((4, 4, 1), 0.9, np.float32), crop)[0, 0]
    assert result.max() > 0.999
    assert result[2] > result[1] > result[0]
    before, after = crop[0, 0] - crop[0, 0, 0], result - result[0]
    assert np.allclose(after / after[2], before / before[2], atol=1e-4)


def test_gray_crops_and_black_and_white_give_gray(rng):
    gray = np.array([0, 0.3, 1], np.float32).reshape(1, 3, 1)
    assert np.allclose(color_back(gray, np.full((1, 3, 3), 0.5, np.float32)), gray, atol=1e-5)
    ends = color_back(gray[:, ::2], rng.random((1, 2, 3), dtype=np.float32))
    assert np.allclose(ends[0], [[0] * 3, [1] * 3], atol=1e-5)
