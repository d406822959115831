"""The part of a frame that a face touches, so that merging computes nothing outside of it."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from backend.ops.align import Float64, invert, transform_points

Float32 = npt.NDArray[np.float32]
Frame = npt.NDArray[Any]


class Box(NamedTuple):
    """Rectangle of whole pixels in the frame; right and bottom are the first ones behind it."""

    left: int
    top: int
    right: int
    bottom: int

    @classmethod
    def around(cls, points: npt.ArrayLike, margin: int, frame_shape: tuple[int, ...]) -> Box:
        """The rectangle around points (n, 2) and a margin, as far as it lies in a frame of shape (h, w, ...)."""
        places = np.asarray(points, dtype=np.float64)
        low = np.floor(places.min(axis=0)).astype(int) - margin
        high = np.ceil(places.max(axis=0)).astype(int) + margin + 1
        return cls(
            max(int(low[0]), 0),
            max(int(low[1]), 0),
            min(int(high[0]), frame_shape[1]),
            min(int(high[1]), frame_shape[0]),
        )

    @property
    def empty(self) -> bool:
        """Whether no pixel is left."""
        return self.right <= self.left or self.bottom <= self.top

    def of(self, image: Frame) -> Frame:
        """View of the rectangle's pixels."""
        return image[self.top : self.bottom, self.left : self.right]

    def joined(self, other: Box) -> Box:
        """The smallest rectangle that holds both."""
        return Box(
            min(self.left, other.left),
            min(self.top, other.top),
            max(self.right, other.right),
            max(self.bottom, other.bottom),
        )

    def inside(self, outer: Box) -> Box:
        """This rectangle in pixels of a larger one."""
        return Box(self.left - outer.left, self.top - outer.top, self.right - outer.left, self.bottom - outer.top)

    def from_frame(self, mat: Float64) -> Float64:
        """The matrix frame -> crop, taking pixels of the rectangle instead of pixels of the frame."""
        moved = mat.copy()
        moved[:, 2] += mat[:, :2] @ np.array([self.left, self.top], dtype=np.float64)
        return moved


def crop_box(left_top: tuple[float, float], right_bottom: tuple[float, float], mat: Float64, frame: Frame) -> Box:
    """Rectangle of the frame that an area of a crop can touch when it is warped back with cubic weights.

    Args:
        left_top, right_bottom: the area in pixels of the crop.
        mat: (2, 3) frame -> crop.
        frame: (h, w, ...).
    """
    xs, ys = (left_top[0] - 2, right_bottom[0] + 2), (left_top[1] - 2, right_bottom[1] + 2)
    return Box.around(transform_points([(x, y) for x in xs for y in ys], invert(mat)), 1, frame.shape)


def to_box(crop: Float32, mat: Float64, box: Box, edge_goes_on: bool = False) -> Float32:
    """Warp a crop back into a rectangle of the frame with cubic weights, which may leave the range.

    Args:
        crop: (s, s) or (s, s, 3).
        mat: (2, 3) frame -> crop.
        box: the rectangle.
        edge_goes_on: beyond the crop its outermost pixels are repeated; otherwise there is 0.
    """
    size_wh = (box.right - box.left, box.bottom - box.top)
    border = cv2.BORDER_REPLICATE if edge_goes_on else cv2.BORDER_CONSTANT
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(crop, box.from_frame(mat), size_wh, flags=flags, borderMode=border, borderValue=0)


def blend(under: Float32, over: Float32, mask: Float32) -> Float32:
    """under * (1 - mask) + over * mask, cut to 0..1; (h, w, 3) float32, mask (h, w)."""
    change = cv2.subtract(over, under)
    cv2.multiply(change, cv2.merge([mask, mask, mask]), change)
    cv2.add(change, under, change)
    return np.clip(change, 0.0, 1.0, out=change)


def as_float(image: Frame) -> Float32:
    """uint8 as float32 0..1; float images pass."""
    return image.astype(np.float32) / 255.0 if image.dtype == np.uint8 else image


def as_dtype(pixels: Float32, dtype: np.dtype[Any]) -> Frame:
    """Float32 0..1 in the frame's dtype; uint8 is rounded."""
    return cv2.convertScaleAbs(pixels, alpha=255.0) if dtype == np.uint8 else pixels
