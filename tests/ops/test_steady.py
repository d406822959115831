from __future__ import annotations

import cv2
import numpy as np
import pytest

from backend.core.faces import FaceType
from backend.ops.align import face_matrix
from backend.ops.face_swap import FaceTarget, SwapPrediction
from backend.ops.steady import (
    RADIUS,
    color_flicker,
    face_state,
    goes_on,
    mask_flicker,
    steady_colors,
    steady_mask,
    window_weights,
)

SIDE = 64


def disc(radius=20.0, middle=(32.0, 32.0), side=SIDE):
    """A round mask with a soft edge."""
    y, x = np.mgrid[:side, :side].astype(np.float32)
    return np.clip(radius + 0.5 - np.hypot(x - middle[0], y - middle[1]), 0, 1).astype(np.float32)


def second_differences(masks):
    return np.mean([mask_flicker(*masks[i : i + 3]) for i in range(len(masks) - 2)])


def along(track, strength, smooth):
    """What becomes of everything on a track with its window."""
    result = []
    for at in range(len(track)):
        first = max(0, at - RADIUS)
        window = track[first : at + RADIUS + 1]
        weights = window_weights(np.arange(len(window)) - (at - first), strength)
        result.append(smooth(window, at - first, weights))
    return result


def steadied(masks, strength):
    return along(masks, strength, steady_mask)


@pytest.fixture
def picture(rng):
    """Crop of a face's coarse light and dark, (64, 64, 3)."""
    return cv2.resize(rng.random((6, 6, 3), dtype=np.float32), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)


@pytest.fixture
def state(landmarks, picture):
    """Makes the state of a face moved, sized, coloured or masked in another way."""

    def make(shift=(0, 0), scale=1.0, crop=picture, face=picture, mask=None, whole=False):
        points = (landmarks - landmarks.mean(axis=0)) * scale + landmarks.mean(axis=0) + shift
        mat = face_matrix(points, SIDE, FaceType.FULL)
        mask = disc() if mask is None else mask
        target = FaceTarget(points, FaceType.FULL, mat, np.clip(crop, 0, 1).astype(np.float32))
        return face_state(target, SwapPrediction(np.clip(face, 0, 1).astype(np.float32), mask, mask), whole)

    return make


def test_weights_grow_with_strength_and_fall_with_time():
    apart = np.arange(-RADIUS, RADIUS + 1)
    assert window_weights(apart, 0).tolist() == (apart == 0).astype(float).tolist()
    before = window_weights(apart, 10)
    for strength in (30, 60, 100):
        weights = window_weights(apart, strength)
        assert weights[RADIUS] == 1
        assert (np.diff(weights[RADIUS:]) < 0).all()
        assert np.array_equal(weights, weights[::-1])
        assert (np.delete(weights - before, RADIUS) > 0).all()
        before = weights


def test_a_trembling_edge_gets_calm_the_more_the_stronger(rng):
    masks = [disc(20 + rng.normal(0, 0.7), 32 + rng.normal(0, 0.7, 2)) for _ in range(20)]
    flicker = [second_differences(steadied(masks, strength)) for strength in (0, 30, 60, 100)]
    assert flicker == sorted(flicker, reverse=True)
    assert flicker[-1] < 0.3 * flicker[0]
    assert np.array_equal(steadied(masks, 0)[3], masks[3])
    assert abs(np.mean(steadied(masks, 100)) - np.mean(masks)) < 0.01


def test_a_mask_that_stays_or_moves_evenly_is_left_alone():
    still = steadied([disc()] * 9, 100)
    assert np.abs(np.array(still) - disc()).max() < 1e-6
    moving = [disc(middle=(20 + step, 32)) for step in range(12)]
    for before, after in list(zip(moving, steadied(moving, 100), strict=True))[RADIUS:-RADIUS]:
        assert np.abs(before - after).sum() < 0.06 * before.sum()


def test_something_that_comes_before_the_face_is_not_drawn_out():
    covered = disc()
    covered[32:] = 0
    masks = [disc()] * 6 + [covered] * 6
    for before, after in zip(masks, steadied(masks, 100), strict=True):
        assert np.abs(before - after)[40:].max() < 0.06
        assert np.abs(before - after).mean() < 0.01


def test_a_hole_of_a_single_frame_is_filled():
    holed = disc()
    holed[24:40, 24:40] = 0
    masks = [disc()] * 4 + [holed] + [disc()] * 4
    assert steadied(masks, 100)[4][32, 32] > 0.95
    assert steadied(masks, 100)[3][32, 32] > 0.95


