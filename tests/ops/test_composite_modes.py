from __future__ import annotations

import cv2
import numpy as np
import pytest

from backend.core.faces import FaceType
from backend.ops.align import face_matrix, transform_points
from backend.ops.composite import composite_frame, face_target
from backend.ops.face_swap import ColorShift, FaceSwap, MergeOptions, Motion, SwapPrediction
from tests.ops.swaps import FITTED_MODES, SIZE, colored, disc, identity, merge, swap_of


def test_one_channel_prediction_can_stay_gray(frame, landmarks):
    merged = merge(frame, landmarks, colored(0.5, channels=1), gray_face="gray")
    inside = merged.mask > 0.999
    assert np.abs(merged.frame_bgr[inside].astype(int) - 128).max() <= 1


def _gray_of_crop(crop: np.ndarray) -> SwapPrediction:
    return SwapPrediction(cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY)[:, :, None], disc(), disc())


def _saturation(merged) -> np.ndarray:
    inside = merged.frame_bgr[merged.mask > 0.999].astype(int)
    return inside.max(axis=1) - inside.min(axis=1)


@pytest.mark.parametrize("mode", FITTED_MODES)
@pytest.mark.parametrize("transfer", ["none", "rct", "sot-m"])
def test_gray_faces_stay_gray_when_asked_for(frame, landmarks, mode, transfer):
    merged = merge(frame, landmarks, _gray_of_crop, mode=mode, color_transfer=transfer, gray_face="gray")
    assert merged.outcomes == ("merged",)
    assert _saturation(merged).max() <= 4


def test_what_an_enhancer_makes_of_a_gray_face_is_gray(frame, landmarks):
    gray = swap_of(frame, landmarks, _gray_of_crop)
    green = np.zeros((4 * SIZE, 4 * SIZE, 3), np.float32)
    green[:, :, 1] = 0.8
    swap = FaceSwap(gray.target, gray.prediction, enhanced=green)
    options = MergeOptions(super_resolution=100, color_transfer="none", gray_face="gray")
    merged = composite_frame(frame, [swap], options)
    assert _saturation(merged).max() <= 1
    assert merged.frame_bgr[merged.mask > 0.999].mean() == pytest.approx(0.8 * 0.587 * 255, abs=2)


@pytest.mark.parametrize("mode", ["overlay", "seamless"])
def test_gray_faces_in_colour_have_the_light_of_the_face_and_colours_of_the_frame(frame, landmarks, mode):
    merged = merge(frame, landmarks, _gray_of_crop, mode=mode, gray_face="colour")
    inside = merged.mask > 0.5
    luma = [cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[inside].astype(float) for image in (merged.frame_bgr, frame)]
    assert np.abs(luma[0] - luma[1]).mean() < 4
    assert np.abs(merged.frame_bgr[inside].mean(axis=0) - frame[inside].mean(axis=0)).max() < 10
    assert _saturation(merged).mean() > 30


def test_seamless_takes_the_light_of_the_frame(frame, landmarks):
    def darker(crop: np.ndarray) -> SwapPrediction:
        return SwapPrediction(crop * 0.6, disc(20), disc(20))

    errors = {}
    for mode in ("overlay", "seamless"):
        merged = merge(frame, landmarks, darker, mode=mode)
        errors[mode] = np.abs(merged.frame_bgr[merged.mask > 0.5].astype(float) - frame[merged.mask > 0.5]).mean()
    assert errors["seamless"] < errors["overlay"] / 2


def test_original_leaves_the_frame_and_gives_the_mask(frame, landmarks):
    merged = merge(frame, landmarks, colored(0.0), mode="original")
    assert np.array_equal(merged.frame_bgr, frame)
    assert np.array_equal(merged.mask, merge(frame, landmarks, colored(0.0)).mask)


def test_raw_rgb_pastes_the_whole_square(frame, landmarks):
    merged = merge(frame, landmarks, colored(1.0), mode="raw-rgb")
    corners = transform_points([(8, 8), (88, 8), (88, 88), (8, 88)], _to_frame(landmarks))
    for x, y in corners.astype(int):
        assert merged.frame_bgr[y, x].min() == 255
        assert merged.mask[y, x] == 0
    x, y = landmarks[30].astype(int)
    assert merged.mask[y, x] == pytest.approx(1)


