"""Taking noise out of a frame: its neighbours are averaged in at the same place, the rest is smoothed by likeness.

Each neighbour is brought onto the frame along the optical flow (DIS; Kroeger et al. 2016) and counts by how well it
fits there, so that a cut, a flash or a covered place counts nothing. What noise is left goes by non-local means
(Buades et al. 2005). No result depends on another result: frames may be worked on in any order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

UInt8 = npt.NDArray[np.uint8]

REACH = 2
"""So many frames before and after are looked at."""

SIGMA_PER_FACTOR = 0.8
"""Standard deviation of the noise, in levels of 0..255, that one step of the strength is made for."""

_GUIDE_BLUR = 1.5
_PATCH = 7
_LEFT_OF_NOISE = 0.85
"""Interpolating while moving takes some noise: two frames differ by this share of twice the variance."""
_TOLERANCE = 3.0
_REST = 0.45
"""Strength of the non-local means relative to the noise; the averaging before it took the larger part."""
_TEMPLATE, _SEARCH = 5, 9


@dataclass(frozen=True)
class SourceFrame:
    """A frame with what motion is measured on: (h, w, 3) uint8 BGR and (h, w) uint8 smoothed brightness."""

    frame_bgr: UInt8
    guide: UInt8


def prepare(frame_bgr: UInt8) -> SourceFrame:
    """Get a frame ready; done once per frame and used for up to five results."""
    gray = cv2.cvtColor(frame_bgr, cv2.COLOR_BGR2GRAY)
    return SourceFrame(frame_bgr, np.asarray(cv2.GaussianBlur(gray, (0, 0), _GUIDE_BLUR), np.uint8))


def denoise(frame: SourceFrame, neighbours: Sequence[SourceFrame], factor: float) -> UInt8:
    """One frame without its noise.

    Args:
        frame: the frame.
        neighbours: the frames around it, at most REACH on either side; those of another size are left out.
        factor: strength 1..20; suits noise with a standard deviation of factor * SIGMA_PER_FACTOR.

    Returns:
        (h, w, 3) uint8 BGR.
    """
    sigma = factor * SIGMA_PER_FACTOR
    total = frame.frame_bgr.astype(np.float32)
    weights = np.ones(total.shape[:2], np.float32)
    for other in neighbours:
        if other.frame_bgr.shape != frame.frame_bgr.shape:
            continue
        moved = _moved_onto(frame, other)
        weight = _fit(frame.frame_bgr, moved, sigma)
        total += moved * weight[:, :, None]
        weights += weight
    averaged = np.rint(total / weights[:, :, None]).astype(np.uint8)
    strength = sigma * _REST
    return np.asarray(
        cv2.fastNlMeansDenoisingColored(averaged, None, strength, strength, _TEMPLATE, _SEARCH), dtype=np.uint8
    )


def noise_level(frame_bgr: UInt8) -> float:
    """Standard deviation of the noise in a (h, w, 3) uint8 frame, in levels of 0..255 (Immerkaer 1996)."""
    gray = cv2.cvtColor(frame_bgr, cv2.COLOR_BGR2GRAY).astype(np.float32)
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    return float(np.sqrt(np.pi / 2) * np.abs(cv2.filter2D(gray, cv2.CV_32F, kernel)).mean() / 6)


def _moved_onto(frame: SourceFrame, other: SourceFrame) -> UInt8:
    """The other frame, (h, w, 3) uint8, with everything where this frame has it."""
    height, width = frame.guide.shape
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST).calc(frame.guide, other.guide, None)
    flow[:, :, 0] += np.arange(width, dtype=np.float32)[None, :]
    flow[:, :, 1] += np.arange(height, dtype=np.float32)[:, None]
    moved = cv2.remap(other.frame_bgr, flow, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.uint8)


def _fit(frame_bgr: UInt8, moved_bgr: UInt8, sigma: float) -> npt.NDArray[np.float32]:
    """(h, w) float32 0..1: 1 where two frames differ by no more than noise does."""
    apart = cv2.sqrBoxFilter(cv2.absdiff(frame_bgr, moved_bgr), cv2.CV_32F, (_PATCH, _PATCH)).mean(axis=2)
    excess = np.maximum(apart - 2 * _LEFT_OF_NOISE * sigma**2, 0.0)
    return np.exp(-excess / (_TOLERANCE * sigma**2)).astype(np.float32)
