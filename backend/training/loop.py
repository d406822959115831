"""The training loop. It takes batches, distorts them, steps, and tells its observers; nothing else.

::

    on_start
    while nobody asked to stop:
        batch = loader.next()
        src, dst = augment(batch)
        losses = step(src, dst)
        on_step
    on_end
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from backend.core.settings import TrainSettings
from backend.training.augment import AugmentOptions, augment
from backend.training.callbacks.base import Callback
from backend.training.loader import BatchLoader
from backend.training.step import StepLosses, TrainStep


@dataclass
class Training:
    """The state of a running training, as its observers see it.

    Attributes:
        step: network, losses and optimiser.
        settings: of this run.
        generator: CPU generator of all augmentation.
        iteration: iterations done, those of earlier runs included.
        drawn: faces drawn so far by the src and the dst sampler.
        losses: of the last iteration, still on the device; None before the first.
        step_s, wait_s: seconds of the last iteration, and how many of them the loader was waited for.
        stop_reason: why the loop ends; empty while it goes on.
    """

    step: TrainStep
    settings: TrainSettings
    generator: torch.Generator
    iteration: int = 0
    drawn: tuple[int, int] = (0, 0)
    losses: StepLosses | None = None
    step_s: float = 0.0
    wait_s: float = 0.0
    stop_reason: str = field(default="", init=False)

    def stop(self, reason: str) -> None:
        """End the loop after this iteration; the first reason given counts."""
        self.stop_reason = self.stop_reason or reason


def train(training: Training, loader: BatchLoader, callbacks: Sequence[Callback]) -> None:
    """Train until an observer stops it.

    Args:
        training: where to begin; changed in place.
        loader: an opened loader.
        callbacks: observers, called in this order.
    """
    options = _augment_options(training.settings)
    for callback in callbacks:
        callback.on_start(training)
    while not training.stop_reason:
        started = time.perf_counter()
        batch = loader.next()
        training.wait_s = time.perf_counter() - started
        src, dst = augment(batch, options, training.generator, training.step.device)
        training.losses = training.step(src, dst)
        training.drawn = batch.drawn
        training.iteration += 1
        training.step_s = time.perf_counter() - started
        for callback in callbacks:
            callback.on_step(training)
    for callback in callbacks:
        callback.on_end(training)


def _augment_options(settings: TrainSettings) -> AugmentOptions:
    return AugmentOptions(settings.random_warp, settings.random_src_flip, settings.random_dst_flip)
