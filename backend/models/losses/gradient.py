"""Losses of the shelf that compare how brightness changes from pixel to pixel: edges, and slopes with their bends."""

from __future__ import annotations

import torch
from torch import Tensor

from backend.models.losses.blur import constant, correlate, edge_band
from backend.models.losses.pointwise import SMOOTH_SCALE, robust

SCHARR = ((0.0007, 0.0052, 0.0370, 0.0052, 0.0007), (0.0037, 0.1187, 0.2589, 0.1187, 0.0037))
"""Rows of Scharr's 5x5 edge filter, two and one px from its middle; below the middle they come with a minus."""

GMSD_FLOOR = 0.0025
SLOPE_ALPHA = 1.9999
_FLAT = 1e-10  # keeps the root of a vanishing gradient differentiable


def gmsd(target: Tensor, predicted: Tensor) -> Tensor:
    """Dissimilarity of edge strengths: 1 - mean over the channels of (2ab + c) / (a^2 + b^2 + c).

    a and b are the lengths of Scharr's 5x5 gradient. Xue et al., "Gradient magnitude similarity deviation", 2013, take
    the deviation of this map over the picture; faceswap and this take the map itself, so that masks apply.

    Args:
        target: (B, C, H, W) float32 0..1; gets no gradient.
        predicted: same shape.

    Returns:
        (B, 1, H, W) 0..1, 0 for equal pictures.
    """
    a, b = _edge_square(target.detach()), _edge_square(predicted)
    similarity = (2 * (a * b).sqrt() + GMSD_FLOOR) / (a + b + GMSD_FLOOR)
    return 1 - similarity.mean(dim=1, keepdim=True)


def slopes(target: Tensor, predicted: Tensor) -> Tensor:
    """Difference of first (x, y) and second (xx, yy, twice xy) order changes, by the robust loss with alpha 1.9999.

    Changes are central differences with the edge repeated, halved; both orders count equally, as in faceswap.

    Args:
        target, predicted: (B, C, H, W) float32 0..1.

    Returns:
        (B, C, H, W).
    """
    difference = predicted - target
    height, width = difference.shape[2:]
    first_y, first_x = (_matrix((-0.5, 0.0, 0.5), side, difference.device) for side in (height, width))
    second_y, second_x = (_matrix((1.0, -2.0, 1.0), side, difference.device) for side in (height, width))
    along_x, along_y = difference @ first_x.mT, first_y @ difference
    changes = torch.stack((along_x, along_y, difference @ second_x.mT, second_y @ difference, first_y @ along_x))
    x, y, xx, yy, xy = robust(changes, SLOPE_ALPHA, SMOOTH_SCALE)
    return (x + y + xx + yy + 2 * xy) / 2


def _edge_square(picture: Tensor) -> Tensor:
    """Squared length of Scharr's gradient at every pixel, plus a trifle; pictures are mirrored at their edges."""
    height, width = picture.shape[2:]
    (far_y, near_y), (wide_y, middle_y) = _scharr(height, picture.device)
    (far_x, near_x), (wide_x, middle_x) = _scharr(width, picture.device)
    down = correlate(picture, far_y, wide_x) + correlate(picture, near_y, middle_x)
    across = correlate(picture, wide_y, far_x) + correlate(picture, middle_y, near_x)
    return down.square() + across.square() + _FLAT


def _scharr(length: int, device: torch.device) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Matrices of the filter's two parts for a row: differences over four and two px, and their weights beside it."""
    far, near, wide, middle = (
        edge_band(constant(row, device), length, "reflect") for row in ((1, 0, 0, 0, -1), (0, 1, 0, -1, 0), *SCHARR)
    )
    return (far, near), (wide, middle)


def _matrix(window: tuple[float, ...], length: int, device: torch.device) -> Tensor:
    return edge_band(constant(window, device), length, "replicate")
