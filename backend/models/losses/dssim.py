"""Structural dissimilarity, computed as in DeepFaceLab."""

from __future__ import annotations

import torch
from torch import Tensor

from backend.models.losses.blur import band, correlate, gaussian_window

SIGMA = 1.5
C1, C2 = 0.01**2, 0.03**2
TWO_WINDOWS_FROM = 256
"""Picture side in px from which SAEHD compares with two windows."""


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
    return _dissimilarity(target.detach(), _products(target.detach(), predicted), window)


def two_windows(resolution: int) -> tuple[int, int]:
    """Sides of the coarse and the fine DSSIM window for a picture side in px. AMP takes both at any resolution."""
    return int(resolution / 11.6), int(resolution / 23.2)


def structure_windows(resolution: int) -> tuple[int, ...]:
    """Sides of SAEHD's DSSIM windows for a picture side in px: one below 256 px, two from there on."""
    windows = two_windows(resolution)
    return windows if resolution >= TWO_WINDOWS_FROM else windows[:1]


def structure_loss(target: Tensor, predicted: Tensor, windows: tuple[int, ...]) -> Tensor:
    """DSSIM, averaged over windows and channels.

    Args:
        target: (B, C, R, R) float32 0..1; gets no gradient.
        predicted: same shape.
        windows: sides in px, at most R.

    Returns:
        (B,) float32.
    """
    fixed = target.detach()
    products = _products(fixed, predicted)
    return torch.stack([_dissimilarity(fixed, products, window) for window in windows]).mean(dim=(0, 2))


def _products(x: Tensor, y: Tensor) -> Tensor:
    """What has to be averaged and depends on the prediction: y, x^2 + y^2, x*y, stacked."""
    return torch.stack((y, y.square() + x.square(), x * y))


def _dissimilarity(x: Tensor, products: Tensor, window: int) -> Tensor:
    """(B, C) of one window; x is the target, without gradient."""
    kernel = gaussian_window(window, SIGMA, x.device)
    rows = band(kernel, x.shape[2])
    columns = rows if x.shape[2] == x.shape[3] else band(kernel, x.shape[3])
    mean_x = correlate(x, rows, columns)
    mean_y, square, product = correlate(products, rows, columns)
    means = mean_x * mean_y
    mean_squares = mean_x.square() + mean_y.square()
    luminance = (2 * means + C1) / (mean_squares + C1)
    contrast = (2 * (product - means) + C2) / (square - mean_squares + C2)
    return (1 - (luminance * contrast).mean(dim=(2, 3))) / 2
