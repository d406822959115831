"""Calm the masks and the colours of a face along its track: flicker goes, what really changes stays.

Both are weighted means over the frames around, with weights that fall with time and with difference (a bilateral filter
along the track; Tomasi and Manduchi, "Bilateral filtering for gray and color images", 1998). Masks are compared region
by region, so that an edge which trembles is calmed while a hand that comes before the face is not drawn out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from backend.ops.face_swap import ColorShift, FaceTarget, SwapPrediction
from backend.ops.track import likeness

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Floats = npt.NDArray[np.floating[Any]]

RADIUS = 4
"""Frames before and behind that the strongest smoothing looks at."""

_SIGMA_FRAMES = 2.0  # at full strength
_FAINTEST = 1e-3

_STATE_SIDE = 32  # masks and colours are compared and measured in this size
_THUMB_SIDE = 16
_LEAST_INSIDE = 0.01  # share of the crop; colours of smaller masks are those of the whole crop

_REGIONS = 16  # per side of a mask
_MASK_DIFFERENCE = 0.15
_COLOR_DIFFERENCE = 5.0  # Lab units
_LEAST_DEVIATION = 0.5
_GAINS = (0.67, 1.5)

# Measured from frame to frame in a shot: likeness above 0.97, colours within 0.8, way within 0.03 of the face's size.
# Crops of two people: likeness below 0.4.
_LEAST_LIKE = 0.6
_COLOR_JUMP = 15.0  # Lab units
_PLACE_JUMP = 0.5  # of the face's size
_SIZE_JUMP = 0.35  # of its logarithm


class ColorStatistics(NamedTuple):
    """Lab colours inside a mask (L 0..100, a and b -127..127).

    Attributes:
        mean, deviation: (3,) float64.
    """

    mean: Float64
    deviation: Float64


class FaceState(NamedTuple):
    """What is known of one face in one frame to compare it with the frames around.

    Attributes:
        centre: (2,) float64 frame pixels, middle of the landmarks.
        size: side of the landmarks' box in frame pixels.
        thumb: (16, 16, 3) float32 0..255 BGR, the destination's crop.
        mask: (32, 32) float32 0..1, where the predicted and the destination's mask agree.
        face, crop: colours of the predicted face and of the destination's crop, inside that mask or of all pixels.
    """

    centre: Float64
    size: float
    thumb: Float32
    mask: Float32
    face: ColorStatistics
    crop: ColorStatistics


def face_state(target: FaceTarget, prediction: SwapPrediction, whole: bool = False) -> FaceState:
    """Measure one face.

    Args:
        target: where it is.
        prediction: what a model made of it.
        whole: colours of all pixels, as colour transfers without a mask see them.
    """
    low, high = target.landmarks.min(axis=0), target.landmarks.max(axis=0)
    mask = small_mask(prediction)
    inside = np.ones_like(mask) if whole or mask.mean() < _LEAST_INSIDE else mask
    face, crop = (_small(image, _STATE_SIDE) for image in (prediction.face, target.crop))
    return FaceState(
        (low + high) / 2,
        max(float(np.sqrt(np.prod(high - low))), 1.0),
        _small(crop, _THUMB_SIDE) * np.float32(255),
        mask,
        _statistics(face, inside),
        _statistics(crop, inside),
    )


def small_mask(prediction: SwapPrediction) -> Float32:
    """(32, 32) float32 0..1, where the predicted and the destination's mask agree."""
    mask = _small(prediction.mask, _STATE_SIDE) * _small(prediction.dst_mask, _STATE_SIDE)
    return np.clip(mask, 0.0, 1.0)


def goes_on(before: FaceState, after: FaceState, frames: int = 1) -> bool:
    """Whether the face of one frame can be that of a frame so many frames away without a cut or a jump between them."""
    return bool(
        np.hypot(*(after.centre - before.centre)) <= _PLACE_JUMP * frames * max(before.size, after.size)
        and abs(np.log(after.size / before.size)) <= _SIZE_JUMP * frames
        and np.linalg.norm(after.crop.mean - before.crop.mean) <= _COLOR_JUMP
        and likeness(before.thumb, after.thumb) >= _LEAST_LIKE
    )


