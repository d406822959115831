"""All faces of a frame with their landmarks, whichever way up the picture lies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backend.core.faces import Detection
from backend.models.detection.base import Detector, Float32, Image, Landmarker

ROTATIONS = (0, 90, 270, 180)
"""Clockwise turns of the frame in degrees, in DeepFaceLab's order."""

_SURE_WHEN_TURNED = 0.99


def find_faces(
    frame_bgr: Image,
    detector: Detector,
    landmarker: Landmarker,
    at_most: int = 0,
    rotations: Sequence[int] = ROTATIONS,
) -> list[tuple[Detection, Float32]]:
    """Detections and landmarks of a frame, largest face first.

    The frame is searched turned by each rotation until one shows a face, as DeepFaceLab does. In a turned frame only
    sure detections count, for most frames without an upright face show no face at all.

    Args:
        frame_bgr: (h, w, 3) uint8 BGR.
        detector, landmarker: what finds the faces and places the points.
        at_most: how many to return, largest first; 0 returns all.
        rotations: clockwise turns to try, in this order, in degrees: multiples of 90.

    Returns:
        (detection, (68, 2) float32 landmarks) in pixels of the frame as given.

    Raises:
        ValueError: a rotation is no multiple of 90 degrees.
    """
    for degrees in rotations:
        quarter = _quarter(degrees)
        turned = np.ascontiguousarray(np.rot90(frame_bgr, quarter))
        found = [d for d in detector.detect(turned) if quarter == 0 or d.score >= _SURE_WHEN_TURNED]
        if found:
            kept = found[: at_most or None]
            points = [landmarker.landmarks(turned, detection) for detection in kept]
            shape_hw = (frame_bgr.shape[0], frame_bgr.shape[1])
            return [
                (_upright(detection, quarter, shape_hw), turn_back(landmarks, quarter, shape_hw))
                for detection, landmarks in zip(kept, points, strict=True)
            ]
    return []


def turn_back(points: Float32, quarter: int, shape_hw: tuple[int, int]) -> Float32:
    """Points (n, 2) of a frame turned by counter-clockwise quarters, in pixels of the frame of shape (h, w) itself."""
    height, width = shape_hw
    x, y = points[:, 0], points[:, 1]
    match quarter % 4:
        case 1:
            x, y = width - 1 - y, x
        case 2:
            x, y = width - 1 - x, height - 1 - y
        case 3:
            x, y = y, height - 1 - x
    return np.stack([x, y], axis=1).astype(np.float32)


def _quarter(clockwise_degrees: int) -> int:
    """Counter-clockwise quarter turns, 0 to 3, of a clockwise turn."""
    if clockwise_degrees % 90:
        raise ValueError(f"a frame cannot be turned by {clockwise_degrees} degrees")
    return -clockwise_degrees // 90 % 4


def _upright(detection: Detection, quarter: int, shape_hw: tuple[int, int]) -> Detection:
    corners = turn_back(detection.box_xyxy.reshape(2, 2), quarter, shape_hw)
    box = np.concatenate([corners.min(axis=0), corners.max(axis=0)])
    points = None if detection.points5 is None else turn_back(detection.points5, quarter, shape_hw)
    return Detection(box, detection.score, points)
