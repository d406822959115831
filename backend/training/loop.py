"""The training loop. It takes batches, distorts them, steps, and tells its observers; nothing else.

::

    on_start
    while nobody asked to stop, or an optimiser step is not complete:
        before_step
        step(augmenter(loader.next()))
        now and then: on_losses        what happened since the last time, fetched from the device at once;
                                       also where an observer asked for it in before_step
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
        before: what ``drawn`` and the generator's state were before the last batch, where the next iteration takes
            that batch once more; None where it takes a new one. See random_point().
        step_s: seconds of the last iteration.
        rate_factor: share of the learning rate that is left after roll-backs, those of earlier runs included.
        annealing: the target that the rate is annealed towards, and the iteration at which that began; see
            anneal_from().
        tell_losses: an observer wants the losses right after this iteration; set in before_step, and forgotten then.
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
    before: tuple[tuple[int, int], Tensor] | None = None
    rate_factor: float = 1.0
    annealing: tuple[int, int] = (0, 0)
    tell_losses: bool = False
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
            orders.stop = ""  # the target is not reached any more; other reasons are given again after the next step
        self.stop_reason = self.stop_reason or orders.stop

    def note(self, losses: StepLosses, step_s: float, wait_s: float) -> None:
        """Count an iteration and keep its losses, on the device, until they are read."""
        self.iteration += 1
        self.step_s = step_s
        if self.ranks.rank == 0:
            row = LossRow(self.iteration, 0.0, 0.0, False, time.time(), step_s, wait_s)
            self._unread.append((row, losses))

    def random_point(self) -> tuple[tuple[int, int], Tensor]:
        """Where samplers and augmentation have to begin to repeat the next iteration: ``drawn``, generator's state."""
        return self.before or (self.drawn, self.generator.get_state())

    def anneal_from(self) -> int:
        """The iteration at which annealing towards the present target began.

        It stays the same over all runs while the schedule is "anneal" and the target does not change; otherwise it
        begins anew where the training stands.
        """
        settings = self.settings
        target = settings.target_iterations if settings.lr_schedule == "anneal" else 0
        if self.annealing[0] != target:
            self.annealing = (target, self.iteration)
        return self.annealing[1]

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

    A stop waits for the optimiser step that is being gathered: with "accumulate" a training ends up to so many less one
    iterations later, and loses nothing. Likewise losses that were told in the middle of such a step are told again
    at its end, where the model can be saved.

    Args:
        training: where to begin; changed in place.
        loader: an opened loader.
        augmenter: distorts what it gives.
        callbacks: observers, called in this order.
    """
    read_at, owed = time.perf_counter(), False
    augmenter.forget()
    if not training.started:
        for callback in callbacks:
            callback.on_start(training)
        training.started = True
        training.obey()
    while not training.stop_reason or training.step.gathered:
        for callback in callbacks:
            callback.before_step(training)
        _iterate(training, loader, augmenter)
        whole = not training.step.gathered
        if training.tell_losses or time.perf_counter() - read_at >= READ_INTERVAL_S or (owed and whole):
            _tell_losses(training, callbacks)
            read_at, owed, training.tell_losses = time.perf_counter(), not whole, False
        for callback in callbacks:
            callback.on_step(training)
        training.obey()
    _tell_losses(training, callbacks)
    for callback in callbacks:
        callback.on_end(training)


def _iterate(training: Training, loader: BatchLoader, augmenter: Augmenter) -> None:
    """One iteration, with a new batch or with the one before once more."""
    started = time.perf_counter()
    if augmenter.reuses(training.iteration):
        training.note(training.step(*augmenter.again()), time.perf_counter() - started, 0.0)
        training.before = None
        return
    before = training.drawn, training.generator.get_state()
    batch = loader.next()
    waited = time.perf_counter() - started
    losses = training.step(*augmenter(batch, training.iteration))
    training.drawn = batch.drawn
    training.note(losses, time.perf_counter() - started, waited)
    training.before = before if augmenter.reuses(training.iteration) else None


def _tell_losses(training: Training, callbacks: Sequence[Callback]) -> None:
    rows = training.read_losses()
    for callback in callbacks if rows else ():
        callback.on_losses(training, rows)


_MOST_TERMS = 24


def _packed(losses: StepLosses) -> Tensor:
    """src, dst, skipped and the terms as (27,) float32; terms that are not there are 0."""
    values = [losses.src, losses.dst, losses.skipped, *losses.terms.values()]
    packed = torch.stack([value.float() for value in values])
    return torch.nn.functional.pad(packed, (0, _MOST_TERMS + 3 - len(values)))
