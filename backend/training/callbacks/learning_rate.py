"""The learning rate over a run: corrected for the optimiser's first steps, and lowered towards a known end."""

from __future__ import annotations

import math
import time

from backend.core.settings import TrainSettings
from backend.training.callbacks.base import Callback
from backend.training.loop import Training

_MEMORY = {"adabelief": 0.999, "rmsprop": 0.9}
ANNEAL_FROM = 0.4
"""Share of a run after which an annealed rate falls."""
ANNEAL_TO = 0.03
"""Share of the rate that is left at the end of an annealed run."""


class LearningRateCallback(Callback):
    """Sets the rate of every step: the setting, times a correction, times the annealing where it is wanted.

    The correction is sqrt(1 - memory^t) at step t of the optimiser, which tends to 1. The optimisers follow
    DeepFaceLab, whose running mean of squares begins at zero and is not corrected for it. Their first steps are
    therefore many times too large: harmless at 5e-5, but at ten times that rate the network is pushed into a flat gray
    or coloured picture that it never leaves. The factor is Adam's correction of that mean (Kingma and Ba, "Adam: a
    method for stochastic optimization", 2014), applied from outside.
    """

    def __init__(self) -> None:
        self._begun = 0.0
        self._first_iteration = 0

    def on_start(self, training: Training) -> None:
        """Set the rate of the first step."""
        self._begun, self._first_iteration = time.monotonic(), training.iteration
        self._set(training)

    def on_step(self, training: Training) -> None:
        """Set the rate of the next step."""
        self._set(training)

    def _set(self, training: Training) -> None:
        settings = training.settings
        share = annealed(self._progress(training)) if settings.anneal else 1.0
        for group in training.step.optimizer.param_groups:
            taken = int(group["iterations"])
            correction = (1.0 - _MEMORY[settings.optimizer] ** (taken + 1)) ** 0.5
            group["lr"] = settings.learning_rate * correction * share

    def _progress(self, training: Training) -> float:
        done = training.iteration - self._first_iteration
        return run_progress(training.settings, self._first_iteration, done, time.monotonic() - self._begun)


def run_progress(settings: TrainSettings, first_iteration: int, done: int, seconds: float) -> float:
    """How much of a run is over, 0..1, by its target or its time limit, whichever is nearer; 0 without either.

    Args:
        first_iteration: iteration at which the run began.
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
