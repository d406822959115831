from __future__ import annotations

import cv2
import numpy as np
import pytest

from backend.core.faces import FaceType
from backend.ops import seamless
from backend.ops.align import face_matrix, transform_points
from backend.ops.composite import composite_frame
from backend.ops.face_swap import FaceSwap, MergeOptions, Motion, SwapPrediction
from backend.ops.merge_mask import MASK_SOURCES
from tests.ops.swaps import SIZE, colored, disc, identity, merge, swap_of


@pytest.mark.parametrize("mode", ["overlay", "seamless"])
@pytest.mark.parametrize("transfer", ["none", "rct", "lct"])
def test_identity_prediction_gives_nearly_the_frame(frame, landmarks, mode, transfer):
    merged = merge(frame, landmarks, identity, mode=mode, color_transfer=transfer)
    assert merged.outcomes == ("merged",)
    assert merged.frame_bgr.dtype == np.uint8
    inside = merged.mask > 0
    difference = np.abs(merged.frame_bgr.astype(float) - frame)
    assert inside.sum() > 1000
    assert difference[inside].mean() < 4
    assert difference[~inside].max() == 0


@pytest.mark.parametrize("mask_mode", sorted(MASK_SOURCES))
def test_every_mask_replaces_the_middle_of_the_face(frame, landmarks, mask_mode):
    merged = merge(frame, landmarks, colored(0.0), mask_mode=mask_mode)
    x, y = landmarks[30].astype(int)
    assert merged.mask[y, x] == pytest.approx(1, abs=0.01)
    assert merged.frame_bgr[y, x].max() <= 2
    assert merged.mask.min() >= 0
    assert merged.mask.max() <= 1
    assert merged.mask[0, 0] == 0


def test_float_and_byte_frames_give_the_same(frame, landmarks):
    options = {"color_transfer": "rct", "erode_mask": 10}
    as_bytes = merge(frame, landmarks, identity, **options)
    as_float = merge(frame.astype(np.float32) / 255, landmarks, identity, **options)
    assert as_float.frame_bgr.dtype == np.float32
    assert np.abs(as_float.frame_bgr * 255 - as_bytes.frame_bgr).max() < 2.5
    assert np.allclose(as_float.mask, as_bytes.mask)


def test_input_frame_is_not_changed(frame, landmarks):
    before = frame.copy()
    merge(frame, landmarks, colored(1.0))
    assert np.array_equal(frame, before)


def test_erode_and_scale_change_the_replaced_area(frame, landmarks):
    area = {
        name: float(merge(frame, landmarks, identity, **options).mask.sum())
        for name, options in {
            "plain": {},
            "eroded": {"erode_mask": 40},
            "grown": {"erode_mask": -40},
            "positive": {"face_scale": 20},
            "negative": {"face_scale": -20},
        }.items()
    }
    assert area["eroded"] < area["plain"] < area["grown"]
    assert area["positive"] / area["plain"] == pytest.approx(1.2**-2, rel=0.05)
    assert area["negative"] / area["plain"] == pytest.approx(0.8**-2, rel=0.05)


@pytest.mark.parametrize("mode", ["overlay", "seamless"])
@pytest.mark.parametrize("radius", [0, 1])
def test_an_empty_or_tiny_mask_leaves_the_frame(frame, landmarks, mode, radius):
    predict = colored(0.0, radius=1) if radius else lambda crop: SwapPrediction(crop, disc() * 0, disc() * 0)
    merged = merge(frame, landmarks, predict, mode=mode, erode_mask=30)
    assert merged.outcomes == ("empty_mask",)
    assert np.array_equal(merged.frame_bgr, frame)
    assert merged.mask.max() == 0


def test_seamless_failure_gives_overlay_and_says_so(frame, landmarks, monkeypatch):
    def refuse(*_args):
        raise cv2.error("refused")

    overlay = merge(frame, landmarks, colored(0.3), mode="overlay", color_transfer="rct")
    monkeypatch.setattr(seamless.cv2, "seamlessClone", refuse)
    merged = merge(frame, landmarks, colored(0.3), mode="seamless", color_transfer="rct")
    assert merged.outcomes == ("seamless_failed",)
    assert np.array_equal(merged.frame_bgr, overlay.frame_bgr)


@pytest.mark.parametrize("scale", [-30, 0, 40])
def test_a_scaled_face_takes_the_light_of_where_it_lands(frame, landmarks, scale):
    """A face without detail, cloned into a slope of light, becomes that slope."""
    slope = np.repeat(np.linspace(40, 220, frame.shape[1])[None, :, None], frame.shape[0], axis=0)
    slope = np.repeat(slope, 3, axis=2).astype(np.uint8)
    merged = merge(slope, landmarks, colored(0.5), mode="seamless", face_scale=scale)
    rows, columns = np.nonzero(merged.mask > 0.9)
    rise = [np.polyfit(columns, image[rows, columns, 0], 1)[0] for image in (merged.frame_bgr, slope)]
    assert rise[0] / rise[1] == pytest.approx(0.9, abs=0.1)


