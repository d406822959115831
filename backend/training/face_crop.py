"""One face of a faceset brought to the network's shape: picture, masks and where its landmarks lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from backend.core.errors import BadInputError
from backend.core.faces import Face, FaceType
from backend.ops.align import face_matrix, transform_points
from backend.ops.mask import eyes_area, eyes_mouth_mask, hull_mask, mouth_area
from backend.storage.image import decode_image
from backend.storage.jpeg import is_complete_jpeg, read_header

Bytes = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

_MASK_CANVAS = 256  # eyes and mouth have soft edges: nothing is won by drawing them larger
_MASK_REACH = 16  # how far they reach around their landmarks
_HULL_FINER = 2  # the hull is drawn at twice the size, for a smooth edge


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
    """What the network wants a face to look like.

    Attributes:
        resolution: side in px.
        channels: 3 (BGR) or 1 (gray).
        face_type: how much it shows.
        zoom: how many times larger faces come than the type has them, about the picture's centre.
        parts_apart: eyes and mouth also have a mask each: four masks instead of two.
    """

    resolution: int
    channels: int
    face_type: FaceType
    zoom: float = 1.0
    parts_apart: bool = False

    @property
    def masks(self) -> int:
        """How many masks a face has."""
        return 4 if self.parts_apart else 2

    @property
    def bytes_per_face(self) -> int:
        """Decoded size of one face with its masks: in colour five bytes per pixel, with parts apart seven."""
        return self.resolution * self.resolution * (self.channels + self.masks)


def prepare_face(image: Bytes, face: Face, shape: FaceShape, reduction: int = 1) -> tuple[Bytes, Bytes]:
    """Bring one aligned face to the network's shape.

    A face of the model's own type is resized; one of a larger type is cropped anew with the model type's transform of
    its aligned landmarks, and so is one that is to come larger or smaller. Beyond the aligned image its edge is
    repeated. Shrinking averages over areas, so that nothing aliases.

    Args:
        image: (h, w, 3) uint8 BGR, the aligned image.
        face: its metadata; an applied XSeg mask replaces the hull of the landmarks.
        shape: what the network wants.
        reduction: how many times larger the aligned image is that the metadata speaks of.

    Returns:
        image (R, R, C) uint8 and masks (R, R, 2) uint8: the face; eyes and mouth inside it, at their largest 255; with
        parts apart (R, R, 4): then also the eyes and the mouth inside the face.
    """
    height, width = image.shape[0] * reduction, image.shape[1] * reduction
    side = shape.resolution
    matrix = crop_matrix(face, shape, (height, width))
    if face.face_type is shape.face_type and shape.zoom == 1:
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
    masks = _masks(face, matrix, (height, width), side)
    return picture, _with_parts(masks, face.landmarks, matrix) if shape.parts_apart else masks


def read_picture(item: FaceFile, shape: FaceShape) -> tuple[Bytes, int]:
    """The aligned image (h, w, 3) uint8 BGR, and how many times smaller it was decoded.

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
    scale = _scale(crop_matrix(item.face, shape, (max(1, header.height), header.width)))
    reduction, flag = (4, cv2.IMREAD_REDUCED_COLOR_4) if scale <= 0.125 else (2, cv2.IMREAD_REDUCED_COLOR_2)
    if scale > 0.5 or header.width % reduction or header.height % reduction:
        return decode_image(data, name), 1
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flag | cv2.IMREAD_IGNORE_ORIENTATION)
    return (decode_image(data, name), 1) if image is None else (np.asarray(image, np.uint8), reduction)


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


def _with_parts(masks: Bytes, landmarks: npt.NDArray[Any], matrix: Float64) -> Bytes:
    """The masks (side, side, 2) with those of the eyes and of the mouth behind them, inside the face."""
    side = len(masks)
    points = transform_points(landmarks, matrix * (_MASK_CANVAS / side))
    parts = [draw((_MASK_CANVAS, _MASK_CANVAS), points) for draw in (eyes_area, mouth_area)]
    planes = [_resize(np.rint(part * 255).astype(np.uint8), side) for part in parts]
    face = np.ascontiguousarray(masks[..., 0])
    return np.asarray(cv2.merge([*cv2.split(masks), *(cv2.min(plane, face) for plane in planes)]), np.uint8)


def _eyes_mouth(landmarks: Float64) -> Float32:
    """Mask of eyes and mouth on the canvas, (256, 256) float32; only the columns that can hold any are drawn."""
    columns = landmarks[36:, 0]
    left = int(np.clip(columns.min() - _MASK_REACH, 0, _MASK_CANVAS - 1))
    right = int(np.clip(columns.max() + _MASK_REACH, left + 1, _MASK_CANVAS))
    mask = np.zeros((_MASK_CANVAS, _MASK_CANVAS), np.float32)
    mask[:, left:right] = eyes_mouth_mask((_MASK_CANVAS, right - left), landmarks - (left, 0))
    return mask


def crop_matrix(face: Face, shape: FaceShape, image_hw: tuple[int, int]) -> Float64:
    """(2, 3) aligned image -> the network's picture, places counted from the corner of both.

    Args:
        face, shape: see prepare_face().
        image_hw: size of the aligned image that the metadata speaks of.
    """
    side = shape.resolution
    if face.face_type is shape.face_type:
        matrix = np.array([[side / image_hw[1], 0, 0], [0, side / image_hw[0], 0]], np.float64)
    else:
        matrix = face_matrix(face.landmarks, side, shape.face_type)
    matrix = matrix * shape.zoom
    matrix[:, 2] += (1 - shape.zoom) * side / 2
    return matrix


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
