"""Losses that carry the look of the destination into the swap, as in DeepFaceLab except for the background's area."""

from __future__ import annotations

from torch import Tensor

from backend.models.losses.blur import gaussian_blur
from backend.models.losses.dssim import structure_loss, two_windows
from backend.models.losses.mask import rim
from backend.models.losses.pixel import pixel_loss

VARIANCE_FLOOR = 1e-5


def style_loss(target: Tensor, predicted: Tensor, sigma: float) -> Tensor:
    """Squared difference of the colours' means plus that of their deviations, averaged over the channels.

    A deviation is sqrt(variance + 1e-5), with the variance of the whole population.

    Args:
        target, predicted: (B, C, R, R) float32 0..1, black outside their faces.
        sigma: blur of both pictures beforehand in px; 0 is none. Face style takes R // 8.

    Returns:
        (B,) float32.
    """
    if sigma:
        target, predicted = gaussian_blur(target, sigma), gaussian_blur(predicted, sigma)
    means = predicted.mean(dim=(2, 3)) - target.mean(dim=(2, 3))
    deviations = _deviation(predicted) - _deviation(target)
    return (means.square() + deviations.square()).mean(dim=1)


def surroundings(swap_mask: Tensor, dst_mask: Tensor) -> Tensor:
    """Where the swap shows background: 1 far from both faces, with a soft rim; passes no gradient on.

    1 - clip(G(swap mask * dst mask, max(1, R // 32)), 0, 1). DeepFaceLab computes the same blur, then overwrites it
    with the softened mask of the source's target, a face that is somewhere else in its picture. That is a slip,
    and not repeated here.

    Args:
        swap_mask, dst_mask: (B, 1, R, R) float32 0..1, predicted on the swap route and on the dst route.

    Returns:
        (B, 1, R, R) float32 0..1.
    """
    both = (swap_mask * dst_mask).detach()
    return 1 - gaussian_blur(both, rim(both)).clamp(0, 1)


def background_style(target: Tensor, swap: Tensor, around: Tensor) -> Tensor:
    """DSSIM with the coarse window plus mean squared difference, both in the surroundings of the face.

    Args:
        target: (B, C, R, R) float32 0..1, the destination.
        swap: same shape, the swapped face.
        around: (B, 1, R, R) float32 0..1, see ``surroundings``.

    Returns:
        (B,) float32.
    """
    there, here = target * around, swap * around
    return structure_loss(there, here, two_windows(target.shape[-1])[:1]) + pixel_loss(there, here)


def _deviation(picture: Tensor) -> Tensor:
    return (picture.var(dim=(2, 3), correction=0) + VARIANCE_FLOOR).sqrt()
