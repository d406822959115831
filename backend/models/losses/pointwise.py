"""Losses of the shelf that compare pixel with pixel. Definitions are faceswap's."""

from __future__ import annotations

import torch
from torch import Tensor

SMOOTH_SCALE = 1 / 255
"""Difference at which ``smooth`` turns from squared to absolute."""


def mae(target: Tensor, predicted: Tensor) -> Tensor:
    """Absolute difference: two (B, C, H, W) float32 0..1 -> (B, C, H, W)."""
    return (predicted - target).abs()


def mse(target: Tensor, predicted: Tensor) -> Tensor:
    """Squared difference: two (B, C, H, W) float32 0..1 -> (B, C, H, W)."""
    return (predicted - target).square()


def log_cosh(target: Tensor, predicted: Tensor) -> Tensor:
    """Logarithm of the hyperbolic cosine of the difference: half its square near 0, straight far away.

    log cosh d = log(1 + 2 sinh^2(d / 2)), which keeps the small values that d + softplus(-2d) - log 2 rounds away.

    Args:
        target, predicted: (B, C, H, W) float32 0..1.

    Returns:
        (B, C, H, W).
    """
    return torch.log1p(2 * ((predicted - target) * 0.5).sinh().square())


def smooth(target: Tensor, predicted: Tensor) -> Tensor:
    """The general robust loss with alpha 1 (Charbonnier): two (B, C, H, W) float32 0..1 -> (B, C, H, W)."""
    return robust(predicted - target, 1.0, SMOOTH_SCALE)


def robust(difference: Tensor, alpha: float, scale: float) -> Tensor:
    """General robust loss, scaled by its scale as in faceswap.

    |2 - a| / a * (((d / c)^2 / |2 - a| + 1)^(a / 2) - 1) * c, after Barron, "A general and adaptive robust loss
    function", 2019.

    Args:
        difference: float32, any shape.
        alpha: shape, not 0 and not 2; 1 is a smooth absolute value, near 2 the square.
        scale: c, where the bend is.

    Returns:
        the same shape, from 0.
    """
    bend = abs(2 - alpha)
    grown = torch.log1p((difference / scale).square() / bend)
    return torch.expm1(grown * (alpha / 2)) * (bend / alpha * scale)


def l_inf(target: Tensor, predicted: Tensor) -> Tensor:
    """Largest absolute difference of each channel, averaged over the channels.

    faceswap takes the maximum over other axes than were meant; here they are the rows and the columns.

    Args:
        target, predicted: (B, C, H, W) float32 0..1.

    Returns:
        (B,).
    """
    return (predicted - target).abs().amax(dim=(2, 3)).mean(dim=1)
