"""Which faces come next. All of a sampler's state is its seed and how many faces it has drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

from backend.core.settings.train import TrainSettings
from backend.training.dataset import FaceCache

Entries = npt.NDArray[np.int64]
Yaws = npt.NDArray[np.float32]
Side = tuple[FaceCache, Entries]
T = TypeVar("T", Entries, Tensor)

YAW_BINS = 128
YAW_RANGE = 1.2
"""Radians to either side that the bins cover; what is beyond counts to the outer ones."""

NEAR_YAW = 0.05
"""Radians by which head turns may differ that count as similar."""

FEWEST_NEAR = 8
"""So many of the most similar faces are chosen from where fewer lie that near."""

_ROUNDS, _BINS, _NEAR = 0, 1, 2  # keep the random orders of rounds and bins, and the choice of near faces, apart


@dataclass(frozen=True)
class Share:
    """The part of every batch that one of several processes works on.

    All of them draw the same faces and the same random numbers and keep their slice, so that together they see what
    one process would see.

    Attributes:
        rank: number of this process, from 0.
        ranks: how many there are; the batch has to be divisible by it.
    """

    rank: int = 0
    ranks: int = 1

    def of(self, whole: T) -> T:
        """This process's slice of the first axis."""
        size = len(whole) // self.ranks
        return whole[self.rank * size : (self.rank + 1) * size]


ALONE = Share()


class Sampler(Protocol):
    """Draws entries of a FaceCache.

    Attributes:
        entries: what it draws from.
        drawn: entries drawn so far.
    """

    entries: Entries
    drawn: int

    def draw(self, count: int) -> Entries:
        """The next (count,) entries."""
        ...


class EpochSampler:
    """Draws entries shuffled without replacement; the order of each round follows from seed and round alone.

    Args:
        entries: (n,) what to draw from.
        seed: of the order; give the two sides different ones.
        drawn: entries drawn so far; a resumed training goes on with the very next face.
    """

    def __init__(self, entries: Entries, seed: int, drawn: int = 0) -> None:
        self.entries = entries
        self.drawn = drawn
        self._seed = seed
        self._round = -1
        self._order = entries

    def draw(self, count: int) -> Entries:
        """The next (count,) entries; a new round begins wherever the old one ends."""
        size = len(self.entries)
        out = np.empty(count, np.int64)
        for i in range(count):
            turn, position = divmod(self.drawn, size)
            if turn != self._round:
                self._order = np.random.default_rng([self._seed, turn]).permutation(self.entries)
                self._round = turn
            out[i] = self._order[position]
            self.drawn += 1
        return out


class YawSampler:
    """Draws all head turns equally often: one face of every bin of yaw that holds any, then the next round.

    The bins come in a new random order in each round; the faces of a bin come shuffled without replacement. Since a
    bin has its turn once per round, both orders follow from the seed and the counter. DeepFaceLab's bins: 128 edges
    over +-1.2 radians of the negative yaw.

    Args:
        entries: (n,) what to draw from.
        yaws: (n,) their yaws in radians.
        seed: of both orders.
        drawn: entries drawn so far.
    """

    def __init__(self, entries: Entries, yaws: Yaws, seed: int, drawn: int = 0) -> None:
        self.entries = entries
        self.drawn = drawn
        self._seed = seed
        edges = np.linspace(-YAW_RANGE, YAW_RANGE, YAW_BINS)
        which = np.clip(np.searchsorted(edges, -yaws, side="right") - 1, 0, YAW_BINS - 1)
        self._bins = [entries[which == number] for number in np.unique(which)]
        self._round = -1
        self._turns = np.arange(len(self._bins))
        self._orders: dict[int, tuple[int, Entries]] = {}

    def draw(self, count: int) -> Entries:
        """The next (count,) entries."""
        out = np.empty(count, np.int64)
        for i in range(count):
            turn, position = divmod(self.drawn, len(self._bins))
            if turn != self._round:
                self._turns = np.random.default_rng([self._seed, _ROUNDS, turn]).permutation(len(self._bins))
                self._round = turn
            out[i] = self._nth(int(self._turns[position]), turn)
            self.drawn += 1
        return out

    def _nth(self, number: int, visit: int) -> int:
        """What a bin gives at its n-th visit."""
        held = self._bins[number]
        epoch, position = divmod(visit, len(held))
        known, order = self._orders.get(number, (-1, held))
        if known != epoch:
            order = np.random.default_rng([self._seed, _BINS, number, epoch]).permutation(held)
            self._orders[number] = (epoch, order)
        return int(order[position])


