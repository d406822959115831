"""The mask as a target, and as a soft cut-out for the other losses. Weights and sizes are DeepFaceLab's."""

from __future__ import annotations

from torch import Tensor

from backend.models.losses.blur import gaussian_blur


def mask_loss(target: Tensor, predicted: Tensor) -> Tensor:
    """Mean of 10 * squared difference of two (B, 1, H, W) float32 masks 0..1 -> (B,)."""
    return (predicted - target).square().flatten(1).mean(dim=1) * 10


def soft_mask(mask: Tensor) -> Tensor:
    """Mask with a soft rim outside: blurred by max(1, side // 32) px, cut at a half, doubled.

    Args:
        mask: (B, 1, R, R) float32 0..1.

    Returns:
        the same shape and range; 1 wherever the blurred mask reaches a half.
    """
    return gaussian_blur(mask, max(1, mask.shape[-1] // 32)).clamp(0, 0.5) * 2
