"""Difference as the eye sees it when two pictures are flipped on a screen.

LDR-FLIP after Andersson et al., "FLIP: a difference evaluator for alternating images", 2020, for a screen of 3840 px
and 0.7 m seen from 0.7 m. Roots get a trifle added, so that equal pixels have a gradient.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from backend.models.losses.blur import constant, correlate, edge_band

PIXELS_PER_DEGREE = 3840 * math.pi / 180
"""Of a screen as far away as it is wide."""

COLOR_POWER, FEATURE_POWER = 0.7, 0.5
KNEE, VALUE_AT_KNEE = 0.4, 0.95
"""Colour distances up to this share of the largest one fill the answer up to this value."""

FEATURE_WIDTH_DEG = 0.082
CONTRAST = (((1.0, 0.0047),), ((1.0, 0.0053),), ((34.1, 0.04), (13.5, 0.025)))
"""What of luminance, red-green and blue-yellow the eye tells apart: (weight, width) of Gaussians."""

WHITE = (0.950428545, 1.0, 1.088900371)
TO_XYZ = (
    (10135552 / 24577794, 8788810 / 24577794, 4435075 / 24577794),
    (2613072 / 12288897, 8788810 / 12288897, 887015 / 12288897),
    (1425312 / 73733382, 8788810 / 73733382, 70074185 / 73733382),
)
"""Linear sRGB, red first, to CIE XYZ under D65."""

FROM_XYZ = (
    (3.241003275, -1.537398934, -0.498615861),
    (-0.969224334, 1.875930071, 0.041554224),
    (0.055639423, -0.204011202, 1.057148933),
)
LARGEST_COLOR = 41.27600
"""Distance of pure green and pure blue after everything that is done to colours."""

_TRIFLE = 1e-6


def flip(target: Tensor, predicted: Tensor) -> Tensor:
    """FLIP at every pixel.

    Args:
        target: (B, 3, H, W) float32 0..1, BGR, or (B, 1, H, W) gray; gets no gradient.
        predicted: same shape.

    Returns:
        (B, 1, H, W) 0..1, about 1e-5 for equal pictures.
    """
    one, other = _opponent(_red_first(target.detach())), _opponent(_red_first(predicted))
    color = _color_difference(_seen(one), _seen(other))
    return (color + _TRIFLE) ** (1 - _feature_difference(one[:, :1], other[:, :1]))


def _red_first(picture: Tensor) -> Tensor:
    return picture.expand(-1, 3, -1, -1) if picture.shape[1] == 1 else picture.flip(1)


def _mixed(picture: Tensor, matrix: tuple[tuple[float, ...], ...]) -> Tensor:
    """Channels mixed by a (3, 3) matrix."""
    weights = constant([value for row in matrix for value in row], picture.device).view(3, 3)
    return torch.einsum("ij,bjhw->bihw", weights, picture)


def _opponent(rgb: Tensor) -> Tensor:
    """sRGB 0..1 -> YCxCz, luminance from -16 to 100 and two opponent colours."""
    linear = torch.where(rgb > 0.04045, ((rgb + 0.055) / 1.055).clamp(min=0.05) ** 2.4, rgb / 12.92)
    x, y, z = (_mixed(linear, TO_XYZ) / constant(WHITE, rgb.device).view(3, 1, 1)).unbind(1)
    return torch.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), dim=1)


def _seen(opponent: Tensor) -> Tensor:
    """YCxCz blurred as the eye does -> L*a*b*, with colours that fade in the dark (Hunt)."""
    reach = math.ceil(3 * math.sqrt(CONTRAST[2][0][1] / (2 * math.pi**2)) * PIXELS_PER_DEGREE)
    blurred = [_eye(opponent[:, i : i + 1], parts, reach) for i, parts in enumerate(CONTRAST)]
    y = (torch.cat(blurred[:1], dim=1) + 16) / 116
    xyz = torch.cat((blurred[1] / 500 + y, y, y - blurred[2] / 200), dim=1)
    white = constant(WHITE, opponent.device).view(3, 1, 1)
    rgb = _mixed(xyz * white, FROM_XYZ).clamp(0, 1)
    x, y, z = _lab_root(_mixed(rgb, TO_XYZ) / white).unbind(1)
    lightness = 116 * y - 16
    return torch.stack((lightness, 5 * (x - y) * lightness, 2 * (y - z) * lightness), dim=1)


def _eye(channel: Tensor, parts: tuple[tuple[float, float], ...], reach: int) -> Tensor:
    """One channel (B, 1, H, W) filtered by a normalised sum of Gaussians; edges are repeated."""
    away = torch.arange(-reach, reach + 1, device=channel.device) / PIXELS_PER_DEGREE
    windows = [torch.exp(away.square() * (-(math.pi**2) / width)) for _, width in parts]
    heights = [weight * math.sqrt(math.pi / width) for weight, width in parts]
    whole = torch.stack([height * window.sum().square() for height, window in zip(heights, windows, strict=True)]).sum()
    found = [_filtered(channel, window, window) * height for height, window in zip(heights, windows, strict=True)]
    return torch.stack(found).sum(dim=0) / whole


def _filtered(channel: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    height, width = channel.shape[2:]
    return correlate(channel, edge_band(rows, height, "replicate"), edge_band(columns, width, "replicate"))


def _lab_root(share: Tensor) -> Tensor:
    """CIE's f(t): the cube root, a line near black."""
    knee = 6 / 29
    return torch.where(share > knee**3, share.clamp(min=knee**3) ** (1 / 3), share / (3 * knee**2) + 4 / 29)


