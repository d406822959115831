"""How well a swap keeps what dst does: pose, expression and calm, measured on landmarks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from backend.ops.align import transform_points, umeyama
from backend.ops.pose import head_rotation

Points = npt.NDArray[np.float64]

# Brows and nose carry the alignment; the eyes and the mouth, whose shape is compared, do not.
_STEADY = np.array([*range(17, 36)])
_STEADY.setflags(write=False)
_EYES_AND_MOUTH = np.array([*range(36, 68)])
_EYES_AND_MOUTH.setflags(write=False)
_OUTER_CORNERS = (36, 45)


def pose_error_deg(swap_68: Points, dst_68: Points, size: int) -> float | None:
    """Angle in degrees between two heads.

    Args:
        swap_68, dst_68: (68, 2) landmarks in pixels of the same aligned crop.
        size: side of that crop in pixels.

    Returns:
        0..180, the angle of the rotation from one head to the other; None where a pose cannot be found.
    """
    first, second = head_rotation(swap_68, size), head_rotation(dst_68, size)
    if first is None or second is None:
        return None
    cosine = (float(np.trace(first @ second.T)) - 1) / 2
    return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))


def expression_error(swap_68: Points, dst_68: Points) -> float:
    """How far eyes and mouth are from where they should be, over the distance of the eyes' outer corners.

    The two faces are laid onto each other by brows and nose first, so that neither place nor size counts.

    Args:
        swap_68, dst_68: (68, 2) landmarks in any unit, each face in its own.

    Returns:
        mean distance of the 32 points of eyes and mouth; 0 for equal expressions.
    """
    moved = transform_points(swap_68, umeyama(swap_68[_STEADY], dst_68[_STEADY]))
    apart = np.linalg.norm(moved - dst_68, axis=1)[_EYES_AND_MOUTH]
    return float(apart.mean() / eye_distance(dst_68))


def jitter(points: Sequence[Points | None]) -> float | None:
    """How much landmarks tremble from frame to frame.

    Args:
        points: (68, 2) landmarks in frame pixels of consecutive frames, None where there are none.

    Returns:
        median over three frames in a row of the landmarks' mean second difference, over the distance of the eyes;
        None without three faces in a row.
    """
    trembles = [
        float(np.linalg.norm(a - 2 * b + c, axis=1).mean()) / eye_distance(b)
        for a, b, c in zip(points, points[1:], points[2:], strict=False)
        if a is not None and b is not None and c is not None
    ]
    return float(np.median(trembles)) if trembles else None


def eye_distance(points_68: Points) -> float:
    """Distance of the eyes' outer corners, in the unit of the (68, 2) landmarks; never 0."""
    left, right = _OUTER_CORNERS
    return max(1e-6, float(np.linalg.norm(points_68[left] - points_68[right])))
