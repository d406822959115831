"""MTCNN: a cascade of three small networks that finds faces and five points (Zhang et al. 2016).

The weights are files of the PyPI package `mtcnn`; its code, which needs TensorFlow, is not imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from backend.core.errors import DamagedFileError
from backend.core.faces import Detection
from backend.models.detection.base import Float32, Image, by_area, shorter_side

_CELL = 12
_STRIDE = 2
_P_THRESHOLD = 0.6
_R_THRESHOLD = 0.7
_MOST_CANDIDATES = 400
_POINT_SHIFTS = np.array([(0, 0), (-0.03, -0.03), (0.03, -0.03), (-0.03, 0.03), (0.03, 0.03)], dtype=np.float32)


@dataclass(frozen=True)
class MtcnnOptions:
    """How the cascade searches.

    Attributes:
        min_face_px: smallest face side to find, in frame pixels.
        score: lowest face probability of the last network.
        pyramid_factor: ratio between neighbouring image scales.
        steady_points: average the points over shifted and mirrored windows, which halves their jitter.
    """

    min_face_px: int = 40
    score: float = 0.7
    pyramid_factor: float = 0.709
    steady_points: bool = True


class Mtcnn:
    """MTCNN detector with five points.

    Args:
        files: paths of pnet.lz4, rnet.lz4 and onet.lz4.
        device: torch device of the networks.
        options: how to search.

    Raises:
        DamagedFileError: a weight file does not hold the expected arrays.
    """

    name = "mtcnn"

    def __init__(self, files: Sequence[Path], device: str = "cpu", options: MtcnnOptions | None = None) -> None:
        self._options = options or MtcnnOptions()
        self._device = torch.device(device)
        self._pnet, self._rnet, self._onet = (
            _filled(net, path).to(self._device).eval()
            for net, path in zip((_Proposal(), _Refine(), _Output()), files, strict=True)
        )

    @torch.inference_mode()
    def detect(self, frame_bgr: Image) -> list[Detection]:
        """Faces with five points of a (h, w, 3) uint8 BGR frame, largest first."""
        frame = cv2.cvtColor(frame_bgr, cv2.COLOR_BGR2RGB)
        boxes = self._propose(frame)
        if len(boxes):
            boxes = self._refine(frame, boxes)
        if not len(boxes):
            return []
        return by_area(self._output(frame, boxes))

    @torch.inference_mode()
    def points(self, frame_bgr: Image, box_xyxy: Float32) -> Float32:
        """(5, 2) float32 points of a face whose box is known, in frame pixels."""
        frame = cv2.cvtColor(frame_bgr, cv2.COLOR_BGR2RGB)
        return self._steady_points(frame, np.asarray(box_xyxy, dtype=np.float32)[None])[0]

    def _propose(self, frame: Image) -> Float32:
        found, level = [], frame
        for scale in self._scales(frame.shape[:2]):
            height, width = (max(_CELL, round(side * scale)) for side in frame.shape[:2])
            way = cv2.INTER_AREA if width < level.shape[1] else cv2.INTER_LINEAR
            level = cv2.resize(level, (width, height), interpolation=way)
            found.append(self._propose_at(level, frame.shape[:2]))
        candidates = np.concatenate(found) if found else np.zeros((0, 9), np.float32)
        candidates = candidates[_keep_best(candidates[:, :4], candidates[:, 4], 0.7)][:_MOST_CANDIDATES]
        return _moved(candidates[:, :4], candidates[:, 5:9])

    def _scales(self, shape_hw: tuple[int, int]) -> list[float]:
        scales, scale = [], _CELL / self._options.min_face_px
        while min(shape_hw) * scale >= _CELL:
            scales.append(scale)
            scale *= self._options.pyramid_factor
        return scales

    def _propose_at(self, level: Image, frame_hw: tuple[int, int]) -> Float32:
        """(n, 9) float32: frame box, score, box correction of the cells of one resized frame that may show a face."""
        score, correction = self._pnet(self._tensor(level[None]))
        score_hw, correction_hwc = score[0].cpu().numpy(), correction[0].permute(1, 2, 0).cpu().numpy()
        rows, columns = np.nonzero(score_hw > _P_THRESHOLD)
        corner = np.stack([columns, rows], axis=1).astype(np.float32) * _STRIDE
        size = np.array([frame_hw[1] / level.shape[1], frame_hw[0] / level.shape[0]], np.float32)
        boxes = np.concatenate([corner * size, (corner + _CELL) * size], axis=1)
        cells = np.concatenate([boxes, score_hw[rows, columns, None], correction_hwc[rows, columns]], axis=1)
        return cells[_keep_best(boxes, cells[:, 4], 0.5)].astype(np.float32)

    def _refine(self, frame: Image, boxes: Float32) -> Float32:
        score, correction = (t.cpu().numpy() for t in self._rnet(self._patches(frame, _squared(boxes), 24)))
        boxes, score, correction = (a[score > _R_THRESHOLD] for a in (_squared(boxes), score, correction))
        kept = _keep_best(boxes, score, 0.7)
        return _moved(boxes[kept], correction[kept])

    def _output(self, frame: Image, boxes: Float32) -> list[Detection]:
        squares = _squared(boxes)
        score, correction, relative = (t.cpu().numpy() for t in self._onet(self._patches(frame, squares, 48)))
        good = score >= self._options.score
        boxes, score, points = _moved(squares[good], correction[good]), score[good], _points_in(squares, relative)[good]
        kept = _keep_best(boxes, score, 0.5, smaller=True)
        kept = np.array([k for k in kept if shorter_side(boxes[k]) >= 0.75 * self._options.min_face_px], dtype=np.int64)
        if not len(kept):
            return []
        points = self._steady_points(frame, boxes[kept]) if self._options.steady_points else points[kept]
        return [Detection(boxes[k], float(score[k]), points[i]) for i, k in enumerate(kept)]

    def _steady_points(self, frame: Image, boxes: Float32) -> Float32:
        """(n, 5, 2) points: mean over slightly shifted windows and their mirror images, which jitters less than one."""
        squares = _squared(boxes)
        side = (squares[:, 2] - squares[:, 0])[:, None, None]
        windows = (squares[:, None] + np.tile(_POINT_SHIFTS, 2)[None] * side).reshape(-1, 4).astype(np.float32)
        patches = self._patches(frame, windows, 48)
        straight = _points_in(windows, self._onet(patches)[2].cpu().numpy())
        mirrored = self._onet(patches.flip(3))[2].cpu().numpy().reshape(-1, 2, 5)
        mirrored = np.stack([1 - mirrored[:, 0, _MIRROR], mirrored[:, 1, _MIRROR]], axis=1)
        both = (straight + _points_in(windows, mirrored.reshape(-1, 10))) / 2
        return both.reshape(len(boxes), len(_POINT_SHIFTS), 5, 2).mean(axis=1).astype(np.float32)

    def _patches(self, frame: Image, boxes: Float32, size: int) -> torch.Tensor:
        patches = np.empty((len(boxes), size, size, 3), np.uint8)
        for index, (left, top, right, bottom) in enumerate(boxes):
            patches[index] = _patch(frame, (round(left), round(top), round(right), round(bottom)), size)
        return self._tensor(patches)

    def _tensor(self, images_nhwc: Image) -> torch.Tensor:
        tensor = torch.from_numpy(images_nhwc).to(self._device).permute(0, 3, 1, 2).float()
        return (tensor - 127.5) / 128.0


_MIRROR = np.array([1, 0, 2, 4, 3])


def _patch(frame: Image, box: tuple[int, int, int, int], size: int) -> Image:
    """Window of a frame, black outside it, resized to a square."""
    left, top, right, bottom = box
    right, bottom = max(right, left + 1), max(bottom, top + 1)
    height, width = frame.shape[:2]
    if left < 0 or top < 0 or right > width or bottom > height:
        window = np.zeros((bottom - top, right - left, 3), np.uint8)
        x0, y0, x1, y1 = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
        if x1 > x0 and y1 > y0:
            window[y0 - top : y1 - top, x0 - left : x1 - left] = frame[y0:y1, x0:x1]
    else:
        window = frame[top:bottom, left:right]
    shrinks = window.shape[0] > size
    return cv2.resize(window, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _points_in(boxes: Float32, relative: Float32) -> Float32:
    """(n, 5, 2) frame points of (n, 10) network outputs x1..x5, y1..y5 relative to their boxes."""
    corner, size = boxes[:, None, :2], (boxes[:, 2:] - boxes[:, :2])[:, None]
    return (corner + relative.reshape(-1, 2, 5).transpose(0, 2, 1) * size).astype(np.float32)


def _squared(boxes: Float32) -> Float32:
    """Boxes made square about their centres, with the longer side."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True) / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def _moved(boxes: Float32, correction: Float32) -> Float32:
    """Boxes with each edge moved by a share of the box's width or height."""
    size = boxes[:, 2:] - boxes[:, :2]
    return (boxes + correction * np.concatenate([size, size], axis=1)).astype(np.float32)


