from __future__ import annotations

import cv2
import numpy as np
import pytest

from backend.ops.color import COLOR_TRANSFERS, linear_covariance, reinhard_lab


@pytest.fixture
def pair(rng):
    """Two smooth pictures of unlike, not extreme colours."""
    face = cv2.resize(rng.random((8, 8, 3), dtype=np.float32), (96, 96)) * 0.4 + 0.2
    reference = cv2.resize(rng.random((8, 8, 3), dtype=np.float32), (96, 96)) * (0.2, 0.3, 0.25) + (0.45, 0.3, 0.4)
    return face, reference.astype(np.float32)


def test_rct_moves_lab_statistics_to_the_reference(pair):
    result = cv2.cvtColor(reinhard_lab(*pair), cv2.COLOR_BGR2LAB)
    reference = cv2.cvtColor(pair[1], cv2.COLOR_BGR2LAB)
    assert np.allclose(result.mean((0, 1)), reference.mean((0, 1)), atol=0.3)
    assert np.allclose(result.std((0, 1)), reference.std((0, 1)), atol=0.3)


def test_lct_moves_mean_and_covariance_to_the_reference(pair):
    result, reference = linear_covariance(*pair).reshape(-1, 3), pair[1].reshape(-1, 3)
    assert np.allclose(result.mean(0), reference.mean(0), atol=1e-3)
    assert np.allclose(np.cov(result.T), np.cov(reference.T), atol=1e-3)


@pytest.mark.parametrize("name", sorted(COLOR_TRANSFERS))
def test_same_colours_change_nothing_and_range_is_kept(name, pair):
    face, reference = pair
    mask = np.zeros((96, 96), np.float32)
    mask[20:70, 20:70] = 1
    assert np.allclose(COLOR_TRANSFERS[name](face, face, mask), face, atol=2e-3)
    result = COLOR_TRANSFERS[name](face, reference, mask)
    assert result.dtype == np.float32
    assert result.shape == face.shape
    assert 0 <= result.min() <= result.max() <= 1


@pytest.mark.parametrize("name", sorted(COLOR_TRANSFERS))
def test_gray_and_flat_faces_get_no_colour_noise(name, pair):
    gray = np.repeat(pair[0][:, :, :1], 3, axis=2)
    for face in (gray, np.full_like(gray, 0.5)):
        result = COLOR_TRANSFERS[name](face, pair[1], None)
        assert np.isfinite(result).all()
        lab = cv2.cvtColor(result, cv2.COLOR_BGR2LAB)
        assert lab[:, :, 1:].std((0, 1)).max() < 12
    tinted = cv2.cvtColor(reinhard_lab(gray, pair[1]), cv2.COLOR_BGR2LAB)
    assert tinted[:, :, 1:].std((0, 1)).max() < 1


def test_transfers_agree_with_deepfacelab(golden):
    data = np.load(golden / "dfl_color_transfer.npz")
    face, reference, mask = data["face"], data["reference"], data["mask"][:, :, 0]
    assert np.abs(reinhard_lab(face, reference) - data["rct"]).max() < 2e-3
    assert np.abs(reinhard_lab(face, reference, mask) - data["rct_masked"]).max() < 2e-3
    assert np.abs(linear_covariance(face, reference) - data["lct"]).max() < 2e-3
