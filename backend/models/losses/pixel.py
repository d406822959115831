"""Losses that compare pixel with pixel."""

from __future__ import annotations

from torch import Tensor


def pixel_loss(target: Tensor, predicted: Tensor) -> Tensor:
    """Mean squared difference: two (B, C, H, W) float32 0..1 -> (B,)."""
    return (predicted - target).square().flatten(1).mean(dim=1)


def eyes_mouth_loss(target: Tensor, predicted: Tensor, eyes_mouth: Tensor) -> Tensor:
    """Mean absolute difference inside the mask of eyes and mouth.

    Args:
        target, predicted: (B, C, H, W) float32 0..1, without any other mask.
        eyes_mouth: (B, 1, H, W) 0..1.

    Returns:
        (B,) float32; the mean runs over the whole picture.
    """
    return ((predicted - target) * eyes_mouth).abs().flatten(1).mean(dim=1)
