from __future__ import annotations

import cv2
import numpy as np

from backend.ops import likeness
from backend.ops.chain import nearest_chain
from backend.ops.likeness import colour_thumbnail, difference_vectors, duplicates, face_details
from tests.drawn_faces import draw_face


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=2, keepdims=True)).astype(np.float32)


def test_thumbnails_keep_their_distances(rng):
    smooth = np.stack([cv2.resize(rng.integers(0, 256, (4, 4, 3), np.uint8), (64, 64)) for _ in range(30)])
    thumbnails = np.stack([colour_thumbnail(image) for image in smooth])
    found = difference_vectors(thumbnails).distances(0, 30)
    expected = np.linalg.norm(thumbnails[:, None].astype(float) - thumbnails[None], axis=2) / 255
    np.testing.assert_allclose(found, expected, rtol=0.02, atol=0.02)


def test_alike_pictures_stand_beside_each_other(rng):
    images = [rng.integers(0, 256, (32, 32, 3), np.uint8) // (1 + 3 * (number % 2)) for number in range(10)]
    order = nearest_chain(difference_vectors(np.stack([colour_thumbnail(image) for image in images])))
    odd = [number % 2 for number in order.tolist()]
    assert odd == sorted(odd)


def test_the_best_of_each_group_stays(rng):
    base = rng.standard_normal((5, 3, 40))
    group = np.array([0, 1, 0, 2, 1, 0, 3, 4])
    details = unit(base[group] + 0.02 * rng.standard_normal((8, 3, 40)))
    rank = np.array([1.0, 5, 3, 1, 2, 2, 0, 7])
    found = duplicates(details, rank, 0.95)
    assert np.flatnonzero(found.is_kept).tolist() == [1, 2, 3, 6, 7]
    assert (found.likeness[[0, 4, 5]] > 0.95).all()
    assert (found.likeness[[1, 2, 3, 6, 7]] < 0.95).all()


def test_slow_change_does_not_melt_into_one_group():
    angle = np.linspace(0, np.pi, 40)
    details = np.stack([np.cos(angle), np.sin(angle)], axis=1)[:, None].astype(np.float32)
    kept = np.flatnonzero(duplicates(details, -np.arange(40), 0.95).is_kept)
    assert 8 <= len(kept) <= 14
    assert np.diff(kept).max() <= 5


def test_blocks_do_not_change_the_result(rng, monkeypatch):
    details = unit(rng.standard_normal((20, 2, 6))[rng.integers(0, 20, 90)] + 0.2 * rng.standard_normal((90, 2, 6)))
    rank = rng.random(90)
    whole = duplicates(details, rank, 0.9)
    monkeypatch.setattr(likeness, "_BLOCK", 7)
    parts = duplicates(details, rank, 0.9)
    assert 5 < whole.is_kept.sum() < 90
    assert (whole.is_kept == parts.is_kept).all()
    np.testing.assert_allclose(whole.likeness, parts.likeness, atol=1e-5)


def test_the_mouth_counts_and_the_background_does_not(rng):
    image, points = draw_face(128, rng)
    gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    centre = tuple(points[60:68].mean(axis=0).astype(int).tolist())
    other_mouth, other_background = gray.copy(), gray.copy()
    cv2.ellipse(other_mouth, centre, (12, 8), 0, 0, 360, 20, -1)
    other_background[:10], other_background[:, :10] = 255, 0
    first, mouth, background = (face_details(g, points, 60.0) for g in (gray, other_mouth, other_background))
    assert first.shape == (3, 256)
    assert (first * first).sum(axis=1).round(4).tolist() == [1, 1, 1]
    assert (first * mouth).sum(axis=1).min() < 0.9
    assert (first * background).sum(axis=1).min() > 0.97
