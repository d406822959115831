"""BlazeFace: MediaPipe's quick detector (Bazarevsky et al. 2019), from the package face-alignment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from backend.core.faces import Detection
from backend.models.detection.base import Image, by_area, shorter_side, stands_upright
from backend.models.detection.torch_weights import damaged, fill

_SIDE = 256
_OVERLAP = 0.4


class BlazeFace:
    """BlazeFace detector for faces at a distance (the "back camera" network).

    The network sees squares; a wide or tall frame is searched in overlapping squares of its shorter side. It finds
    lying faces as well; these are left to the search of the turned frame, for landmarkers need upright ones.

    Args:
        weights: blazefaceback.pth.
        anchors: anchorsback.npy.
        device: torch device.
        min_face_px: smallest face side to keep, in frame pixels.
        score: lowest face probability.

    Raises:
        DamagedFileError: a file does not hold these weights.
    """

    name = "blazeface"

    def __init__(
        self, weights: Path, anchors: Path, device: str = "cpu", min_face_px: int = 40, score: float = 0.7
    ) -> None:
        from face_alignment.detection.blazeface.net_blazeface import BlazeFace as Network

        self._net: Any = fill(Network(back_model=True), weights, torch.device(device))
        self._net.min_score_thresh = score
        try:
            self._net.load_anchors_from_npy(np.load(anchors), torch.device(device))
        except (OSError, ValueError, AssertionError) as error:
            raise damaged(anchors, error) from error
        self._min_face_px = min_face_px

    def detect(self, frame_bgr: Image) -> list[Detection]:
        """Faces of a (h, w, 3) uint8 BGR frame, largest first, without points."""
        side = min(frame_bgr.shape[:2])
        corners = _corners(frame_bgr.shape[:2])
        squares = np.stack([_square(frame_bgr, x, y, side) for x, y in corners])
        found: list[Detection] = []
        for (x, y), faces in zip(corners, self._net.predict_on_batch(squares), strict=True):
            for row in faces.cpu().numpy():
                top, left, bottom, right, score = (float(row[column]) for column in (0, 1, 2, 3, -1))
                box = np.array([left * side + x, top * side + y, right * side + x, bottom * side + y], np.float32)
                points = row[4:16].reshape(6, 2)  # eyes, nose, mouth, ears
                if shorter_side(box) >= self._min_face_px and stands_upright(points[:2], points[3:4]):
                    found.append(Detection(box, score))
        return by_area(_merged(found))


def _corners(shape_hw: tuple[int, int]) -> list[tuple[int, int]]:
    """Left-top corners of the squares that cover a frame, overlapping by at least half of their side."""
    height, width = shape_hw
    side = min(height, width)
    steps = int(np.ceil((max(height, width) - side) / (side / 2))) + 1
    places = [round(v) for v in np.linspace(0, max(height, width) - side, steps)]
    return [(place, 0) if width >= height else (0, place) for place in places]


def _square(frame_bgr: Image, x: int, y: int, side: int) -> Image:
    window = cv2.cvtColor(frame_bgr[y : y + side, x : x + side], cv2.COLOR_BGR2RGB)
    return cv2.resize(window, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA if side > _SIDE else cv2.INTER_LINEAR)


def _merged(found: list[Detection]) -> list[Detection]:
    """One detection for each face that several squares saw: the surest."""
    boxes = [[*f.box_xyxy[:2].tolist(), *(f.box_xyxy[2:] - f.box_xyxy[:2]).tolist()] for f in found]
    kept = cv2.dnn.NMSBoxes(boxes, [f.score for f in found], 0.0, _OVERLAP) if found else []
    return [found[int(index)] for index in np.asarray(kept).reshape(-1)]