class SimilarYawSampler:
    """Draws for each face of another sampler one of a similar head turn, by chance among those that lie near.

    As DeepFaceLab 1 fed the source "sorted by yaw": the turns of this side come as often as they do on the other.

    Args:
        entries: (n,) what to draw from.
        yaws: (n,) their yaws in radians.
        like: a sampler of its own that draws what the other side will draw, from where that stands.
        like_yaws: (m,) yaws of ``like.entries``.
        seed: of the choice among near faces.
        drawn: entries drawn so far.
    """

    def __init__(
        self,
        entries: Entries,
        yaws: Yaws,
        like: Sampler,
        like_yaws: Yaws,
        seed: int,
        drawn: int = 0,
    ) -> None:
        self.entries = entries
        self.drawn = drawn
        self._like = like
        self._wanted = np.zeros(int(like.entries.max()) + 1, np.float32)
        self._wanted[like.entries] = like_yaws
        order = np.argsort(yaws, kind="stable")
        self._ordered, self._yaws = entries[order], yaws[order]
        self._seed = seed

    def draw(self, count: int) -> Entries:
        """The next (count,) entries."""
        out = np.empty(count, np.int64)
        for i, yaw in enumerate(self._wanted[self._like.draw(count)]):
            near = self._near(yaw)
            out[i] = near[np.random.default_rng([self._seed, _NEAR, self.drawn]).integers(len(near))]
            self.drawn += 1
        return out

    def _near(self, yaw: np.float32) -> Entries:
        """What lies near a head turn."""
        first, end = np.searchsorted(self._yaws, (yaw - NEAR_YAW, yaw + NEAR_YAW))
        if end - first >= FEWEST_NEAR:
            return self._ordered[first:end]
        place = int(np.searchsorted(self._yaws, yaw))
        around = slice(max(0, place - FEWEST_NEAR), place + FEWEST_NEAR)
        nearest = np.argsort(np.abs(self._yaws[around] - yaw), kind="stable")[:FEWEST_NEAR]
        return self._ordered[around][nearest]


def build_samplers(src: Side, dst: Side, settings: TrainSettings, drawn: tuple[int, int]) -> tuple[Sampler, Sampler]:
    """The samplers of both sides that these settings ask for.

    Args:
        src, dst: a side's faces, and the entries of those that train.
        settings: effective ones.
        drawn: faces that each side has drawn so far.
    """
    seeds = 2 * settings.seed, 2 * settings.seed + 1
    of_src = build_sampler(*src, settings, seeds[0], drawn[0])
    of_dst = build_sampler(*dst, settings, seeds[1], drawn[1])
    if settings.sort_by_yaw:
        like = build_sampler(*dst, settings, seeds[1], drawn[1])
        yaws, like_yaws = src[0].yaws(src[1]), dst[0].yaws(dst[1])
        of_src = SimilarYawSampler(src[1], yaws, like, like_yaws, seeds[0], drawn[0])
    return of_src, of_dst


def build_sampler(cache: FaceCache, entries: Entries, settings: TrainSettings, seed: int, drawn: int = 0) -> Sampler:
    """The sampler of one side by itself: shuffled, or all head turns equally often.

    Args:
        cache: one side's faces.
        entries: those of them that train.
        settings: effective ones.
        seed: give the two sides different ones.
        drawn: faces this side has drawn so far.
    """
    if settings.uniform_yaw:
        return YawSampler(entries, cache.yaws(entries), seed, drawn)
    return EpochSampler(entries, seed, drawn)
