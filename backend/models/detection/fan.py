"""FAN: four stacked hourglasses that place 68 landmarks (Bulat and Tzimiropoulos 2017), from face-alignment."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from backend.core.faces import Detection
from backend.models.detection.base import Float32, Image
from backend.models.detection.torch_weights import fill

_SIDE = 256
_MAP_SIDE = 64
_REFERENCE_PX = 195.0
_FIELD_PX = 200.0
_CENTRE_UP = 0.12


class Fan:
    """68 landmarks by FAN.

    Args:
        name: "fan2d" follows the visible outline; "fan3d" places the jaw of a turned head where it is in space.
        file: 2DFAN4-11f355bf06.pth.tar or 3DFAN4-7835d9f11d.pth.tar.
        device: torch device.

    Raises:
        DamagedFileError: the file does not hold these weights.
    """

    def __init__(self, name: str, file: Path, device: str = "cpu") -> None:
        from face_alignment.models import FAN

        self.name = name
        self._device = torch.device(device)
        self._net = fill(FAN(4), file, self._device)

    @torch.inference_mode()
    def landmarks(self, frame_bgr: Image, detection: Detection) -> Float32:
        """(68, 2) float32 landmarks in frame pixels."""
        to_crop = crop_matrix(detection.box_xyxy)
        crop = cv2.warpAffine(frame_bgr, to_crop, (_SIDE, _SIDE), flags=cv2.INTER_LINEAR)
        rgb = np.ascontiguousarray(crop[..., ::-1].transpose(2, 0, 1)[None], dtype=np.float32) / 255.0
        heatmaps = self._net(torch.from_numpy(rgb).to(self._device))[-1][0].float().cpu().numpy()
        points = heatmap_points(heatmaps) * (_SIDE / _MAP_SIDE) - 0.5  # pixel centres lie at whole numbers
        return ((points - to_crop[:, 2]) / to_crop[0, 0]).astype(np.float32)


def crop_matrix(box_xyxy: Float32) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """(2, 3) frame -> 256 px crop: a square about a point somewhat above the middle of the box, as FAN was trained."""
    left, top, right, bottom = (float(v) for v in box_xyxy)
    side = _FIELD_PX * max(right - left + bottom - top, 2.0) / _REFERENCE_PX
    zoom = _SIDE / side
    x, y = (left + right) / 2, (top + bottom) / 2 - _CENTRE_UP * (bottom - top)
    return np.array([[zoom, 0, _SIDE / 2 - zoom * x], [0, zoom, _SIDE / 2 - zoom * y]])


def heatmap_points(heatmaps: Float32) -> Float32:
    """(68, 2) positions of the peaks of (68, 64, 64) heatmaps, moved a quarter pixel towards the higher neighbour.

    Positions count from the edge of the map: the middle of its first pixel is 0.5.
    """
    count, height, width = heatmaps.shape
    peak = heatmaps.reshape(count, -1).argmax(axis=1)
    column, row = peak % width, peak // width
    points = np.stack([column, row], axis=1).astype(np.float32)
    inner = np.flatnonzero((column > 0) & (column < width - 1) & (row > 0) & (row < height - 1))
    x, y = column[inner], row[inner]
    points[inner, 0] += 0.25 * np.sign(heatmaps[inner, y, x + 1] - heatmaps[inner, y, x - 1])
    points[inner, 1] += 0.25 * np.sign(heatmaps[inner, y + 1, x] - heatmaps[inner, y - 1, x])
    return points + 0.5
