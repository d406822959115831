"""Faces that nobody has to extract: coloured noise behind an ellipse, for measuring speed."""

from __future__ import annotations

import cv2
import numpy as np

from backend.ops.pose import LANDMARKS_3D
from backend.training.dataset import FaceCache
from backend.training.face_crop import FaceShape

_DISTINCT = 16
_COARSE = 8
_GENERIC_WIDTH = 220
_MOVED = 0.01


def synthetic_faces(shape: FaceShape, count: int, seed: int) -> FaceCache:
    """Draw faces that fit a network, in a moment.

    Args:
        shape: side, channels; the face type does not matter.
        count: how many; 16 pictures are drawn, the others are these mirrored, turned upside down or repeated.
        seed: other seeds give other colours.

    Returns:
        cache of smooth random colours; the face mask is an ellipse, eyes and mouth are three smaller ones, apart too
        where the shape wants them so. The yaws spread evenly over a radian to either side, the landmarks are those of a
        generic face, each moved a little.
    """
    rng = np.random.default_rng(seed)
    side = shape.resolution
    images = np.empty((count, side, side, shape.channels), np.uint8)
    for i in range(min(count, _DISTINCT)):
        noise = rng.integers(0, 256, (_COARSE, _COARSE, shape.channels), np.uint8)
        images[i] = cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC).reshape(images[i].shape)
    for i in range(_DISTINCT, count):
        flips = i // _DISTINCT % 4
        images[i] = images[i % _DISTINCT][:: -1 if flips & 1 else 1, :: -1 if flips & 2 else 1]
    masks = np.broadcast_to(_masks(side)[..., : shape.masks], (count, side, side, shape.masks)).copy()
    names = tuple(f"synthetic {i + 1}" for i in range(count))
    turns = np.linspace(-1.0, 1.0, count, dtype=np.float32)
    generic = np.asarray(LANDMARKS_3D)[:, :2] / _GENERIC_WIDTH + 0.5
    points = (generic + rng.normal(0, _MOVED, (count, 68, 2))).astype(np.float32)
    return FaceCache(images, masks, names, np.arange(count), measured_yaws=turns, landmarks=points, points=points)


def _masks(side: int) -> np.ndarray:
    """(side, side, 4) uint8: an upright ellipse; two eyes and a mouth in it; the eyes; the mouth."""
    masks = np.zeros((4, side, side), np.uint8)
    half = side // 2
    cv2.ellipse(masks[0], (half, half), (side // 4, side // 3), 0, 0, 360, (255,), -1, cv2.LINE_AA)
    eye, mouth = (side // 9, -(side // 10)), (0, side // 6)
    for plane, (x, y) in ((2, eye), (2, (-eye[0], eye[1])), (3, mouth)):
        cv2.ellipse(masks[plane], (half + x, half + y), (side // 16, side // 28), 0, 0, 360, (255,), -1, cv2.LINE_AA)
    masks[1] = np.maximum(masks[2], masks[3])
    return np.ascontiguousarray(masks.transpose(1, 2, 0))