def mean_lab(image, gain=1.0, offset=0.0):
    lab = cv2.cvtColor(np.clip(image, 0, 1).astype(np.float32), cv2.COLOR_BGR2LAB) * gain + offset
    weight = disc()[..., None]
    return (lab * weight).sum((0, 1)) / weight.sum()


def shifts(states, strength):
    return along(states, strength, steady_colors)


def test_flickering_colours_get_calm(rng, state, picture):
    picture = picture * 0.5 + 0.2
    crops = [picture * (1 + rng.normal(0, 0.01)) + rng.normal(0, 0.008, 3) for _ in range(16)]
    faces = [picture[::-1] * (1 + rng.normal(0, 0.02)) for _ in range(16)]
    states = [state(crop=crop, face=face) for crop, face in zip(crops, faces, strict=True)]
    found = shifts(states, 100)
    for images, gains in ((faces, [s[:2] for s in found]), (crops, [s[2:] for s in found])):
        before = [mean_lab(image) for image in images]
        after = [mean_lab(image, *gain) for image, gain in zip(images, gains, strict=True)]
        flicker = [np.mean([color_flicker(*row[i : i + 3]) for i in range(14)]) for row in (before, after)]
        assert flicker[1] < 0.35 * flicker[0]
        assert np.allclose(np.mean(after, axis=0), np.mean(before, axis=0), atol=0.3)


def test_without_strength_or_without_change_colours_stay(state, picture):
    steps = [state(crop=picture + 0.005 * step) for step in (-1, 1, -1)]
    for shift in (shifts(steps, 0)[1], shifts([state()] * 5, 100)[2]):
        assert np.allclose(shift.face_gain, 1, atol=1e-6)
        assert np.allclose(shift.crop_gain, 1, atol=1e-6)
        assert np.allclose(shift.face_offset, 0, atol=1e-4)
        assert np.allclose(shift.crop_offset, 0, atol=1e-4)


def test_light_that_is_switched_is_not_drawn_out(state, picture):
    dark, light = state(crop=picture * 0.4), state(crop=picture * 0.4 + 0.3)
    for shift in shifts([dark] * 5 + [light] * 5, 100):
        assert np.abs(shift.crop_offset).max() < 0.05
        assert np.abs(shift.crop_gain - 1).max() < 0.01


def test_gains_are_limited_and_flat_gray_faces_keep_theirs(state, picture):
    flat, rough = state(face=picture * 0.02 + 0.5), state(face=picture * 0.5 + 0.25)
    shift = steady_colors([rough, flat, rough], 1, np.array([1.0, 1.0, 1.0]))
    assert shift.face_gain.max() == pytest.approx(1.5)
    gray = picture[..., :1]
    shift = steady_colors([state(face=gray), state(face=gray * 0.9)], 0, np.array([1.0, 1.0]))
    assert np.allclose(shift.face_gain[1:], 1)
    assert np.allclose(shift.face_offset[1:], 0, atol=0.01)
    assert shift.face_offset.dtype == np.float32


def test_colours_are_those_inside_the_mask_or_of_all_pixels(state, picture):
    other = picture.copy()
    other[disc(24) == 0] = 1
    assert np.allclose(state(crop=other).crop.mean, state(crop=picture).crop.mean, atol=0.5)
    assert np.linalg.norm(state(crop=other, whole=True).crop.mean - state(crop=picture, whole=True).crop.mean) > 5
    empty = state(mask=np.zeros((SIDE, SIDE), np.float32))
    assert np.allclose(empty.crop.mean, state(whole=True).crop.mean)


def test_what_a_face_goes_on_with(state, picture):
    here = state()
    size = here.size
    assert goes_on(here, here)
    assert goes_on(here, state(shift=(0.1 * size, 0), scale=1.05, crop=picture + 0.02))
    assert not goes_on(here, state(shift=(0.7 * size, 0)))
    assert goes_on(here, state(shift=(0.7 * size, 0)), frames=2)
    assert not goes_on(here, state(scale=1.6))
    assert not goes_on(here, state(crop=picture * 0.4))
    assert not goes_on(here, state(crop=picture[::-1, ::-1]))


def test_flicker_is_nothing_for_even_changes_and_grows_with_trembling():
    assert mask_flicker(disc() * 0.2, disc() * 0.4, disc() * 0.6) < 1e-6
    assert mask_flicker(disc(20), disc(19), disc(20)) > 1.5 * mask_flicker(disc(20), disc(19.5), disc(20)) > 0
    assert mask_flicker(*[np.zeros((4, 4), np.float32)] * 3) == 0
    assert color_flicker(np.zeros(3), np.ones(3), 2 * np.ones(3)) == 0
    assert color_flicker(np.zeros(3), np.array([0, 3.0, 4.0]), np.zeros(3)) == pytest.approx(10)
