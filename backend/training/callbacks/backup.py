"""Keeps backups of a model: every so many hours and on request, the oldest removed beyond a number and a size."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from backend.core.errors import LookalikeError
from backend.storage.model_backups import create_backup, list_backups, prune_backups
from backend.storage.model_folder import ModelFolder
from backend.training.callbacks.base import Callback, Emit
from backend.training.loop import LossRow, Training

RETRY_S = 600.0
"""Pause after a backup that failed, for example because the disk is full."""


class BackupCallback(Callback):
    """Copies the newest checkpoint into the model's backups, by the settings in force at that moment.

    The hours count from the newest backup there is, or from the beginning of the model: short sessions are backed up
    as well as long ones. A checkpoint that is in the newest backup already waits for the next one. A backup that fails
    is told, and training goes on.

    Args:
        folder: the model's folder, locked by the caller.
        emit: the events' way out.
        requested: True once for each time the user asked for a backup.
        save: called first; writes a checkpoint, so that the backup is as new as can be.
    """

    def __init__(
        self,
        folder: ModelFolder,
        emit: Emit,
        requested: Callable[[], bool],
        save: Callable[[Training], object] = lambda training: None,
    ) -> None:
        self._folder = folder
        self._emit = emit
        self._requested = requested
        self._save = save
        self._newest = 0.0
        self._not_before = 0.0

    def on_start(self, training: Training) -> None:
        """Find out when the newest backup was made."""
        kept = list_backups(self._folder)
        info = self._folder.info()
        began = info.created if info else time.time()
        self._newest = min(kept[0].time if kept else began, time.time())

    def on_losses(self, training: Training, rows: Sequence[LossRow]) -> None:
        """Make a backup when it is time or the user asked, but not between two batches of one optimiser step."""
        if training.step.gathered:
            return
        hours, now = training.settings.backup_every_h, time.time()
        due = hours > 0 and now >= self._not_before and now - self._newest >= hours * 3600
        requested = self._requested()
        if requested or due:
            self._save(training)
            self._back_up(training, requested)

    def _back_up(self, training: Training, requested: bool) -> None:
        settings = training.settings
        try:
            backup = create_backup(self._folder)
            removed = prune_backups(self._folder, settings.backups_kept, settings.backups_gb)
        except (LookalikeError, OSError) as error:
            self._not_before = time.time() + RETRY_S
            self._emit("log", {"level": "error", "message": f"No backup was made: {error}"})
            return
        if backup.time <= self._newest and not requested:
            return
        self._newest = backup.time
        gone = f"; {len(removed)} older ones removed" if removed else ""
        message = f"Backup of iteration {backup.iteration} kept{gone}."
        self._emit("milestone", {"what": "backup", "message": message, "iteration": backup.iteration})
