"""Difference of two pictures frequency by frequency."""

from __future__ import annotations

import torch
from torch import Tensor

_NOTHING = 1e-12


def focal_frequency(target: Tensor, predicted: Tensor) -> Tensor:
    """Focal frequency loss: squared differences of the spectra, weighted by how large they are.

    The weight is the distance divided by the picture's largest, without gradient; spectra are orthonormal. Jiang et
    al., "Focal frequency loss for image reconstruction and synthesis", 2021, with alpha 1 and one patch. A spectrum is
    linear, so one of the difference does; of a real picture's half of it is mirrored and counts twice.

    Args:
        target, predicted: (B, C, H, W) float32 0..1.

    Returns:
        (B,), the mean over channels and frequencies.
    """
    difference = predicted - target
    width = difference.shape[3]
    spectrum = torch.view_as_real(torch.fft.rfft2(difference, norm="ortho"))
    squares = spectrum.square().sum(dim=4)
    columns = torch.arange(squares.shape[3], device=squares.device)
    twice = 2.0 - ((columns == 0) | (2 * columns == width)).float()
    with torch.no_grad():
        distance = squares.sqrt()
        weight = distance / distance.amax(dim=(2, 3), keepdim=True).clamp(min=_NOTHING) * twice
    return (weight * squares).sum(dim=(2, 3)).mean(dim=1) / (difference.shape[2] * width)
