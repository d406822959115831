"""How sharp a picture is by the widths of its edges: cumulative probability of blur detection (CPBD)."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Places = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]

_BLOCK = 64
_FLAT_CONTRAST = 50
_WIDTH_FLAT, _WIDTH = 5, 3  # edges this wide still look sharp, in flat blocks and in others
_FACE_SLOPE = 2.0
_RIM = np.ones((5, 5), np.uint8)
_RIM.setflags(write=False)
_LEVEL = float(np.tan(np.pi / 8))  # angles within 22.5 degrees are rounded to 0


def edge_sharpness(
    gray: npt.NDArray[np.uint8], inside: npt.NDArray[np.uint8] | None = None, least_slope: float = 0.0
) -> float:
    """Share of the upright edges that are too narrow to look blurred.

    Narvekar and Karam, "A No-Reference Image Blur Metric Based on the Cumulative Probability of Blur Detection", 2011,
    as DeepFaceLab sorts by it (reference section 5). An edge counts as sharp while 1 - exp(-(width / noticeable)^3.6)
    stays below 0.64: as widths are whole pixels, that is up to the noticeable width itself. Its second edge detector,
    which only leaves out blocks with hardly an edge, is not run. See face_sharpness() for why faces are not judged so.

    Args:
        gray: (h, w) uint8; only its whole blocks of 64 px take part. DeepFaceLab's has 0 everywhere but in the face.
        inside: (h, w) 0 or 1: where edges count; None counts them everywhere, those of a black rim too.
        least_slope: gray levels per pixel that an edge rises at least.

    Returns:
        0..1, higher is sharper; 0 for a picture without edges or smaller than a block.
    """
    pixels = gray.size if inside is None else max(cv2.countNonZero(inside), 1)
    part = _part_with_content(gray if inside is None else inside)
    gray = np.ascontiguousarray(gray[part])
    inside = None if inside is None else np.ascontiguousarray(inside[part])
    if min(gray.shape) < _BLOCK:
        return 0.0
    levels = gray.astype(np.int16)
    rows, cols = _edges(_strength(gray, inside, pixels, least_slope), levels)
    if not len(rows):
        return 0.0
    noticeable = np.where(_contrast(gray, inside) <= _FLAT_CONTRAST, _WIDTH_FLAT, _WIDTH)
    return float(np.mean(_widths(levels, rows, cols) <= noticeable[rows // _BLOCK, cols // _BLOCK]))


def face_sharpness(gray: npt.NDArray[np.uint8], hull: npt.NDArray[np.uint8]) -> float:
    """edge_sharpness() of the edges inside a face that rise by 2 gray levels per pixel or more.

    DeepFaceLab blackens everything but the face and takes edges of any height. On a dim or blurred face that leaves
    the outline of the mask and the noise, which are narrow: such faces come out sharpest of all. On real faces of 256
    px, as they are and blurred, the rank correlation of this measure with the reference measure is 0.94 where that sees
    the whole picture and 0.61 where everything but the face is black; with how much they were blurred it is 0.62 for
    this measure and 0.15 for the latter (tests/ops/test_edge_sharpness.py).

    Args:
        gray: (h, w) uint8 aligned face.
        hull: (h, w) 0 or 1, the area of the face.

    Returns:
        0..1, higher is sharper.
    """
    return edge_sharpness(gray, cv2.erode(hull, _RIM), _FACE_SLOPE)


def _part_with_content(content: npt.NDArray[np.uint8]) -> tuple[slice, slice]:
    """The blocks with everything that is not 0, and two more pixels on every side."""
    left, top, width, height = cv2.boundingRect(content)
    x, y = max(left - 2, 0) // _BLOCK * _BLOCK, max(top - 2, 0) // _BLOCK * _BLOCK
    right, bottom = (-(-(end + 2) // _BLOCK) * _BLOCK for end in (left + width, top + height))
    return slice(y, bottom), slice(x, right)


def _strength(
    gray: npt.NDArray[np.uint8], inside: npt.NDArray[np.uint8] | None, pixels: int, least_slope: float
) -> npt.NDArray[np.float32]:
    """Squared Sobel response to upright edges, 0 where it is weak for its mean over so many pixels."""
    slope = cv2.Sobel(gray, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8, borderType=cv2.BORDER_REFLECT)
    strength = cv2.multiply(slope, slope)
    if inside is not None:
        strength = cv2.copyTo(strength, inside)
    weak = 2.0 * float(np.sqrt(cv2.sumElems(strength)[0] / pixels))
    return np.asarray(cv2.threshold(strength, max(weak, least_slope**2), 0, cv2.THRESH_TOZERO)[1])


def _contrast(gray: npt.NDArray[np.uint8], inside: npt.NDArray[np.uint8] | None) -> npt.NDArray[np.int16]:
    """Span of the levels in every whole block, of those inside."""
    high = gray if inside is None else gray * inside
    low = gray if inside is None else gray | (inside - np.uint8(1))  # 255 outside
    return _tiles(high).max(axis=(1, 3)).astype(np.int16) - _tiles(low).min(axis=(1, 3))


def _tiles(gray: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """(down, 64, across, 64): the whole blocks."""
    down, across = gray.shape[0] // _BLOCK, gray.shape[1] // _BLOCK
    return gray[: down * _BLOCK, : across * _BLOCK].reshape(down, _BLOCK, across, _BLOCK)


def _edges(strength: npt.NDArray[np.float32], levels: npt.NDArray[np.int16]) -> Places:
    """Rows and columns of the pixels on thin edges with a level gradient in whole blocks, rim left out."""
    height, width = strength.shape
    whole = strength[1 : min(height // _BLOCK * _BLOCK, height - 1), 1 : min(width // _BLOCK * _BLOCK, width - 1)]
    rows, cols = (place + 1 for place in np.nonzero(whole))
    here = strength[rows, cols]
    thin = (here > strength[rows, cols - 1]) & (here > strength[rows, cols + 1])
    thin |= (here > strength[rows - 1, cols]) & (here > strength[rows + 1, cols])
    rows, cols = rows[thin], cols[thin]
    across = levels[rows, cols + 1] - levels[rows, cols - 1]
    along = levels[rows + 1, cols] - levels[rows - 1, cols]
    level = np.abs(along) <= np.abs(across) * _LEVEL
    return rows[level], cols[level]


def _widths(levels: npt.NDArray[np.int16], rows: npt.NDArray[Any], cols: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Marziliano's edge widths in px: how far to both sides the levels go on rising; counted to _WIDTH_FLAT + 1."""
    last = levels.shape[1] - 1
    rises = np.where(levels[rows, cols + 1] >= levels[rows, cols - 1], 1, -1)
    widths = np.full(len(rows), 2, dtype=np.int64)
    for step in (-1, 1):
        going = np.arange(len(rows))
        for margin in range(1, _WIDTH_FLAT):
            inner = cols[going] + step * margin
            outer = np.clip(inner + step, 0, last)  # at the rim the pixel itself, which is no rise
            line = rows[going]
            change = levels[line, outer] - levels[line, np.clip(inner, 0, last)]
            going = going[change * rises[going] * step > 0]
            widths[going] += 1
    return widths
