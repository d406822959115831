"""Structural dissimilarity, computed as in DeepFaceLab."""

from __future__ import annotations

import torch
from torch import Tensor

from backend.models.losses.blur import band, correlate, gaussian_window

SIGMA = 1.5
C1, C2 = 0.01**2, 0.03**2


def dssim(target: Tensor, predicted: Tensor, window: int) -> Tensor:
    """(1 - SSIM) / 2 with a Gaussian window of sigma 1.5 and no padding.

    SSIM after Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004.

    Args:
        target: (B, C, H, W) float32 0..1; gets no gradient.
        predicted: same shape.
        window: side of the window in px, at most the side of the picture.

    Returns:
        (B, C) float32, 0 for equal pictures.
    """
    x, y = target.detach(), predicted
    kernel = gaussian_window(window, SIGMA, x.device)
    rows, columns = band(kernel, x.shape[2]), band(kernel, x.shape[3])
    mean_x = correlate(x, rows, columns)
    mean_y, square, product = correlate(torch.stack((y, y.square() + x.square(), x * y)), rows, columns)
    means = mean_x * mean_y
    mean_squares = mean_x.square() + mean_y.square()
    luminance = (2 * means + C1) / (mean_squares + C1)
    contrast = (2 * (product - means) + C2) / (square - mean_squares + C2)
    return (1 - (luminance * contrast).mean(dim=(2, 3))) / 2


def structure_windows(resolution: int) -> tuple[int, ...]:
    """Sides of the DSSIM windows for a picture side in px: one below 256 px, two from there on."""
    coarse = int(resolution / 11.6)
    return (coarse,) if resolution < 256 else (coarse, int(resolution / 23.2))


def structure_loss(target: Tensor, predicted: Tensor) -> Tensor:
    """DeepFaceLab's structure term: 10 times DSSIM, averaged over its windows and channels.

    Args:
        target: (B, C, R, R) float32 0..1; gets no gradient.
        predicted: same shape.

    Returns:
        (B,) float32.
    """
    windows = structure_windows(target.shape[-1])
    terms = [dssim(target, predicted, window).mean(dim=1) for window in windows]
    return torch.stack(terms).mean(dim=0) * 10
