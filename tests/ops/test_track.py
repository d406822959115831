from __future__ import annotations

import numpy as np
import pytest

from backend.ops.track import PATIENCE, CutFinder, Tracker, likeness, overlap, thumbnail


def box(x: float, y: float, side: float = 40) -> list[float]:
    return [x, y, x + side, y + side]


def scene(seed: int, light: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(20, 200, (6, 10, 3)).astype(np.float32) * light
    return np.kron(coarse, np.ones((30, 32, 1))).astype(np.uint8)


def test_overlap_of_boxes() -> None:
    found = overlap([box(0, 0)], [box(0, 0), box(20, 0), box(40, 0), box(300, 300)])
    np.testing.assert_allclose(found, [[1, 1 / 3, 0, 0]], atol=1e-12)
    assert overlap(np.zeros((0, 4)), [box(0, 0)]).shape == (0, 1)


def test_two_faces_that_move_keep_their_numbers() -> None:
    tracker = Tracker()
    for frame in range(30):
        faces = [box(10 + 5 * frame, 20), box(300 - 5 * frame, 100, 60)]
        order = [0, 1] if frame % 2 else [1, 0]
        numbers = tracker.step(frame, [faces[i] for i in order])
        assert [numbers[order.index(i)] for i in (0, 1)] == [1, 0]


def test_speed_is_followed_through_a_gap_and_past_another_face() -> None:
    tracker = Tracker()
    for frame in range(6):
        assert tracker.step(frame, [box(20 * frame, 0)]) == [0]
    assert tracker.step(6, []) == []
    assert tracker.step(7, []) == []
    assert tracker.step(8, [box(160, 0), box(95, 0)]) == [0, 1]


def test_a_face_far_off_or_of_another_size_is_another_one() -> None:
    tracker = Tracker(first=7)
    assert tracker.step(0, [box(0, 0)]) == [7]
    assert tracker.step(1, [box(100, 0)]) == [8]
    assert tracker.step(2, [box(80, 0, 90)]) == [9]


def test_a_track_ends_at_a_cut_and_when_its_face_stays_away() -> None:
    tracker = Tracker()
    assert tracker.step(0, [box(0, 0)]) == [0]
    assert tracker.step(1, [box(0, 0)], cut=True) == [1]
    assert tracker.step(2 + PATIENCE, [box(0, 0)]) == [1]
    assert tracker.step(4 + 2 * PATIENCE, [box(0, 0)]) == [2]


def test_a_track_goes_on_under_the_number_its_face_has() -> None:
    tracker = Tracker(first=20)
    (new,) = tracker.step(0, [box(0, 0)])
    tracker.adopt(new, 3)
    assert tracker.step(1, [box(1, 0)]) == [3]
    assert tracker.step(2, [box(1, 0), box(200, 0)]) == [3, 21]


@pytest.mark.parametrize("shape", [(720, 1280), (90, 40), (18, 32), (2160, 3840)])
def test_thumbnails_have_one_size(shape: tuple[int, int]) -> None:
    thumb = thumbnail(np.full((*shape, 3), 77, np.uint8))
    assert thumb.shape == (18, 32, 3)
    np.testing.assert_array_equal(thumb, 77)


def test_likeness_sees_structure_and_not_brightness() -> None:
    first = thumbnail(scene(1))
    assert likeness(first, first) == pytest.approx(1)
    assert likeness(first, thumbnail(scene(1, 0.7))) > 0.85
    assert likeness(first, thumbnail(scene(2))) < 0.3


def test_cuts_are_found_and_pans_and_flashes_are_not() -> None:
    finder = CutFinder()
    wide = np.concatenate([scene(1), scene(5), scene(6)], axis=1)
    pan = [wide[:, 12 * n : 12 * n + 320] for n in range(20)]
    flash = [np.clip(pan[-1].astype(int) * 1.4, 0, 255).astype(np.uint8), pan[-1]]
    shots = [*pan, *flash, scene(2), scene(2), np.zeros_like(scene(2)), np.zeros_like(scene(2)), scene(3)]
    cuts = [index for index, frame in enumerate(shots) if finder.step(thumbnail(frame))]
    assert cuts == [22, 24, 26]
