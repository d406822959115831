"""Losses of the running training: appended to the model's histories, and their mean since the last save."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from backend.storage.loss_history import LossHistory
from backend.storage.term_history import TermHistory

if TYPE_CHECKING:
    from backend.training.loop import LossRow


class LossLog:
    """Writes every iteration's losses, and the means of their parts.

    Args:
        history: the file of every iteration's losses.
        terms: the file of their parts; one record per call.
    """

    def __init__(self, history: LossHistory, terms: TermHistory) -> None:
        self._history = history
        self._terms = terms
        self._forget()

    def add(self, rows: Sequence[LossRow]) -> None:
        """Append rows, oldest first, at least one."""
        self._history.append([(row.iteration, row.src, row.dst, row.time) for row in rows])
        self._terms.append(rows[-1].iteration, mean_terms(rows))
        for row in rows:
            if math.isfinite(row.src) and math.isfinite(row.dst):
                self._count, self._src, self._dst = self._count + 1, self._src + row.src, self._dst + row.dst

    def mark(self) -> tuple[float, float] | None:
        """Mean (src, dst) losses since the last mark, None without a finite one; the files are on disk then."""
        self._history.sync()
        count, src, dst = self._count, self._src, self._dst
        self._forget()
        return (src / count, dst / count) if count else None

    def drop_after(self, iteration: int) -> None:
        """Forget everything after an iteration, in the files too."""
        self._forget()
        self._history.truncate(iteration)
        self._terms.truncate(iteration)

    def _forget(self) -> None:
        """Begin to sum anew."""
        self._count, self._src, self._dst = 0, 0.0, 0.0


def mean_terms(rows: Sequence[LossRow]) -> dict[str, float]:
    """Mean of each part over the rows that have it and are finite."""
    found: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.terms.items():
            if math.isfinite(value):
                found.setdefault(name, []).append(value)
    return {name: sum(values) / len(values) for name, values in found.items()}
