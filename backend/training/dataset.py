"""Faces ready to train on: decoded once, cut to the model's face type, kept as bytes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from backend.core.errors import BadInputError, LookalikeError
from backend.core.faces import Face, FaceType
from backend.ops.align import face_matrix, transform_points
from backend.ops.mask import eyes_mouth_mask, hull_mask
from backend.storage.atomic import require_free_disk
from backend.storage.image import read_image

Bytes = npt.NDArray[np.uint8]
Progress = Callable[[int, int], None]

MIN_FACES = 4
"""Fewer faces on a side cannot be learned from."""


class FaceFile(Protocol):
    """What a faceset lists: an image file and the face record read from it."""

    @property
    def path(self) -> Path:
        """The aligned image."""
        ...

    @property
    def face(self) -> Face:
        """Its metadata."""
        ...


@dataclass(frozen=True)
class FaceShape:
    """What the network wants a face to look like: side in px, 3 (BGR) or 1 (gray) channels, and how much it shows."""

    resolution: int
    channels: int
    face_type: FaceType

    @property
    def bytes_per_face(self) -> int:
        """Decoded size of one face with its two masks."""
        return self.resolution * self.resolution * (self.channels + 2)


@dataclass(frozen=True)
class FaceCache:
    """One side's decoded faces.

    Attributes:
        images: (N, R, R, C) uint8, BGR or gray.
        masks: (N, R, R, 2) uint8; 0: face, 1: eyes and mouth.
        names: file names, (N,).
        usable: indices of the entries that hold a face, in the faceset's order.
        skipped: (file name, reason) of those that do not.
    """

    images: Bytes
    masks: Bytes
    names: tuple[str, ...]
    usable: npt.NDArray[np.int64]
    skipped: tuple[tuple[str, str], ...] = ()

    def split(self, holdout_every: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """(trained, held out) entries; every N-th usable face is held out, none when N is 0 or too few would remain."""
        held = np.zeros(len(self.usable), bool)
        if holdout_every > 0:
            held[holdout_every - 1 :: holdout_every] = True
        if held.sum() > len(held) - MIN_FACES:
            held[:] = False
        return self.usable[~held], self.usable[held]


@dataclass(frozen=True)
class CacheBudget:
    """Where decoded faces may live: in memory up to so many bytes for both sides, else mapped from a folder."""

    memory_bytes: int
    folder: Path


@dataclass(frozen=True)
class LoadReport:
    """Callbacks of loading: ``progress(done, total)`` and ``check_stop()``, which raises to leave."""

    progress: Progress = field(default=lambda done, total: None)
    check_stop: Callable[[], None] = field(default=lambda: None)


def load_faces(
    src: Sequence[FaceFile],
    dst: Sequence[FaceFile],
    shape: FaceShape,
    budget: CacheBudget,
    report: LoadReport = LoadReport(),
) -> tuple[FaceCache, FaceCache]:
    """Decode both facesets.

    Files that cannot be read, and faces that show less than the model needs, are left out and listed in ``skipped``.

    Raises:
        BadInputError: a side has too few usable faces; the sentence says why and where to get more.
        DiskFullError: the faces exceed the memory budget and the disk.
    """
    for name, files in (("src", src), ("dst", dst)):
        if not files:
            raise BadInputError(
                f"There are no {name} faces to train on.", f"Extract the {name} faces in the Extract tab."
            )
    total = len(src) + len(dst)
    in_memory = total * shape.bytes_per_face <= budget.memory_bytes
    if not in_memory:
        budget.folder.mkdir(parents=True, exist_ok=True)
        require_free_disk(budget.folder, total * shape.bytes_per_face + (1 << 30))
    folder = None if in_memory else budget.folder
    first = _load_side(src, shape, folder, LoadReport(lambda done, _: report.progress(done, total), report.check_stop))
    second = _load_side(
        dst, shape, folder, LoadReport(lambda done, _: report.progress(len(src) + done, total), report.check_stop)
    )
    _require_enough("src", first, shape)
    _require_enough("dst", second, shape)
    return first, second


def prepare_face(image: Bytes, face: Face, shape: FaceShape) -> tuple[Bytes, Bytes]:
    """Bring one aligned face to the network's shape.

    A face of the model's own type is resized; one of a larger type is cropped anew with the model type's transform of
    its aligned landmarks. Shrinking averages over areas, so that nothing aliases.

    Args:
        image: (h, w, 3) uint8 BGR, the aligned image.
        face: its metadata; an applied XSeg mask replaces the hull of the landmarks.
        shape: what the network wants.

    Returns:
        image (R, R, C) uint8 and masks (R, R, 2) uint8: the face; eyes and mouth inside it, at their largest 255.
    """
    height, width = image.shape[:2]
    side = shape.resolution
    if face.face_type is shape.face_type:
        matrix = np.array([[side / width, 0, 0], [0, side / height, 0]], np.float64)
    else:
        matrix = face_matrix(face.landmarks, side, shape.face_type)
    finer = max(1, min(4, round(1.0 / max(1e-3, float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))))))
    canvas = side * finer
    to_canvas = _scaled(matrix, finer)
    if face.face_type is shape.face_type:
        picture = _resize(image, side)
    else:
        picture = _resize(
            cv2.warpAffine(image, to_canvas, (canvas, canvas), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE),
            side,
        )
    if shape.channels == 1:
        picture = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), np.uint8)[..., None]
    landmarks = transform_points(face.landmarks, to_canvas)
    if face.xseg_mask is not None:
        full = _xseg_on_canvas(face.xseg_mask, to_canvas, (height, width), canvas)
    else:
        full = (hull_mask((canvas, canvas), landmarks, face.eyebrows_expand_mod) * 255).astype(np.uint8)
    full = _resize(full, side)
    parts = cv2.resize(eyes_mouth_mask((canvas, canvas), landmarks), (side, side), interpolation=cv2.INTER_AREA)
    parts = np.where(full > 0, parts, 0.0)
    parts = parts * (255.0 / max(float(parts.max()), 1e-3))
    return picture, np.stack([full, np.minimum(parts, 255.0).astype(np.uint8)], axis=-1)


def _xseg_on_canvas(xseg: Bytes, to_canvas: npt.NDArray[np.float64], image_hw: tuple[int, int], canvas: int) -> Bytes:
    """The applied mask, stored at its own size, brought to (canvas, canvas) uint8."""
    mask = cv2.imdecode(np.ascontiguousarray(xseg).reshape(-1), cv2.IMREAD_GRAYSCALE)
    if mask is None:
        raise BadInputError("Its XSeg mask cannot be decoded.")
    per_mask_px = np.diag([image_hw[1] / mask.shape[1], image_hw[0] / mask.shape[0]])
    matrix = np.column_stack([to_canvas[:, :2] @ per_mask_px, to_canvas[:, 2]])
    return np.asarray(cv2.warpAffine(mask, matrix, (canvas, canvas), flags=cv2.INTER_LINEAR), np.uint8)


def _scaled(matrix: npt.NDArray[np.float64], factor: int) -> npt.NDArray[np.float64]:
    """The same transform onto a target that is ``factor`` times finer."""
    return np.asarray(matrix, np.float64) * factor


def _resize(image: npt.NDArray[Any], side: int) -> Bytes:
    """Square resize of bytes: averages when shrinking, bicubic when growing."""
    if image.shape[:2] == (side, side):
        return image
    shrink = image.shape[0] > side
    resized = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_CUBIC)
    return np.asarray(resized, np.uint8)


def _load_side(files: Sequence[FaceFile], shape: FaceShape, folder: Path | None, report: LoadReport) -> FaceCache:
    count, side = len(files), shape.resolution
    images = _array((count, side, side, shape.channels), folder)
    masks = _array((count, side, side, 2), folder)

    def fill(index: int) -> str:
        """Decode one face into its slot; the reason when it cannot be used."""
        item = files[index]
        if item.face.face_type.rank < shape.face_type.rank:
            return f"it shows less ({item.face.face_type.value}) than the model needs ({shape.face_type.value})"
        try:
            images[index], masks[index] = prepare_face(read_image(item.path), item.face, shape)
        except LookalikeError as error:
            return error.what
        except (cv2.error, OSError, ValueError) as error:
            return f"it cannot be read ({type(error).__name__})"
        return ""

    reasons: list[str] = []
    threads = cv2.getNumThreads()
    cv2.setNumThreads(0)
    try:
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            for start in range(0, count, 32):
                report.check_stop()
                reasons.extend(pool.map(fill, range(start, min(start + 32, count))))
                report.progress(len(reasons), count)
    finally:
        cv2.setNumThreads(threads)
    names = tuple(item.path.name for item in files)
    usable = np.array([i for i, reason in enumerate(reasons) if not reason], np.int64)
    skipped = tuple((name, reason) for name, reason in zip(names, reasons, strict=True) if reason)
    return FaceCache(images, masks, names, usable, skipped)


def _array(shape: tuple[int, ...], folder: Path | None) -> Bytes:
    """Zeros in memory, or in a nameless file of the folder that vanishes with the process."""
    if folder is None:
        return np.zeros(shape, np.uint8)
    with tempfile.TemporaryFile(dir=folder) as file:
        return np.memmap(file, np.uint8, "w+", shape=shape)


def _require_enough(name: str, cache: FaceCache, shape: FaceShape) -> None:
    if len(cache.usable) >= MIN_FACES:
        return
    found = f"{len(cache.usable)} of {len(cache.names)} {name} faces can be used; training needs at least {MIN_FACES}."
    if any("shows less" in reason for _, reason in cache.skipped):
        raise BadInputError(
            f"The {name} faces show less than the model needs ({shape.face_type.value}): {found}",
            f"Extract the {name} faces again with the wider face type, or make a model of a narrower one.",
        )
    because = f" First reason: {cache.skipped[0][0]}: {cache.skipped[0][1]}." if cache.skipped else ""
    raise BadInputError(f"Only {found}{because}", f"Extract more {name} faces in the Extract tab.")
