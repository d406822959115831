"""A second look for landmarks: on the aligned face, from several slightly shifted boxes."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from backend.core.faces import Detection, FaceType
from backend.models.detection.base import Detector, Float32, Image, Landmarker
from backend.ops.align import face_matrix, invert, transform_points, warp_face

_SIDE = 256
_SHIFTS_PX = ((0, 0), (-1, -1), (1, -1), (1, 1), (-1, 1))


class SecondPass:
    """Landmarker that looks twice, as DeepFaceLab's accurate extraction does.

    The first points cut a full face of 256 px; a detector looks at it, and when it sees exactly one face there, the
    points are placed again from five boxes a pixel apart and averaged. In all other cases the first points stay.

    Args:
        landmarker: what places the points, six times for one face.
        detector: what finds the box in the cut face, which fills about half of it: its smallest face must be well
            below 128 px.
    """

    def __init__(self, landmarker: Landmarker, detector: Detector) -> None:
        self.name = landmarker.name
        self._landmarker = landmarker
        self._detector = detector

    def landmarks(self, frame_bgr: Image, detection: Detection) -> Float32:
        """(68, 2) float32 landmarks in frame pixels."""
        first = self._landmarker.landmarks(frame_bgr, detection)
        try:
            to_face = face_matrix(first, _SIDE, FaceType.FULL)
        except (ValueError, np.linalg.LinAlgError):
            return first
        face = warp_face(frame_bgr, to_face, _SIDE, cv2.INTER_CUBIC)
        found = self._detector.detect(face)
        if len(found) != 1:
            return first
        points = [self._landmarker.landmarks(face, _shifted(found[0], shift)) for shift in _SHIFTS_PX]
        return transform_points(np.mean(points, axis=0), invert(to_face)).astype(np.float32)


def _shifted(detection: Detection, shift_px: tuple[int, int]) -> Detection:
    return replace(detection, box_xyxy=detection.box_xyxy + np.array(shift_px * 2, np.float32))
