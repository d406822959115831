from __future__ import annotations

import cv2
import numpy as np
import pytest

from backend.ops.frame_box import Box, as_dtype, as_float, blend, crop_box, to_box

FRAME = np.zeros((100, 200, 3), np.uint8)
TURNED = np.array([[0.4, 0.3, -20.0], [-0.3, 0.4, 30.0]])


def test_rectangles_are_cut_at_the_frame():
    assert Box.around([(10.2, 20.8), (30.0, 40.5)], 2, FRAME.shape) == (8, 18, 33, 44)
    assert Box.around([(-50, -50), (500, 500)], 0, FRAME.shape) == (0, 0, 200, 100)
    assert Box.around([(300, 10), (310, 20)], 1, FRAME.shape).empty
    assert not Box(3, 3, 4, 4).empty


def test_joined_and_inside():
    outer = Box(5, 8, 20, 30).joined(Box(10, 2, 40, 12))
    assert outer == (5, 2, 40, 30)
    assert Box(10, 8, 20, 30).inside(outer) == (5, 6, 15, 28)


def test_a_crop_lands_where_a_warp_of_the_whole_frame_puts_it(rng):
    crop = rng.uniform(0, 1, (48, 48, 3)).astype(np.float32)
    whole = cv2.warpAffine(crop, TURNED, (200, 100), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)
    box = crop_box((0, 0), (48, 48), TURNED, FRAME)
    outside = whole.copy()
    box.of(outside)[:] = 0
    assert np.abs(outside).max() == 0
    assert np.abs(to_box(crop, TURNED, box) - box.of(whole)).mean() < 2e-3


def test_the_edge_of_a_crop_goes_on_where_asked():
    crop = np.full((48, 48), 0.7, np.float32)
    box = Box(0, 0, 200, 100)
    assert np.allclose(to_box(crop, TURNED, box, edge_goes_on=True), 0.7, atol=1e-5)
    assert to_box(crop, TURNED, box).min() == pytest.approx(0, abs=0.2)


def test_blending_leaves_what_is_not_covered_and_cuts_the_range(rng):
    under = rng.uniform(0, 1, (8, 8, 3)).astype(np.float32)
    over = rng.uniform(-3, 3, (8, 8, 3)).astype(np.float32)
    mask = np.zeros((8, 8), np.float32)
    mask[4:], mask[6:] = 0.25, 1.0
    mixed = blend(under, over, mask)
    assert np.array_equal(mixed[:4], under[:4])
    assert np.allclose(mixed, np.clip(under + (over - under) * mask[:, :, None], 0, 1), atol=1e-6)
    assert mixed.max() <= 1


def test_bytes_there_and_back():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(as_dtype(as_float(levels), levels.dtype), levels)
