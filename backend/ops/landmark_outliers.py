"""Landmarks that cannot be those of a face, and crops that show none."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from backend.ops.pose import LANDMARKS_3D

Float64 = npt.NDArray[np.float64]

_INNER = np.arange(17, 68)
_INNER.setflags(write=False)
_LEAST_UNUSUAL = 0.05
_DEVIATIONS = 5.0
_LEAST_OVERLAP = 0.15
_LARGEST_PART_OUTSIDE = 0.3


def fault_of_order(landmarks_68x2: npt.ArrayLike) -> str:
    """What is in the wrong place in the landmarks of an aligned face, "" when nothing is.

    Args:
        landmarks_68x2: (68, 2) in pixels of the aligned crop, which is upright.
    """
    points = np.asarray(landmarks_68x2, dtype=np.float64)
    if not np.isfinite(points).all() or np.ptp(points, axis=0).min() < 1:
        return "the landmarks make no face"
    brows, nose = (points[17:22].mean(axis=0), points[22:27].mean(axis=0)), points[31:36].mean(axis=0)
    eyes, mouth = (points[36:42].mean(axis=0), points[42:48].mean(axis=0)), points[48:60].mean(axis=0)
    if brows[0][1] + brows[1][1] >= eyes[0][1] + eyes[1][1]:
        return "the brows lie below the eyes"
    if mouth[1] <= nose[1]:
        return "the mouth lies above the nose"
    if nose[1] <= (eyes[0][1] + eyes[1][1]) / 2:
        return "the nose lies above the eyes"
    if eyes[0][0] >= eyes[1][0]:
        return "the eyes are swapped"
    return ""


def shape_error(landmarks_68x2: npt.ArrayLike, size: int) -> float:
    """How far brows, eyes, nose and mouth are from those of a generic head turned and moved to fit them.

    The pose is found from these 51 points themselves (SQPnP, camera as in backend.ops.pose), so that neither turned
    heads nor the jaw, which landmarkers place differently on profiles, count as errors.

    Args:
        landmarks_68x2: (68, 2) in pixels of the aligned crop.
        size: side of the crop in pixels.

    Returns:
        root mean square distance divided by the diagonal of the points' box: about 0.02 to 0.05 for a face; infinite
        when no head fits.
    """
    points = np.ascontiguousarray(np.asarray(landmarks_68x2, dtype=np.float64)[_INNER])
    diagonal = math.hypot(*np.ptp(points, axis=0))
    camera = np.array([[size, 0, size / 2], [0, size, size / 2], [0, 0, 1]], dtype=np.float64)
    try:
        found, turn, shift = cv2.solvePnP(
            LANDMARKS_3D[_INNER], points, camera, np.zeros((4, 1)), flags=cv2.SOLVEPNP_SQPNP
        )
    except cv2.error:
        return math.inf
    if not found or diagonal <= 0:
        return math.inf
    fitted = cv2.projectPoints(LANDMARKS_3D[_INNER], turn, shift, camera, np.zeros((4, 1)))[0].reshape(-1, 2)
    error = float(np.sqrt(np.mean(np.sum((fitted - points) ** 2, axis=1)))) / diagonal
    return error if math.isfinite(error) else math.inf


def unusual_shapes(errors: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Which shape errors stand out from the others: far above the median, measured in median deviations.

    Args:
        errors: (n,) of shape_error().
    """
    values = np.asarray(errors, dtype=np.float64)
    if not len(values):
        return np.zeros(0, dtype=bool)
    typical = float(np.median(values))
    spread = 1.4826 * float(np.median(np.abs(values - typical))) if math.isfinite(typical) else 0.0
    return values > max(typical + _DEVIATIONS * spread, _LEAST_UNUSUAL)


def lies_beside_box(source_rect: npt.ArrayLike, source_landmarks: npt.ArrayLike) -> bool:
    """Whether the landmarks lie elsewhere than the face that was detected.

    Args:
        source_rect: (4,) l, t, r, b in frame pixels; an empty one decides nothing.
        source_landmarks: (68, 2) in frame pixels.
    """
    rect, points = np.asarray(source_rect, dtype=np.float64), np.asarray(source_landmarks, dtype=np.float64)
    low, high = points.min(axis=0), points.max(axis=0)
    area, own_area = float(np.prod(np.maximum(rect[2:] - rect[:2], 0))), float(np.prod(high - low))
    if area <= 0 or not math.isfinite(own_area):
        return False
    common = float(np.prod(np.maximum(np.minimum(rect[2:], high) - np.maximum(rect[:2], low), 0)))
    return common < _LEAST_OVERLAP * (area + own_area - common)


def lies_outside(source_landmarks: npt.ArrayLike, frame_wh: tuple[Any, Any] | None) -> bool:
    """Whether much of a face lies outside its frame.

    Args:
        source_landmarks: (68, 2) in frame pixels.
        frame_wh: width and height of the frame in pixels; None when unknown, then only left and top decide.
    """
    points = np.asarray(source_landmarks, dtype=np.float64)
    width, height = frame_wh or (math.inf, math.inf)
    inside = (points >= 0).all(axis=1) & (points[:, 0] < width) & (points[:, 1] < height)
    return float(np.mean(~inside)) > _LARGEST_PART_OUTSIDE
