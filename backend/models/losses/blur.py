"""Gaussian windows as matrices: a blur is a product from the left and one from the right.

On a CPU this is several times faster than a convolution per channel, and it is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor


def gaussian_window(size: int, sigma: float, device: torch.device | None = None) -> Tensor:
    """Normalised one-dimensional Gaussian, (size,) float32; an even window is centred between two elements."""
    offsets = torch.arange(size, dtype=torch.float32, device=device) - (size - 1) / 2
    return torch.softmax(offsets.square() * (-0.5 / sigma**2), dim=0)


def constant(values: Sequence[float], device: torch.device) -> Tensor:
    """Some numbers as (n,) float32 on a device, which nobody waits for."""
    return torch.tensor(values, dtype=torch.float32).to(device, non_blocking=True)


def band(window: Tensor, length: int, padding: int = 0) -> Tensor:
    """Matrix that correlates a row with a window.

    Args:
        window: (k,) float32.
        length: elements of the row.
        padding: zeros before and after the row.

    Returns:
        (length + 2 * padding - k + 1, length) float32; ``row @ band.T`` is the correlated row.
    """
    size = len(window)
    out = length + 2 * padding - size + 1
    wide = torch.zeros(out, length + 2 * padding, device=window.device)
    diagonals = wide.as_strided((out, size), (wide.stride(0) + 1, 1))
    diagonals.copy_(window)
    return wide[:, padding : padding + length]


def edge_band(window: Tensor, length: int, edge: Literal["reflect", "replicate"]) -> Tensor:
    """Matrix that correlates a row with an odd window and keeps its length.

    Args:
        window: (k,) float32, k odd.
        length: elements of the row; to reflect, more than k // 2.
        edge: what lies beyond the ends: the row mirrored about its last element, or that element again and again.

    Returns:
        (length, length) float32.
    """
    reach = len(window) // 2
    places = torch.arange(-reach, length + reach, device=window.device)
    if edge == "reflect":
        places = length - 1 - (length - 1 - places.abs()).abs()
    wide = band(window, length + 2 * reach)
    folded = torch.zeros(length, length, device=window.device)
    return folded.index_add(1, places.clamp(0, length - 1), wide)


def correlate(maps: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Apply one matrix along the height and one along the width of (..., H, W) float32 maps.

    Args:
        maps: what to filter.
        rows: (H', H), from ``band``.
        columns: (W', W), from ``band``.

    Returns:
        (..., H', W').
    """
    return rows @ (maps @ columns.mT)


def gaussian_blur(x: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of (B, C, H, W) float32 with zeros beyond the border, as in DeepFaceLab.

    The window has max(3, int(4 * sigma)) elements, one more when that is even.
    """
    size = max(3, int(4 * sigma))
    size += 1 - size % 2
    window = gaussian_window(size, sigma, x.device)
    return correlate(x, band(window, x.shape[2], size // 2), band(window, x.shape[3], size // 2))
