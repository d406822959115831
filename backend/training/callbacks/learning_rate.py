"""The learning rate over a run: what the settings ask for, corrected for an optimiser's first steps."""

from __future__ import annotations

import math
import time
from types import MappingProxyType

from backend.core.settings import TrainSettings
from backend.training.callbacks.base import Callback
from backend.training.loop import Training

_MEMORY = MappingProxyType({"adabelief": 0.999, "rmsprop": 0.9})
ANNEAL_FROM = 0.4
"""Share of a run after which an annealed rate falls."""
ANNEAL_TO = 0.03
"""Share of the rate that is left at the end of an annealed run."""
WAVE = 500
"""Steps of an optimiser from one crest of the rate to the next, with learning-rate dropout."""


class LearningRateCallback(Callback):
    """Sets the rate of every step of every optimiser, from the settings as they are at that moment.

    It is the setting, times the schedule and the warm-up, which follow the model's iterations; times the wave of
    learning-rate dropout and the correction of the first steps, which follow the optimiser's; times what roll-backs
    have left of it.

    An annealed rate falls towards a target over all runs that have this target, from the iteration at which the first
    of them began: a training that is interrupted goes on where the rate was. Another target, or switching annealing on,
    begins a new fall. A time limit counts for each run alone, and so does the fall towards it.
    """

    def __init__(self) -> None:
        self._begun = 0.0

    def on_start(self, training: Training) -> None:
        """Note when and where the run begins."""
        self._begun = time.monotonic()
        training.anneal_from()

    def before_step(self, training: Training) -> None:
        """Set the rate of this step."""
        settings = training.settings
        rate = settings.learning_rate * training.rate_factor
        rate *= scheduled(settings, training.iteration, self._progress(training))
        rate *= warmed_up(training.iteration, settings.warmup_iterations)
        for optimizer in training.step.optimizers():
            for group in optimizer.param_groups:
                number = int(group["iterations"]) + 1
                group["lr"] = rate * correction(settings.optimizer, number) * dropout_wave(settings, number)

    def _progress(self, training: Training) -> float:
        first, seconds = training.anneal_from(), time.monotonic() - self._begun
        if training.settings.time_limit_min:
            seconds = training.ranks.agree(seconds)  # different clocks would make different weights
        return run_progress(training.settings, first, training.iteration - first, seconds)


def correction(optimizer: str, number: int) -> float:
    """Share of the rate for step ``number`` of an optimiser, from 1; it tends to 1.

    AdaBelief and RMSprop follow DeepFaceLab, whose running mean of squares begins at zero and is not corrected for it.
    Their first steps are therefore many times too large: harmless at 5e-5, but at ten times that rate the network is
    pushed into a flat gray or coloured picture that it never leaves. The factor is Adam's correction of that mean
    (Kingma and Ba, "Adam: a method for stochastic optimization", 2014), applied from outside. Adam and AdamW correct
    themselves, and Lion has no such mean: theirs is 1.
    """
    memory = _MEMORY.get(optimizer)
    return 1.0 if memory is None else (1.0 - memory**number) ** 0.5


def scheduled(settings: TrainSettings, iteration: int, progress: float) -> float:
    """Share of the rate by the schedule, at an iteration of the model and a point of the run (0..1)."""
    if settings.lr_schedule == "anneal":
        return annealed(progress)
    if settings.lr_schedule == "decay":
        return settings.lr_decay ** (iteration // settings.lr_decay_every)
    return 1.0


def warmed_up(iteration: int, warmup_iterations: int) -> float:
    """Share of the rate for the step after ``iteration``: rises in equal steps from 1 / N to 1, the N-th step's."""
    return min(1.0, (iteration + 1) / warmup_iterations) if warmup_iterations else 1.0


def dropout_wave(settings: TrainSettings, number: int) -> float:
    """Share of the rate for step ``number`` of an optimiser, from 1: with dropout it waves, except in Quick96."""
    return wave(number) if settings.lr_dropout and settings.model_class != "quick96" else 1.0


def wave(number: int, period: int = WAVE) -> float:
    """(cos(2 pi number / period) + 1) / 2, DeepFaceLab's lr_cos; 0 in the middle of each period."""
    return (math.cos(2.0 * math.pi * number / period) + 1.0) / 2.0


def run_progress(settings: TrainSettings, first_iteration: int, done: int, seconds: float) -> float:
    """How much of a run is over, 0..1, by its target or its time limit, whichever is nearer; 0 without either.

    Args:
        first_iteration: iteration at which the way to the target began.
        done: iterations since then.
        seconds: time since then.
    """
    shares = [0.0]
    if settings.target_iterations > first_iteration:
        shares.append(done / (settings.target_iterations - first_iteration))
    if settings.time_limit_min:
        shares.append(seconds / (settings.time_limit_min * 60))
    return min(1.0, max(shares))


def annealed(progress: float) -> float:
    """Share of the learning rate at a point of the run: 1, then half a cosine down to ANNEAL_TO."""
    fallen = max(0.0, progress - ANNEAL_FROM) / (1.0 - ANNEAL_FROM)
    return ANNEAL_TO + (1.0 - ANNEAL_TO) * 0.5 * (1.0 + math.cos(math.pi * fallen))