def _to_frame(landmarks) -> np.ndarray:
    return cv2.invertAffineTransform(face_matrix(landmarks, SIZE, FaceType.WHOLE))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_raw_predict_gives_the_square_and_its_mask(frame, landmarks, dtype):
    given = frame if dtype == np.uint8 else frame.astype(np.float32) / 255
    swap = swap_of(given, landmarks, identity)
    merged = composite_frame(given, [swap], MergeOptions(mode="raw-predict"))
    scale = 255 if dtype == np.uint8 else 1
    assert merged.frame_bgr.dtype == dtype
    assert np.abs(merged.frame_bgr - swap.target.crop * scale).max() <= 0.5 * (scale > 1)
    assert np.abs(merged.mask - disc()).mean() < 0.02
    two = composite_frame(given, [swap, swap_of(given, landmarks, colored(0.0))], MergeOptions(mode="raw-predict"))
    assert np.array_equal(two.frame_bgr, merged.frame_bgr)
    assert two.outcomes == ("merged", "empty_mask")


def test_hist_match_gives_the_levels_of_the_destination(frame, landmarks):
    dark = lambda crop: SwapPrediction(crop * 0.5, disc(), disc())  # noqa: E731
    plain = merge(frame, landmarks, dark)
    inside = plain.mask > 0.5
    wanted = frame[inside].mean()
    assert abs(plain.frame_bgr[inside].mean() - wanted) > 30
    for mode in ("hist-match", "hist-match-gray", "seamless-hist-match"):
        merged = merge(frame, landmarks, dark, mode=mode, hist_match_threshold=255)
        assert abs(merged.frame_bgr[inside].mean() - wanted) < 8, mode


def test_hist_match_gray_does_without_the_colours_of_the_face(frame, landmarks):
    """Stripes that differ in hue and not in luma cannot be seen any more."""

    def striped(crop: np.ndarray) -> SwapPrediction:
        lab = np.full((SIZE, SIZE, 3), (60.0, 0.0, 0.0), np.float32)
        lab[:, ::8, 1] = 30.0
        face = cv2.cvtColor(lab, cv2.COLOR_LAB2BGR)
        face *= 0.4 / cv2.cvtColor(face, cv2.COLOR_BGR2GRAY)[:, :, None]
        return SwapPrediction(face, disc(), disc())

    x, y = landmarks[30].astype(int)
    seen = {}
    for mode in ("hist-match", "hist-match-gray"):
        merged = merge(frame, landmarks, striped, mode=mode, masked_hist_match=False)
        seen[mode] = merged.frame_bgr[y - 20 : y + 20, x - 20 : x + 20].astype(float).std(axis=(0, 1)).max()
    assert seen["hist-match-gray"] < 3 < seen["hist-match"]


def test_steady_cloning_sees_softened_surroundings(frame, landmarks, rng):
    """Two takes of the same place that differ by noise: the same face comes out more alike."""
    takes = [np.clip(frame + rng.normal(0, 12, frame.shape), 0, 255).astype(np.uint8) for _ in range(2)]
    face = np.full((SIZE, SIZE, 3), 0.5, np.float32)
    flicker = []
    for steady in (False, True):
        first, second = (
            merge(take, landmarks, lambda _: SwapPrediction(face, disc(), disc()), mode="seamless",
                   steady_seamless=steady) for take in takes
        )  # fmt: skip
        inside = first.mask > 0.999
        flicker.append(np.abs(first.frame_bgr.astype(float) - second.frame_bgr)[inside].mean())
    assert flicker[1] < 0.7 * flicker[0]


