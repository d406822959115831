"""Speed, losses and memory, reported about twice a second; every iteration's loss goes to the model's history."""

from __future__ import annotations

import math
import statistics
import time
from collections import deque
from collections.abc import Sequence

from backend.training.callbacks.base import Callback, Emit
from backend.training.loop import LossRow, Training
from backend.training.loss_log import LossLog, mean_terms
from backend.training.memory import used_bytes

_REMEMBERED = 10_000


class MetricsCallback(Callback):
    """Reports metric and progress events.

    Args:
        losses: where every iteration's losses go.
        emit: the events' way out.
    """

    def __init__(self, losses: LossLog, emit: Emit) -> None:
        self._losses = losses
        self._emit = emit
        self._reported_at = 0.0
        self._first_iteration = 0
        self._started_at = 0.0
        self._steps: deque[float] = deque(maxlen=_REMEMBERED)
        self._peak_bytes = 0
        self._skipped = 0

    def on_start(self, training: Training) -> None:
        """Begin to count."""
        self._first_iteration = training.iteration
        self._started_at = self._reported_at = time.monotonic()

    def on_losses(self, training: Training, rows: Sequence[LossRow]) -> None:
        """Store the losses and report."""
        self._losses.add(rows)
        self._skipped += sum(row.skipped for row in rows)
        self._steps.extend(row.step_s for row in rows)
        now = time.monotonic()
        span, self._reported_at = now - self._reported_at, now
        used = used_bytes(training.step.device)
        self._peak_bytes = max(self._peak_bytes, used)
        rate = len(rows) / span if span > 0 else 0.0
        self._emit(
            "metric",
            {
                "iteration": training.iteration,
                "src_loss": _mean([row.src for row in rows]),
                "dst_loss": _mean([row.dst for row in rows]),
                "terms": mean_terms(rows),
                "step_s": statistics.fmean(row.step_s for row in rows),
                "images_per_s": 2 * training.settings.batch_size * rate,
                "loader_wait_s": statistics.fmean(row.wait_s for row in rows),
                "memory_mb": used / 2**20,
                "learning_rate": float(training.step.optimizer.param_groups[0]["lr"]),
                "skipped": self._skipped,
            },
        )
        self._emit_progress(training, rate)

    def summary(self, training: Training) -> dict[str, float]:
        """Figures of the whole run: iterations_done, took_s, images_per_s, peak_memory_mb, skipped.

        step_s is the median of its newest steps.
        """
        done = training.iteration - self._first_iteration
        took = time.monotonic() - self._started_at
        return {
            "iterations_done": done,
            "took_s": took,
            "step_s": statistics.median(self._steps) if self._steps else 0.0,
            "images_per_s": 2 * training.settings.batch_size * done / took if took else 0.0,
            "peak_memory_mb": self._peak_bytes / 2**20,
            "skipped": self._skipped,
        }

    def _emit_progress(self, training: Training, rate: float) -> None:
        settings = training.settings
        total = settings.target_iterations
        if settings.time_limit_min and rate:
            left_s = max(0.0, settings.time_limit_min * 60 - (time.monotonic() - self._started_at))
            by_then = training.iteration + round(left_s * rate)
            total = min(total, by_then) if total else by_then
        facts = {"done": training.iteration, "total": total, "unit": "iterations", "rate": rate, "message": "Training"}
        self._emit("progress", facts)


def _mean(values: Sequence[float]) -> float:
    """Mean of the finite values; not a number without any."""
    finite = [value for value in values if math.isfinite(value)]
    return statistics.fmean(finite) if finite else math.nan
