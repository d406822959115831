"""RetinaFace with a small MobileNet (Deng et al. 2019), from the package face-alignment, which needs torchvision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from backend.core.errors import BadInputError
from backend.core.faces import Detection
from backend.models.detection.base import Image, by_area, shorter_side
from backend.models.detection.torch_weights import UNREADABLE, damaged

# The smallest boxes that the network proposes are 16 px wide; a face of the smallest size still fills one well.
_SMALLEST_PX = 20.0


class RetinaFace:
    """RetinaFace detector. The frame is reduced so far that the smallest wanted face still shows.

    Args:
        file: retinaface_mobilenet0.25.pth.
        device: torch device.
        min_face_px: smallest face side to keep, in frame pixels.
        score: lowest face probability.

    Raises:
        BadInputError: torchvision does not work here.
        DamagedFileError: the file does not hold these weights.
    """

    name = "retinaface"

    def __init__(self, file: Path, device: str = "cpu", min_face_px: int = 40, score: float = 0.7) -> None:
        detector = _package_class()
        try:
            self._detector = detector(device, path_to_detector=str(file), confidence_threshold=score)
        except UNREADABLE as error:
            raise damaged(file, error) from error
        self._min_face_px = min_face_px

    def detect(self, frame_bgr: Image) -> list[Detection]:
        """Faces of a (h, w, 3) uint8 BGR frame, largest first, without points."""
        reduction = max(1.0, self._min_face_px / _SMALLEST_PX)
        height, width = frame_bgr.shape[:2]
        size_wh = (max(1, round(width / reduction)), max(1, round(height / reduction)))
        # The package passes the channels on as they come; the network was trained on BGR.
        rows = self._detector.detect_from_image(cv2.resize(frame_bgr, size_wh, interpolation=cv2.INTER_AREA))
        scale = np.array([width / size_wh[0], height / size_wh[1]] * 2, np.float32)
        found = [Detection(np.array(row[:4], np.float32) * scale, float(row[4])) for row in rows]
        return by_area([face for face in found if shorter_side(face.box_xyxy) >= self._min_face_px])


def _package_class() -> Any:
    try:
        from face_alignment.detection.retinaface import FaceDetector
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision made for another torch
        reason = " ".join(str(error).split())[:160]
        raise BadInputError(
            f"The detector retinaface needs torchvision, which does not work here ({reason}).",
            "Install the torchvision that belongs to the installed torch, or choose another detector.",
        ) from error
    return FaceDetector
