"""The mask as a target, and as a soft cut-out for the other losses. Sizes are DeepFaceLab's."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from backend.models.losses.blur import gaussian_blur


def mask_loss(target: Tensor, predicted: Tensor, kind: Literal["mse", "mae"] = "mse") -> Tensor:
    """Mean squared or absolute difference of two (B, 1, H, W) float32 masks 0..1 -> (B,)."""
    apart = predicted - target
    return (apart.square() if kind == "mse" else apart.abs()).flatten(1).mean(dim=1)


def soft_mask(mask: Tensor) -> Tensor:
    """Mask with a soft rim outside: blurred by max(1, side // 32) px, cut at a half, doubled.

    Args:
        mask: (B, 1, R, R) float32 0..1.

    Returns:
        the same shape and range; 1 wherever the blurred mask reaches a half.
    """
    return gaussian_blur(mask, rim(mask)).clamp(0, 0.5) * 2


def rim(mask: Tensor) -> int:
    """Sigma in px by which DeepFaceLab softens a mask (..., R, R): max(1, R // 32)."""
    return max(1, mask.shape[-1] // 32)


def blur_out(target: Tensor, mask: Tensor) -> Tensor:
    """Picture whose surroundings are blurred without the face running into them.

    Outside, the blur by R / 128 px averages only what lies outside too: G(T (1-M)) / (1 - G(M)).

    Args:
        target: (B, C, R, R) float32 0..1.
        mask: (B, 1, R, R) float32 0..1, 1 on the face.

    Returns:
        (B, C, R, R): the target inside the mask, its blurred surroundings outside.
    """
    sigma, outside = target.shape[-1] / 128, 1 - mask
    share = 1 - gaussian_blur(mask, sigma)
    blurred = gaussian_blur(target * outside, sigma) / torch.where(share == 0, 1.0, share)
    return target * mask + blurred * outside
