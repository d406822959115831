"""What an observer of training looks like."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from backend.training.loop import LossRow, Training

Emit = Callable[[Literal["progress", "metric", "preview", "log", "milestone"], dict[str, Any]], None]
"""Reports one event to whoever watches; the data of each kind is described at backend.core.jobs.Event."""


class Callback:
    """Observes a training; every method does nothing until a subclass says otherwise.

    An observer reads the training's state. It acts on it only through ``training.stop`` and ``training.orders``.
    """

    def on_start(self, training: Training) -> None:
        """Before the first iteration."""

    def before_step(self, training: Training) -> None:
        """Before every iteration."""

    def on_losses(self, training: Training, rows: Sequence[LossRow]) -> None:
        """About twice a second, and before on_end: the losses since the last time, oldest first, at least one."""

    def on_step(self, training: Training) -> None:
        """After every iteration; ``training.iteration`` already counts it."""

    def on_end(self, training: Training) -> None:
        """After the last iteration; not called when training ends by an error."""