def window_weights(apart: npt.ArrayLike, strength: float) -> Float64:
    """How much frames count by time alone: a Gaussian that grows with strength.

    Args:
        apart: (n,) frames from the one that is smoothed, which has 0.
        strength: 0..100 %; at 0 only the frame itself counts.

    Returns:
        (n,) float64, 1 for the frame itself.
    """
    distance = np.asarray(apart, dtype=np.float64)
    sigma = _SIGMA_FRAMES * min(max(strength, 0.0), 100.0) / 100.0
    return np.exp(-0.5 * (distance / sigma) ** 2) if sigma > 0 else (distance == 0).astype(np.float64)


def steady_mask(masks: Sequence[Float32], at: int, weights: Float64) -> Float32:
    """The mask of one frame, smoothed by those around it.

    What a region shows in most of three frames is what it is compared with, so that a hole of a single frame is filled
    and a change that stays is kept as sharp as it was.

    Args:
        masks: (h, w) float32 0..1 each, of one face in frames in order.
        at: which of them to smooth.
        weights: (n,) by time, see window_weights().

    Returns:
        (h, w) float32 0..1.
    """
    guide = _middle_one(masks[at - 1], masks[at], masks[at + 1]) if 0 < at < len(masks) - 1 else masks[at]
    size = guide.shape[::-1]
    total, shares = np.zeros_like(guide), np.zeros_like(guide)
    for mask, weight in zip(masks, weights, strict=True):
        if weight < _FAINTEST:
            continue
        apart = cv2.blur(_small(cv2.absdiff(mask, guide), _REGIONS), (3, 3))
        share = weight * np.maximum(np.exp(-0.5 * (apart / _MASK_DIFFERENCE) ** 2), _FAINTEST)
        wide = cv2.resize(share.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
        total += wide * mask
        shares += wide
    return total / shares


def steady_colors(states: Sequence[FaceState], at: int, weights: Float64) -> ColorShift:
    """What brings the colours of one frame to their mean along the track.

    Args:
        states: of one face in frames in order.
        at: which of them to smooth.
        weights: (n,) by time, see window_weights().
    """
    face = _shift([state.face for state in states], at, weights)
    crop = _shift([state.crop for state in states], at, weights)
    return ColorShift(*face, *crop)


def mask_flicker(before: Floats, now: Floats, after: Floats) -> float:
    """How much a mask trembles over three frames: the sum of its absolute second difference, in shares of its area.

    A mask that stays, or changes evenly, gives 0.
    """
    return float(np.abs(before - 2 * now + after).sum() / max(float(now.sum()), 1.0))


def color_flicker(before: Floats, now: Floats, after: Floats) -> float:
    """How much a Lab colour (3,) trembles over three frames: the length of its second difference, in Lab units."""
    return float(np.linalg.norm(before - 2 * now + after))


def _shift(colors: Sequence[ColorStatistics], at: int, weights: Float64) -> tuple[Float32, Float32]:
    """Gain and offset (3,) that bring one frame's colours to the weighted mean of all."""
    means, deviations = (np.stack([getattr(color, name) for color in colors]) for name in ColorStatistics._fields)
    apart = np.linalg.norm(means - means[at], axis=1)
    shares = weights * np.exp(-0.5 * (apart / _COLOR_DIFFERENCE) ** 2)
    shares /= shares.sum()
    own, deviation = colors[at]
    spread = shares @ deviations / np.maximum(deviation, _LEAST_DEVIATION)
    gain = np.where(deviation > _LEAST_DEVIATION, np.clip(spread, *_GAINS), 1.0)
    return gain.astype(np.float32), (shares @ means - own * gain).astype(np.float32)


def _statistics(image: Float32, weights: Float32) -> ColorStatistics:
    """Of a small (s, s, 1 or 3) float32 0..1 BGR image under (s, s) weights."""
    bgr = image if image.ndim == 3 and image.shape[2] == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    lab = cv2.cvtColor(bgr, cv2.COLOR_BGR2LAB).reshape(-1, 3).astype(np.float64)
    share = weights.reshape(-1) / weights.sum(dtype=np.float64)
    mean = share @ lab
    return ColorStatistics(mean, np.sqrt(share @ (lab - mean) ** 2))


def _middle_one(first: Float32, second: Float32, third: Float32) -> Float32:
    """The median of three masks, pixel by pixel."""
    return np.maximum(np.minimum(first, second), np.minimum(np.maximum(first, second), third))


def _small(image: Float32, side: int) -> Float32:
    return np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA), np.float32)
