"""Stage sort: give a faceset a new order. Nothing is deleted; renaming the files is an explicit wish."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from backend.core.errors import BadInputError, DamagedFileError
from backend.core.settings import SortSettings
from backend.ops.mask import hull_mask
from backend.ops.pose import estimate_pose
from backend.ops.quality import face_histogram, histogram_chain, sharpness
from backend.pipeline.context import StageContext
from backend.storage.faceset import FaceRecord
from backend.storage.image import read_image

Order = list[int]

_THUMBNAIL_PX = 128
_BLOCK = 64


class Method(NamedTuple):
    """A way to sort.

    Attributes:
        measure: one face -> its value.
        arrange: the values of all faces -> the new order of their indices.
    """

    measure: Callable[[FaceRecord], Any]
    arrange: Callable[[Sequence[Any]], Order]


class _Unreadable(NamedTuple):
    """In place of the value of a face whose picture cannot be read."""

    reason: str


def run(settings: SortSettings, ctx: StageContext) -> dict[str, Any]:
    """Sort the faceset of one side and store the order; rename the files when asked.

    Returns:
        {"faces", "by", "renamed", "damaged"}: numbers of faces in the order, of renamed files, of files that could not
        be read and stay behind the others.

    Raises:
        BadInputError: the faceset is empty.
    """
    faceset = ctx.project.side(settings.side).faceset()
    records = faceset.records()
    damaged = faceset.damaged()
    if not records:
        raise BadInputError(f"There are no {settings.side} faces to sort.", "Extract faces first.")
    method = METHODS[settings.by]
    measured, unreadable = _measured(records, method.measure, ctx)
    left_out = [f"{name} is left out: {reason}" for name, reason in damaged] + unreadable
    for sentence in left_out:
        ctx.log(sentence, "warning")
    if not measured:
        raise BadInputError(f"None of the {len(records)} {settings.side} faces can be read.", "Extract faces again.")
    names = [measured[index][0] for index in method.arrange([value for _, value in measured])]
    faceset.set_order(names[::-1] if settings.reverse else names, settings.by)
    renamed = faceset.apply_order() if settings.apply else 0
    ctx.milestone("sorted", f"{len(names)} {settings.side} faces sorted by {settings.by}.")
    return {"faces": len(names), "by": settings.by, "renamed": renamed, "damaged": len(left_out)}


def _frame_name(record: FaceRecord) -> tuple[str, str]:
    return record.face.source_filename.lower(), record.path.name


def _sharpness(record: FaceRecord) -> float:
    if record.face.sharpness is not None:
        return record.face.sharpness
    image = read_image(record.path)
    return sharpness(image, hull_mask(image.shape[:2], record.face.landmarks, record.face.eyebrows_expand_mod))


def _pose(record: FaceRecord) -> tuple[float, float, float]:
    if record.face.pose_rad is not None:
        return record.face.pose_rad
    return estimate_pose(record.face.landmarks, read_image(record.path).shape[0])


def _histogram(record: FaceRecord) -> npt.NDArray[np.float32]:
    image = read_image(record.path)
    return face_histogram(cv2.resize(image, (_THUMBNAIL_PX, _THUMBNAIL_PX), interpolation=cv2.INTER_AREA))


def _ascending(values: Sequence[Any]) -> Order:
    return sorted(range(len(values)), key=lambda index: values[index])


def _descending(values: Sequence[float]) -> Order:
    return sorted(range(len(values)), key=lambda index: -values[index])


def _chained(histograms: Sequence[npt.NDArray[np.float32]]) -> Order:
    """Similar ones beside each other: a greedy chain."""
    return [int(index) for index in histogram_chain(np.stack(histograms))]


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "hist": Method(_histogram, _chained),
        "blur": Method(_sharpness, _descending),
        "yaw": Method(lambda record: _pose(record)[1], _descending),
        "pitch": Method(lambda record: _pose(record)[0], _descending),
        "name": Method(_frame_name, _ascending),
    }
)
"""Sort method -> what it measures and how that orders the faces. A new method is one function and one line."""


def _measured(
    records: Sequence[FaceRecord], measure: Callable[[FaceRecord], Any], ctx: StageContext
) -> tuple[list[tuple[str, Any]], list[str]]:
    """(file name, value) of every face in order, and the reasons of those whose picture cannot be read."""
    found: list[tuple[str, Any]] = []
    unreadable: list[str] = []
    begun = time.monotonic()

    def attempt(record: FaceRecord) -> Any:
        try:
            return measure(record)
        except (DamagedFileError, OSError) as error:
            return _Unreadable(str(error))

    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, len(records), _BLOCK):
            ctx.check_stop()
            block = records[start : start + _BLOCK]
            for record, value in zip(block, pool.map(attempt, block), strict=True):
                if isinstance(value, _Unreadable):
                    unreadable.append(f"Left out: {value.reason}")
                else:
                    found.append((record.path.name, value))
            done = start + len(block)
            ctx.progress(done, len(records), "faces", done / max(time.monotonic() - begun, 1e-6))
    return found, unreadable
