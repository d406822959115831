"""Reasons to end a training: the wanted iteration, the time limit, and the user's wish."""

from __future__ import annotations

import time
from collections.abc import Callable

from backend.training.callbacks.base import Callback
from backend.training.loop import Training

TARGET = "target"
TIME_LIMIT = "time limit"
STOPPED = "stopped"


class TargetCallback(Callback):
    """Stops the training with the reason TARGET, TIME_LIMIT or STOPPED.

    Args:
        stop_requested: True once the user asked to stop.
    """

    def __init__(self, stop_requested: Callable[[], bool]) -> None:
        self._stop_requested = stop_requested
        self._first_step_at: float | None = None

    def on_start(self, training: Training) -> None:
        """A training that has already arrived, or is not wanted any more, makes no step."""
        self._check(training)

    def on_step(self, training: Training) -> None:
        """The time limit counts from the beginning of the first iteration."""
        if self._first_step_at is None:
            self._first_step_at = time.monotonic() - training.step_s
        self._check(training)

    def _check(self, training: Training) -> None:
        settings = training.settings
        if settings.target_iterations and training.iteration >= settings.target_iterations:
            training.stop(TARGET)
        running_s = 0.0 if self._first_step_at is None else time.monotonic() - self._first_step_at
        if settings.time_limit_min and running_s >= settings.time_limit_min * 60:
            training.stop(TIME_LIMIT)
        if self._stop_requested():
            training.stop(STOPPED)
