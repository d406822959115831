"""How a face moves from frame to frame."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from backend.core.faces import FaceType
from backend.ops.align import Float64, face_matrix, invert, transform_points
from backend.ops.face_swap import STILL, Motion

_SIZE = 256


def motion_of(before: npt.ArrayLike | None, now: npt.ArrayLike, after: npt.ArrayLike | None) -> Motion:
    """The way of a face's centre from the frame before to the frame after, as DeepFaceLab measures it.

    The centre is that of the full-face crop. With one neighbour only the way to it counts twice; without any, or with
    landmarks that give no crop, the face stands still.

    Args:
        before, after: (68, 2) landmarks of the same face in the neighbouring frames, frame pixels; None where it has
            none.
        now: (68, 2) its landmarks in this frame.

    Returns:
        power: length of the way in frame pixels; angle_deg: its direction, counter-clockwise from the right.
    """
    centres = [_centre(landmarks) for landmarks in (before, now, after)]
    steps = [end - start for start, end in pairwise(centres) if start is not None and end is not None]
    if not steps:
        return STILL
    dx, dy = (float(part) for part in np.mean(steps, axis=0) * 2)
    power = float(np.hypot(dx, dy))
    return Motion(power, float(np.degrees(-np.arctan2(dy, dx)))) if power > 0 else STILL


def _centre(landmarks: npt.ArrayLike | None) -> Float64 | None:
    """Frame pixel (2,) in the middle of the full-face crop; None where there is no crop."""
    if landmarks is None:
        return None
    try:
        mat = face_matrix(np.asarray(landmarks, dtype=np.float64), _SIZE, FaceType.FULL)
        return transform_points([(_SIZE / 2, _SIZE / 2)], invert(mat))[0]
    except ValueError:
        return None
