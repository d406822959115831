"""Keeps the model as it was at every so many iterations, for good."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from backend.core.errors import LookalikeError
from backend.storage.model_backups import create_backup
from backend.storage.model_folder import ModelFolder
from backend.training.callbacks.base import Callback, Emit
from backend.training.loop import LossRow, Training


class SnapshotCallback(Callback):
    """Makes a backup that no limit removes at each multiple of ``snapshot_every``, by the settings of that moment.

    Where a step of the optimiser is not complete, or its losses are not finite, the next iteration that has neither
    fault is kept. A snapshot that fails is told, and training goes on.

    Args:
        folder: the model's folder, locked by the caller.
        emit: the events' way out.
        save: called first; writes a checkpoint of this very iteration.
    """

    def __init__(self, folder: ModelFolder, emit: Emit, save: Callable[[Training], object]) -> None:
        self._folder = folder
        self._emit = emit
        self._save = save
        self._due = False

    def before_step(self, training: Training) -> None:
        """Let the losses be told right after a step that is to be kept: a curve is never shorter than its backup."""
        every = training.settings.snapshot_every
        self._due = bool(every) and (self._due or (training.iteration + 1) % every == 0)
        training.tell_losses = training.tell_losses or self._due

    def on_losses(self, training: Training, rows: Sequence[LossRow]) -> None:
        """Keep the iteration when it is one to keep."""
        if not self._due or training.step.gathered or rows[-1].skipped:
            return
        self._due = False
        name = f"snapshot-{training.iteration}"
        try:
            self._save(training)
            create_backup(self._folder, pinned=name)
        except (LookalikeError, OSError) as error:
            self._emit("log", {"level": "error", "message": f"No snapshot was made: {error}"})
            return
        message = f"Snapshot of iteration {training.iteration} kept."
        self._emit("milestone", {"what": "snapshot", "message": message, "iteration": training.iteration})
