"""Difference of two pictures scale by scale: a Laplacian pyramid."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from backend.models.losses.blur import correlate, edge_band, gaussian_window

LEVELS = 5
KERNEL = 5
SIGMA = 1.0


def laplacian(target: Tensor, predicted: Tensor) -> Tensor:
    """Absolute difference of every level of a Laplacian pyramid, brought to full size and summed.

    Each of five levels is what a 5x5 Gaussian of sigma 1 takes away; the next begins with the rest at half the size,
    and the rest of the last one is the sixth. Level n weighs 2^(-2n), as in faceswap; after Bojanowski et al.,
    "Optimizing the latent space of generative networks", 2017. A pyramid is linear, so one of the difference does.

    Args:
        target, predicted: (B, C, H, W) float32 0..1, sides of at least 48 px.

    Returns:
        (B, C, H, W).
    """
    rest = predicted - target
    size = rest.shape[2:]
    window = gaussian_window(KERNEL, SIGMA, rest.device)
    total = torch.zeros((), device=rest.device)
    for level in range(LEVELS):
        rows, columns = (edge_band(window, side, "reflect") for side in rest.shape[2:])
        blurred = correlate(rest, rows, columns)
        total = total + _whole(rest - blurred, size) * 4.0**-level
        rest = F.avg_pool2d(blurred, 2)
    return total + _whole(rest, size) * 4.0**-LEVELS


def _whole(level: Tensor, size: torch.Size) -> Tensor:
    """Absolute values at full size."""
    if level.shape[2:] == size:
        return level.abs()
    return F.interpolate(level.abs(), size=list(size), mode="bilinear", align_corners=False)