@pytest.mark.parametrize("shift", [(-190, -150), (200, 0), (0, 160), (-5000, 0)])
@pytest.mark.parametrize("mode", ["overlay", "seamless"])
def test_faces_at_and_beyond_the_border(frame, landmarks, shift, mode):
    merged = merge(frame, landmarks + shift, identity, mode=mode, color_transfer="rct", mask_mode="dst")
    assert merged.frame_bgr.shape == frame.shape
    if shift[0] == -5000:
        assert np.array_equal(merged.frame_bgr, frame)


def test_cutting_the_frame_does_not_change_the_face(frame, landmarks):
    """The rectangle's offsets are right: a frame cut at the left and top gives the same pixels."""
    cut = np.ascontiguousarray(frame[17:, 23:])
    whole = merge(frame, landmarks, colored(0.2), mask_mode="dst")
    part = merge(cut, landmarks - (23, 17), colored(0.2), mask_mode="dst")
    assert np.abs(whole.mask[17:, 23:] - part.mask).max() < 0.06
    assert np.abs(whole.frame_bgr[17:, 23:].astype(int) - part.frame_bgr).mean() < 0.05


def test_two_faces_are_laid_over_each_other_in_order(frame, landmarks):
    second = landmarks + np.array([60, 0])
    options = MergeOptions(blur_mask=20, color_transfer="none")
    swaps = [swap_of(frame, landmarks, colored(0.0)), swap_of(frame, second, colored(1.0))]
    both = composite_frame(frame, swaps, options)
    singles = [composite_frame(frame, [swap], options) for swap in swaps]
    weight = singles[1].mask[:, :, None]
    expected = singles[0].frame_bgr * (1 - weight) + 255 * weight
    assert np.abs(both.frame_bgr - expected).max() <= 2
    alone = singles[0].mask == 0
    assert np.array_equal(both.frame_bgr[alone], singles[1].frame_bgr[alone])
    assert np.allclose(both.mask, np.minimum(singles[0].mask + singles[1].mask, 1), atol=1e-6)
    assert both.outcomes == ("merged", "merged")


@pytest.mark.parametrize("mode", ["overlay", "raw-predict"])
def test_a_frame_without_faces_passes(frame, mode):
    merged = composite_frame(frame, [], MergeOptions(mode=mode))
    assert np.array_equal(merged.frame_bgr, frame)
    assert merged.frame_bgr is not frame
    assert merged.outcomes == ()


def test_the_prediction_lands_on_the_landmarks(frame, landmarks):
    """A dot painted in the crop at a landmark shows in the frame at that landmark."""
    point = transform_points(landmarks[33:34], face_matrix(landmarks, SIZE, FaceType.WHOLE))[0]

    def dotted(crop: np.ndarray) -> SwapPrediction:
        grid_y, grid_x = np.mgrid[:SIZE, :SIZE]
        dot = np.exp(-((grid_x - point[0]) ** 2 + (grid_y - point[1]) ** 2) / 8).astype(np.float32)
        return SwapPrediction(dot[:, :, None], disc(), disc())

    merged = merge(frame, landmarks, dotted).frame_bgr[:, :, 0].astype(float)
    merged[merged < 40] = 0
    rows, columns = np.mgrid[: merged.shape[0], : merged.shape[1]]
    near = (np.hypot(columns - landmarks[33, 0], rows - landmarks[33, 1]) < 12) * merged
    assert (near * columns).sum() / near.sum() == pytest.approx(landmarks[33, 0], abs=0.3)
    assert (near * rows).sum() / near.sum() == pytest.approx(landmarks[33, 1], abs=0.3)


def test_all_finishing_steps_leave_what_is_not_masked(frame, landmarks):
    options = {
        "motion_blur": 50, "sharpen_mode": "box", "sharpen_amount": 5, "denoise": 30, "bicubic_degrade": 40,
        "color_degrade": 50,
    }  # fmt: skip
    swap = swap_of(frame, landmarks, identity)
    moved = FaceSwap(swap.target, swap.prediction, Motion(20.0, 45.0))
    merged = composite_frame(frame, [moved], MergeOptions(**options))
    outside = merged.mask == 0
    assert np.array_equal(merged.frame_bgr[outside], frame[outside])
    assert np.abs(merged.frame_bgr.astype(int) - frame)[merged.mask > 0.9].mean() > 2
