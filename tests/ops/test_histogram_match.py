from __future__ import annotations

import numpy as np
import pytest

from backend.ops.histogram_match import match_histograms


@pytest.mark.parametrize("threshold", [255, 238, 128])
def test_agrees_with_deepfacelab(golden, threshold):
    data = np.load(golden / "dfl_color_transfer.npz")
    result = match_histograms(data["face"], data["reference"], None, threshold)
    assert result.dtype == np.float32
    assert np.abs(result - data[f"hist_match_{threshold}"]).max() < 2e-3


def test_levels_take_the_places_of_the_references(rng):
    face = rng.random((20, 20, 3), dtype=np.float32)
    reference = (face[::-1] ** 2 * 0.5 + 0.1).astype(np.float32)
    assert np.allclose(match_histograms(face, reference), face**2 * 0.5 + 0.1, atol=1e-6)


def test_lower_threshold_keeps_the_brightest_levels_back(rng):
    face, reference = rng.random((2, 30, 30, 1), dtype=np.float32)
    full, held = (match_histograms(face, reference, None, threshold) for threshold in (255, 128))
    assert full.max() == reference.max()
    assert held.max() == pytest.approx(np.median(reference), abs=0.01)
    assert match_histograms(face, reference, None, 0).max() == reference.min()


def test_outside_the_mask_all_is_white(rng):
    face, reference = rng.random((2, 24, 24, 3), dtype=np.float32) * 0.8
    mask = np.zeros((24, 24), np.float32)
    mask[6:18, 6:18] = 1
    result = match_histograms(face, reference, mask)
    assert (result[mask == 0] == 1).all()
    other = face.copy()
    other[mask == 0] = 0
    assert np.array_equal(match_histograms(other, reference, mask), result)
    assert np.allclose(np.sort(result[mask > 0], axis=0), np.sort(reference[mask > 0], axis=0), atol=1e-6)


def test_gray_stays_one_channel(rng):
    gray, reference = rng.random((2, 9, 9, 1), dtype=np.float32)
    assert match_histograms(gray, reference, np.ones((9, 9), np.float32), 200).shape == (9, 9, 1)