def _color_difference(one: Tensor, other: Tensor) -> Tensor:
    """HyAB distance of two (B, 3, H, W), its power brought to 0..1 -> (B, 1, H, W)."""
    apart = other - one
    plane = (apart[:, 1:].square().sum(dim=1, keepdim=True) + _TRIFLE**2).sqrt()
    distance = (apart[:, :1].abs() + plane + _TRIFLE) ** COLOR_POWER
    knee = KNEE * LARGEST_COLOR
    far = VALUE_AT_KNEE + (distance - knee) * ((1 - VALUE_AT_KNEE) / (LARGEST_COLOR - knee))
    return torch.where(distance < knee, distance * (VALUE_AT_KNEE / knee), far)


def _feature_difference(one: Tensor, other: Tensor) -> Tensor:
    """Difference of edges and of points in the luminance, the larger of both, its power -> (B, 1, H, W) 0..1."""
    deviation = 0.5 * FEATURE_WIDTH_DEG * PIXELS_PER_DEGREE
    reach = math.ceil(3 * deviation)
    away = torch.arange(-reach, reach + 1, dtype=torch.float32, device=one.device)
    bell = torch.exp(away.square() * (-0.5 / deviation**2))
    edge, point = _balanced(-away * bell), _balanced((away.square() / deviation**2 - 1) * bell)
    bell = bell / bell.sum()
    found: list[Tensor] = []
    for window in (edge, point):
        lengths = [_length(_filtered(y, bell, window), _filtered(y, window, bell)) for y in (one, other)]
        found.append((lengths[0] - lengths[1]).abs())
    largest = torch.maximum(found[0], found[1]) * (math.sqrt(0.5) / 116)
    return (largest + _TRIFLE).clamp(max=1) ** FEATURE_POWER


def _balanced(window: Tensor) -> Tensor:
    """Positive values that add up to 1, negative ones to -1."""
    up, down = window.clamp(min=0), window.clamp(max=0)
    return up / up.sum() - down / down.sum()


def _length(along_x: Tensor, along_y: Tensor) -> Tensor:
    return (along_x.square() + along_y.square() + _TRIFLE).sqrt()
