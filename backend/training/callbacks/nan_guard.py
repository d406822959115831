"""Watches for losses that are not finite: such steps change nothing; too many in a row roll the model back."""

from __future__ import annotations

from collections.abc import Sequence

from backend.training.callbacks.base import Callback, Emit
from backend.training.loop import LossRow, Training

PATIENCE = 10
"""Skipped steps in a row before the model is rolled back."""


class NanGuardCallback(Callback):
    """Counts skipped steps; after too many in a row orders the way back to the last good checkpoint.

    Args:
        emit: the events' way out.
    """

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._in_a_row = 0

    def on_losses(self, training: Training, rows: Sequence[LossRow]) -> None:
        """Count; roll back when patience ends."""
        for row in rows:
            self._in_a_row = self._in_a_row + 1 if row.skipped else 0
            if self._in_a_row == 1:
                message = f"Losses are not finite at iteration {row.iteration}; the step was skipped."
                self._emit("log", {"level": "warning", "message": message})
            if self._in_a_row >= PATIENCE:
                self._in_a_row = 0
                training.orders.roll_back = True
                return
