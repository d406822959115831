"""68 landmarks from five points: a generic 3D face is posed so that its eyes, nose and mouth meet them."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from backend.core.errors import BadInputError
from backend.core.faces import Detection
from backend.models.detection.base import Float32, Image
from backend.ops.align import transform_points, umeyama
from backend.ops.pose import LANDMARKS_3D

PointsOf = Callable[[Image, Float32], Float32]
"""points_of(frame_bgr, box_xyxy) -> (5, 2) points, for detectors that find none."""

# How far the camera stands, in sizes of the face: far enough for mild perspective.
_FOCAL_FACES = 30.0
_LARGEST_ERROR = 0.2


class Points5:
    """68 landmarks of a generic face posed by five points. Fine for alignment, blind to expression.

    Args:
        points_of: finds the points in a box when the detection carries none.
    """

    name = "points5"

    def __init__(self, points_of: PointsOf | None = None) -> None:
        self._points_of = points_of

    def landmarks(self, frame_bgr: Image, detection: Detection) -> Float32:
        """(68, 2) float32 landmarks in frame pixels. BadInputError when there are no five points to be had."""
        points = detection.points5
        if points is None and self._points_of is not None:
            points = self._points_of(frame_bgr, detection.box_xyxy)
        if points is None:
            raise BadInputError("The landmarker points5 needs five points.", "Choose the detector mtcnn or yunet.")
        return landmarks_from_points(points)


def landmarks_from_points(points5: npt.ArrayLike) -> Float32:
    """Five points (image-left eye, image-right eye, nose, mouth corners) -> (68, 2) float32 landmarks, same unit.

    The pose comes from SQPNP (Terzakis and Lourakis 2020); points that no such pose explains fall back to a similarity
    of the frontal face.
    """
    points = np.asarray(points5, dtype=np.float64)
    similarity = umeyama(_FACE_5[:, :2], points)
    posed = _posed(points)
    return (transform_points(LANDMARKS_3D[:, :2], similarity) if posed is None else posed).astype(np.float32)


def _posed(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64] | None:
    """Projection of all 68 points of the posed face, None when no believable pose exists."""
    centre, size = points.mean(axis=0), float(np.ptp(points, axis=0).max())
    focal = _FOCAL_FACES * size
    camera = np.array([[focal, 0, centre[0]], [0, focal, centre[1]], [0, 0, 1]])
    try:
        found, turn, shift = cv2.solvePnP(_FACE_5, points, camera, None, flags=cv2.SOLVEPNP_SQPNP)
    except cv2.error:
        return None
    if not found or not (np.isfinite(turn).all() and np.isfinite(shift).all()):
        return None
    if cv2.Rodrigues(turn)[0][2, 2] < 0.2:  # the face would look away from the camera
        return None
    five = cv2.projectPoints(_FACE_5, turn, shift, camera, None)[0][:, 0]
    if np.linalg.norm(five - points, axis=1).max() > _LARGEST_ERROR * size:
        return None
    everything = cv2.projectPoints(LANDMARKS_3D, turn, shift, camera, None)[0][:, 0]
    return transform_points(everything, umeyama(five, points))


def five_points(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Eye centres, nose tip and mouth corners, (5, d), of 68 points (68, d)."""
    return np.stack([points[36:42].mean(axis=0), points[42:48].mean(axis=0), points[30], points[48], points[54]])


_FACE_5 = five_points(LANDMARKS_3D)
_FACE_5.setflags(write=False)
