"""The loss curve of a model: one fixed-size record per iteration, appended to a file; decimated for the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from backend.storage.record_file import RecordFile, bucket_edges

RECORD = np.dtype([("iteration", "<u4"), ("src", "<f4"), ("dst", "<f4"), ("time", "<f8")])
"""One iteration: its number (from 1), both losses, unix time. 20 bytes, little-endian."""

SMOOTHING_SHARE = 0.04
"""The smoothed curve looks back over about this share of the range shown."""

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LossCurve:
    """A decimated loss curve; all arrays (points,) of the same length, oldest first.

    Attributes:
        iteration: last iteration of each bucket.
        src, dst: mean loss of each bucket.
        src_low, src_high, dst_low, dst_high: smallest and largest loss in each bucket.
        src_smooth, dst_smooth: exponential moving average of the means, without a bias at the start.
        count: iterations in the range before decimation.
    """

    iteration: npt.NDArray[np.int64]
    src: FloatArray
    src_low: FloatArray
    src_high: FloatArray
    src_smooth: FloatArray
    dst: FloatArray
    dst_low: FloatArray
    dst_high: FloatArray
    dst_smooth: FloatArray
    count: int


class LossHistory:
    """The loss file of one model. A half-written last record is ignored, and cut off before the next append."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = RecordFile(path, RECORD)

    def append(self, rows: Sequence[tuple[int, float, float, float]]) -> None:
        """Add (iteration, src loss, dst loss, unix time) rows, oldest first."""
        if rows:
            self._file.append(np.array(list(rows), dtype=RECORD))

    def sync(self) -> None:
        """Force what was appended onto the disk."""
        self._file.sync()

    def __len__(self) -> int:
        return len(self._file)

    def records(self, start: int = 0, stop: int | None = None) -> npt.NDArray[np.void]:
        """Complete records from number ``start`` up to ``stop``, (n,) of RECORD; all of them without."""
        return self._file.read(start, stop)

    def truncate(self, iteration: int) -> None:
        """Drop everything after an iteration, so that a resumed curve has neither jump nor repetition."""
        self._file.truncate(iteration)

    def curve(self, since: int = 0, last: int | None = None, points: int = 500) -> LossCurve:
        """Decimate to at most ``points`` buckets of equal length. Only the range asked for is read.

        Args:
            since: only iterations after this one.
            last: only the newest so many iterations; None for all.
            points: largest number of buckets.
        """
        start = self._file.after(since) if since > 0 else 0
        if last is not None:
            start = max(start, len(self._file) - max(0, last))
        records = self._file.read(start)
        count = len(records)
        edges = bucket_edges(count, points)
        starts, ends = edges[:-1], edges[1:]
        src = _buckets(records["src"], starts, ends)
        dst = _buckets(records["dst"], starts, ends)
        iteration = records["iteration"][ends - 1].astype(np.int64)
        return LossCurve(iteration, *src, *dst, count=count)


def _buckets(
    values: npt.NDArray[np.float32], starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """(mean, low, high, smoothed mean) of each bucket; non-finite losses count as the bucket before them."""
    if not len(starts):
        empty = np.empty(0, np.float64)
        return empty, empty, empty, empty
    finite = _without_gaps(values.astype(np.float64))
    mean = np.add.reduceat(finite, starts) / (ends - starts)
    low = np.minimum.reduceat(finite, starts)
    high = np.maximum.reduceat(finite, starts)
    return mean, low, high, _smooth(mean)


def _without_gaps(values: FloatArray) -> FloatArray:
    good = np.isfinite(values)
    if good.all():
        return values
    if not good.any():
        return np.zeros_like(values)
    newest_good = np.maximum.accumulate(np.where(good, np.arange(len(values)), 0))
    return np.where(np.isfinite(values[newest_good]), values[newest_good], values[good][0])


def _smooth(mean: FloatArray) -> FloatArray:
    alpha = 2.0 / (max(1.0, SMOOTHING_SHARE * len(mean)) + 1.0)
    smooth = np.empty_like(mean)
    total = weight = 0.0
    for i, value in enumerate(mean):
        total += alpha * (value - total)
        weight += alpha * (1.0 - weight)
        smooth[i] = total / weight
    return smooth
