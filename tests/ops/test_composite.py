from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from backend.core.faces import FaceType
from backend.ops import composite
from backend.ops.align import face_matrix, transform_points
from backend.ops.composite import (
    MASK_SOURCES,
    MergeOptions,
    SwapPrediction,
    composite_frame,
    face_target,
    merge_face,
    merge_frame,
)

SIZE = 96
GOLDEN_MASKS = ("full", "dst", "learned-prd", "learned-dst", "learned-prd*learned-dst")
GOLDEN_TRANSFERS = ("none", "rct", "lct")
GOLDEN_CASES = (
    "overlay_mask4_e10_b30_none",
    "seamless_mask4_e10_b30_none",
    "overlay_mask0",
    "overlay_mask1",
    "overlay_mask2",
    "overlay_mask3",
    "overlay_mask4",
    "overlay_ct_rct",
    "seamless_ct_rct",
    "overlay_ct_lct",
    "seamless_ct_lct",
    "overlay_e-60_b0",
    "overlay_e120_b0",
    "overlay_e0_b200",
    "overlay_e80_b120",
    "overlay_scale+10",
    "overlay_scale-10",
)


def _disc(radius: int = 30) -> np.ndarray:
    return cv2.circle(np.zeros((SIZE, SIZE), np.float32), (SIZE // 2, SIZE // 2), radius, 1.0, -1, cv2.LINE_AA)


def _identity(crop: np.ndarray) -> SwapPrediction:
    return SwapPrediction(crop, _disc(), _disc())


def _colored(value: float, channels: int = 3, radius: int = 30):
    def predict(crop: np.ndarray) -> SwapPrediction:
        return SwapPrediction(np.full((SIZE, SIZE, channels), value, np.float32), _disc(radius), _disc(radius))

    return predict


def _merge(frame, landmarks, predict, **options):
    defaults = {"blur_mask": 20, "color_transfer": "none"}
    return merge_face(frame, landmarks, FaceType.WHOLE, predict, SIZE, MergeOptions(**(defaults | options)))


@pytest.mark.parametrize("mode", ["overlay", "seamless"])
@pytest.mark.parametrize("transfer", ["none", "rct", "lct"])
def test_identity_prediction_gives_nearly_the_frame(frame, landmarks, mode, transfer):
    merged = _merge(frame, landmarks, _identity, mode=mode, color_transfer=transfer)
    assert merged.outcomes == ("merged",)
    assert merged.frame_bgr.dtype == np.uint8
    inside = merged.mask > 0
    difference = np.abs(merged.frame_bgr.astype(float) - frame)
    assert inside.sum() > 1000
    assert difference[inside].mean() < 4
    assert difference[~inside].max() == 0


@pytest.mark.parametrize("mask_mode", sorted(MASK_SOURCES))
def test_every_mask_replaces_the_middle_of_the_face(frame, landmarks, mask_mode):
    merged = _merge(frame, landmarks, _colored(0.0), mask_mode=mask_mode)
    x, y = landmarks[30].astype(int)
    assert merged.mask[y, x] == pytest.approx(1, abs=0.01)
    assert merged.frame_bgr[y, x].max() <= 2
    assert merged.mask.min() >= 0
    assert merged.mask.max() <= 1
    assert merged.mask[0, 0] == 0


def test_float_and_byte_frames_give_the_same(frame, landmarks):
    options = {"color_transfer": "rct", "erode_mask": 10}
    as_bytes = _merge(frame, landmarks, _identity, **options)
    as_float = _merge(frame.astype(np.float32) / 255, landmarks, _identity, **options)
    assert as_float.frame_bgr.dtype == np.float32
    assert np.abs(as_float.frame_bgr * 255 - as_bytes.frame_bgr).max() < 2.5
    assert np.allclose(as_float.mask, as_bytes.mask)


def test_input_frame_is_not_changed(frame, landmarks):
    before = frame.copy()
    _merge(frame, landmarks, _colored(1.0))
    assert np.array_equal(frame, before)


def test_one_channel_prediction_is_a_gray_face(frame, landmarks):
    merged = _merge(frame, landmarks, _colored(0.5, channels=1))
    inside = merged.mask > 0.999
    assert np.abs(merged.frame_bgr[inside].astype(int) - 128).max() <= 1


@pytest.mark.parametrize("transfer", ["rct", "lct"])
def test_one_channel_prediction_with_colour_transfer(frame, landmarks, transfer):
    gray = lambda crop: SwapPrediction(crop.mean(axis=2, keepdims=True), _disc(), _disc())  # noqa: E731
    merged = _merge(frame, landmarks, gray, color_transfer=transfer)
    assert merged.outcomes == ("merged",)


def test_erode_and_scale_change_the_replaced_area(frame, landmarks):
    area = {
        name: float(_merge(frame, landmarks, _identity, **options).mask.sum())
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
    predict = _colored(0.0, radius=1) if radius else lambda crop: SwapPrediction(crop, _disc() * 0, _disc() * 0)
    merged = _merge(frame, landmarks, predict, mode=mode, erode_mask=30)
    assert merged.outcomes == ("empty_mask",)
    assert np.array_equal(merged.frame_bgr, frame)
    assert merged.mask.max() == 0


def test_seamless_failure_gives_overlay_and_says_so(frame, landmarks, monkeypatch):
    def refuse(*_args):
        raise cv2.error("refused")

    overlay = _merge(frame, landmarks, _colored(0.3), mode="overlay", color_transfer="rct")
    monkeypatch.setattr(composite.cv2, "seamlessClone", refuse)
    merged = _merge(frame, landmarks, _colored(0.3), mode="seamless", color_transfer="rct")
    assert merged.outcomes == ("seamless_failed",)
    assert np.array_equal(merged.frame_bgr, overlay.frame_bgr)


def test_seamless_takes_the_light_of_the_frame(frame, landmarks):
    def darker(crop: np.ndarray) -> SwapPrediction:
        return SwapPrediction(crop * 0.6, _disc(20), _disc(20))

    errors = {}
    for mode in ("overlay", "seamless"):
        merged = _merge(frame, landmarks, darker, mode=mode)
        errors[mode] = np.abs(merged.frame_bgr[merged.mask > 0.5].astype(float) - frame[merged.mask > 0.5]).mean()
    assert errors["seamless"] < errors["overlay"] / 2


@pytest.mark.parametrize("shift", [(-190, -150), (200, 0), (0, 160), (-5000, 0)])
@pytest.mark.parametrize("mode", ["overlay", "seamless"])
def test_faces_at_and_beyond_the_border(frame, landmarks, shift, mode):
    merged = _merge(frame, landmarks + shift, _identity, mode=mode, color_transfer="rct", mask_mode="dst")
    assert merged.frame_bgr.shape == frame.shape
    if shift[0] == -5000:
        assert np.array_equal(merged.frame_bgr, frame)


def test_cutting_the_frame_does_not_change_the_face(frame, landmarks):
    """The rectangle's offsets are right: a frame cut at the left and top gives the same pixels."""
    cut = np.ascontiguousarray(frame[17:, 23:])
    whole = _merge(frame, landmarks, _colored(0.2), mask_mode="dst")
    part = _merge(cut, landmarks - (23, 17), _colored(0.2), mask_mode="dst")
    assert np.abs(whole.mask[17:, 23:] - part.mask).max() < 0.06
    assert np.abs(whole.frame_bgr[17:, 23:].astype(int) - part.frame_bgr).mean() < 0.05


def test_two_faces_are_laid_over_each_other_in_order(frame, landmarks):
    second = landmarks + np.array([60, 0])
    options = MergeOptions(blur_mask=20, color_transfer="none")
    targets = [face_target(frame, points, FaceType.WHOLE, SIZE) for points in (landmarks, second)]
    predictions = [_colored(0.0)(targets[0].crop), _colored(1.0)(targets[1].crop)]
    both = composite_frame(frame, targets, predictions, options)
    singles = [composite_frame(frame, [t], [p], options) for t, p in zip(targets, predictions, strict=True)]
    weight = singles[1].mask[:, :, None]
    expected = singles[0].frame_bgr * (1 - weight) + 255 * weight
    assert np.abs(both.frame_bgr - expected).max() <= 2
    alone = singles[0].mask == 0
    assert np.array_equal(both.frame_bgr[alone], singles[1].frame_bgr[alone])
    assert np.allclose(both.mask, np.minimum(singles[0].mask + singles[1].mask, 1), atol=1e-6)
    assert both.outcomes == ("merged", "merged")


def test_a_frame_without_faces_passes(frame):
    merged = merge_frame(frame, [], FaceType.FULL, _identity, SIZE, MergeOptions())
    assert np.array_equal(merged.frame_bgr, frame)
    assert merged.frame_bgr is not frame
    assert merged.outcomes == ()


def test_the_prediction_lands_on_the_landmarks(frame, landmarks):
    """A dot painted in the crop at a landmark shows in the frame at that landmark."""
    point = transform_points(landmarks[33:34], face_matrix(landmarks, SIZE, FaceType.WHOLE))[0]

    def dotted(crop: np.ndarray) -> SwapPrediction:
        grid_y, grid_x = np.mgrid[:SIZE, :SIZE]
        dot = np.exp(-((grid_x - point[0]) ** 2 + (grid_y - point[1]) ** 2) / 8).astype(np.float32)
        return SwapPrediction(dot[:, :, None], _disc(), _disc())

    merged = _merge(frame, landmarks, dotted).frame_bgr[:, :, 0].astype(float)
    merged[merged < 40] = 0
    rows, columns = np.mgrid[: merged.shape[0], : merged.shape[1]]
    near = (np.hypot(columns - landmarks[33, 0], rows - landmarks[33, 1]) < 12) * merged
    assert (near * columns).sum() / near.sum() == pytest.approx(landmarks[33, 0], abs=0.3)
    assert (near * rows).sum() / near.sum() == pytest.approx(landmarks[33, 1], abs=0.3)


@pytest.mark.parametrize("name", GOLDEN_CASES)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_merges_agree_with_deepfacelab(golden, name, dtype):
    data = np.load(golden / "dfl_merge.npz")
    case = json.loads((golden / "dfl_merge.json").read_text())["settings"][name]
    options = MergeOptions(
        mode=case["mode"],
        mask_mode=GOLDEN_MASKS[case["mask_mode"]],
        erode_mask=case["erode_mask_modifier"],
        blur_mask=case["blur_mask_modifier"],
        color_transfer=GOLDEN_TRANSFERS[case["color_transfer_mode"]],
        face_scale=case.get("output_face_scale", 0),
    )
    prediction = SwapPrediction(data["predicted_face"], data["predicted_mask"], data["predicted_dst_mask"])
    frame = data["frame_bgr"] if dtype == np.uint8 else data["frame_bgr"].astype(np.float32) / 255
    merged = merge_face(frame, data["landmarks"], FaceType.WHOLE, lambda _crop: prediction, SIZE, options)
    levels = merged.frame_bgr.astype(np.float32) * (1 if dtype == np.uint8 else 255)
    expected = data[f"out:{name}"].astype(np.float32)
    inside = expected[:, :, 3] > 0
    difference = np.abs(levels - expected[:, :, :3])
    assert merged.outcomes == ("merged",)
    assert difference[inside].mean() <= (4 if case["mode"] == "seamless" else 2)
    assert difference[~inside].mean() < 0.01
    assert np.abs(merged.mask * 255 - expected[:, :, 3]).mean() < 0.3
