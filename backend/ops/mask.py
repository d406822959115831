"""Masks: the landmarks' hull, eyes and mouth, polygons, and the merger's erode and blur."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from backend.core.faces import HULL_PARTS

FloatMask = npt.NDArray[np.float32]

_LARGEST_STEP = 40  # pixels that one pass of erosion moves the edges apart; even, so that passes stay centred
_LEVELS, _ZERO_LEVEL = np.float32(40000), 12000  # of 16 bits; cubic enlarging leaves values below 0 and above 1
_AREA_GROWS = 0.025
_HALVED_FROM = 60  # pixels of the kernel; from here on halving changes less than 0.4 levels of 8 bits
_HALVING_VARIANCE = 0.25  # pixels^2 of the half size: 1/16 of means of two, 3/16 of linear steps between


def hull_mask(
    shape_hw: tuple[int, ...],
    landmarks_68x2: npt.ArrayLike,
    eyebrows_expand_mod: float = 1.0,
    origin_xy: tuple[int, int] = (0, 0),
) -> FloatMask:
    """Area of the face: union of eight convex hulls over jaw, raised brows and nose (DeepFaceLab's full-face mask).

    Args:
        shape_hw: height and width of the mask; further entries are ignored.
        landmarks_68x2: (68, 2) in pixels of the image.
        eyebrows_expand_mod: how far the brows are raised; 1 by half the distance to the eyes.
        origin_xy: image position of the mask's left-top pixel, for a mask of a part of the image.

    Returns:
        (h, w) float32, 0 or 1.
    """
    mask = np.zeros(shape_hw[:2], dtype=np.uint8)
    points = _raise_brows(np.asarray(landmarks_68x2), eyebrows_expand_mod) - np.array(origin_xy, dtype=np.int32)
    for part in HULL_PARTS:
        cv2.fillConvexPoly(mask, cv2.convexHull(points[list(part)]), 1)
    return mask.astype(np.float32)


def eyes_mask(shape_hw: tuple[int, ...], landmarks_68x2: npt.ArrayLike) -> FloatMask:
    """Both eyes, grown and softened with the height of the image; (h, w) float32 0..1."""
    return _soft_hulls(shape_hw, landmarks_68x2, (range(36, 42), range(42, 48)), shape_hw[0] // 32)


def mouth_mask(shape_hw: tuple[int, ...], landmarks_68x2: npt.ArrayLike) -> FloatMask:
    """Inside of the lips, grown and softened with the height of the image; (h, w) float32 0..1."""
    return _soft_hulls(shape_hw, landmarks_68x2, (range(60, 68),), shape_hw[0] // 32)


def eyes_mouth_mask(shape_hw: tuple[int, ...], landmarks_68x2: npt.ArrayLike) -> FloatMask:
    """Eyes and mouth together, clipped; (h, w) float32 0..1."""
    return np.minimum(eyes_mask(shape_hw, landmarks_68x2) + mouth_mask(shape_hw, landmarks_68x2), 1.0)


def eyes_area(shape_hw: tuple[int, ...], landmarks_68x2: npt.ArrayLike) -> FloatMask:
    """Both eyes, grown by 2.5 % of the height and softened, as faceswap weighs them; (h, w) float32 0..1."""
    return _soft_hulls(shape_hw, landmarks_68x2, (range(36, 42), range(42, 48)), round(shape_hw[0] * _AREA_GROWS))


def mouth_area(shape_hw: tuple[int, ...], landmarks_68x2: npt.ArrayLike) -> FloatMask:
    """The mouth with its lips, grown by 2.5 % of the height and softened; (h, w) float32 0..1."""
    return _soft_hulls(shape_hw, landmarks_68x2, (range(48, 60),), round(shape_hw[0] * _AREA_GROWS))


def polygons_mask(shape_hw: tuple[int, ...], polygons: Iterable[tuple[int, npt.ArrayLike]]) -> FloatMask:
    """Area drawn by hand: all include polygons (type 1) filled first, then all exclude polygons (type 0) cut out.

    Args:
        shape_hw: height and width of the mask.
        polygons: pairs of type and (n, 2) points in pixels.

    Returns:
        (h, w) float32, 0 or 1; all zero without an include polygon.
    """
    mask = np.zeros(shape_hw[:2], dtype=np.uint8)
    for kind, points in sorted(polygons, key=lambda pair: -pair[0]):
        corners = np.asarray(points).astype(np.int32).reshape(-1, 1, 2)
        if len(corners) > 0:
            cv2.fillPoly(mask, [corners], 1 if kind else 0)
    return mask.astype(np.float32)


def erode_blur_mask(mask: FloatMask, erode: int, blur: int) -> FloatMask:
    """Shrink (or grow) a square mask and soften its edge, the way DeepFaceLab's merger does.

    Everything outside the square counts as 0. A rim of blur // 2 pixels is emptied before the blur, so that the soft
    edge ends inside the square.

    Args:
        mask: (s, s) float32 0..1.
        erode: diameter in pixels of the ellipse that eats the edge; negative grows by that ellipse.
        blur: size in pixels of the Gaussian kernel; 0 leaves the edge sharp.

    Returns:
        (s, s) float32 0..1, a new array.
    """
    result = np.zeros_like(mask)
    left, top, width, height = cv2.boundingRect((mask > 0).astype(np.uint8))
    if width == 0:
        return result
    reach = max(-erode, 0) // 2 + blur // 2 + 1  # nothing further from the mask can become more than 0
    area = np.s_[max(top - reach, 0) : top + height + reach, max(left - reach, 0) : left + width + reach]
    result[area] = _erode(mask[area], erode)
    if blur > 0:
        _empty_rim(result, blur // 2)
        result[area] = _soften(result[area], blur + 1 - blur % 2)
    return np.clip(result, 0.0, 1.0, out=result)


def _erode(mask: FloatMask, erode: int) -> FloatMask:
    """Grey erosion (positive) or dilation (negative) by an ellipse of |erode| pixels; 0 returns the mask.

    A large disc is the Minkowski sum of small ones, so that the time grows with the diameter and not with its square.
    16 bits tell 40,000 levels apart and take a quarter of the time of floats.
    """
    if erode == 0:
        return mask
    change = cv2.erode if erode > 0 else cv2.dilate
    levels = np.rint(mask * _LEVELS + _ZERO_LEVEL).astype(np.uint16)
    left = abs(erode) - 1
    while left > 0:
        step = min(left, _LARGEST_STEP)
        ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (step + 1, step + 1))
        levels = change(levels, ellipse, borderType=cv2.BORDER_CONSTANT, borderValue=_ZERO_LEVEL)
        left -= step
    return (levels.astype(np.float32) - _ZERO_LEVEL) / _LEVELS


def _soften(mask: FloatMask, size: int) -> FloatMask:
    """Gaussian blur with a kernel of ``size`` pixels, with 0 around; wide ones at half the size, where nothing is lost.

    Halving and enlarging blur by themselves; their variance is taken off.
    """
    if size < _HALVED_FROM:
        return cv2.GaussianBlur(mask, (size, size), 0, borderType=cv2.BORDER_CONSTANT)
    height, width = mask.shape
    even = cv2.copyMakeBorder(mask, 0, height % 2, 0, width % 2, cv2.BORDER_CONSTANT, value=0.0)
    small = cv2.resize(even, (even.shape[1] // 2, even.shape[0] // 2), interpolation=cv2.INTER_AREA)
    deviation = 0.3 * ((size - 1) * 0.5 - 1) + 0.8  # what OpenCV takes for a kernel of that size
    reach = size // 4
    small_deviation = math.sqrt(deviation**2 / 4 - _HALVING_VARIANCE)
    small = cv2.GaussianBlur(small, (2 * reach + 1,) * 2, small_deviation, borderType=cv2.BORDER_CONSTANT)
    return cv2.resize(small, even.shape[::-1], interpolation=cv2.INTER_LINEAR)[:height, :width]


def _empty_rim(mask: FloatMask, width: int) -> None:
    """Set a rim of `width` pixels to 0, in place."""
    if width > 0:
        mask[:width] = 0
        mask[-width:] = 0
        mask[:, :width] = 0
        mask[:, -width:] = 0


def _raise_brows(landmarks: npt.NDArray[np.generic], amount: float) -> npt.NDArray[np.int32]:
    """Whole-pixel landmarks with the brows moved away from the eyes by `amount` half distances."""
    points = landmarks.astype(np.int32)
    right_side = (points[36] + (points[36] + points[0]) // 2) // 2
    left_side = (points[45] + (points[16] + points[45]) // 2) // 2
    right_eye = np.vstack([right_side, points[36:40]])
    left_eye = np.vstack([points[42:46], left_side])
    raised = points.copy()
    raised[17:22] = points[17:22] + amount * 0.5 * (points[17:22] - right_eye)
    raised[22:27] = points[22:27] + amount * 0.5 * (points[22:27] - left_eye)
    return raised


def _soft_hulls(
    shape_hw: tuple[int, ...], landmarks_68x2: npt.ArrayLike, groups: Sequence[range], grow: int
) -> FloatMask:
    """Filled hulls of landmark groups, grown by an ellipse of ``grow`` px, blurred with a kernel of about h // 16."""
    grow, soft = max(grow, 1), shape_hw[0] // 16
    size = soft + 1 - soft % 2
    mask = np.zeros(shape_hw[:2], dtype=np.float32)
    hulls = [np.asarray(landmarks_68x2).astype(np.int32)[list(group)] for group in groups]
    corner, area = _reached(np.vstack(hulls), grow + size, mask)
    part = np.zeros_like(mask[area])
    if not part.size:
        return mask
    for hull in hulls:
        cv2.fillConvexPoly(part, cv2.convexHull(hull - corner), 1.0)
    part = cv2.dilate(part, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (grow, grow)))
    mask[area] = cv2.GaussianBlur(part, (size, size), 0)
    return mask


def _reached(points: npt.NDArray[np.int32], reach: int, mask: FloatMask) -> tuple[tuple[int, int], tuple[slice, slice]]:
    """The part of a mask within ``reach`` pixels of the points: its left-top pixel (x, y), and its slices."""
    left, top = np.maximum(points.min(axis=0) - reach, 0)
    right, bottom = np.maximum(points.max(axis=0) + reach + 1, 0)
    return (int(left), int(top)), (slice(int(top), int(bottom)), slice(int(left), int(right)))
