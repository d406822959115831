"""FAN: four stacked hourglasses that place 68 landmarks (Bulat and Tzimiropoulos 2017), from face-alignment."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch

from backend.core.faces import Detection
from backend.models.detection.base import Float32, Image
from backend.models.detection.torch_weights import fill

_SIDE = 256
_MAP_SIDE = 64
_REFERENCE_PX = 195.0
_FIELD_PX = 200.0
_CENTRE_UP = 0.12
_SPOT_PX = 1.75
_FLOOR = 1e-10


class Fan:
    """68 landmarks by FAN.

    Args:
        name: "fan2d" follows the visible outline; "fan3d" places the jaw of a turned head where it is in space.
        file: 2DFAN4-11f355bf06.pth.tar or 3DFAN4-7835d9f11d.pth.tar.
        device: torch device.
        subpixel: read the heat maps by sharp_points instead of heatmap_points.

    Raises:
        DamagedFileError: the file does not hold these weights.
    """

    def __init__(self, name: str, file: Path, device: str = "cpu", *, subpixel: bool = True) -> None:
        from face_alignment.models import FAN

        self.name = name
        self._device = torch.device(device)
        self._points_of = sharp_points if subpixel else heatmap_points
        self._net = fill(FAN(4), file, self._device)

    @torch.inference_mode()
    def landmarks(self, frame_bgr: Image, detection: Detection) -> Float32:
        """(68, 2) float32 landmarks in frame pixels."""
        to_crop = crop_matrix(detection.box_xyxy)
        crop = cv2.warpAffine(frame_bgr, to_crop, (_SIDE, _SIDE), flags=cv2.INTER_LINEAR)
        rgb = np.ascontiguousarray(crop[..., ::-1].transpose(2, 0, 1)[None], dtype=np.float32) / 255.0
        heatmaps = self._net(torch.from_numpy(rgb).to(self._device))[-1][0].float().cpu().numpy()
        points = self._points_of(heatmaps) * (_SIDE / _MAP_SIDE) - 0.5  # pixel centres lie at whole numbers
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
    points, x, y = _peaks(heatmaps)
    height, width = heatmaps.shape[1:]
    inner = np.flatnonzero((x > 0) & (x < width - 1) & (y > 0) & (y < height - 1))
    x, y = x[inner], y[inner]
    points[inner, 0] += 0.25 * np.sign(heatmaps[inner, y, x + 1] - heatmaps[inner, y, x - 1])
    points[inner, 1] += 0.25 * np.sign(heatmaps[inner, y + 1, x] - heatmaps[inner, y - 1, x])
    return points


def sharp_points(heatmaps: Float32) -> Float32:
    """(68, 2) positions of the tops of (68, 64, 64) heatmaps between their pixels, counted as by heatmap_points.

    DARK (Zhang et al. 2020, "Distribution-Aware Coordinate Representation for Human Pose Estimation"): a map is taken
    for a noisy Gaussian; it is smoothed by a Gaussian as wide as those FAN was trained on, and one Newton step on its
    logarithm leads from the highest pixel to the top. A step of more than a pixel, or at the rim of the map, is not
    believed; such a point stays with heatmap_points. On drawn maps with noise the mean error is below a quarter of
    that of heatmap_points.
    """
    points, x, y = _peaks(heatmaps)
    height, width = heatmaps.shape[1:]
    smooth = cv2.GaussianBlur(np.ascontiguousarray(heatmaps.transpose(1, 2, 0)), (0, 0), _SPOT_PX).transpose(2, 0, 1)
    around = np.pad(smooth, ((0, 0), (2, 2), (2, 2)), mode="edge")
    rows, columns = y[:, None, None] + np.arange(5)[:, None], x[:, None, None] + np.arange(5)
    near = around[np.arange(len(x))[:, None, None], rows, columns]
    step = _newton_step(np.log(np.maximum(near, _FLOOR)))
    believed = (np.abs(step) <= 1).all(axis=1)
    believed &= (x > 1) & (x < width - 2) & (y > 1) & (y < height - 2)
    return np.where(believed[:, None], points + step, heatmap_points(heatmaps)).astype(np.float32)


def _peaks(heatmaps: Float32) -> tuple[Float32, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Middle (n, 2), column (n,) and row (n,) of the highest pixel of each map."""
    peak = heatmaps.reshape(len(heatmaps), -1).argmax(axis=1)
    x, y = peak % heatmaps.shape[2], peak // heatmaps.shape[2]
    return np.stack([x, y], axis=1).astype(np.float32) + np.float32(0.5), x, y


def _newton_step(near: Float32) -> Float32:
    """(n, 2) step from the middle of (n, 5, 5) values to the top of their Taylor expansion; infinite without a top."""
    slope_x, slope_y = (near[:, 2, 3] - near[:, 2, 1]) / 2, (near[:, 3, 2] - near[:, 1, 2]) / 2
    bend_xx = (near[:, 2, 4] - 2 * near[:, 2, 2] + near[:, 2, 0]) / 4
    bend_yy = (near[:, 4, 2] - 2 * near[:, 2, 2] + near[:, 0, 2]) / 4
    bend_xy = (near[:, 3, 3] - near[:, 1, 3] - near[:, 3, 1] + near[:, 1, 1]) / 4
    area = bend_xx * bend_yy - bend_xy**2
    is_top = (area > 0) & (bend_xx < 0)
    step = np.stack([bend_xy * slope_y - bend_yy * slope_x, bend_xy * slope_x - bend_xx * slope_y], axis=1)
    return np.where(is_top[:, None], step / np.where(is_top, area, 1)[:, None], np.inf)