def _keep_best(boxes: Float32, scores: Float32, overlap: float, *, smaller: bool = False) -> np.ndarray[Any, Any]:
    """Greedy non-maximum suppression: indices kept, best first.

    Args:
        boxes: (n, 4) left, top, right, bottom.
        scores: (n,).
        overlap: a box goes when it overlaps a better one by more than this share.
        smaller: the share is of the smaller box instead of the union.
    """
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order = np.argsort(-scores)
    kept: list[int] = []
    while order.size:
        best, rest = order[0], order[1:]
        kept.append(int(best))
        size = np.minimum(boxes[best, 2:], boxes[rest, 2:]) - np.maximum(boxes[best, :2], boxes[rest, :2])
        common = np.prod(np.maximum(size, 0), axis=1)
        whole = np.minimum(area[best], area[rest]) if smaller else area[best] + area[rest] - common
        order = rest[common <= overlap * np.maximum(whole, 1e-6)]
    return np.array(kept, dtype=np.int64)


class _Proposal(nn.Module):
    """Fully convolutional first network: face score and box correction per cell of 12 px."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(3, 10, 3), nn.PReLU(10), nn.MaxPool2d(2, ceil_mode=True)),
            *(nn.Conv2d(10, 16, 3), nn.PReLU(16)),
            *(nn.Conv2d(16, 32, 3), nn.PReLU(32)),
        )
        self.box = nn.Conv2d(32, 4, 1)
        self.face = nn.Conv2d(32, 2, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, 3, H, W) -> score (B, h, w), correction (B, 4, h, w)."""
        x = self.body(x)
        return F.softmax(self.face(x), dim=1)[:, 1], self.box(x)


