"""The whole loss history of a model as a table for other programs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from backend.storage.atomic import replacing
from backend.storage.loss_history import LossHistory
from backend.storage.term_history import TermHistory

_ROWS = 50_000


def write_csv(losses: LossHistory, terms: TermHistory, path: Path) -> int:
    """Write one line per iteration: iteration, unix time in seconds, both losses, and the parts of the loss.

    Parts that were never on have no column. A part is the mean since the report before and stands in the line of the
    iteration that was reported; other lines leave it empty.

    Returns:
        number of lines without the heading.
    """
    reports = terms.records()
    names = [name for name in (reports.dtype.names or ())[1:] if np.isfinite(reports[name]).any()]
    written = 0
    with replacing(path, durable=False) as file:
        file.write((",".join(["iteration", "time", "src", "dst", *names]) + "\n").encode())
        while len(rows := losses.records(written, written + _ROWS)):
            columns = (rows[name].tolist() for name in ("iteration", "time", "src", "dst"))
            lines = list(map("%d,%.3f,%.7g,%.7g".__mod__, zip(*columns, strict=True)))
            if names:
                lines = [
                    line + tail for line, tail in zip(lines, _tails(rows["iteration"], reports, names), strict=True)
                ]
            file.write(("\n".join(lines) + "\n").encode())
            written += len(rows)
    return written


def _tails(iterations: npt.NDArray[np.uint32], reports: npt.NDArray[np.void], names: list[str]) -> list[str]:
    """What follows the losses in each line: the parts where a report falls on the line, else empty columns."""
    tails = ["," * len(names)] * len(iterations)
    first, last = np.searchsorted(reports["iteration"], (iterations[0], iterations[-1] + 1))
    among = reports[first:last]
    places = np.searchsorted(iterations, among["iteration"])
    line = ",%.7g" * len(names)
    for at, values in zip(places.tolist(), zip(*(among[name].tolist() for name in names), strict=True), strict=True):
        tails[at] = (line % values).replace("nan", "")
    return tails
