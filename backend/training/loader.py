"""Batches of undistorted faces, assembled ahead of the training by a thread of their own."""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass
from types import TracebackType

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from backend.training.dataset import FaceCache

PREFETCHED = 3
"""Batches that wait ready."""


@dataclass(frozen=True)
class RawSide:
    """Faces of one side as bytes: ``images`` (B, H, W, C) and ``masks`` (B, H, W, 2), uint8, on the CPU."""

    images: Tensor
    masks: Tensor


@dataclass(frozen=True)
class RawBatch:
    """Both sides of one iteration, and the samplers' counters after it was drawn."""

    src: RawSide
    dst: RawSide
    drawn: tuple[int, int]


class EpochSampler:
    """Draws entries shuffled without replacement; the order of each round follows from seed and round alone.

    Its whole state is how many entries were drawn, so a resumed training goes on with the very next face.

    Args:
        entries: (n,) what to draw from.
        seed: of the order; give the two sides different ones.
        drawn: entries drawn so far.
    """

    def __init__(self, entries: npt.NDArray[np.int64], seed: int, drawn: int = 0) -> None:
        self._entries = entries
        self._seed = seed
        self._round = -1
        self._order = entries
        self.drawn = drawn

    def draw(self, count: int) -> npt.NDArray[np.int64]:
        """The next (count,) entries; a new round begins wherever the old one ends."""
        size = len(self._entries)
        out = np.empty(count, np.int64)
        for i in range(count):
            turn, position = divmod(self.drawn, size)
            if turn != self._round:
                self._order = np.random.default_rng([self._seed, turn]).permutation(self._entries)
                self._round = turn
            out[i] = self._order[position]
            self.drawn += 1
        return out


class BatchLoader:
    """Gathers batches in a background thread. Use as a context manager; ``next()`` waits for the next batch.

    Args:
        src, dst: a side's faces and the sampler that picks from them.
        batch_size: faces of each side per batch.
        pin: put the bytes into page-locked memory, for devices that copy from it in the background.
    """

    def __init__(
        self,
        src: tuple[FaceCache, EpochSampler],
        dst: tuple[FaceCache, EpochSampler],
        batch_size: int,
        pin: bool = False,
    ) -> None:
        self._src = src
        self._dst = dst
        self._batch_size = batch_size
        self._pin = pin
        self._ready: queue.Queue[RawBatch | BaseException] = queue.Queue(PREFETCHED)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="batches", daemon=True)

    def __enter__(self) -> BatchLoader:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        while self._thread.is_alive():
            self._drop_one()
            self._thread.join(0.01)

    def next(self) -> RawBatch:
        """The next batch; raises what went wrong in the thread."""
        batch = self._ready.get()
        if isinstance(batch, BaseException):
            raise batch
        return batch

    def _drop_one(self) -> None:
        if not self._ready.empty():
            self._ready.get_nowait()

    def _work(self) -> None:
        try:
            while not self._closing.is_set():
                src = self._gather(*self._src)
                dst = self._gather(*self._dst)
                self._ready.put(RawBatch(src, dst, (self._src[1].drawn, self._dst[1].drawn)))
        except Exception as error:  # noqa: BLE001 - handed to the training thread, which raises it
            self._ready.put(error)

    def _gather(self, cache: FaceCache, sampler: EpochSampler) -> RawSide:
        side = take(cache, sampler.draw(self._batch_size))
        return RawSide(side.images.pin_memory(), side.masks.pin_memory()) if self._pin else side


def take(cache: FaceCache, entries: npt.NDArray[np.int64]) -> RawSide:
    """Copies of some entries of a cache."""
    return RawSide(torch.from_numpy(cache.images[entries]), torch.from_numpy(cache.masks[entries]))
