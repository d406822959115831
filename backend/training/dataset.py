"""Faces ready to train on: decoded once, cut to the model's face type, kept as bytes."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from backend.core.errors import BadInputError, LookalikeError
from backend.core.faces import Face, FaceType
from backend.ops.align import face_matrix, transform_points
from backend.ops.mask import eyes_mouth_mask, hull_mask
from backend.ops.pose import estimate_pose
from backend.storage.atomic import require_free_disk
from backend.storage.image import decode_image
from backend.storage.jpeg import is_complete_jpeg, read_header

Bytes = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Progress = Callable[[int, int], None]

MIN_FACES = 4
"""Fewer faces on a side cannot be learned from."""

_MASK_CANVAS = 256  # eyes and mouth have soft edges: nothing is won by drawing them larger
_MASK_REACH = 16  # how far they reach around their landmarks
_HULL_FINER = 2  # the hull is drawn at twice the size, for a smooth edge
_POSE_PX = 256
_SHOWS_LESS = "it shows less"


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
        measured_yaws: (N,) float32 radians as the face records have them, NaN where they have none.
        landmarks: (N, 68, 2) float32, in shares of the aligned picture's side.
    """

    images: Bytes
    masks: Bytes
    names: tuple[str, ...]
    usable: npt.NDArray[np.int64]
    skipped: tuple[tuple[str, str], ...] = ()
    measured_yaws: Float32 = field(default_factory=lambda: np.zeros(0, np.float32))
    landmarks: Float32 = field(default_factory=lambda: np.zeros((0, 68, 2), np.float32))

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
) -> tuple[FaceCache, FaceCache]:
    """Decode both facesets. When both sides are the same list, as in pretraining, it is decoded and held once.

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
    for _, files in sides:
        before = sum(len(cache.names) for cache in caches)
        part = LoadReport(partial(_report_part, report, before, total), report.check_stop)
        caches.append(_load_side(files, shape, None if in_memory else budget.folder, part))
    for (name, _), cache in zip(sides, caches, strict=True):
        _require_enough(name, cache, shape)
    return caches[0], caches[-1]


def prepare_face(image: Bytes, face: Face, shape: FaceShape, reduction: int = 1) -> tuple[Bytes, Bytes]:
    """Bring one aligned face to the network's shape.

    A face of the model's own type is resized; one of a larger type is cropped anew with the model type's transform of
    its aligned landmarks. Shrinking averages over areas, so that nothing aliases.

    Args:
        image: (h, w, 3) uint8 BGR, the aligned image.
        face: its metadata; an applied XSeg mask replaces the hull of the landmarks.
        shape: what the network wants.
        reduction: how many times larger the aligned image is that the metadata speaks of.

    Returns:
        image (R, R, C) uint8 and masks (R, R, 2) uint8: the face; eyes and mouth inside it, at their largest 255.
    """
    height, width = image.shape[0] * reduction, image.shape[1] * reduction
    side = shape.resolution
    matrix = _matrix(face, shape, (height, width))
    if face.face_type is shape.face_type:
        picture = _resize(image, side)
    else:
        finer = max(1, min(4, round(1.0 / max(1e-3, _scale(matrix) * reduction))))
        to_canvas, canvas = _between_pixels(matrix, reduction, finer), side * finer
        picture = cv2.warpAffine(
            image, to_canvas, (canvas, canvas), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
        )
        picture = _resize(picture, side)
    if shape.channels == 1:
        picture = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), np.uint8)[..., None]
    return picture, _masks(face, matrix, (height, width), side)


def _digest(name: str) -> int:
    """A number of 64 bits that looks random and is always the same for a name."""
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "little")


def _masks(face: Face, matrix: Float64, image_hw: tuple[int, int], side: int) -> Bytes:
    """Face, and eyes and mouth inside it, (side, side, 2) uint8; ``matrix`` leads from the image to the side."""
    canvas = side * _HULL_FINER
    if face.xseg_mask is not None:
        full = _xseg_on_canvas(face.xseg_mask, matrix * _HULL_FINER, image_hw, canvas)
    else:
        points = transform_points(face.landmarks, matrix * _HULL_FINER)
        full = hull_mask((canvas, canvas), points, face.eyebrows_expand_mod).astype(np.uint8) * 255
    full = _resize(full, side)
    parts = _eyes_mouth(transform_points(face.landmarks, matrix * (_MASK_CANVAS / side)))
    if side != _MASK_CANVAS:
        way = cv2.INTER_AREA if side < _MASK_CANVAS else cv2.INTER_LINEAR
        parts = cv2.resize(parts, (side, side), interpolation=way)
    largest = cv2.minMaxLoc(parts, full)[1]
    parts = cv2.convertScaleAbs(parts, alpha=255.0 / max(largest, 1e-3))
    return np.asarray(cv2.merge([full, cv2.bitwise_and(parts, parts, mask=full)]), np.uint8)


def _eyes_mouth(landmarks: Float64) -> Float32:
    """Mask of eyes and mouth on the canvas, (256, 256) float32; only the columns that can hold any are drawn."""
    columns = landmarks[36:, 0]
    left = int(np.clip(columns.min() - _MASK_REACH, 0, _MASK_CANVAS - 1))
    right = int(np.clip(columns.max() + _MASK_REACH, left + 1, _MASK_CANVAS))
    mask = np.zeros((_MASK_CANVAS, _MASK_CANVAS), np.float32)
    mask[:, left:right] = eyes_mouth_mask((_MASK_CANVAS, right - left), landmarks - (left, 0))
    return mask


def _matrix(face: Face, shape: FaceShape, image_hw: tuple[int, int]) -> Float64:
    """(2, 3) aligned image -> the network's picture."""
    side = shape.resolution
    if face.face_type is shape.face_type:
        return np.array([[side / image_hw[1], 0, 0], [0, side / image_hw[0], 0]], np.float64)
    return face_matrix(face.landmarks, side, shape.face_type)


