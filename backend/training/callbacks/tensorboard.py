"""Event files for TensorBoard, written only where the option is on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from backend.core.errors import BadInputError
from backend.core.settings import TrainSettings
from backend.storage.model_folder import ModelFolder
from backend.training.callbacks.base import Callback
from backend.training.loop import LossRow, Training
from backend.training.loss_log import mean_terms

_FLUSH_S = 10


class TensorBoardCallback(Callback):
    """Writes scalars into ``tensorboard/`` of the model's folder; does nothing where the option is off.

    Each report holds the means over the iterations since the one before: ``loss/src``, ``loss/dst``, ``terms/<name>``,
    ``training/learning_rate`` and ``training/images_per_s``, at its newest iteration.

    Args:
        folder: the model's folder.
        settings: of this run.

    Raises:
        BadInputError: on start, when the package tensorboardX is not installed.
    """

    def __init__(self, folder: ModelFolder, settings: TrainSettings) -> None:
        self._folder = folder
        self._on = settings.tensorboard
        self._faces = 2 * settings.batch_size
        self._writer: Any = None
        self._reported_at: float | None = None

    def on_start(self, training: Training) -> None:
        """Open a file of its own; a reader drops what earlier ones hold from this iteration on."""
        self.on_end(training)
        if not self._on:
            return
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise BadInputError(
                "TensorBoard files need the package tensorboardX.", "Install it with pip, or switch the option off."
            ) from error
        begin = training.iteration + 1
        self._writer = SummaryWriter(
            str(self._folder.path / "tensorboard"),
            purge_step=begin,
            flush_secs=_FLUSH_S,
            filename_suffix=f".{begin:09d}",
        )

    def on_losses(self, training: Training, rows: Sequence[LossRow]) -> None:
        """Write one report."""
        if self._writer is None or not rows:
            return
        done = [row for row in rows if not row.skipped]
        scalars = {f"terms/{name}": value for name, value in mean_terms(done).items()}
        if done:
            scalars["loss/src"] = sum(row.src for row in done) / len(done)
            scalars["loss/dst"] = sum(row.dst for row in done) / len(done)
        scalars["training/learning_rate"] = float(training.step.optimizer.param_groups[0]["lr"])
        scalars["training/images_per_s"] = self._rate(rows)
        newest = rows[-1]
        for name, value in scalars.items():
            if math.isfinite(value):
                self._writer.add_scalar(name, value, newest.iteration, newest.time)
        self._reported_at = newest.time

    def on_end(self, training: Training) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _rate(self, rows: Sequence[LossRow]) -> float:
        """Faces per second of both sides since the last report; NaN while that cannot be told."""
        began = rows[0].time if self._reported_at is None else self._reported_at
        count = len(rows) - (self._reported_at is None)
        span = rows[-1].time - began
        return self._faces * count / span if span > 0 and count else math.nan
