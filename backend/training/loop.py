"""The training loop. It takes batches, distorts them, steps, and tells its observers; nothing else.

::

    on_start
    while nobody asked to stop:
        before_step
        step(augmenter(loader.next()))
        now and then: on_losses        what happened since the last time, fetched from the device at once
        on_step
        obey                           what observers ordered: stop, other settings, roll back
    on_end
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from backend.core.settings import TrainSettings
from backend.training.augment import Augmenter
from backend.training.callbacks.base import Callback
from backend.training.loader import BatchLoader
from backend.training.ranks import Ranks
from backend.training.step import StepLosses, TrainStep

READ_INTERVAL_S = 0.5
"""Losses are fetched from the device this often: in between nothing waits for it."""


@dataclass(frozen=True)
class LossRow:
    """One iteration, as numbers.

    Attributes:
        iteration: its number, from 1.
        src, dst: mean loss of each side.
        skipped: they were not finite, and the weights stayed as they were.
        time: unix time.
        step_s, wait_s: seconds it took, and how many of them the loader was waited for.
        terms: parts of the losses by name, see StepLosses.
    """

    iteration: int
    src: float
    dst: float
    skipped: bool
    time: float
    step_s: float = 0.0
    wait_s: float = 0.0
    terms: Mapping[str, float] = field(default_factory=dict)


@dataclass
class Orders:
    """What observers want done before the next iteration; every process that takes part does the same.

    Attributes:
        stop: why to end, "" to go on.
        settings: to go on with these.
        roll_back: to go back to the last good checkpoint, at half the learning rate.
    """

    stop: str = ""
    settings: TrainSettings | None = None
    roll_back: bool = False


@dataclass
class Training:
    """The state of a running training, as its observers see it.

    Attributes:
        step: network, losses and optimiser.
        chosen: the settings as the user gave them.
        generator: CPU generator of all augmentation.
        roll_back: restores the last good checkpoint into this training.
        ranks: the processes that train together.
        iteration: iterations done, those of earlier runs included.
        drawn: faces drawn so far by the src and the dst sampler.
        step_s: seconds of the last iteration.
        rate_factor: share of the learning rate that is left after roll-backs.
        started: observers have been told of the start.
        stop_reason: why the loop ends; empty while it goes on.
        orders: for the loop, before the next iteration.
    """

    step: TrainStep
    chosen: TrainSettings
    generator: torch.Generator
    roll_back: Callable[[Training], None] = lambda training: None
    ranks: Ranks = field(default_factory=Ranks)
    iteration: int = 0
    drawn: tuple[int, int] = (0, 0)
    step_s: float = 0.0
    rate_factor: float = 1.0
    started: bool = field(default=False, init=False)
    stop_reason: str = field(default="", init=False)
    orders: Orders = field(default_factory=Orders, init=False)
    _unread: list[tuple[LossRow, StepLosses]] = field(default_factory=list, init=False)

    @property
    def settings(self) -> TrainSettings:
        """The settings as this run applies them."""
        return self.chosen.effective()

    def stop(self, reason: str) -> None:
        """End the loop after this iteration; the first reason given counts."""
        self.orders.stop = self.orders.stop or reason

    def obey(self) -> None:
        """Carry out the orders of the first process."""
        orders, self.orders = self.ranks.agree(self.orders), Orders()
        if orders.settings is not None:
            self.chosen = orders.settings
            self.step.configure(self.settings)
        if orders.roll_back:
            self.roll_back(self)
            self.rate_factor *= 0.5
        self.stop_reason = self.stop_reason or orders.stop

    def note(self, losses: StepLosses, step_s: float, wait_s: float) -> None:
        """Count an iteration and keep its losses, on the device, until they are read."""
        self.iteration += 1
        self.step_s = step_s
        if self.ranks.rank == 0:
            row = LossRow(self.iteration, 0.0, 0.0, False, time.time(), step_s, wait_s)
            self._unread.append((row, losses))

    def read_losses(self) -> list[LossRow]:
        """Fetch the losses noted since the last time, oldest first."""
        unread, self._unread = self._unread, []
        if not unread:
            return []
        numbers = torch.stack([_packed(losses) for _, losses in unread]).cpu().tolist()
        return [
            replace(row, src=src, dst=dst, skipped=bool(skipped), terms=dict(zip(losses.terms, terms, strict=False)))
            for (row, losses), (src, dst, skipped, *terms) in zip(unread, numbers, strict=True)
        ]


def train(training: Training, loader: BatchLoader, augmenter: Augmenter, callbacks: Sequence[Callback]) -> None:
    """Train until an observer stops it. After an error it can be called again, and goes on where it was.

    Args:
        training: where to begin; changed in place.
        loader: an opened loader.
        augmenter: distorts what it gives.
        callbacks: observers, called in this order.
    """
    read_at = time.perf_counter()
    if not training.started:
        for callback in callbacks:
            callback.on_start(training)
        training.started = True
        training.obey()
    while not training.stop_reason:
        started = time.perf_counter()
        batch = loader.next()
        waited = time.perf_counter() - started
        for callback in callbacks:
            callback.before_step(training)
        losses = training.step(*augmenter(batch, training.iteration))
        training.drawn = batch.drawn
        training.note(losses, time.perf_counter() - started, waited)
        if time.perf_counter() - read_at >= READ_INTERVAL_S:
            _tell_losses(training, callbacks)
            read_at = time.perf_counter()
        for callback in callbacks:
            callback.on_step(training)
        training.obey()
    _tell_losses(training, callbacks)
    for callback in callbacks:
        callback.on_end(training)


def _tell_losses(training: Training, callbacks: Sequence[Callback]) -> None:
    rows = training.read_losses()
    for callback in callbacks if rows else ():
        callback.on_losses(training, rows)


_MOST_TERMS = 16


def _packed(losses: StepLosses) -> Tensor:
    """src, dst, skipped and the terms as (19,) float32; terms that are not there are 0."""
    values = [losses.src, losses.dst, losses.skipped, *losses.terms.values()]
    packed = torch.stack([value.float() for value in values])
    return torch.nn.functional.pad(packed, (0, _MOST_TERMS + 3 - len(values)))
