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

from backend.storage.atomic import write_bytes
from backend.storage.record_file import RecordFile, bucket_edges

TERMS = (
    *("structure_src", "structure_dst", "pixel_src", "pixel_dst", "mask_src", "mask_dst"),
    *("eyes_mouth_src", "eyes_mouth_dst", "style", "gan", "gan_d", "true_face", "true_face_d", "background_dst"),
)
"""Parts of the loss that are kept: of both sides' faces and masks, styles, the discriminators and what they judge."""

LOSSES = (
    *("mae", "mse", "logcosh", "smooth_loss", "l_inf_norm", "ssim", "ms_ssim", "gmsd", "pixel_gradient_diff"),
    *("laploss", "ffl", "flip", "lpips_alex", "lpips_squeeze", "lpips_vgg16"),
)
"""Losses that can be chosen; their terms are "<loss>_src" and "<loss>_dst". The order is part of the file."""

SLOTS = 4
"""As many of them can be chosen at once."""

PLAIN_RECORD = np.dtype([("iteration", "<u4"), *((name, "<f4") for name in TERMS)])
"""The newest iteration of a report, and each part; NaN where a part is off. Files of version 1; 60 bytes."""

RECORD = np.dtype([*PLAIN_RECORD.descr, ("chosen", "u1", (SLOTS,)), ("values", "<f4", (SLOTS, 2))])
"""The same with the chosen losses: their numbers in LOSSES from 1, 0 for none, and their terms of src and dst. Files of
version 2, which begin with a record of iteration 0; 96 bytes, little-endian."""

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
    """The file of one model's loss parts. A half-written last record is ignored, and cut off before the next append.

    A file of version 1 is read as it is and written anew in version 2 when something is appended.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, iteration: int, terms: Mapping[str, float]) -> None:
        """Add one report; names that are neither among TERMS nor of LOSSES are left out."""
        file, first = self._opened()
        if not first and len(file):
            self._write_anew(file.read())
        file = RecordFile(self.path, RECORD)
        begins = np.zeros(0 if len(file) else 1, RECORD)
        file.append(np.concatenate([begins, _packed(iteration, terms)]))

    def sync(self) -> None:
        """Force what was appended onto the disk."""
        self._opened()[0].sync()

    def records(self) -> npt.NDArray[np.void]:
        """All complete records, (n,): iteration, TERMS, and the terms of every loss that was ever chosen."""
        file, first = self._opened()
        return _unpacked(file.read(first))

    def truncate(self, iteration: int) -> None:
        """Drop every report that holds an iteration after this one."""
        self._opened()[0].truncate(iteration)

    def _opened(self) -> tuple[RecordFile, int]:
        """The file as its version has it, and where its reports begin."""
        found = RecordFile(self.path, RECORD)
        begins = found.read(0, 1)
        if len(begins):
            return (found, 1) if begins["iteration"][0] == 0 else (RecordFile(self.path, PLAIN_RECORD), 0)
        plain = RecordFile(self.path, PLAIN_RECORD)
        return (plain, 0) if len(plain) and plain.read(0, 1)["iteration"][0] else (found, 0)

    def _write_anew(self, records: npt.NDArray[np.void]) -> None:
        """Version 2 of a file of version 1."""
        rows = np.zeros(len(records) + 1, RECORD)
        for name in records.dtype.names or ():
            rows[name][1:] = records[name]
        write_bytes(self.path, rows.tobytes())

    def curve(self, since: int = 0, last: int | None = None, points: int = 500) -> TermCurve:
        """Decimate to at most ``points`` buckets with equally many reports.

        Args:
            since: only reports after this iteration.
            last: only the newest so many iterations; None for all.
            points: largest number of buckets.
        """
        file, first = self._opened()
        if last is not None:
            newest = file.read(len(file) - 1) if len(file) else file.read()
            since = max(since, int(newest["iteration"][-1]) - last if len(newest) else 0)
        records = _unpacked(file.read(max(first, file.after(since) if since > 0 else 0)))
        edges = bucket_edges(len(records), points)
        means = {name: _means(records[name], edges) for name in (records.dtype.names or ())[1:]}
        on = {name: values for name, values in means.items() if np.isfinite(values).any()}
        return TermCurve(records["iteration"][edges[1:] - 1].astype(np.int64), on, len(records))


def _packed(iteration: int, terms: Mapping[str, float]) -> npt.NDArray[np.void]:
    """One report as (1,) of RECORD."""
    row = np.zeros(1, RECORD)
    row["iteration"] = iteration
    for name in TERMS:
        row[name] = terms.get(name, math.nan)
    on = [name for name in LOSSES if f"{name}_src" in terms or f"{name}_dst" in terms]
    for slot, name in enumerate(on[:SLOTS]):
        row["chosen"][0, slot] = LOSSES.index(name) + 1
        row["values"][0, slot] = [terms.get(f"{name}_{side}", math.nan) for side in ("src", "dst")]
    return row


def _unpacked(rows: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
    """Records of either version with a column for each term of the losses that were chosen; NaN where one was off."""
    if "chosen" not in (rows.dtype.names or ()):
        return rows
    present = [(number, name) for number, name in enumerate(LOSSES, start=1) if (rows["chosen"] == number).any()]
    columns = [(f"{name}_{side}", "<f4") for _, name in present for side in ("src", "dst")]
    found = np.empty(len(rows), np.dtype([*PLAIN_RECORD.descr, *columns]))
    for name in PLAIN_RECORD.names or ():
        found[name] = rows[name]
    for number, name in present:
        here = rows["chosen"] == number
        for place, side in enumerate(("src", "dst")):
            values = np.where(here, rows["values"][..., place], np.float32(0)).sum(axis=1)
            found[f"{name}_{side}"] = np.where(here.any(axis=1), values, np.float32(np.nan))
    return found


def _means(values: npt.NDArray[np.float32], edges: npt.NDArray[np.int64]) -> FloatArray:
    """Mean of the finite values between neighbouring edges; NaN where there is none."""
    if len(edges) < 2:
        return np.empty(0, np.float64)
    finite = np.isfinite(values)
    count = np.add.reduceat(finite, edges[:-1], dtype=np.int64)
    total = np.add.reduceat(np.where(finite, values, 0.0), edges[:-1], dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
