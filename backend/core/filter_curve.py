"""Filter curves of the model builder: how wide its layers are from first to last. Formulas as in faceswap's Phaze-A."""

from __future__ import annotations

from math import gcd, lcm
from typing import Literal

STEP = 8
"""Filters of a curve are rounded down to multiples of this."""
STEEPEST = 0.99

SlopeMode = Literal["full", "cap_max", "cap_min"]


def filter_curve(start: float, end: float, points: int, slope: float) -> list[int]:
    """Filters from start to end: x evenly on 0..1, t = (x - x*s)/(s - 2*s*|x| + 1), start + t*(end - start).

    Args:
        start, end: filters at both ends.
        points: how many; none gives an empty list, one gives the start.
        slope: s, held to -0.99..0.99; 0 is even, below it the filters change fast at first, above it slowly.

    Returns:
        filters rounded down to multiples of 8, both ends too, except for a single point.
    """
    if points < 1:
        return []
    if points == 1:
        return [int(start)]
    s = min(STEEPEST, max(-STEEPEST, slope))
    found = []
    for i in range(points):
        x = 1.0 if i == points - 1 else i * (1.0 / (points - 1))
        t = (x - x * s) / (s - x * 2 * s + 1)
        found.append(int((t * (end - start) + start) // STEP) * STEP)
    return found


def hidden_nodes(fewest: int, most: int, depth: int, slope: float) -> list[int]:
    """Nodes of dense layers from first to last.

    Args:
        fewest: of the first layer, without effect at a depth of 1.
        most: of the last layer, which keeps them exactly, because a reshape follows.
        depth: layers.
        slope: see filter_curve().
    """
    return [*filter_curve(fewest, most, depth, slope)[:-1], most] if depth else []


def decoder_filters(most: int, fewest: int, points: int, slope: float, mode: SlopeMode = "full") -> list[int]:
    """Filters of a decoder's upscales from first to last.

    Args:
        most: of the first upscale.
        fewest: of the last.
        points: upscales.
        slope: with the sign of the presets: below 0 the filters fall fast at first. Its sign does not count when
            capped.
        mode: "full" follows the curve; capped ones multiply by 1 - |slope| until the fewest are reached, and stay at
            the most first ("cap_max") or at the fewest last ("cap_min") for what is left.
    """
    if mode == "full" or points < 1:
        return filter_curve(most, fewest, points, slope)
    ratio = 1 - abs(slope)
    found = [most]
    while len(found) < points and found[-1] != fewest:
        found.append(max(fewest, int(found[-1] * ratio / STEP) * STEP))
    left = points - len(found)
    return [most] * left + found if mode == "cap_max" else found + [fewest] * left


def guide_slope(slope: float) -> float:
    """A decoder's slope with the other sign: the guide's from that of the presets, or the reverse.

    The guide draws the decoder's curve from fewest to most and reads it backwards. For dense layers both agree.
    """
    return -slope if slope else 0.0


def scale_dim(target: int, dim: int) -> int:
    """Side of the small picture that doublings bring to the target.

    Args:
        target: side to reach.
        dim: side at hand.

    Returns:
        the target halved while it is larger than dim and even; more than dim where that ends at an odd number.
    """
    while target > dim and target % 2 == 0:
        target //= 2
    return target


def scaled_filters(filters: int, dim: int, target: int, multiple: int = 1) -> int:
    """The most filters, at most as many as given, with which a picture can be reshaped for the decoder.

    dim*dim*filters has to be a multiple of scaled*scaled, where scaled is scale_dim(target, dim). The guide's rule:
    1280 filters at 16 px become 1278 for 192 px, whose decoder begins at 12 px.

    Args:
        filters: wanted.
        dim: side at which they are reshaped.
        target: side of the finished picture.
        multiple: they also have to be a multiple of this, where they have to change.

    Returns:
        filters; 0 when they are too few.
    """
    scaled = scale_dim(target, dim)
    if scaled == dim:
        return filters
    step = lcm(scaled**2 // gcd(dim**2, scaled**2), multiple)
    return filters // step * step
