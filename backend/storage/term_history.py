"""What each part of the loss contributed, over the whole life of a model: one fixed-size record per report.

A report comes about twice a second and holds the mean over the iterations since the one before.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from backend.storage.record_file import RecordFile, bucket_edges

TERMS = (
    *("structure_src", "structure_dst", "pixel_src", "pixel_dst", "mask_src", "mask_dst"),
    *("eyes_mouth_src", "eyes_mouth_dst", "style", "gan", "gan_d", "true_face", "true_face_d", "background_dst"),
)
"""Parts of the loss that are kept: of both sides' faces and masks, styles, the discriminators and what they judge."""

RECORD = np.dtype([("iteration", "<u4"), *((name, "<f4") for name in TERMS)])
"""The newest iteration of a report, and each part; NaN where a part is off. 60 bytes, little-endian."""

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TermCurve:
    """Decimated curves; all arrays (points,) of the same length, oldest first.

    Attributes:
        iteration: last iteration of each bucket.
        terms: name -> mean of each bucket, NaN where the part was off; only parts that were ever on in the range.
        count: reports in the range before decimation.
    """

    iteration: npt.NDArray[np.int64]
    terms: Mapping[str, FloatArray]
    count: int


class TermHistory:
    """The file of one model's loss parts. A half-written last record is ignored, and cut off before the next append."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = RecordFile(path, RECORD)

    def append(self, iteration: int, terms: Mapping[str, float]) -> None:
        """Add one report; names that are not among TERMS are left out."""
        values = (terms.get(name, math.nan) for name in TERMS)
        self._file.append(np.array([(iteration, *values)], dtype=RECORD))

    def sync(self) -> None:
        """Force what was appended onto the disk."""
        self._file.sync()

    def records(self) -> npt.NDArray[np.void]:
        """All complete records, (n,) of RECORD."""
        return self._file.read()

    def truncate(self, iteration: int) -> None:
        """Drop every report that holds an iteration after this one."""
        self._file.truncate(iteration)

    def curve(self, since: int = 0, last: int | None = None, points: int = 500) -> TermCurve:
        """Decimate to at most ``points`` buckets with equally many reports.

        Args:
            since: only reports after this iteration.
            last: only the newest so many iterations; None for all.
            points: largest number of buckets.
        """
        if last is not None:
            newest = self._file.read(len(self._file) - 1) if len(self._file) else self._file.read()
            since = max(since, int(newest["iteration"][-1]) - last if len(newest) else 0)
        records = self._file.read(self._file.after(since) if since > 0 else 0)
        edges = bucket_edges(len(records), points)
        means = {name: _means(records[name], edges) for name in TERMS}
        on = {name: values for name, values in means.items() if np.isfinite(values).any()}
        return TermCurve(records["iteration"][edges[1:] - 1].astype(np.int64), on, len(records))


def _means(values: npt.NDArray[np.float32], edges: npt.NDArray[np.int64]) -> FloatArray:
    """Mean of the finite values between neighbouring edges; NaN where there is none."""
    if len(edges) < 2:
        return np.empty(0, np.float64)
    finite = np.isfinite(values)
    count = np.add.reduceat(finite, edges[:-1], dtype=np.int64)
    total = np.add.reduceat(np.where(finite, values, 0.0), edges[:-1], dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
