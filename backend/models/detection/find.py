"""All faces of a frame with their landmarks, whichever way up the picture lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np

from backend.core.faces import Detection
from backend.models.detection.base import Detector, Float32, Image, Landmarker, box_area
from backend.ops.track import overlap

ROTATIONS = (0, 90, 270, 180)
"""Clockwise turns of the frame in degrees, in DeepFaceLab's order."""

_SURE = 0.99
_SURE_OF = MappingProxyType({"blazeface": 0.75, "yunet": 0.8})
"""Score from which a face is believed to stand upright. MTCNN sees faces in lying and inverted ones, but is never this
sure of them; the named detectors are never as sure as the others, and tell by their points how a face stands."""
_SAME_PLACE = 0.2
_AROUND = 0.5
"""Sides of a face around it that are turned with it."""
_TURNS = (cv2.ROTATE_90_COUNTERCLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_CLOCKWISE)  # by counter-clockwise quarters


def find_faces(
    frame_bgr: Image,
    detector: Detector,
    landmarker: Landmarker,
    at_most: int = 0,
    rotations: Sequence[int] = ROTATIONS,
) -> list[tuple[Detection, Float32]]:
    """Detections and landmarks of a frame, largest face first.

    The frame is searched turned by each rotation until one shows a face for sure. In a turned frame only sure
    detections count, for most frames without an upright face show no face at all. Where upright faces are found and
    none is sure, only what is around them is turned: a detector may see a face in one that is upside down, and
    misplace all its points. Unsure faces stay where no turned one lies.

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
    sure = _SURE_OF.get(detector.name, _SURE)
    unsure: list[_Seen] = []
    area, corner = frame_bgr, np.zeros(2, np.float32)
    for degrees in rotations:
        quarter = _quarter(degrees)
        turned = area if quarter == 0 else np.asarray(cv2.rotate(area, _TURNS[quarter - 1]), np.uint8)
        seen = [_Seen(turned, quarter, corner, detection) for detection in detector.detect(turned)]
        certain = [one for one in seen if one.detection.score >= sure]
        if certain and quarter == 0:
            return [one.placed(landmarker) for one in seen[: at_most or None]]
        if certain:
            found = certain + [one for one in unsure if not _covered(one, certain)]
            found.sort(key=lambda one: -box_area(one.detection.box_xyxy))
            return [one.placed(landmarker) for one in found[: at_most or None]]
        if seen and quarter == 0:
            unsure = seen
            area, corner = _around(frame_bgr, seen)
    return [one.placed(landmarker) for one in unsure[: at_most or None]]


@dataclass(frozen=True)
class _Seen:
    """A detection in an area of the frame, from a corner on, that was turned by counter-clockwise quarters."""

    turned_bgr: Image
    quarter: int
    corner_xy: Float32
    detection: Detection

    @property
    def upright(self) -> Detection:
        """The detection in pixels of the frame itself."""
        box, points = self.detection.box_xyxy, self.detection.points5
        corners = self._back(box.reshape(2, 2))
        box = np.concatenate([corners.min(axis=0), corners.max(axis=0)])
        return Detection(box, self.detection.score, None if points is None else self._back(points))

    def placed(self, landmarker: Landmarker) -> tuple[Detection, Float32]:
        """Detection and landmarks in pixels of the frame itself."""
        return self.upright, self._back(landmarker.landmarks(self.turned_bgr, self.detection))

    def _back(self, points: Float32) -> Float32:
        height, width = self.turned_bgr.shape[:2]
        shape_hw = (width, height) if self.quarter % 2 else (height, width)
        return turn_back(points, self.quarter, shape_hw) + self.corner_xy


def _around(frame_bgr: Image, seen: Sequence[_Seen]) -> tuple[Image, Float32]:
    """The area of the frame that holds all faces and what is about them, and its left top corner."""
    boxes = np.stack([one.detection.box_xyxy for one in seen])
    margin = _AROUND * (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True)
    left, top = np.maximum(np.floor((boxes[:, :2] - margin).min(axis=0)), 0).astype(int)
    right, bottom = np.ceil((boxes[:, 2:] + margin).max(axis=0)).astype(int)
    return frame_bgr[top:bottom, left:right], np.array([left, top], np.float32)


def _covered(one: _Seen, others: Sequence[_Seen]) -> bool:
    """Whether a detection shows the same place as one of others."""
    boxes = np.stack([other.upright.box_xyxy for other in others])
    return bool((overlap(one.upright.box_xyxy[None], boxes) > _SAME_PLACE).any())


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
