"""Merges that DeepFaceLab made of the same frame, landmarks and prediction."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.core.faces import FaceType
from backend.ops.composite import composite_frame, face_target
from backend.ops.face_swap import FaceSwap, MergedFrame, MergeOptions, Motion, SwapPrediction

SIZE = 96
MASKS = ("full", "dst", "learned-prd", "learned-dst", "learned-prd*learned-dst", "learned-prd+learned-dst")
TRANSFERS = ("none", "rct", "lct", "mkl")
SHARPEN = ("none", "box", "gaussian")
STANDARD = "mask4_e10_b30_none"
MODES = ("original", "overlay", "hist-match", "seamless", "seamless-hist-match", "raw-rgb")
ON_PURPOSE_OTHERWISE = ("overlay_denoise50", "overlay_bicubic40", "overlay_degrade50")
"""There DeepFaceLab makes the whole frame worse; here only the face changes."""

CASES = (
    *(f"{mode}_{STANDARD}" for mode in MODES),
    *(f"overlay_mask{mask}" for mask in range(6)),
    *(f"{mode}_ct_{transfer}" for mode in ("overlay", "seamless") for transfer in TRANSFERS[1:]),
    "overlay_e-60_b0",
    "overlay_e120_b0",
    "overlay_e0_b200",
    "overlay_e80_b120",
    "overlay_scale+10",
    "overlay_scale-10",
    "hist_t128",
    "hist_t255_unmasked",
    "overlay_sharpen_box",
    "overlay_sharpen_gauss",
    "overlay_blur_face",
    "overlay_motion50",
)
RAW_PREDICT = f"raw-predict_{STANDARD}"


@pytest.fixture(scope="module")
def data(golden: Path) -> dict[str, Any]:
    """The arrays by name, and the settings of each merge under "settings"."""
    with np.load(golden / "dfl_merge.npz") as arrays:
        return {**arrays, "settings": json.loads((golden / "dfl_merge.json").read_text())["settings"]}


def _options(case: dict[str, Any], **other: Any) -> MergeOptions:
    return MergeOptions(
        mode=case["mode"],
        mask_mode=MASKS[case["mask_mode"]],
        erode_mask=case["erode_mask_modifier"],
        blur_mask=case["blur_mask_modifier"],
        color_transfer=TRANSFERS[case["color_transfer_mode"]],
        hist_match_threshold=case.get("hist_match_threshold", 238),
        masked_hist_match=case.get("masked_hist_match", True),
        face_scale=case.get("output_face_scale", 0),
        motion_blur=case.get("motion_blur_power", 0),
        sharpen_mode=SHARPEN[case.get("sharpen_mode", 0)],
        sharpen_amount=case.get("blursharpen_amount", 0),
        denoise=other.get("denoise", case.get("image_denoise_power", 0)),
        bicubic_degrade=other.get("bicubic_degrade", case.get("bicubic_degrade_power", 0)),
        color_degrade=other.get("color_degrade", case.get("color_degrade_power", 0)),
    )


def _merge(data: dict[str, Any], options: MergeOptions, dtype: type = np.uint8) -> MergedFrame:
    frame = data["frame_bgr"] if dtype is np.uint8 else data["frame_bgr"].astype(np.float32) / 255
    target = face_target(frame, data["landmarks"], FaceType.WHOLE, SIZE)
    prediction = SwapPrediction(data["predicted_face"], data["predicted_mask"], data["predicted_dst_mask"])
    return composite_frame(frame, [FaceSwap(target, prediction, Motion(20.0, 30.0))], options)


def test_every_merge_of_deepfacelab_is_compared(data):
    assert set(data["settings"]) == {*CASES, *ON_PURPOSE_OTHERWISE, RAW_PREDICT}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_merges_agree_with_deepfacelab(data, name, dtype):
    case = data["settings"][name]
    merged = _merge(data, _options(case), dtype)
    levels = merged.frame_bgr.astype(np.float32) * (1 if dtype is np.uint8 else 255)
    expected = data[f"out:{name}"].astype(np.float32)
    inside = expected[:, :, 3] > 0
    difference = np.abs(levels - expected[:, :, :3])
    assert merged.outcomes == ("merged",)
    assert difference[inside].mean() <= (4 if "seamless" in case["mode"] else 2)
    assert difference[~inside].mean() < (0.5 if case["mode"] == "raw-rgb" else 0.01)
    assert np.abs(merged.mask * 255 - expected[:, :, 3]).mean() < 0.3


def test_the_raw_prediction_and_its_mask_agree(data):
    merged = _merge(data, _options(data["settings"][RAW_PREDICT]))
    expected = data[f"out:{RAW_PREDICT}"].astype(np.float32)
    assert merged.frame_bgr.shape == (*expected.shape[:2], 3)
    assert np.abs(merged.frame_bgr - expected[:, :, :3]).max() <= 1
    assert np.abs(merged.mask * 255 - expected[:, :, 3]).mean() < 0.3


@pytest.mark.parametrize("name", ON_PURPOSE_OTHERWISE)
def test_noise_and_degrade_change_the_face_and_not_the_frame(data, name):
    """Different from DeepFaceLab on purpose: that takes noise, detail and colours out of the frame around the face."""
    case = data["settings"][name]
    plain = _merge(data, _options(case, denoise=0, bicubic_degrade=0, color_degrade=0))
    merged = _merge(data, _options(case))
    expected = data[f"out:{name}"]
    outside = expected[:, :, 3] == 0
    assert np.array_equal(merged.frame_bgr[outside], data["frame_bgr"][outside])
    assert not np.array_equal(expected[:, :, :3][outside], data["frame_bgr"][outside])
    changed = np.abs(merged.frame_bgr.astype(int) - plain.frame_bgr)[merged.mask > 0.9]
    assert changed.mean() > 0.5
    assert np.array_equal(merged.mask, plain.mask)
