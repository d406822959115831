from __future__ import annotations

import numpy as np
import pytest

from backend.ops.align import CANONICAL_2D, umeyama
from backend.ops.pose import LANDMARKS_3D
from backend.ops.smooth import HISTORY, between, join, smooth_at, smoothing_radius, split

COUNT = 80
TIMES = np.arange(COUNT)
MOUTH, EYES, JAW = slice(48, 68), slice(36, 48), slice(0, 17)


def track(
    place: np.ndarray | None = None, talk: np.ndarray | None = None, blink: np.ndarray | None = None
) -> np.ndarray:
    """Landmarks (COUNT, 68, 2) of a face 145 px wide that moves, talks and blinks by so many pixels."""
    points = np.repeat(LANDMARKS_3D[None, :, :2], COUNT, axis=0).copy()
    if talk is not None:
        points[:, 55:60, 1] += talk[:, None]
        points[:, 65:68, 1] += talk[:, None]
    if blink is not None:
        for lid in (slice(37, 39), slice(43, 45)):
            points[:, lid, 1] += blink[:, None]
    return points + (300.0 if place is None else place[:, None])


def noisy(true: np.ndarray, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return true + rng.normal(0, 0.7, (COUNT, 1, 2)) + rng.normal(0, 0.4, (COUNT, 68, 2))


def error(found: np.ndarray, true: np.ndarray, part: slice = slice(None)) -> float:
    return float(np.linalg.norm(found - true, axis=2)[:, part].mean())


def tremble(points: np.ndarray) -> float:
    centre = points[:, 17:48].mean(axis=1)
    return float(np.median(np.linalg.norm(centre[2:] - 2 * centre[1:-1] + centre[:-2], axis=1)))


def sway(amplitude: float, period: float) -> np.ndarray:
    return np.stack([300 + amplitude * np.sin(2 * np.pi * TIMES / period), np.full(COUNT, 300.0)], axis=1)


def test_taking_apart_and_joining_is_exact_and_the_similarity_is_the_alignment() -> None:
    rng = np.random.default_rng(1)
    points = track(sway(50, 20)) + rng.normal(0, 2, (COUNT, 68, 2))
    turn = np.array([[np.cos(2.9), np.sin(2.9)], [-np.sin(2.9), np.cos(2.9)]])
    points[40:] = points[40:] @ turn * 1.7
    motion = split(points)
    np.testing.assert_allclose(join(motion), points, atol=1e-9)
    used = [*range(17, 49), 54]
    matrix = umeyama(CANONICAL_2D[np.array(used) - 17], points[45, used])
    assert np.exp(motion.size[45]) == pytest.approx(np.hypot(matrix[0, 0], matrix[1, 0]))
    assert np.exp(1j * motion.angle[45]) == pytest.approx(np.exp(1j * np.arctan2(matrix[1, 0], matrix[0, 0])))


def smooth_track(frames: np.ndarray, points: np.ndarray, strength: float) -> np.ndarray:
    return np.stack([smooth_at(frames, points, index, strength) for index in range(len(points))])


def test_no_strength_changes_nothing() -> None:
    points = noisy(track())
    assert smoothing_radius(0) == 0
    np.testing.assert_array_equal(smooth_track(TIMES, points, 0.0), points)


def test_more_strength_looks_further() -> None:
    radii = [smoothing_radius(strength) for strength in (0.1, 0.3, 0.5, 0.8, 1.0)]
    assert radii == sorted(radii)
    assert radii[-1] == 10


@pytest.mark.parametrize(("strength", "left", "trembles"), [(0.3, 0.85, 0.6), (0.5, 0.65, 0.2), (1.0, 0.5, 0.05)])
def test_a_still_face_stops_trembling(strength: float, left: float, trembles: float) -> None:
    true = track()
    before = noisy(true)
    after = smooth_track(TIMES, before, strength)
    assert error(after, true) < left * error(before, true)
    assert tremble(after) < trembles * tremble(before)


@pytest.mark.parametrize("period", [60, 16, 8])
def test_movement_is_neither_lagged_nor_flattened(period: float) -> None:
    true = track(sway(60, period))
    before = noisy(true)
    for strength in (0.3, 0.5, 1.0):
        after = smooth_track(TIMES, before, strength)
        assert error(after, true) < 1.02 * error(before, true)
        centre, wanted = after.mean(axis=1)[:, 0], true.mean(axis=1)[:, 0]
        delays = [np.corrcoef(centre[10:-10], np.roll(wanted, shift)[10:-10])[0, 1] for shift in (-1, 0, 1)]
        assert int(np.argmax(delays)) == 1
        assert np.ptp(centre) == pytest.approx(np.ptp(wanted), rel=0.03)


def test_a_sudden_start_is_kept() -> None:
    place = np.stack([300 + 80 / (1 + np.exp(-(TIMES - 40.0))), np.full(COUNT, 300.0)], axis=1)
    true = track(place)
    before = noisy(true)
    after = smooth_track(TIMES, before, 1.0)
    assert error(after[35:46], true[35:46]) < 1.1 * error(before[35:46], true[35:46])


def test_lips_and_lids_keep_moving() -> None:
    talk = 5 * np.abs(np.sin(0.9 * TIMES))
    blink = np.where(TIMES % 30 < 4, 5.0, 0.0)
    true = track(talk=talk, blink=blink)
    before = noisy(true)
    after = smooth_track(TIMES, before, 0.5)
    for part in (MOUTH, EYES):
        assert error(after, true, part) < 0.8 * error(before, true, part)
    opened = after[:, 66, 1] - after[:, 62, 1]
    wanted = true[:, 66, 1] - true[:, 62, 1]
    assert np.corrcoef(opened, wanted)[0, 1] > np.corrcoef(before[:, 66, 1] - before[:, 62, 1], wanted)[0, 1]
    assert np.ptp(opened) > 0.9 * np.ptp(wanted)
    closed = after[:, 37, 1] - after[:, 41, 1]
    assert closed[blink > 0].mean() - closed[blink == 0].mean() > 4


def test_missing_frames_are_bridged() -> None:
    true = track(sway(20, 60))
    before = noisy(true)
    kept = np.array([time for time in TIMES if time % 9 < 6])
    after = smooth_track(kept, before[kept], 1.0)
    assert error(after, true[kept]) < 0.8 * error(before[kept], true[kept])


def test_frames_further_away_than_the_radius_change_nothing() -> None:
    points = noisy(track(sway(30, 30)))
    whole = smooth_at(TIMES, points, 40, 0.5)
    near = slice(40 - HISTORY, 40 + smoothing_radius(0.5) + 1)
    np.testing.assert_allclose(smooth_at(TIMES[near], points[near], HISTORY, 0.5), whole)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_very_short_tracks_stay_as_they_are(count: int) -> None:
    points = noisy(track())[:count]
    np.testing.assert_allclose(smooth_track(TIMES[:count], points, 1.0), points, atol=1e-9)


def test_points_that_do_not_tremble_stay() -> None:
    points = np.repeat(LANDMARKS_3D[None, :, :2], COUNT, axis=0)
    np.testing.assert_allclose(smooth_track(TIMES, points, 1.0), points, atol=1e-9)


def test_between_two_frames() -> None:
    before = LANDMARKS_3D[:, :2] + 300
    quarter = np.array([[0.0, 1.0], [-1.0, 0.0]])
    after = 4 * LANDMARKS_3D[:, :2] @ quarter + (400, 300)
    np.testing.assert_allclose(between(before, after, 0.0)[0], before, atol=1e-9)
    np.testing.assert_allclose(between(before, after, 1.0)[0], after, atol=1e-9)
    middle, side = between(before, after, 0.5)
    eyes = middle[45] - middle[36]
    assert np.degrees(np.arctan2(eyes[1], eyes[0])) == pytest.approx(45, abs=0.5)
    assert side == pytest.approx(2 * between(before, before, 0.0)[1])