def _between_pixels(matrix: Float64, reduction: int, finer: int) -> Float64:
    """A transform of places, written for the pixels of a reduced image and of a finer target.

    Places are counted from the corner of the picture, as resizing and landmarks do; pixels have their centres at whole
    numbers. So the result lies where it would lie without reduction, to a part of a pixel.
    """
    linear = matrix[:, :2] * (reduction * finer)
    return np.column_stack([linear, matrix[:, 2] * finer + linear.sum(axis=1) / 2 - 0.5])


def _scale(matrix: Float64) -> float:
    """How many times longer a line is after the transform."""
    return float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))


def _read_for(item: FaceFile, shape: FaceShape) -> tuple[Bytes, int]:
    """The aligned image, and how many times smaller it was decoded.

    A JPEG that is at least twice as large as the network needs is decoded at half its size, one at least eight times
    as large at a quarter: the decoder then does half the work.

    Raises:
        DamagedFileError, OSError: as read_image().
    """
    data = item.path.read_bytes()
    name = item.path.name
    if not is_complete_jpeg(data):
        return decode_image(data, name), 1
    header = read_header(data)
    scale = _scale(_matrix(item.face, shape, (max(1, header.height), header.width)))
    reduction, flag = (4, cv2.IMREAD_REDUCED_COLOR_4) if scale <= 0.125 else (2, cv2.IMREAD_REDUCED_COLOR_2)
    if scale > 0.5 or header.width % reduction or header.height % reduction:
        return decode_image(data, name), 1
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flag | cv2.IMREAD_IGNORE_ORIENTATION)
    return (decode_image(data, name), 1) if image is None else (np.asarray(image, np.uint8), reduction)


def _xseg_on_canvas(xseg: Bytes, to_canvas: Float64, image_hw: tuple[int, int], canvas: int) -> Bytes:
    """The applied mask, stored at its own size, brought to (canvas, canvas) uint8."""
    mask = cv2.imdecode(np.ascontiguousarray(xseg).reshape(-1), cv2.IMREAD_GRAYSCALE)
    if mask is None:
        raise BadInputError("Its XSeg mask cannot be decoded.")
    per_mask_px = np.diag([image_hw[1] / mask.shape[1], image_hw[0] / mask.shape[0]])
    matrix = np.column_stack([to_canvas[:, :2] @ per_mask_px, to_canvas[:, 2]])
    return np.asarray(cv2.warpAffine(mask, matrix, (canvas, canvas), flags=cv2.INTER_LINEAR), np.uint8)


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
    landmarks = np.zeros((count, 68, 2), np.float32)

    def fill(index: int) -> str:
        """Decode one face into its slot; the reason when it cannot be used."""
        item = files[index]
        if item.face.face_type.rank < shape.face_type.rank:
            return f"{_SHOWS_LESS} ({item.face.face_type.value}) than the model needs ({shape.face_type.value})"
        try:
            image, reduction = _read_for(item, shape)
            images[index], masks[index] = prepare_face(image, item.face, shape, reduction)
            landmarks[index] = item.face.landmarks / (image.shape[0] * reduction)
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
    return FaceCache(images, masks, names, usable, skipped, yaws, landmarks)


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
