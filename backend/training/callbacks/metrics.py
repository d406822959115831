"""Speed, losses and memory, reported about twice a second; every iteration's loss goes to the model's history."""

from __future__ import annotations

import statistics
import time

from backend.training.callbacks.base import Callback, Emit
from backend.training.loop import Training
from backend.training.loss_log import LossLog
from backend.training.memory import used_bytes

INTERVAL_S = 0.5
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
        self._window: list[tuple[float, float]] = []
        self._steps: list[float] = []
        self._peak_bytes = 0

    def on_start(self, training: Training) -> None:
        """Begin to count."""
        self._first_iteration = training.iteration
        self._started_at = self._reported_at = time.monotonic()

    def on_step(self, training: Training) -> None:
        """Note this iteration; report when it is time."""
        if training.losses is not None:
            self._losses.add(training.iteration, training.losses.src, training.losses.dst)
        self._window.append((training.step_s, training.wait_s))
        if len(self._steps) < _REMEMBERED:
            self._steps.append(training.step_s)
        if time.monotonic() - self._reported_at >= INTERVAL_S:
            self._report(training)

    def on_end(self, training: Training) -> None:
        """Report what is left."""
        self._report(training)

    def summary(self, training: Training) -> dict[str, float]:
        """Figures of the whole run: iterations_done, took_s, step_s (median), images_per_s, peak_memory_mb."""
        done = training.iteration - self._first_iteration
        took = time.monotonic() - self._started_at
        return {
            "iterations_done": done,
            "took_s": took,
            "step_s": statistics.median(self._steps) if self._steps else 0.0,
            "images_per_s": 2 * training.settings.batch_size * done / took if took else 0.0,
            "peak_memory_mb": self._peak_bytes / 2**20,
        }

    def _report(self, training: Training) -> None:
        now = time.monotonic()
        span, self._reported_at = now - self._reported_at, now
        losses = self._losses.flush()
        used = used_bytes(training.step.device)
        self._peak_bytes = max(self._peak_bytes, used)
        if not self._window or not losses:
            return
        count = len(self._window)
        rate = count / span if span > 0 else 0.0
        self._emit(
            "metric",
            {
                "iteration": training.iteration,
                "src_loss": sum(src for src, _ in losses) / len(losses),
                "dst_loss": sum(dst for _, dst in losses) / len(losses),
                "step_s": sum(step for step, _ in self._window) / count,
                "images_per_s": 2 * training.settings.batch_size * rate,
                "loader_wait_s": sum(wait for _, wait in self._window) / count,
                "memory_mb": used / 2**20,
            },
        )
        self._window.clear()
        self._emit_progress(training, rate)

    def _emit_progress(self, training: Training, rate: float) -> None:
        settings = training.settings
        total = settings.target_iterations
        if settings.time_limit_min and rate:
            left_s = max(0.0, settings.time_limit_min * 60 - (time.monotonic() - self._started_at))
            by_then = training.iteration + round(left_s * rate)
            total = min(total, by_then) if total else by_then
        facts = {"done": training.iteration, "total": total, "unit": "iterations", "rate": rate, "message": "Training"}
        self._emit("progress", facts)
