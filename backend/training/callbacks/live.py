"""Settings that the user changes while the training runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from backend.core.settings import TrainSettings, is_live
from backend.core.settings.faults import reason
from backend.training.callbacks.base import Callback, Emit
from backend.training.loop import Training

INTERVAL_S = 0.5


class LiveSettingsCallback(Callback):
    """Asks now and then for changed settings, applies them, and says what changed.

    Args:
        take_changes: the changes since the last call, by field; {} without any.
        emit: the events' way out.
    """

    def __init__(self, take_changes: Callable[[], Mapping[str, Any]], emit: Emit) -> None:
        self._take_changes = take_changes
        self._emit = emit
        self._asked_at = 0.0
        self._notes_told = 0

    def on_start(self, training: Training) -> None:
        """What the step noted until now is told by whoever made it."""
        self._notes_told = len(training.step.notes)

    def on_step(self, training: Training) -> None:
        """Ask when it is time; tell what the last change could not do as asked for."""
        for note in training.step.notes[self._notes_told :]:
            self._emit("log", {"level": "warning", "message": note})
        self._notes_told = len(training.step.notes)
        now = time.monotonic()
        if now - self._asked_at < INTERVAL_S:
            return
        self._asked_at = now
        changes = self._take_changes()
        if changes:
            self._apply(training, changes)

    def _apply(self, training: Training, changes: Mapping[str, Any]) -> None:
        try:
            changed = changed_settings(training.chosen, changes)
        except ValueError as error:
            self._emit("log", {"level": "warning", "message": f"The changed settings were not applied: {error}"})
            return
        before, after = training.chosen.model_dump(), changed.model_dump()
        told = [f"{name} {before[name]} -> {after[name]}" for name in after if before[name] != after[name]]
        training.orders.settings = changed
        if told:
            facts = {
                "what": "settings",
                "message": f"Changed while training: {', '.join(told)}.",
                "iteration": training.iteration,
                "settings": changed.model_dump(mode="json"),
            }
            self._emit("milestone", facts)


def changed_settings(settings: TrainSettings, changes: Mapping[str, Any]) -> TrainSettings:
    """Settings with some fields changed.

    Raises:
        ValueError: a field cannot change while training, does not exist, or has a value that it cannot have.
    """
    fields = type(settings).model_fields
    wrong = sorted(name for name in changes if name not in fields or not is_live(fields[name]))
    if wrong:
        raise ValueError(f"{', '.join(wrong)} cannot change while the training runs.")
    try:
        return type(settings).model_validate({**settings.model_dump(mode="json"), **changes})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{where}: {reason(first)}." if where else f"{reason(first)}.") from error
