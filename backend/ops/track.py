"""Tracks: which faces of consecutive frames are the same one, and where one shot ends and the next begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

Float64 = npt.NDArray[np.float64]

PATIENCE = 12
"""Frames in a row in which a track may miss its face."""

_THUMB_WH = (32, 18)
_ROUGHLY_PX = 90
_CONTRAST = 25.0
_LOOKS_OTHER = 0.5
_LOOKS_CHANGED = 0.75
_SUDDEN = 4.0
_CALM = 0.02
_LEAST_OVERLAP = 0.1
_FARTHEST_SIDES = 0.5
_LARGEST_GROWTH = 0.7
_FASTEST_FRAMES = 3
_FORBIDDEN = 1e6


def thumbnail(frame_bgr: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """The look of a frame in (18, 32, 3) float32, 0..255 BGR; most pixels are skipped, so it costs little."""
    step = max(1, min(frame_bgr.shape[:2]) // _ROUGHLY_PX)
    return cv2.resize(frame_bgr[::step, ::step], _THUMB_WH, interpolation=cv2.INTER_AREA).astype(np.float32)


def likeness(first: npt.NDArray[np.float32], second: npt.NDArray[np.float32]) -> float:
    """Structural similarity of two thumbnails as a whole, -1..1: one window over all pixels and channels.

    Wang et al. 2004, with the product of the terms of brightness and structure; a change of brightness alone, as a
    flash or a fade makes, stays near 1.
    """
    a, b = np.float64(first.mean()), np.float64(second.mean())
    covariance = float(((first - a) * (second - b)).mean())
    brightness = (2 * a * b + _CONTRAST) / (a * a + b * b + _CONTRAST)
    return float(brightness * (covariance + _CONTRAST) / (float(first.std() * second.std()) + _CONTRAST))


class CutFinder:
    """Tells for each frame of a clip, in order, whether it begins a new shot."""

    def __init__(self) -> None:
        self._before: npt.NDArray[np.float32] | None = None
        self._change = 1.0

    def step(self, thumb: npt.NDArray[np.float32]) -> bool:
        """Whether the frame of this thumbnail shows another shot than the frame before; False for the first."""
        before, self._before = self._before, thumb
        if before is None:
            return False
        alike = likeness(before, thumb)
        sudden = 1 - alike > _SUDDEN * self._change
        self._change = max(_CALM, 1 - alike)
        return alike < _LOOKS_OTHER or (alike < _LOOKS_CHANGED and sudden)


@dataclass
class _Track:
    number: int
    frame: int
    box: Float64
    speed: Float64

    def expected(self, frame: int) -> Float64:
        """Box in a later frame when the face goes on as it moved last, which is not believed for long."""
        return self.box + self.speed * min(frame - self.frame, _FASTEST_FRAMES)

    def move(self, frame: int, box: Float64) -> None:
        """Take in where the face is now."""
        self.speed = 0.5 * self.speed + 0.5 * (box - self.box) / max(1, frame - self.frame)
        self.frame, self.box = frame, box


class Tracker:
    """Gives the faces of a clip track numbers, frame by frame.

    Boxes are matched to where the tracks are expected (constant speed) by the Hungarian method; the cost adds overlap,
    distance and change of size. A track ends at a cut, or after PATIENCE frames without its face.

    Args:
        first: number of the first track.
    """

    def __init__(self, first: int = 0) -> None:
        self._next = first
        self._tracks: list[_Track] = []

    def step(self, frame: int, boxes_n4: npt.ArrayLike, *, cut: bool = False) -> list[int]:
        """Track numbers of the faces of one frame.

        Args:
            frame: index of the frame in the clip, higher than the one before.
            boxes_n4: (n, 4) left, top, right, bottom in frame pixels.
            cut: the frame begins a new shot.

        Returns:
            n numbers, all different.
        """
        boxes = np.asarray(boxes_n4, dtype=np.float64).reshape(-1, 4)
        self._tracks = [] if cut else [t for t in self._tracks if frame - t.frame <= PATIENCE + 1]
        expected = np.array([track.expected(frame) for track in self._tracks]).reshape(-1, 4)
        numbers = [-1] * len(boxes)
        for row, column in _matches(expected, boxes):
            self._tracks[row].move(frame, boxes[column])
            numbers[column] = self._tracks[row].number
        for index, number in enumerate(numbers):
            if number < 0:
                self._tracks.append(_Track(self._next, frame, boxes[index], np.zeros(4)))
                numbers[index] = self._next
                self._next += 1
        return numbers

    def adopt(self, found: int, known: int) -> None:
        """Go on with a track under a number that its face already has."""
        self._tracks = [track for track in self._tracks if track.number != known]
        for track in self._tracks:
            if track.number == found:
                track.number = known


def overlap(first_n4: npt.ArrayLike, second_m4: npt.ArrayLike) -> Float64:
    """Intersection over union of all pairs of boxes (left, top, right, bottom): (n, m) float64, 0..1."""
    first = np.asarray(first_n4, dtype=np.float64)[:, None]
    second = np.asarray(second_m4, dtype=np.float64)[None]
    size = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    common = np.prod(np.maximum(size, 0), axis=2)
    areas = [np.prod(np.maximum(box[..., 2:] - box[..., :2], 0), axis=2) for box in (first, second)]
    return common / np.maximum(areas[0] + areas[1] - common, 1e-9)


def _matches(expected: Float64, boxes: Float64) -> list[tuple[int, int]]:
    """Pairs (row of expected, row of boxes) that are one face."""
    if not len(expected) or not len(boxes):
        return []
    common = overlap(expected, boxes)
    sides = np.maximum(_sides(expected)[:, None] * _sides(boxes)[None], 1e-9) ** 0.5
    distance = np.linalg.norm(_centres(expected)[:, None] - _centres(boxes)[None], axis=2) / sides
    growth = np.abs(np.log(np.maximum(_sides(boxes), 1e-9)[None] / np.maximum(_sides(expected), 1e-9)[:, None]))
    cost = 1 - common + distance + growth
    apart = (common < _LEAST_OVERLAP) & (distance > _FARTHEST_SIDES)
    cost[apart | (growth > _LARGEST_GROWTH)] = _FORBIDDEN
    rows, columns = linear_sum_assignment(cost)
    return [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if cost[r, c] < _FORBIDDEN]


def _centres(boxes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def _sides(boxes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Geometric mean of width and height."""
    return np.sqrt(np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1))
