from __future__ import annotations

from typing import get_args

import cv2
import numpy as np
import pytest

from backend.core.faces import FaceType
from backend.core.settings.merge import MergeLook
from backend.ops.composite import face_target
from backend.ops.face_swap import FaceSwap, MergeOptions, SwapPrediction
from backend.ops.merge_mask import MASK_SOURCES, MASK_WORK_SCALE, hull_in_crop, work_mask

SIZE = 64


def _bar(left: int, right: int, size: int = SIZE) -> np.ndarray:
    """A bar over the whole height, in pixels of a 64 px crop."""
    mask = np.zeros((SIZE, SIZE), np.float32)
    mask[:, left:right] = 1.0
    return cv2.resize(mask, (size, size), interpolation=cv2.INTER_NEAREST)


@pytest.fixture
def swap(frame, landmarks) -> FaceSwap:
    """A face whose four masks are bars that overlap."""
    target = face_target(frame, landmarks, FaceType.WHOLE, SIZE)
    seen = (_bar(24, 56, 256), _bar(4, 32, 256))
    return FaceSwap(target, SwapPrediction(target.crop, _bar(8, 40), _bar(16, 48), *seen))


def test_every_mode_of_the_settings_has_a_source():
    assert set(MASK_SOURCES) == set(get_args(MergeLook.model_fields["mask_mode"].annotation))


def test_the_hull_drawn_in_the_crop_is_that_of_the_frame(frame, swap):
    drawn, warped = hull_in_crop(swap.target), MASK_SOURCES["dst"](frame, swap)
    assert drawn.shape == warped.shape
    assert 0.1 < drawn.mean() < 0.6
    overlap = np.minimum(drawn, warped).sum() / np.maximum(drawn, warped).sum()
    assert overlap > 0.93


@pytest.mark.parametrize(
    ("mode", "left", "right"),
    [
        ("full", 0, 64),
        ("learned-prd", 8, 40),
        ("learned-dst", 16, 48),
        ("learned-prd*learned-dst", 16, 40),
        ("learned-prd+learned-dst", 8, 48),
        ("xseg-prd", 24, 56),
        ("xseg-dst", 4, 32),
        ("xseg-prd*xseg-dst", 24, 32),
        ("learned*xseg", 24, 32),
    ],
)
def test_masks_combine(frame, swap, mode, left, right):
    work = work_mask(frame, swap, MergeOptions(mask_mode=mode), raw=True)
    assert work.shape == (MASK_WORK_SCALE * SIZE,) * 2
    inside = np.flatnonzero(work[128] > 0.5) / MASK_WORK_SCALE
    assert inside.min() == pytest.approx(left, abs=0.6)
    assert inside.max() == pytest.approx(right, abs=0.6)
    assert work.min() >= 0
    assert work.max() <= 1


@pytest.mark.parametrize("mode", [mode for mode in MASK_SOURCES if "xseg" in mode])
def test_a_missing_segmentation_is_said(frame, swap, mode):
    without = FaceSwap(swap.target, SwapPrediction(swap.target.crop, _bar(8, 40), _bar(8, 40)))
    with pytest.raises(ValueError, match="segmentation"):
        work_mask(frame, without, MergeOptions(mask_mode=mode))


def test_the_hull_is_that_of_the_landmarks(frame, swap, landmarks):
    work = work_mask(frame, swap, MergeOptions(mask_mode="dst"), raw=True)
    places = (landmarks @ swap.target.mat[:, :2].T + swap.target.mat[:, 2]) * MASK_WORK_SCALE
    inside = cv2.boundingRect((work > 0.5).astype(np.uint8))
    assert inside[0] == pytest.approx(places[:, 0].min(), abs=MASK_WORK_SCALE)
    assert inside[1] + inside[3] == pytest.approx(places[:, 1].max(), abs=MASK_WORK_SCALE)


def test_erosion_and_blur_are_left_out_of_raw_masks(frame, swap):
    options = MergeOptions(mask_mode="learned-prd", erode_mask=40, blur_mask=0)
    eroded, raw = (work_mask(frame, swap, options, raw) for raw in (False, True))
    assert eroded.sum() < 0.8 * raw.sum()
    assert np.array_equal(raw, work_mask(frame, swap, MergeOptions(mask_mode="learned-prd"), raw=True))
