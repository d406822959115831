"""Keeps the first steps of a new model small."""

from __future__ import annotations

from backend.training.callbacks.base import Callback
from backend.training.loop import Training

_MEMORY = {"adabelief": 0.999, "rmsprop": 0.9}


class WarmupCallback(Callback):
    """Scales the learning rate by sqrt(1 - memory^t) at step t of the optimiser, which tends to 1.

    The optimisers follow DeepFaceLab, whose running mean of squares begins at zero and is not corrected for it. Their
    first steps are therefore many times too large: harmless at 5e-5, but at ten times that rate the network is pushed
    into a flat gray or coloured picture that it never leaves. The factor is Adam's correction of that mean (Kingma and
    Ba, "Adam: a method for stochastic optimization", 2014), applied from outside.
    """

    def on_start(self, training: Training) -> None:
        """Set the rate of the first step."""
        self._set(training)

    def on_step(self, training: Training) -> None:
        """Set the rate of the next step."""
        self._set(training)

    def _set(self, training: Training) -> None:
        settings = training.settings
        for group in training.step.optimizer.param_groups:
            taken = int(group["iterations"])
            group["lr"] = settings.learning_rate * (1.0 - _MEMORY[settings.optimizer] ** (taken + 1)) ** 0.5
