"""YuNet: OpenCV's small detector with five points (Wu et al. 2023)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from backend.core.faces import Detection
from backend.models.detection.base import Image, by_area, shorter_side, stands_upright
from backend.models.detection.opencv_network import NetworkOfThread

_OVERLAP = 0.3


class YuNet:
    """YuNet detector with five points. Runs on the CPU.

    Args:
        file: face_detection_yunet_2023mar.onnx.
        min_face_px: smallest face side to keep, in frame pixels.
        score: lowest face probability.

    Raises:
        DamagedFileError: the file is no such network.
    """

    name = "yunet"

    def __init__(self, file: Path, min_face_px: int = 40, score: float = 0.7) -> None:
        self._min_face_px = min_face_px
        self._network = NetworkOfThread(
            file,
            lambda model: cv2.FaceDetectorYN.create("onnx", model, np.zeros(0, np.uint8), (320, 320), score, _OVERLAP),
        )

    def detect(self, frame_bgr: Image) -> list[Detection]:
        """Faces with five points of a (h, w, 3) uint8 BGR frame, largest first."""
        network = self._network()
        network.setInputSize((frame_bgr.shape[1], frame_bgr.shape[0]))
        _, rows = network.detect(frame_bgr)
        return by_area([d for d in map(_detection, () if rows is None else rows) if self._wanted(d)])

    def _wanted(self, detection: Detection) -> bool:
        """Large enough and upright: lying faces, which it finds as well, are left to the search of the turned frame."""
        points = detection.points5
        upright = points is None or stands_upright(points[:2], points[3:])
        return upright and shorter_side(detection.box_xyxy) >= self._min_face_px


def _detection(row: np.ndarray[Any, Any]) -> Detection:
    """A row of YuNet: x, y, width, height, five points from image-left eye to image-right mouth corner, score."""
    x, y, width, height = row[:4]
    box = np.array([x, y, x + width, y + height], np.float32)
    return Detection(box, float(row[14]), np.asarray(row[4:14], np.float32).reshape(5, 2))
