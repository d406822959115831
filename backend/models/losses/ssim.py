"""Structural similarity as a map, and over several scales.

SSIM after Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004; MS-SSIM after
Wang, Simoncelli and Bovik, "Multiscale structural similarity for image quality assessment", 2003.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from backend.core.errors import BadInputError
from backend.models.losses.blur import band, correlate, edge_band, gaussian_window
from backend.models.losses.dssim import C1, C2, SIGMA

WINDOW = 11
SMALLEST_WINDOW = 3
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_MIDDLE = 0.5
_BEND = 0.01  # similarities below go on as a hyperbola, so that their powers stay positive and keep a gradient


def ssim(target: Tensor, predicted: Tensor) -> Tensor:
    """1 - SSIM at every pixel: window of 11 px, sigma 1.5, pictures mirrored at their edges.

    Args:
        target: (B, C, H, W) float32 0..1, at least 6 px; gets no gradient.
        predicted: same shape.

    Returns:
        (B, C, H, W), 0 for equal pictures, at most 2.
    """
    window = gaussian_window(WINDOW, SIGMA, target.device)
    rows = edge_band(window, target.shape[2], "reflect")
    columns = rows if target.shape[2] == target.shape[3] else edge_band(window, target.shape[3], "reflect")
    luminance, contrast = _similarity(target.detach(), predicted, rows, columns)
    return 1 - luminance * contrast


def ms_ssim_window(side: int) -> int:
    """Side of MS-SSIM's window in px for a picture side in px: 11 from 176 px on, below the odd one that fits.

    Raises:
        BadInputError: the smallest of the five pictures has less than 3 px.
    """
    smallest = side // 2 ** (len(SCALE_WEIGHTS) - 1)
    window = min(WINDOW, smallest - 1 + smallest % 2)
    if window < SMALLEST_WINDOW:
        raise BadInputError(
            f"Pictures of {side} px are too small for MS-SSIM, which halves them four times.",
            "Choose SSIM, or a larger resolution.",
        )
    return window


def ms_ssim(target: Tensor, predicted: Tensor) -> Tensor:
    """1 - MS-SSIM over five scales, averaged over the channels. Windows lie inside the pictures.

    Args:
        target: (B, C, H, W) float32 0..1, at least 48 px; gets no gradient.
        predicted: same shape.

    Returns:
        (B,), 0 for equal pictures, at most 1.

    Raises:
        BadInputError: see ms_ssim_window().
    """
    window = gaussian_window(ms_ssim_window(min(target.shape[2:])), SIGMA, target.device)
    x, y = target.detach(), predicted
    factors: list[Tensor] = []
    for scale, weight in enumerate(SCALE_WEIGHTS, start=1):
        luminance, contrast = _similarity(x, y, band(window, x.shape[2]), band(window, x.shape[3]))
        found = luminance * contrast if scale == len(SCALE_WEIGHTS) else contrast
        factors.append(_positive(found.mean(dim=(2, 3))) ** weight)
        x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
    return 1 - math.prod(factors[1:], start=factors[0]).mean(dim=1)


def _similarity(x: Tensor, y: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Luminance and contrast-structure maps; x has no gradient. Matrices as for correlate().

    Variances are differences of squares, which lose the fewest digits around a mean near 0.
    """
    x, y = x - _MIDDLE, y - _MIDDLE
    mean_x = correlate(x, rows, columns)
    mean_y, square, product = correlate(torch.stack((y, y.square() + x.square(), x * y)), rows, columns)
    contrast = (2 * (product - mean_x * mean_y) + C2) / (square - mean_x.square() - mean_y.square() + C2)
    mean_x, mean_y = mean_x + _MIDDLE, mean_y + _MIDDLE
    luminance = (2 * mean_x * mean_y + C1) / (mean_x.square() + mean_y.square() + C1)
    return luminance, contrast


def _positive(similarity: Tensor) -> Tensor:
    """The similarity, or below a hundredth a hyperbola that joins it smoothly."""
    below = _BEND**2 / (2 * _BEND - similarity.clamp(max=_BEND))
    return torch.where(similarity > _BEND, similarity, below)
