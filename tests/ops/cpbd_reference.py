"""The reference measure of sharpness, slow and readable: cumulative probability of blur detection (CPBD).

Narvekar and Karam, "A No-Reference Image Blur Metric Based on the Cumulative Probability of Blur Detection", 2011, with
the choices of the implementation that DeepFaceLab sorts by: blocks of 64 pixels, just noticeable widths 5 and 3,
beta 3.6, score up to 0.64.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import convolve
from skimage.feature import canny

BLOCK = 64
EDGE_SHARE = 0.002
SEARCH = 100
BETA = 3.6
SHARP_BELOW = 0.64


def cpbd(gray: np.ndarray) -> float:
    """Sharpness of (h, w) gray levels 0..255: 0..1, the share of edge pixels whose blur nobody notices."""
    image = gray.astype(np.float64)
    blocks_of_edges = canny(image, sigma=1)
    widths = edge_widths(image)
    sharp = total = 0
    for top in range(0, image.shape[0] - BLOCK + 1, BLOCK):
        for left in range(0, image.shape[1] - BLOCK + 1, BLOCK):
            block = np.s_[top : top + BLOCK, left : left + BLOCK]
            if np.count_nonzero(blocks_of_edges[block]) <= EDGE_SHARE * BLOCK * BLOCK:
                continue
            found = widths[block][widths[block] > 0]
            contrast = image[block].max() - image[block].min()
            noticeable = 5 if contrast <= 50 else 3
            blur = 1 - np.exp(-((found / noticeable) ** BETA))
            sharp += np.count_nonzero(blur < SHARP_BELOW)
            total += len(found)
    return sharp / total if total else 0.0


def edge_widths(image: np.ndarray) -> np.ndarray:
    """Marziliano's width of every pixel on a vertical edge whose gradient is level, 0 elsewhere: (h, w) int."""
    widths = np.zeros(image.shape, dtype=int)
    along_y, along_x = np.gradient(image)
    angle = 45 * np.round(np.degrees(np.arctan2(along_y, along_x)) / 45)
    edges = thinned(vertical_strength(image))
    for row, col in np.argwhere(edges):
        if 0 < row < image.shape[0] - 1 and 0 < col < image.shape[1] - 1 and abs(angle[row, col]) in (0, 180):
            sign = 1 if angle[row, col] == 0 else -1
            line = image[row] * sign
            widths[row, col] = reach(line, col, -1) + reach(line, col, 1)
    return widths


def reach(line: np.ndarray, col: int, step: int) -> int:
    """Pixels from an edge to where a line that rises to the right stops falling (step -1) or rising (step 1)."""
    for margin in range(SEARCH + 1):
        inner = col + step * (1 + margin)
        outer = inner + step
        if not 0 <= outer < len(line) or (line[outer] - line[inner]) * step <= 0:
            break
    return margin + 1


def vertical_strength(image: np.ndarray) -> np.ndarray:
    """Squared Sobel response to vertical edges, 0 where it is weak."""
    kernel = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]]) / 8
    strength = convolve(image, kernel) ** 2
    strength[strength <= 2 * np.sqrt(strength.mean())] = 0
    return strength


def thinned(strength: np.ndarray) -> np.ndarray:
    """Strict local maxima along x or along y; beyond the picture is 0."""
    wide = np.pad(strength, 1)
    across = (strength > wide[1:-1, :-2]) & (strength > wide[1:-1, 2:])
    along = (strength > wide[:-2, 1:-1]) & (strength > wide[2:, 1:-1])
    return across | along
