"""Orders of many vectors by their distances: chains of near or far neighbours. Memory grows with n, not with n^2."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Order = npt.NDArray[np.int64]
Pause = Callable[[], None]

_NEIGHBOURS = 128
_BLOCK_BYTES = 64 << 20
_FEW = 1024  # so few are placed without making their lists of neighbours anew


def no_pause() -> None:
    """Goes on at once."""


class Vectors:
    """Vectors in one or several parts. Their distance is the sum over the parts of the Euclidean distances.

    Args:
        parts: (parts, n, d) numbers of the order of 1.
    """

    def __init__(self, parts: npt.NDArray[Any]) -> None:
        parts = np.asarray(parts, dtype=np.float32)
        squares = np.einsum("pnd,pnd->pn", parts, parts)[:, :, None]
        self._stored = np.concatenate([parts, np.ones_like(squares), squares], axis=2)

    def __len__(self) -> int:
        return self._stored.shape[1]

    def chosen(self, which: npt.NDArray[Any]) -> Vectors:
        """Some of them, by index or by a boolean for each."""
        some = object.__new__(Vectors)
        some._stored = self._stored[:, which]
        return some

    def distances(self, start: int, stop: int, others: Vectors | None = None) -> Float32:
        """(stop - start, n) distances of some to all of these, or of others."""
        others = others or self
        total = np.zeros((stop - start, len(others)), dtype=np.float32)
        squared = np.empty_like(total)
        for stored, theirs in zip(self._stored, others._stored, strict=True):
            # |a - b|^2 = (-2 a, |a|^2, 1) . (b, 1, |b|^2): one matrix product gives all squared distances.
            some = stored[start:stop]
            ours = np.concatenate([-2 * some[:, :-2], some[:, -1:], some[:, -2:-1]], axis=1)
            np.matmul(ours, theirs.T, out=squared)
            np.sqrt(np.maximum(squared, 0, out=squared), out=squared)
            total += squared
        return total

    def blocks(self) -> list[tuple[int, int]]:
        """Where to cut so that the distances of a block to all take little memory."""
        height = max(1, _BLOCK_BYTES // (4 * max(len(self), 1)))
        return [(start, min(start + height, len(self))) for start in range(0, len(self), height)]


def nearest_chain(vectors: Vectors, pause: Pause = no_pause) -> Order:
    """Order in which each is followed by the nearest of those left; the first stays first.

    Lists of the nearest neighbours are made in blocks by matrix products, and anew whenever half is placed, so that
    they rarely run out; one whose list did is compared with all that are left.

    Args:
        vectors: n of them.
        pause: called between blocks; may raise.

    Returns:
        (n,) int64 indexes, starting with 0.
    """
    left = np.arange(len(vectors), dtype=np.int64)
    order = [0][: len(left)]
    current = 0
    while len(left) > 1:
        steps = len(left) - 1 if len(left) <= _FEW else len(left) // 2
        placed = _greedy_steps(vectors, current, steps, pause)
        order.extend(left[placed].tolist())
        rest = np.ones(len(left), dtype=bool)
        rest[[current, *placed[:-1]]] = False
        current = int(np.count_nonzero(rest[: placed[-1]]))
        left, vectors = left[rest], vectors.chosen(rest)
    return np.array(order, dtype=np.int64)


def farthest_chain(vectors: Vectors, pause: Pause = no_pause) -> Order:
    """Order in which each is followed by the farthest of those left; see nearest_chain()."""
    total = len(vectors)
    left, free = np.arange(total), np.ones(total, dtype=bool)
    order = [0][:total]
    current = 0
    while len(order) < total:
        free[current] = False
        current = int(np.where(free, vectors.distances(current, current + 1)[0], -1).argmax())
        order.append(int(left[current]))
        if 2 * np.count_nonzero(free) < len(left):
            pause()
            current = int(np.count_nonzero(free[:current]))
            left, vectors = left[free], vectors.chosen(free)
            free = np.ones(len(left), dtype=bool)
    return np.array(order, dtype=np.int64)


def dissimilarity(vectors: Vectors, pause: Pause = no_pause) -> Float32:
    """Sum of the distances of each to all others: (n,) float32."""
    sums = np.zeros(len(vectors), dtype=np.float32)
    for start, stop in vectors.blocks():
        pause()
        sums[start:stop] = vectors.distances(start, stop).sum(axis=1)
    return sums


def _greedy_steps(vectors: Vectors, current: int, steps: int, pause: Pause) -> list[int]:
    """The next steps of a nearest chain that is at ``current``, all others being free."""
    lists = _nearest_lists(vectors, pause)
    free = np.ones(len(vectors), dtype=bool)
    placed: list[int] = []
    for _ in range(steps):
        free[current] = False
        candidates = lists[current]
        is_free = free[candidates]
        first = int(is_free.argmax())
        if is_free[first]:
            current = int(candidates[first])
        else:
            current = int(np.where(free, vectors.distances(current, current + 1)[0], np.inf).argmin())
        placed.append(current)
    return placed


def _nearest_lists(vectors: Vectors, pause: Pause) -> npt.NDArray[np.int32]:
    """For each the indexes of its nearest ones, itself among them, nearest first: (n, neighbours)."""
    neighbours = min(_NEIGHBOURS, len(vectors))
    found = np.empty((len(vectors), neighbours), dtype=np.int32)
    for start, stop in vectors.blocks():
        pause()
        distances = vectors.distances(start, stop)
        some = np.argpartition(distances, neighbours - 1, axis=1)[:, :neighbours]
        by_distance = np.argsort(np.take_along_axis(distances, some, axis=1), axis=1, kind="stable")
        found[start:stop] = np.take_along_axis(some, by_distance, axis=1)
    return found
