"""Losses of the running training: kept on the device, fetched many at once, appended to the model's history."""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor

from backend.storage.loss_history import LossHistory


class LossLog:
    """Collects every iteration's losses without making the device wait for each of them.

    Args:
        history: the file they are appended to.
    """

    def __init__(self, history: LossHistory) -> None:
        self._history = history
        self._waiting: list[tuple[int, Tensor, float]] = []
        self._since_mark: list[tuple[float, float]] = []

    def add(self, iteration: int, src_loss: Tensor, dst_loss: Tensor) -> None:
        """Note the losses, scalars, of one iteration."""
        self._waiting.append((iteration, torch.stack([src_loss.detach(), dst_loss.detach()]).float(), time.time()))

    def flush(self) -> list[tuple[float, float]]:
        """Fetch and store what waits; returns its (src, dst) losses, oldest first."""
        if not self._waiting:
            return []
        values = torch.stack([pair for _, pair, _ in self._waiting]).cpu().tolist()
        losses = [(src, dst) for src, dst in values]
        rows = zip(self._waiting, losses, strict=True)
        self._history.append([(iteration, src, dst, at) for (iteration, _, at), (src, dst) in rows])
        self._waiting.clear()
        self._since_mark.extend(losses)
        return losses

    def mark(self) -> tuple[float, float] | None:
        """Mean (src, dst) losses since the last mark, None without a finite one; the file is on disk then."""
        self.flush()
        self._history.sync()
        finite = [pair for pair in self._since_mark if all(map(math.isfinite, pair))]
        self._since_mark.clear()
        if not finite:
            return None
        return sum(s for s, _ in finite) / len(finite), sum(d for _, d in finite) / len(finite)

    def drop_after(self, iteration: int) -> None:
        """Forget everything after an iteration, in the file too."""
        self._waiting.clear()
        self._since_mark.clear()
        self._history.truncate(iteration)
