"""Faces ready to train on: decoded once, cut to the model's face type, kept as bytes."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from backend.core.errors import BadInputError, LookalikeError
from backend.ops.align import transform_points
from backend.ops.pose import estimate_pose
from backend.storage.atomic import require_free_disk
from backend.training.face_crop import FaceFile, FaceShape, crop_matrix, prepare_face, read_picture

Bytes = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]
Progress = Callable[[int, int], None]

MIN_FACES = 4
"""Fewer faces on a side cannot be learned from."""

_POSE_PX = 256
_SHOWS_LESS = "it shows less"


@dataclass(frozen=True)
class FaceCache:
    """One side's decoded faces.

    Attributes:
        images: (N, R, R, C) uint8, BGR or gray.
        masks: (N, R, R, 2) uint8; 0: face, 1: eyes and mouth; with parts apart (N, R, R, 4), 2: eyes, 3: mouth.
        names: file names, (N,).
        usable: indices of the entries that hold a face, in the faceset's order.
        skipped: (file name, reason) of those that do not.
        measured_yaws: (N,) float32 radians as the face records have them, NaN where they have none.
        landmarks: (N, 68, 2) float32, in shares of the aligned picture's side.
        points: (N, 68, 2) float32, the same in shares of the side of ``images``.
    """

    images: Bytes
    masks: Bytes
    names: tuple[str, ...]
    usable: npt.NDArray[np.int64]
    skipped: tuple[tuple[str, str], ...] = ()
    measured_yaws: Float32 = field(default_factory=lambda: np.zeros(0, np.float32))
    landmarks: Float32 = field(default_factory=lambda: np.zeros((0, 68, 2), np.float32))
    points: Float32 = field(default_factory=lambda: np.zeros((0, 68, 2), np.float32))

    @property
    def reasons(self) -> dict[str, int]:
        """Why faces were left out -> how many, the most frequent reason first."""
        return dict(Counter(reason for _, reason in self.skipped).most_common())

    def yaws(self, entries: npt.NDArray[np.int64]) -> Float32:
        """Yaws of some entries in radians, (n,); those never measured are estimated from the landmarks now."""
        yaws = self.measured_yaws[entries]
        for i in np.flatnonzero(np.isnan(yaws)):
            yaws[i] = estimate_pose(self.landmarks[entries[i]] * _POSE_PX, _POSE_PX)[1]
        return yaws

    def split(self, holdout_every: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """(trained, held out) entries: one usable face in about N is held out; none if N is 0 or too few would remain.

        The name of its file decides, so that a face which is held out stays so when others come, go or change places.
        Where that takes none or too many of a small set, those of the smallest digests are held out.
        """
        if holdout_every <= 0:
            return self.usable, self.usable[:0]
        digests = np.array([_digest(self.names[entry]) for entry in self.usable], np.uint64)
        most = len(digests) - MIN_FACES
        held = digests % np.uint64(holdout_every) == 0
        if not 0 < held.sum() <= most:
            held[:] = False
            held[np.argsort(digests, kind="stable")[: len(digests) // holdout_every]] = True
        if held.sum() > most:
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
    src_zoom: float = 1.0,
) -> tuple[FaceCache, FaceCache]:
    """Decode both facesets. When both sides are the same list, as in pretraining, it is decoded and held once.

    Source faces come ``src_zoom`` times larger. They do so wherever this cache is looked at, as the network knows no
    others.

    Files that cannot be read, and faces that show less than the model needs, are left out and listed in ``skipped``.
    What happens to the files afterwards does not matter any more.

    Raises:
        BadInputError: a side has too few usable faces; the sentence says why and where to get more.
        DiskFullError: the faces exceed the memory budget and the disk.
    """
    sides = (("pretraining", src),) if src is dst else (("src", src), ("dst", dst))
    for name, files in sides:
        if not files:
            raise BadInputError(f"There are no {name} faces to train on.", _where_to_get_more(name))
    total = sum(len(files) for _, files in sides)
    in_memory = total * shape.bytes_per_face <= budget.memory_bytes
    if not in_memory:
        budget.folder.mkdir(parents=True, exist_ok=True)
        require_free_disk(budget.folder, total * shape.bytes_per_face + (1 << 30))
    caches: list[FaceCache] = []
    for name, files in sides:
        before = sum(len(cache.names) for cache in caches)
        part = LoadReport(partial(_report_part, report, before, total), report.check_stop)
        own_shape = replace(shape, zoom=src_zoom) if name == "src" else shape
        caches.append(_load_side(files, own_shape, None if in_memory else budget.folder, part))
    for (name, _), cache in zip(sides, caches, strict=True):
        _require_enough(name, cache, shape)
    return caches[0], caches[-1]


def _digest(name: str) -> int:
    """A number of 64 bits that looks random and is always the same for a name."""
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "little")


def _load_side(files: Sequence[FaceFile], shape: FaceShape, folder: Path | None, report: LoadReport) -> FaceCache:
    count, side = len(files), shape.resolution
    images = _array((count, side, side, shape.channels), folder)
    masks = _array((count, side, side, shape.masks), folder)
    landmarks, points = (np.zeros((count, 68, 2), np.float32) for _ in range(2))

    def fill(index: int) -> str:
        """Decode one face into its slot; the reason when it cannot be used."""
        item = files[index]
        if item.face.face_type.rank < shape.face_type.rank:
            return f"{_SHOWS_LESS} ({item.face.face_type.value}) than the model needs ({shape.face_type.value})"
        try:
            image, reduction = read_picture(item, shape)
            images[index], masks[index] = prepare_face(image, item.face, shape, reduction)
            height, width = image.shape[0] * reduction, image.shape[1] * reduction
            landmarks[index] = item.face.landmarks / height
            points[index] = transform_points(item.face.landmarks, crop_matrix(item.face, shape, (height, width))) / side
        except LookalikeError as error:
            return error.what
        except FileNotFoundError:
            return "it is no longer there"
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
    yaws = np.array([np.nan if item.face.pose_rad is None else item.face.pose_rad[1] for item in files], np.float32)
    return FaceCache(images, masks, names, usable, skipped, yaws, landmarks, points)


def _array(shape: tuple[int, ...], folder: Path | None) -> Bytes:
    """Zeros in memory, or in a nameless file of the folder that vanishes with the process."""
    if folder is None:
        return np.zeros(shape, np.uint8)
    with tempfile.TemporaryFile(dir=folder) as file:
        return np.memmap(file, np.uint8, "w+", shape=shape)


def _require_enough(name: str, cache: FaceCache, shape: FaceShape) -> None:
    """Refuse a side that cannot be learned from, and say what the matter is."""
    usable, count = len(cache.usable), len(cache.names)
    if usable >= MIN_FACES:
        return
    needed = f"training needs at least {MIN_FACES}."
    if not cache.skipped:
        faces = f"is only 1 {name} face" if count == 1 else f"are only {count} {name} faces"
        raise BadInputError(f"There {faces}; {needed}", _where_to_get_more(name))
    found = f"{usable} of {count} {name} faces can be used; {needed}"
    narrow = sum(reason.startswith(_SHOWS_LESS) for _, reason in cache.skipped)
    if narrow:
        raise BadInputError(
            f"{narrow} of {count} {name} faces show less than the model needs ({shape.face_type.value}): {found}",
            f"Extract the {name} faces again with the wider face type, or make a model of a narrower one.",
        )
    file, reason = cache.skipped[0]
    raise BadInputError(f"Only {found} First reason: {file}: {reason}.", _where_to_get_more(name))


def _where_to_get_more(name: str) -> str:
    if name == "pretraining":
        return "Choose a pretraining folder with more aligned faces."
    return f"Extract more {name} faces in the Extract tab."


def _report_part(report: LoadReport, before: int, total: int, done: int, _: int) -> None:
    """Progress of one side, told as progress of all."""
    report.progress(before + done, total)
