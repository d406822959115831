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
        self._since_mark: list[tuple[float, float]] = []

    def add(self, rows: Sequence[LossRow]) -> None:
        """Append rows, oldest first, at least one."""
        self._history.append([(row.iteration, row.src, row.dst, row.time) for row in rows])
        self._terms.append(rows[-1].iteration, mean_terms(rows))
        self._since_mark.extend((row.src, row.dst) for row in rows)

    def mark(self) -> tuple[float, float] | None:
        """Mean (src, dst) losses since the last mark, None without a finite one; the files are on disk then."""
        self._history.sync()
        finite = [pair for pair in self._since_mark if all(map(math.isfinite, pair))]
        self._since_mark.clear()
        if not finite:
            return None
        return sum(s for s, _ in finite) / len(finite), sum(d for _, d in finite) / len(finite)

    def drop_after(self, iteration: int) -> None:
        """Forget everything after an iteration, in the files too."""
        self._since_mark.clear()
        self._history.truncate(iteration)
        self._terms.truncate(iteration)


def mean_terms(rows: Sequence[LossRow]) -> dict[str, float]:
    """Mean of each part over the rows that have it and are finite."""
    found: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.terms.items():
            if math.isfinite(value):
                found.setdefault(name, []).append(value)
    return {name: sum(values) / len(values) for name, values in found.items()}
