"""Watches for losses that are not finite: such steps change nothing; too many in a row roll the model back."""

from __future__ import annotations

from collections.abc import Callable

from backend.training.callbacks.base import Callback, Emit
from backend.training.loop import Training

PATIENCE = 10
"""Skipped steps in a row before the model is rolled back."""


class NanGuardCallback(Callback):
    """Counts skipped steps and rolls back.

    Args:
        roll_back: restores the last good checkpoint into the training and returns its iteration.
        emit: the events' way out.
    """

    def __init__(self, roll_back: Callable[[Training], int], emit: Emit) -> None:
        self._roll_back = roll_back
        self._emit = emit
        self._in_a_row = 0
        self.skipped = 0

    def on_step(self, training: Training) -> None:
        """Count; roll back when patience ends."""
        if training.losses is None or not training.losses.skipped:
            self._in_a_row = 0
            return
        self.skipped += 1
        self._in_a_row += 1
        if self._in_a_row == 1:
            message = f"Losses are not finite at iteration {training.iteration}; the step was skipped."
            self._emit("log", {"level": "warning", "message": message})
        if self._in_a_row >= PATIENCE:
            self._in_a_row = 0
            at = training.iteration
            iteration = self._roll_back(training)
            message = (
                f"{PATIENCE} steps in a row had no finite losses at iteration {at}; back to iteration {iteration}."
            )
            self._emit("milestone", {"what": "rolled back", "message": message, "iteration": iteration})
