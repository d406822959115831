"""MTCNN: a cascade of three small networks that finds faces and five points (Zhang et al. 2016).

The weights are files of the PyPI package `mtcnn`; its code, which needs TensorFlow, is not imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch

from backend.core.faces import Detection
from backend.models.detection.base import Float32, Image, by_area, shorter_side
from backend.models.detection.mtcnn_nets import Output, Proposal, Refine, filled

_CELL = 12
_STRIDE = 2
_P_THRESHOLD = 0.6
_R_THRESHOLD = 0.7
_MOST_CANDIDATES = 400
_LEAST_HALF = 64
_SMALL_LEVEL = 64  # rows up to which starting the networks costs more than their work
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
            filled(net, path).to(self._device)
            for net, path in zip((Proposal(), Refine(), Output()), files, strict=True)
        )

    @torch.inference_mode()
    def detect(self, frame_bgr: Image) -> list[Detection]:
        """Faces with five points of a (h, w, 3) uint8 BGR frame, largest first."""
        halves = _halves(frame_bgr)
        boxes = self._propose(halves)
        if len(boxes):
            boxes = self._refine(halves, boxes)
        if not len(boxes):
            return []
        return by_area(self._output(halves, boxes))

    @torch.inference_mode()
    def points(self, frame_bgr: Image, box_xyxy: Float32) -> Float32:
        """(5, 2) float32 points of a face whose box is known, in frame pixels."""
        return self._steady_points(_halves(frame_bgr), np.asarray(box_xyxy, dtype=np.float32)[None])[0]

    def _propose(self, halves: list[Image]) -> Float32:
        frame_hw = halves[0].shape[:2]
        levels = _pyramid(halves, self._scales(frame_hw))
        large = [level for level in levels if level.shape[0] > _SMALL_LEVEL]
        sheets = [[level] for level in large] + ([levels[len(large) :]] if len(levels) > len(large) else [])
        found = [self._propose_on(sheet, frame_hw) for sheet in sheets]
        cells = np.concatenate(found) if found else np.zeros((0, 10), np.float32)
        cells = cells[_keep_best(cells[:, :4], cells[:, 4], 0.5, cells[:, 9])]
        cells = cells[_keep_best(cells[:, :4], cells[:, 4], 0.7)][:_MOST_CANDIDATES]
        return _moved(cells[:, :4], cells[:, 5:9])

    def _scales(self, shape_hw: tuple[int, ...]) -> list[float]:
        scales, scale = [], _CELL / self._options.min_face_px
        while min(shape_hw) * scale >= _CELL:
            scales.append(scale)
            scale *= self._options.pyramid_factor
        return scales

    def _propose_on(self, levels: list[Image], frame_hw: tuple[int, ...]) -> Float32:
        """(n, 10) float32: frame box, score, box correction and level height of the cells that may show a face."""
        sheet, tops = _stacked(levels)
        place, score, correction = (t.cpu().numpy() for t in self._pnet(self._tensor(sheet[None]), _P_THRESHOLD))
        corner = place[:, ::-1].astype(np.float32) * _STRIDE
        found = []
        for level, top in zip(levels, tops, strict=True):
            height, width = level.shape[:2]
            local = corner - (0, top)
            inside = (local[:, 1] >= 0) & (local <= (width - _CELL + 1, height - _CELL + 1)).all(axis=1)
            size = np.array([frame_hw[1] / width, frame_hw[0] / height], np.float32)
            boxes = np.concatenate([local[inside] * size, (local[inside] + _CELL) * size], axis=1)
            of_level = np.full((len(boxes), 1), height)
            found.append(np.concatenate([boxes, score[inside, None], correction[inside], of_level], axis=1))
        return np.concatenate(found).astype(np.float32)

    def _refine(self, halves: list[Image], boxes: Float32) -> Float32:
        boxes = _squared(boxes)
        score, correction = (t.cpu().numpy() for t in self._rnet(self._patches(halves, boxes, 24)))
        boxes, score, correction = (a[score > _R_THRESHOLD] for a in (boxes, score, correction))
        kept = _keep_best(boxes, score, 0.7)
        return _moved(boxes[kept], correction[kept])

    def _output(self, halves: list[Image], boxes: Float32) -> list[Detection]:
        squares = _squared(boxes)
        score, correction, relative = (t.cpu().numpy() for t in self._onet(self._patches(halves, squares, 48)))
        good = score >= self._options.score
        boxes, score, points = _moved(squares[good], correction[good]), score[good], _points_in(squares, relative)[good]
        kept = _keep_outermost(boxes, score, 0.5)
        kept = np.array([k for k in kept if shorter_side(boxes[k]) >= 0.75 * self._options.min_face_px], dtype=np.int64)
        if not len(kept):
            return []
        points = self._steady_points(halves, boxes[kept]) if self._options.steady_points else points[kept]
        return [Detection(boxes[k], float(score[k]), points[i]) for i, k in enumerate(kept)]

    def _steady_points(self, halves: list[Image], boxes: Float32) -> Float32:
        """(n, 5, 2) points: mean over slightly shifted windows and their mirror images, which jitters less than one."""
        squares = _squared(boxes)
        side = (squares[:, 2] - squares[:, 0])[:, None, None]
        windows = (squares[:, None] + np.tile(_POINT_SHIFTS, 2)[None] * side).reshape(-1, 4).astype(np.float32)
        patches = self._patches(halves, windows, 48)
        straight = _points_in(windows, self._onet(patches)[2].cpu().numpy())
        mirrored = self._onet(patches.flip(2))[2].cpu().numpy().reshape(-1, 2, 5)
        mirrored = np.stack([1 - mirrored[:, 0, _MIRROR], mirrored[:, 1, _MIRROR]], axis=1)
        both = (straight + _points_in(windows, mirrored.reshape(-1, 10))) / 2
        return both.reshape(len(boxes), len(_POINT_SHIFTS), 5, 2).mean(axis=1).astype(np.float32)

    def _patches(self, halves: list[Image], boxes: Float32, size: int) -> torch.Tensor:
        patches = np.empty((len(boxes), size, size, 3), np.uint8)
        for index, box in enumerate(boxes):
            _cut(halves, box, patches[index])
        return self._tensor(patches)

    def _tensor(self, images_nhwc: Image) -> torch.Tensor:
        return torch.from_numpy(images_nhwc).to(self._device)


_MIRROR = np.array([1, 0, 2, 4, 3])


def _halves(frame: Image) -> list[Image]:
    """The frame, half of it, half of that and so on, as long as a window still finds its pixels there."""
    halves = [frame]
    while min(halves[-1].shape[:2]) >= 2 * _LEAST_HALF:
        height, width = halves[-1].shape[:2]
        halves.append(cv2.resize(halves[-1], (width // 2, height // 2), interpolation=cv2.INTER_AREA))
    return halves


def _pyramid(halves: list[Image], scales: list[float]) -> list[Image]:
    """The frame at each scale, largest first, each made from the one before."""
    height, width = halves[0].shape[:2]
    levels: list[Image] = []
    for scale in scales:
        size_wh = (max(_CELL, round(width * scale)), max(_CELL, round(height * scale)))
        source = (
            levels[-1] if levels else next(h for h in reversed(halves) if h is halves[0] or h.shape[1] >= size_wh[0])
        )
        way = cv2.INTER_AREA if size_wh[0] < source.shape[1] else cv2.INTER_LINEAR
        levels.append(cv2.resize(source, size_wh, interpolation=way))
    return levels


def _stacked(levels: list[Image]) -> tuple[Image, list[int]]:
    """Levels one below the other on one black sheet, and the row where each begins, a multiple of the stride."""
    if len(levels) == 1:
        return levels[0], [0]
    tops = np.cumsum([0] + [-(-level.shape[0] // _STRIDE) * _STRIDE for level in levels]).tolist()
    sheet = np.zeros((tops[-1], max(level.shape[1] for level in levels), 3), np.uint8)
    for level, top in zip(levels, tops, strict=False):
        sheet[top : top + level.shape[0], : level.shape[1]] = level
    return sheet, tops[:-1]


def _cut(halves: list[Image], box_xyxy: Float32, out: Image) -> None:
    """Draw a square window of the frame into a smaller picture, black outside the frame.

    It is taken from the smallest half that has a pixel for each of the picture's, so that what OpenCV's bilinear
    interpolation leaves out stays small.
    """
    size = out.shape[0]
    left, top, right, bottom = (float(v) for v in box_xyxy)
    number = min(max(int(np.log2(max(right - left, 1.0) / size)), 0), len(halves) - 1)
    half, frame = halves[number], halves[0]
    scale_x, scale_y = half.shape[1] / frame.shape[1], half.shape[0] / frame.shape[0]
    step_x, step_y = (right - left) * scale_x / size, (bottom - top) * scale_y / size
    to_half = np.array([[step_x, 0, left * scale_x + step_x / 2 - 0.5], [0, step_y, top * scale_y + step_y / 2 - 0.5]])
    cv2.warpAffine(half, to_half, (size, size), out, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


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


def _keep_best(
    boxes: Float32, scores: Float32, overlap: float, groups: npt.NDArray[np.float32] | None = None
) -> npt.NDArray[np.int64]:
    """Indices that greedy non-maximum suppression keeps, best first.

    Args:
        boxes: (n, 4) left, top, right, bottom.
        scores: (n,), above 0.
        overlap: a box goes when it overlaps a better one by more than this share of their union.
        groups: (n,) whole numbers; boxes of different groups do not see one another.
    """
    if not len(boxes):
        return np.zeros(0, np.int64)
    xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).tolist()
    if groups is None:
        kept = cv2.dnn.NMSBoxes(xywh, scores.tolist(), 0.0, overlap)
    else:
        kept = cv2.dnn.NMSBoxesBatched(xywh, scores.tolist(), groups.astype(int).tolist(), 0.0, overlap)
    return np.asarray(kept, dtype=np.int64).reshape(-1)


def _keep_outermost(boxes: Float32, scores: Float32, overlap: float) -> npt.NDArray[np.int64]:
    """As _keep_best, but the overlap is a share of the smaller box, so that none stays inside another."""
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order = np.argsort(-scores)
    kept: list[int] = []
    while order.size:
        best, rest = order[0], order[1:]
        kept.append(int(best))
        size = np.minimum(boxes[best, 2:], boxes[rest, 2:]) - np.maximum(boxes[best, :2], boxes[rest, :2])
        common = np.prod(np.maximum(size, 0), axis=1)
        order = rest[common <= overlap * np.maximum(np.minimum(area[best], area[rest]), 1e-6)]
    return np.array(kept, dtype=np.int64)
