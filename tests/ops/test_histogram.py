from __future__ import annotations

import time

import cv2
import numpy as np
import pytest

from backend.ops.histogram import face_histogram, gray_histogram, histogram_chain, histogram_dissimilarity


def faces(rng: np.random.Generator, count: int, groups: int) -> np.ndarray:
    base = rng.random((groups, 3, 256))
    return np.stack([0.7 * base[index % groups] + 0.3 * rng.random((3, 256)) for index in range(count)])


def reference_distance(a: np.ndarray, b: np.ndarray) -> float:
    return sum(cv2.compareHist(x, y, cv2.HISTCMP_BHATTACHARYYA) for x, y in zip(a, b, strict=True))


def test_counts_per_channel():
    image = np.zeros((4, 5, 3), np.uint8)
    image[..., 1] = 7
    hist = face_histogram(image)
    assert hist.shape == (3, 256)
    assert hist[0, 0] == hist[1, 7] == hist[2, 0] == 20
    assert hist.sum() == 60


def test_counts_inside_a_mask_only():
    gray = np.full((4, 5), 9, np.uint8)
    gray[:2] = 200
    mask = np.zeros((4, 5), np.float32)
    mask[:1] = 1
    hist = gray_histogram(gray, mask)
    assert hist.shape == (1, 256)
    assert (hist[0, 200], hist[0, 9], hist.sum()) == (5, 0, 5)


@pytest.mark.parametrize("groups", [1, 20])
def test_chain_is_greedy(rng, groups):
    hists = faces(rng, 200, groups).astype(np.float32)
    chain, left = [0], set(range(1, 200))
    while left:
        last = hists[chain[-1]]
        chain.append(min(left, key=lambda other: reference_distance(last, hists[other])))
        left.remove(chain[-1])
    assert histogram_chain(hists).tolist() == chain


def test_chain_of_few_and_of_empty_ones():
    assert histogram_chain(np.zeros((0, 3, 256))).tolist() == []
    assert histogram_chain(np.ones((1, 3, 256))).tolist() == [0]
    assert sorted(histogram_chain(np.zeros((5, 3, 256))).tolist()) == [0, 1, 2, 3, 4]


def test_dissimilarity_is_the_sum_of_bhattacharyya_distances(rng):
    hists = faces(rng, 30, 3).astype(np.float32)
    expected = [sum(reference_distance(a, b) for b in hists) for a in hists]
    assert histogram_dissimilarity(hists) == pytest.approx(expected, abs=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("groups", [1, 40])
def test_chain_of_4000_takes_seconds(rng, groups):
    hists = faces(rng, 4000, groups).astype(np.float32)
    start = time.process_time()
    order = histogram_chain(hists)
    assert time.process_time() - start < 10
    assert np.array_equal(np.sort(order), np.arange(4000))
