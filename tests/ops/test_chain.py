from __future__ import annotations

import numpy as np
import pytest

from backend.core.errors import StopRequested
from backend.ops import chain
from backend.ops.chain import Vectors, dissimilarity, farthest_chain, nearest_chain


def greedy(points: np.ndarray, choose) -> list[int]:
    order, left = [0], set(range(1, len(points)))
    while left:
        at = points[order[-1]]
        order.append(choose(left, key=lambda i: float(np.linalg.norm(points[i] - at))))
        left.remove(order[-1])
    return order


@pytest.mark.parametrize("clusters", [1, 12])
def test_nearest_chain_is_greedy_when_lists_run_out_and_are_made_anew(rng, monkeypatch, clusters):
    monkeypatch.setattr(chain, "_NEIGHBOURS", 6)
    monkeypatch.setattr(chain, "_FEW", 20)
    monkeypatch.setattr(chain, "_BLOCK_BYTES", 30_000)
    points = rng.random((clusters, 5))[rng.integers(0, clusters, 300)] + 0.1 * rng.random((300, 5))
    assert nearest_chain(Vectors(points[None])).tolist() == greedy(points, min)


def test_farthest_chain_is_greedy(rng):
    points = rng.random((150, 4))
    assert farthest_chain(Vectors(points[None])).tolist() == greedy(points, max)


@pytest.mark.parametrize("walk", [nearest_chain, farthest_chain])
def test_none_one_two_and_equal_ones(walk):
    for count in (0, 1, 2, 7):
        assert sorted(walk(Vectors(np.ones((2, count, 3)))).tolist()) == list(range(count))


def test_distances_add_up_over_the_parts(rng):
    parts = rng.random((3, 40, 6))
    expected = np.linalg.norm(parts[:, :, None] - parts[:, None], axis=3).sum(axis=0)
    vectors = Vectors(parts)
    np.testing.assert_allclose(vectors.distances(0, 40), expected, atol=3e-3)
    np.testing.assert_allclose(vectors.distances(5, 9, vectors.chosen(np.arange(3))), expected[5:9, :3], atol=3e-3)
    np.testing.assert_allclose(dissimilarity(vectors), expected.sum(axis=1), atol=0.05)


def test_can_be_stopped(rng):
    def pause() -> None:
        raise StopRequested

    vectors = Vectors(rng.random((1, 50, 3)))
    for work in (nearest_chain, farthest_chain, dissimilarity):
        with pytest.raises(StopRequested):
            work(vectors, pause)
