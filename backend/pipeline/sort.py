"""Stage sort: give a faceset a new order. Nothing is deleted; renaming the files is an explicit wish."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from backend.core.errors import BadInputError
from backend.core.settings import SortSettings
from backend.ops.mask import hull_mask
from backend.ops.pose import estimate_pose
from backend.ops.quality import face_histogram, histogram_chain, sharpness
from backend.pipeline.context import StageContext
from backend.storage.faceset import FaceRecord
from backend.storage.image import read_image

Order = list[int]
T = TypeVar("T")

_THUMBNAIL_PX = 128
_BLOCK = 64


def run(settings: SortSettings, ctx: StageContext) -> dict[str, Any]:
    """Sort the faceset of one side and store the order; rename the files when asked.

    Returns:
        {"faces", "by", "renamed", "damaged"}: numbers of faces in the order, of renamed files, of files that could not
        be read and stay behind.

    Raises:
        BadInputError: the faceset is empty.
    """
    faceset = ctx.project.side(settings.side).faceset()
    records = faceset.records()
    damaged = faceset.damaged()
    if not records:
        raise BadInputError(f"There are no {settings.side} faces to sort.", "Extract faces first.")
    for name, reason in damaged:
        ctx.log(f"{name} is left out: {reason}", "warning")
    order = METHODS[settings.by](records, ctx)
    names = [records[index].path.name for index in order]
    faceset.set_order(names[::-1] if settings.reverse else names, settings.by)
    renamed = faceset.apply_order() if settings.apply else 0
    ctx.milestone("sorted", f"{len(names)} {settings.side} faces sorted by {settings.by}.")
    return {"faces": len(names), "by": settings.by, "renamed": renamed, "damaged": len(damaged)}


def by_name(records: Sequence[FaceRecord], ctx: StageContext) -> Order:
    """In the order of the frames the faces came from."""
    return sorted(range(len(records)), key=lambda i: (records[i].face.source_filename.lower(), records[i].path.name))


def by_blur(records: Sequence[FaceRecord], ctx: StageContext) -> Order:
    """Sharpest first, from the stored value or measured."""
    return _descending(_measured(records, _sharpness, ctx))


def by_yaw(records: Sequence[FaceRecord], ctx: StageContext) -> Order:
    """By head turn, largest yaw first."""
    return _descending([pose[1] for pose in _measured(records, _pose, ctx)])


def by_pitch(records: Sequence[FaceRecord], ctx: StageContext) -> Order:
    """By nod, largest pitch first."""
    return _descending([pose[0] for pose in _measured(records, _pose, ctx)])


def by_histogram(records: Sequence[FaceRecord], ctx: StageContext) -> Order:
    """Similar pictures beside each other: a greedy chain over colour histograms."""
    return [int(index) for index in histogram_chain(np.stack(_measured(records, _histogram, ctx)))]


METHODS: Mapping[str, Callable[[Sequence[FaceRecord], StageContext], Order]] = MappingProxyType(
    {"hist": by_histogram, "blur": by_blur, "yaw": by_yaw, "pitch": by_pitch, "name": by_name}
)
"""Sort method -> function from records to the new order of their indices. A new method adds one line."""


def _descending(values: Sequence[float]) -> Order:
    return sorted(range(len(values)), key=lambda index: -values[index])


def _measured(records: Sequence[FaceRecord], measure: Callable[[FaceRecord], T], ctx: StageContext) -> list[T]:
    """Measure every face on a few threads, in order, with progress and stop."""
    values: list[T] = []
    begun = time.monotonic()
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, len(records), _BLOCK):
            ctx.check_stop()
            values.extend(pool.map(measure, records[start : start + _BLOCK]))
            rate = len(values) / max(time.monotonic() - begun, 1e-6)
            ctx.progress(len(values), len(records), "faces", rate)
    return values


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
