"""Batches of undistorted faces, assembled ahead of the training by a thread of their own."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from backend.core.settings.train import TrainSettings
from backend.ops.color import COLOR_TRANSFERS
from backend.training.clahe import Equaliser
from backend.training.dataset import Bytes, FaceCache
from backend.training.landmark_warp import LandmarkWarp
from backend.training.sampler import ALONE, Entries, EpochSampler, Sampler, Share

PREFETCHED = 3
"""Batches that wait ready."""

_REFERENCE_SEED = 1 << 40  # keeps the order of the colour references apart from those of the sides
_MOST_THREADS = 8


@dataclass(frozen=True)
class RawSide:
    """Faces of one side, on the CPU.

    Attributes:
        images: (B, H, W, C) uint8.
        masks: (B, H, W, n) uint8, as in FaceCache.
        nodes: (B, 2, 65, 65) float32 warp grids of their own, see warp_nodes(); None when there are none.
    """

    images: Tensor
    masks: Tensor
    nodes: Tensor | None = None


@dataclass(frozen=True)
class RawBatch:
    """Both sides of one iteration, and the samplers' counters after it was drawn."""

    src: RawSide
    dst: RawSide
    drawn: tuple[int, int]


class BatchLoader:
    """Gathers batches in a background thread. Use as a context manager; ``next()`` waits for the next batch.

    What is done to faces here, un-distorted ones, takes its random numbers from the seed, the side and the number of
    the face alone, so that a resumed training goes on as if it had never stopped:

    - With a colour transfer every source face takes the colours of a destination face. These come shuffled without
      replacement.
    - A share of the faces has its contrast equalised.
    - Where inputs are warped to landmarks, each face gets its warp grid.

    Args:
        src, dst: a side's faces and the sampler that picks from them.
        settings: effective ones; the batch size is that of all processes together.
        pin: put the bytes into page-locked memory, for devices that copy from it in the background.
        share: the part of every batch that is handed out here.
    """

    def __init__(
        self,
        src: tuple[FaceCache, Sampler],
        dst: tuple[FaceCache, Sampler],
        settings: TrainSettings,
        pin: bool = False,
        share: Share = ALONE,
    ) -> None:
        self._sides = (src, dst)
        self._batch_size = settings.batch_size
        self._pin = pin
        self._share = share
        self._transfer = settings.color_transfer
        self._seed = settings.seed
        self._references = EpochSampler(dst[1].entries, _REFERENCE_SEED + settings.seed, src[1].drawn)
        self._equalisers = _equalisers(settings)
        self._warps = (_landmark_warp(src, dst, settings, 0), _landmark_warp(dst, src, settings, 1))
        self._pool = ThreadPoolExecutor(max(1, min(_MOST_THREADS, (os.cpu_count() or 1) // share.ranks)), "faces")
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
        self._pool.shutdown(cancel_futures=True)

    def next(self) -> RawBatch:
        """The next batch; raises what went wrong in the thread."""
        batch = self._ready.get()
        if isinstance(batch, BaseException):
            raise batch
        return batch

    def gather(self, side: int) -> RawSide:
        """The next faces of a side, 0 src and 1 dst, with all that is done to them here; next() does this ahead."""
        cache, sampler = self._sides[side]
        numbers = self._share.of(np.arange(sampler.drawn, sampler.drawn + self._batch_size))
        entries = self._share.of(sampler.draw(self._batch_size))
        raw = take(cache, entries)
        images, equalise, warp = raw.images.numpy(), self._equalisers[side], self._warps[side]
        if side == 0 and self._transfer != "none":
            references = self._sides[1][0].images[self._share.of(self._references.draw(self._batch_size))]
            images = self._each(partial(recoloured, self._transfer, self._seed), numbers, images, references)
        if equalise is not None:
            images = self._each(equalise, numbers, images)
        nodes = None
        if warp is not None:
            nodes = torch.from_numpy(self._each(warp.nodes, numbers, entries, warp.aims(entries)))
        return self._pinned(RawSide(torch.from_numpy(images), raw.masks, nodes))

    def _drop_one(self) -> None:
        if not self._ready.empty():
            self._ready.get_nowait()

    def _work(self) -> None:
        try:
            while not self._closing.is_set():
                src, dst = self.gather(0), self.gather(1)
                self._ready.put(RawBatch(src, dst, (self._sides[0][1].drawn, self._sides[1][1].drawn)))
        except Exception as error:  # noqa: BLE001 - handed to the training thread, which raises it
            self._ready.put(error)

    def _each(self, work: Callable[..., npt.NDArray[Any]], *faces: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """What ``work`` makes of each face, stacked; several at a time."""
        return np.stack(list(self._pool.map(work, *faces)))

    def _pinned(self, side: RawSide) -> RawSide:
        if not self._pin:
            return side
        nodes = None if side.nodes is None else side.nodes.pin_memory()
        return RawSide(side.images.pin_memory(), side.masks.pin_memory(), nodes)


def take(cache: FaceCache, entries: Entries) -> RawSide:
    """Copies of some entries of a cache."""
    return RawSide(torch.from_numpy(cache.images[entries]), torch.from_numpy(cache.masks[entries]))


def recoloured(transfer: str, seed: int, number: int, face: Bytes, reference: Bytes) -> Bytes:
    """A face in the colours of another one.

    Args:
        transfer: a key of COLOR_TRANSFERS.
        seed, number: of the training and of the face in it; the random directions follow from them.
        face, reference: (h, w, C) uint8.

    Returns:
        (h, w, C) uint8.
    """
    scale = np.float32(1 / 255)
    rng = np.random.default_rng([seed, int(number)])
    result = COLOR_TRANSFERS[transfer](face * scale, reference * scale, None, rng)
    return np.rint(result * np.float32(255)).astype(np.uint8)


def _equalisers(settings: TrainSettings) -> tuple[Equaliser | None, Equaliser | None]:
    if not settings.color_clahe_chance:
        return None, None
    chance, largest = settings.color_clahe_chance / 100, settings.color_clahe_max_size
    return Equaliser(chance, largest, settings.seed, 0), Equaliser(chance, largest, settings.seed, 1)


def _landmark_warp(
    own: tuple[FaceCache, Sampler], other: tuple[FaceCache, Sampler], settings: TrainSettings, side: int
) -> LandmarkWarp | None:
    if not settings.warp_to_landmarks:
        return None
    cache, sampler = other
    return LandmarkWarp(own[0].points, cache.points[sampler.entries], settings.seed, side)
