"""Batches of undistorted faces, assembled ahead of the training by a thread of their own."""

from __future__ import annotations

import os
import queue
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from types import TracebackType

import numpy as np
import torch
from torch import Tensor

from backend.core.settings.train import TrainSettings
from backend.ops.color import COLOR_TRANSFERS
from backend.training.dataset import Bytes, FaceCache
from backend.training.sampler import ALONE, Entries, EpochSampler, Sampler, Share

PREFETCHED = 3
"""Batches that wait ready."""

_REFERENCE_SEED = 1 << 40  # keeps the order of the colour references apart from those of the sides
_MOST_THREADS = 8


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


class BatchLoader:
    """Gathers batches in a background thread. Use as a context manager; ``next()`` waits for the next batch.

    With a colour transfer every source face takes the colours of a destination face, un-distorted ones both. The
    destination faces come shuffled without replacement. Which one, and the random numbers of the transfer, follow from
    the seed and the number of the source face alone, so that a resumed training goes on as if it had never stopped.

    Args:
        src, dst: a side's faces and the sampler that picks from them.
        settings: effective ones; read are the batch size (of all processes together), the colour transfer and the seed.
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
        self._src = src
        self._dst = dst
        self._batch_size = settings.batch_size
        self._pin = pin
        self._share = share
        self._transfer = settings.color_transfer
        self._seed = settings.seed
        self._references = EpochSampler(dst[1].entries, _REFERENCE_SEED + settings.seed, src[1].drawn)
        self._pool = ThreadPoolExecutor(max(1, min(_MOST_THREADS, (os.cpu_count() or 1) // share.ranks)), "colours")
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

    def _drop_one(self) -> None:
        if not self._ready.empty():
            self._ready.get_nowait()

    def _work(self) -> None:
        try:
            while not self._closing.is_set():
                src, dst = self._gather_src(), self._gather(*self._dst)
                self._ready.put(RawBatch(src, dst, (self._src[1].drawn, self._dst[1].drawn)))
        except Exception as error:  # noqa: BLE001 - handed to the training thread, which raises it
            self._ready.put(error)

    def _gather_src(self) -> RawSide:
        """The next source faces, in other colours where that is wanted."""
        if self._transfer == "none":
            return self._gather(*self._src)
        cache, sampler = self._src
        numbers = self._share.of(np.arange(sampler.drawn, sampler.drawn + self._batch_size))
        references = self._share.of(self._references.draw(self._batch_size))
        entries = self._share.of(sampler.draw(self._batch_size))
        recolour = partial(recoloured, self._transfer, self._seed)
        images = self._pool.map(recolour, numbers, cache.images[entries], self._dst[0].images[references])
        side = RawSide(torch.from_numpy(np.stack(list(images))), torch.from_numpy(cache.masks[entries]))
        return self._pinned(side)

    def _gather(self, cache: FaceCache, sampler: Sampler) -> RawSide:
        return self._pinned(take(cache, self._share.of(sampler.draw(self._batch_size))))

    def _pinned(self, side: RawSide) -> RawSide:
        return RawSide(side.images.pin_memory(), side.masks.pin_memory()) if self._pin else side


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
