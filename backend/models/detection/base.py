"""What a detector and a landmarker are."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from backend.core.faces import Detection

Image = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]

_MOST_ROLL_DEG = 55.0
"""Beyond the 45 degrees at which the frame turned by a quarter shows a face as upright as the frame itself does."""


class Detector(Protocol):
    """Finds the faces of a frame."""

    name: str

    def detect(self, frame_bgr: Image) -> list[Detection]:
        """Faces of a (h, w, 3) uint8 BGR frame, largest first, in frame pixels; empty when there is none."""
        ...


class Landmarker(Protocol):
    """Places the 68 landmarks of a detected face."""

    name: str

    def landmarks(self, frame_bgr: Image, detection: Detection) -> Float32:
        """(68, 2) float32 landmarks in frame pixels of one detection of a (h, w, 3) uint8 BGR frame."""
        ...


class Recogniser(Protocol):
    """Says by a vector who a face is."""

    name: str

    def embed(self, image_bgr: Image, points: npt.ArrayLike) -> Float32:
        """(d,) float32 of length 1 of the face with (68, 2) landmarks or (5, 2) points in a (h, w, 3) uint8 image."""
        ...


def stands_upright(eyes_xy: npt.NDArray[Any], mouth_xy: npt.NDArray[Any]) -> bool:
    """Whether a face whose eyes and mouth are (n, 2) points, meant as their means, is rolled by 55 degrees at most."""
    across, down = np.mean(mouth_xy, axis=0) - np.mean(eyes_xy, axis=0)
    return bool(abs(np.degrees(np.arctan2(across, down))) <= _MOST_ROLL_DEG)


def by_area(detections: list[Detection]) -> list[Detection]:
    """Detections, largest box first."""
    return sorted(detections, key=lambda found: -box_area(found.box_xyxy))


def box_area(box_xyxy: npt.NDArray[Any]) -> float:
    """Area of a left, top, right, bottom box in square pixels; 0 for an inverted one."""
    left, top, right, bottom = (float(v) for v in box_xyxy)
    return max(0.0, right - left) * max(0.0, bottom - top)


def shorter_side(box_xyxy: npt.NDArray[Any]) -> float:
    """Shorter side of a left, top, right, bottom box in pixels."""
    left, top, right, bottom = (float(v) for v in box_xyxy)
    return min(right - left, bottom - top)