class _Refine(nn.Module):
    """Second network: score and box correction of 24 px windows."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(3, 28, 3), nn.PReLU(28), nn.MaxPool2d(3, 2, ceil_mode=True)),
            *(nn.Conv2d(28, 48, 3), nn.PReLU(48), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(48, 64, 2), nn.PReLU(64)),
        )
        self.dense = nn.Sequential(nn.Linear(576, 128), nn.PReLU(128))
        self.box = nn.Linear(128, 4)
        self.face = nn.Linear(128, 2)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, 3, 24, 24) -> score (B,), correction (B, 4)."""
        x = self.dense(_flat(self.body(x)))
        return F.softmax(self.face(x), dim=1)[:, 1], self.box(x)


class _Output(nn.Module):
    """Third network: score, box correction and five points of 48 px windows."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(3, 32, 3), nn.PReLU(32), nn.MaxPool2d(3, 2, ceil_mode=True)),
            *(nn.Conv2d(32, 64, 3), nn.PReLU(64), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(64, 64, 3), nn.PReLU(64), nn.MaxPool2d(2, ceil_mode=True)),
            *(nn.Conv2d(64, 128, 2), nn.PReLU(128)),
        )
        self.dense = nn.Sequential(nn.Linear(1152, 256), nn.PReLU(256))
        self.box = nn.Linear(256, 4)
        self.points = nn.Linear(256, 10)
        self.face = nn.Linear(256, 2)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(B, 3, 48, 48) -> score (B,), correction (B, 4), points (B, 10) as x1..x5, y1..y5."""
        x = self.dense(_flat(self.body(x)))
        return F.softmax(self.face(x), dim=1)[:, 1], self.box(x), self.points(x)


def _flat(x: torch.Tensor) -> torch.Tensor:
    """Flatten in the order width, height, channel, in which the dense layers were trained."""
    return x.permute(0, 3, 2, 1).flatten(1)


def _filled(net: nn.Module, path: Path) -> nn.Module:
    """Put the arrays of a weight file into a network whose parameters stand in the same order."""
    import joblib

    arrays = joblib.load(path)
    parameters = list(net.parameters())
    if not isinstance(arrays, list) or len(arrays) != len(parameters):
        raise DamagedFileError(f"{path} does not hold the weights of MTCNN.", "Install the package mtcnn 1.0.0 again.")
    with torch.no_grad():
        for parameter, array in zip(parameters, arrays, strict=True):
            parameter.copy_(_as_torch(torch.from_numpy(np.asarray(array, np.float32)), parameter, path))
    return net.requires_grad_(requires_grad=False)


def _as_torch(array: torch.Tensor, parameter: torch.Tensor, path: Path) -> torch.Tensor:
    """Kernel (h, w, in, out) -> (out, in, h, w); dense (in, out) -> (out, in); vectors flat."""
    if array.ndim == 4:
        array = array.permute(3, 2, 0, 1)
    elif array.ndim == 2:
        array = array.T
    else:
        array = array.reshape(-1)
    if array.shape != parameter.shape:
        raise DamagedFileError(f"{path} holds weights of another network.", "Install the package mtcnn 1.0.0 again.")
    return array
