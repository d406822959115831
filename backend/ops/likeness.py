"""How alike pictures look as a whole: small thumbnails, compared in blocks."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from backend.ops.chain import Float32, Pause, Vectors, no_pause

_COLOUR_SIDE = 16
_DIRECTIONS = 64
_SAMPLES = 4096
_BLOCK = 512
_PART_SIDE = 16
_STEADY = np.arange(27, 48)  # nose and eyes
_STEADY.setflags(write=False)
_BOXES = ((-0.55, -0.4, 1.1, 1.15), (-0.5, -0.35, 1.0, 0.5), (-0.35, 0.2, 0.7, 0.55))
"""Face, eyes, mouth: left, top, width, height from the middle of eyes and nose, in canonical units."""
_INVERSE = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP


def colour_thumbnail(image_bgr: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """(768,) uint8: the picture as 16 x 16 BGR pixels in a row."""
    return cv2.resize(image_bgr, (_COLOUR_SIDE, _COLOUR_SIDE), interpolation=cv2.INTER_AREA).reshape(-1)


def difference_vectors(thumbnails: npt.NDArray[np.uint8]) -> Vectors:
    """Vectors whose distance is the root of the squared differences of thumbnails.

    They are turned into the 64 directions in which the thumbnails differ most, which keeps nearly all of it.

    Args:
        thumbnails: (n, d) uint8, see colour_thumbnail().
    """
    step = max(1, len(thumbnails) // _SAMPLES)
    mean = thumbnails[::step].mean(axis=0, dtype=np.float32)
    some = thumbnails[::step].astype(np.float32) - mean
    _, directions = np.linalg.eigh(some.T @ some)
    basis = directions[:, -_DIRECTIONS:] / 255.0
    turned = np.concatenate(
        [(thumbnails[i : i + _SAMPLES] - mean) @ basis for i in range(0, len(thumbnails), _SAMPLES)]
    )
    return Vectors(turned[None])


def face_details(gray: npt.NDArray[np.uint8], landmarks_68x2: npt.ArrayLike, unit_px: float) -> npt.NDArray[np.float32]:
    """What tells two pictures of one person apart: the face, the eyes and the mouth at 16 x 16, without slow shading.

    The background takes no part: on a film it is what changes least.

    Args:
        gray: (h, w) uint8 aligned face.
        landmarks_68x2: (68, 2) in its pixels; eyes and nose place the three boxes.
        unit_px: side of the canonical unit square in pixels, see backend.core.faces.FaceType.padding.

    Returns:
        (3, 256) float32, each of length 1 or 0: their products are correlations.
    """
    centre = np.asarray(landmarks_68x2, dtype=np.float64)[_STEADY].mean(axis=0)
    parts = []
    for left, top, width, height in _BOXES:
        corner = centre + unit_px * np.array([left, top])
        scale = unit_px * np.array([width, height]) / _PART_SIDE
        matrix = np.column_stack([np.diag(scale), corner + (scale - 1) / 2])
        part = cv2.warpAffine(gray, matrix, (_PART_SIDE, _PART_SIDE), flags=_INVERSE, borderMode=cv2.BORDER_REPLICATE)
        part = part.astype(np.float32)
        detail = (part - cv2.GaussianBlur(part, (0, 0), _PART_SIDE / 6)).reshape(-1)
        parts.append(detail / max(float(np.linalg.norm(detail)), 1e-6))
    return np.stack(parts)


class Duplicates(NamedTuple):
    """Which pictures are superfluous.

    Attributes:
        is_kept: (n,) bool.
        likeness: (n,) float32, to the most alike kept picture that is better; 0 without one.
    """

    is_kept: npt.NDArray[np.bool_]
    likeness: Float32


def duplicates(details: Float32, rank: npt.NDArray[Any], limit: float, pause: Pause = no_pause) -> Duplicates:
    """Find the pictures that show nearly the same as a better one.

    The pictures are gone through from the best to the worst; one that is at least so like a kept one is superfluous.
    So no picture goes because of one that goes itself, and slow change does not melt into one group.

    Args:
        details: (n, parts, d) float32 as face_details() gives them; likeness is that of the least alike part.
        rank: (n,) higher is better.
        limit: -1..1, likeness from which two count as the same.
        pause: called between blocks; may raise.
    """
    by_part = np.ascontiguousarray(details.transpose(1, 0, 2))
    by_rank = np.argsort(-np.asarray(rank, dtype=np.float64), kind="stable")
    likeness = np.zeros(len(details), dtype=np.float32)
    kept = np.zeros(len(details), dtype=bool)
    for start in range(0, len(by_rank), _BLOCK):
        pause()
        block = by_rank[start : start + _BLOCK]
        before = np.flatnonzero(kept)
        for at in range(0, len(before), _BLOCK):
            products = _least_products(by_part, block, before[at : at + _BLOCK])
            likeness[block] = np.maximum(likeness[block], products.max(axis=1))
        within = _least_products(by_part, block, block)
        for place, picture in enumerate(block):
            alike = within[place, :place][kept[block[:place]]]
            likeness[picture] = max(likeness[picture], alike.max(initial=0))
            kept[picture] = likeness[picture] < limit
    return Duplicates(kept, likeness)


def _least_products(by_part: Float32, some: npt.NDArray[Any], others: npt.NDArray[Any]) -> Float32:
    """(m, n) correlations of the least alike part."""
    least = by_part[0][some] @ by_part[0][others].T
    for part in by_part[1:]:
        np.minimum(least, part[some] @ part[others].T, out=least)
    return least
