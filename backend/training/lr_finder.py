"""Finding a learning rate: it rises over real steps that are undone afterwards, and the losses tell how far it may go.

Smith, "Cyclical learning rates for training neural networks", 2015, in faceswap's form: the rate grows exponentially,
the loss is smoothed, and the rate to train with is a share of the one at which the smoothed loss was lowest.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from torch import Tensor

from backend.core.errors import LookalikeError
from backend.core.settings import bounds_of
from backend.storage.lr_curve import LrCurve
from backend.training.augment import Augmenter
from backend.training.callbacks.checkpoint import random_state, restore_random_state
from backend.training.callbacks.learning_rate import correction
from backend.training.loader import BatchLoader
from backend.training.loop import Training

FIRST, LAST = 1e-10, 1e-1
"""Learning rates of the first and the last step."""
LEAST = 1e-9
"""A rate below this is none."""

DIVISORS: Mapping[str, float] = MappingProxyType({"default": 10.0, "aggressive": 5.0, "extreme": 2.5})
"""Strength -> what the rate of the lowest smoothed loss is divided by."""

_KEPT = 0.98
_TOO_BAD = 4.0


@dataclass
class RisingRate:
    """The curve in the making.

    Attributes:
        steps: how many there will be, at least 2.
        rates, losses, smoothed: of the steps that count so far. ``smoothed`` is the running mean .98 a + .02 loss,
            divided by 1 - .98^t.
    """

    steps: int
    rates: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    smoothed: list[float] = field(default_factory=list)
    _mean: float = 0.0

    def rate(self) -> float:
        """Learning rate of the next step: FIRST * (LAST / FIRST)^(t / (steps - 1))."""
        return FIRST * (LAST / FIRST) ** (len(self.rates) / (self.steps - 1))

    def add(self, loss: float) -> bool:
        """Take in the loss of a step; False when there is nothing more to learn.

        That is after the last step, at a loss that is not finite, and at a smoothed loss above 4 times the lowest.
        The last two do not count.
        """
        self._mean = _KEPT * self._mean + (1.0 - _KEPT) * loss
        smoothed = self._mean / (1.0 - _KEPT ** (len(self.rates) + 1))
        if not math.isfinite(smoothed) or (self.smoothed and smoothed > _TOO_BAD * min(self.smoothed)):
            return False
        self.rates.append(self.rate())
        self.losses.append(loss)
        self.smoothed.append(smoothed)
        return len(self.rates) < self.steps

    def curve(self, strength: str, low: float, high: float) -> LrCurve:
        """The finished curve.

        Args:
            strength: a key of DIVISORS.
            low, high: range that the chosen rate is brought into.

        Raises:
            LookalikeError: the chosen rate is below LEAST.
        """
        best = self.rates[self.smoothed.index(min(self.smoothed))] if self.rates else 0.0
        chosen = best / DIVISORS[strength]
        if chosen < LEAST:
            raise LookalikeError(
                f"No learning rate was found: after {len(self.rates)} steps the loss was lowest at {best:.3g}, before "
                "anything was learned.",
                "Give the finder more steps, or switch it off and set the learning rate.",
            )
        return LrCurve(
            rates=tuple(self.rates),
            losses=tuple(self.losses),
            smoothed=tuple(self.smoothed),
            best=best,
            strength=strength,
            chosen=min(max(chosen, low), high),
            iteration=len(self.rates),
        )


def search_rate(
    training: Training, loader: BatchLoader, augmenter: Augmenter, goes_on: Callable[[int], bool]
) -> LrCurve | None:
    """Look for a learning rate with a network that has not learned yet.

    Everything is as before afterwards: weights and averages, optimisers, discriminators, loss scale, random numbers and
    counters. Rates get the optimiser's correction of its first steps, and neither schedule nor warm-up nor wave. Every
    step waits for the device. Several processes look together.

    Args:
        training: at its start; ``lr_finder_iterations`` and ``lr_finder_strength`` are those of its settings.
        loader, augmenter: opened for this search alone.
        goes_on: told the steps done, from 0, before each one; False ends the search. Rank 0 decides.

    Returns:
        the curve, None when ``goes_on`` ended it.

    Raises:
        LookalikeError: no rate was found.
    """
    settings = training.settings
    rising = RisingRate(settings.lr_finder_iterations)
    batches = _Batches(training, loader, augmenter)
    with undone(training):
        more = True
        while more:
            if not training.ranks.agree(goes_on(len(rising.rates))):
                return None
            _set_rate(training, rising.rate())
            more = rising.add(training.ranks.agree(batches.step()))
    low, high, _ = bounds_of(type(settings).model_fields["learning_rate"])
    return rising.curve(settings.lr_finder_strength, low or 0.0, high or LAST)


@contextlib.contextmanager
def undone(training: Training) -> Iterator[None]:
    """Whatever the steps inside the block change is as before when it ends, however it ends."""
    tensors, rest = training.step.state()
    kept = {name: {key: _copied(value) for key, value in values.items()} for name, values in tensors.items()}
    numbers = random_state(training)
    del tensors
    try:
        yield
    finally:
        training.step.load(kept, rest)
        restore_random_state(training, numbers)
        _set_rate(training, training.settings.learning_rate, corrected=False)


def adopt_rate(training: Training, rate: float) -> None:
    """Make a found rate that of the settings; they ask for no search any more."""
    changes: dict[str, Any] = {"learning_rate": rate, "lr_finder": "off"}
    training.chosen = training.chosen.model_copy(update=changes)
    training.step.configure(training.settings)
    _set_rate(training, rate, corrected=False)


class _Batches:
    """Steps of the optimiser, each with as many batches as it takes."""

    def __init__(self, training: Training, loader: BatchLoader, augmenter: Augmenter) -> None:
        self._training = training
        self._loader = loader
        self._augmenter = augmenter
        self._done = 0

    def step(self) -> float:
        """One step; the mean loss of both sides together before it, not a number when it was skipped."""
        step, losses = self._training.step, []
        while not losses or step.gathered:
            again = self._augmenter.reuses(self._done)
            sides = self._augmenter.again() if again else self._augmenter(self._loader.next(), self._done)
            found = step(*sides)
            self._done += 1
            losses.append(float("nan") if bool(found.skipped) else float(found.src + found.dst))
        return sum(losses) / len(losses)


def _set_rate(training: Training, rate: float, corrected: bool = True) -> None:
    for optimizer in training.step.optimizers():
        for group in optimizer.param_groups:
            number = int(group["iterations"]) + 1
            group["lr"] = rate * (correction(training.settings.optimizer, number) if corrected else 1.0)


def _copied(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True)