def test_motion_blur_is_longer_where_the_crop_is_larger(frame, landmarks):
    """A dot of the same size in the frame; the longer kernel of the large crop is still finer there."""
    plain = swap_of(frame, landmarks, colored(0.0))
    dot = np.zeros((4 * SIZE, 4 * SIZE, 3), np.float32)
    dot[4 * SIZE // 2 - 8 : 4 * SIZE // 2 + 8, 4 * SIZE // 2 - 8 : 4 * SIZE // 2 + 8] = 1.0
    swap = FaceSwap(plain.target, plain.prediction, Motion(20.0, 0.0), dot)
    options = MergeOptions(super_resolution=100, color_transfer="none", motion_blur=100)
    merged = composite_frame(frame, [swap], options)
    x, y = transform_points([(SIZE // 2, SIZE // 2)], _to_frame(landmarks))[0].astype(int)
    assert merged.frame_bgr[y, x].mean() == pytest.approx(255 * 16 / 42, abs=8)


def test_threshold_keeps_the_brightest_levels_back(frame, landmarks):
    means = [
        merged.frame_bgr[merged.mask > 0.9].mean()
        for merged in (
            merge(frame, landmarks, identity, mode="hist-match", masked_hist_match=False, hist_match_threshold=level)
            for level in (255, 180, 100)
        )
    ]
    assert means[0] > means[1] + 5 > means[2] + 10


def test_what_the_enhancer_made_is_mixed_in_by_its_power(frame, landmarks):
    black = swap_of(frame, landmarks, colored(0.0))
    swap = FaceSwap(black.target, black.prediction, enhanced=np.ones((4 * SIZE, 4 * SIZE, 3), np.float32))
    x, y = landmarks[30].astype(int)
    for power, level in ((0, 0), (40, 102), (100, 255)):
        options = MergeOptions(color_transfer="none", super_resolution=power)
        assert composite_frame(frame, [swap], options).frame_bgr[y, x] == pytest.approx([level] * 3, abs=1)
    without = composite_frame(frame, [black], MergeOptions(color_transfer="none", super_resolution=100))
    assert without.frame_bgr[y, x].max() <= 1


@pytest.mark.parametrize("mode", FITTED_MODES)
def test_enhanced_faces_have_finer_detail(frame, landmarks, mode):
    """Stripes of two pixels of the enhancer's picture cannot be told from gray in the model's."""
    plain = swap_of(frame, landmarks, colored(0.5))
    stripes = np.zeros((4 * SIZE, 4 * SIZE, 3), np.float32)
    stripes[:, (np.arange(4 * SIZE) // 2) % 2 == 0] = 1.0
    swap = FaceSwap(plain.target, plain.prediction, enhanced=stripes)
    options = MergeOptions(mode=mode, super_resolution=100, color_transfer="none", sharpen_amount=-1)
    x, y = landmarks[30].astype(int)
    area = np.s_[y - 8 : y + 8, x - 8 : x + 8]
    detail = [np.abs(np.diff(composite_frame(frame, [s], options).frame_bgr[area].astype(int), axis=1)).mean()
              for s in (swap, plain)]  # fmt: skip
    assert detail[0] > detail[1] + 3


@pytest.mark.parametrize("mode", ["overlay", "seamless"])
def test_steadied_colours_move_what_is_transferred(frame, landmarks, mode):
    swap = swap_of(frame, landmarks, identity)
    still, no = np.ones(3, np.float32), np.zeros(3, np.float32)
    brighter = ColorShift(still, no, still, np.array([10, 0, 0], np.float32))
    options = MergeOptions(mode=mode, color_transfer="rct")
    before, after = (
        composite_frame(frame, [FaceSwap(swap.target, swap.prediction, shift=shift)], options)
        for shift in (None, brighter)
    )
    inside = before.mask > 0.9
    lab = [cv2.cvtColor(m.frame_bgr, cv2.COLOR_BGR2LAB)[inside][:, 0].mean() * 100 / 255 for m in (before, after)]
    assert lab[1] - lab[0] == pytest.approx(10, abs=1.5)


def test_steadied_colours_move_the_face_itself(frame, landmarks):
    swap = swap_of(frame, landmarks, colored(0.5))
    still, no = np.ones(3, np.float32), np.zeros(3, np.float32)
    shift = ColorShift(still, np.array([-20, 0, 0], np.float32), still, no)
    merged = composite_frame(
        frame, [FaceSwap(swap.target, swap.prediction, shift=shift)], MergeOptions(color_transfer="none")
    )
    x, y = landmarks[30].astype(int)
    assert merged.frame_bgr[y, x] == pytest.approx([79] * 3, abs=2)


@pytest.mark.parametrize("mode", FITTED_MODES)
def test_what_lies_beyond_the_frame_does_not_darken_the_face(frame, landmarks, mode):
    """The half that is cut off would be black in the crop; cloning and statistics do without it."""
    cut = np.ascontiguousarray(frame[:, 190:])
    whole = face_target(frame, landmarks, FaceType.WHOLE, SIZE)
    options = {"mode": mode, "color_transfer": "rct", "hist_match_threshold": 255}
    merged = merge(cut, landmarks - (190, 0), lambda _crop: identity(whole.crop), **options)
    inside = merged.mask > 0.9
    assert inside[:, :4].sum() > 20
    assert abs(merged.frame_bgr[inside].mean() - cut[inside].mean()) < 8


@pytest.mark.parametrize("mode", [*FITTED_MODES, "original", "raw-rgb", "raw-predict"])
@pytest.mark.parametrize("width", [4, 30])
def test_tiny_faces_and_faces_outside_merge_or_pass(frame, landmarks, mode, width):
    small = (landmarks - landmarks.mean(axis=0)) * (width / 150) + (40, 40)
    swaps = [swap_of(frame, points, colored(0.2)) for points in (small, landmarks + 4000)]
    motion = Motion(30.0, 20.0)
    swaps = [FaceSwap(swap.target, swap.prediction, motion) for swap in swaps]
    options = MergeOptions(mode=mode, motion_blur=100, denoise=20, bicubic_degrade=50, color_degrade=100)
    merged = composite_frame(frame, swaps, options)
    assert len(merged.outcomes) == 2
    assert np.isfinite(merged.mask).all()
    if mode != "raw-predict":
        assert merged.outcomes[1] == "empty_mask"
        assert np.array_equal(merged.frame_bgr[120:], frame[120:])
