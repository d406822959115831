"""The filter curve: faceswap's lists and the guide's, edge cases, capped modes, filters that can be reshaped."""

from __future__ import annotations

import pytest

from backend.core.filter_curve import (
    decoder_filters,
    filter_curve,
    guide_slope,
    hidden_nodes,
    scale_dim,
    scaled_filters,
)

FOUR = {
    -0.45: [512, 256, 128, 64],
    0: [512, 360, 208, 64],
    -0.75: [512, 160, 88, 64],
    0.75: [512, 480, 408, 64],
    0.45: [512, 440, 312, 64],
    -0.25: [512, 304, 160, 64],
    0.25: [512, 408, 264, 64],
}
SIX = {
    -0.75: [512, 224, 136, 96, 72, 64],
    -0.45: [512, 328, 224, 152, 96, 64],
    -0.25: [512, 376, 272, 184, 120, 64],
    0: [512, 416, 328, 240, 152, 64],
    0.25: [512, 448, 384, 296, 192, 64],
    0.45: [512, 472, 416, 344, 240, 64],
    0.75: [512, 496, 472, 432, 344, 64],
}


@pytest.mark.parametrize("slope", FOUR)
def test_four_points(slope: float) -> None:
    assert decoder_filters(512, 64, 4, slope) == FOUR[slope]


@pytest.mark.parametrize("slope", SIX)
def test_six_points(slope: float) -> None:
    assert decoder_filters(512, 64, 6, slope) == SIX[slope]


@pytest.mark.parametrize("slope", [*FOUR, *SIX])
def test_the_guides_sign_is_the_other(slope: float) -> None:
    """The guide draws from fewest to most and reads backwards: the same lists, but for one floor."""
    table, points = (FOUR, 4) if slope in FOUR else (SIX, 6)
    read = filter_curve(64, 512, points, guide_slope(slope))[::-1]
    off = [abs(a - b) for a, b in zip(read, table[slope], strict=True)]
    assert max(off) <= 8
    assert guide_slope(guide_slope(slope)) == slope


def test_the_guides_example_with_the_guides_sign() -> None:
    assert decoder_filters(512, 64, 4, guide_slope(0.45)) == [512, 256, 128, 64]
    assert filter_curve(64, 512, 4, 0.45)[::-1] == [512, 256, 128, 64]
    assert filter_curve(64, 512, 6, 0.25)[::-1] == [512, 376, 272, 192, 120, 64]
    assert str(guide_slope(0.0)) == "0.0"


@pytest.mark.parametrize(
    ("most", "fewest", "points", "slope", "wanted"),
    [
        (640, 160, 4, -0.33, [640, 400, 256, 160]),
        (504, 128, 3, -0.33, [504, 248, 128]),
        (512, 128, 3, -0.33, [512, 256, 128]),
        (256, 64, 3, -0.33, [256, 128, 64]),
        (512, 128, 4, -0.5, [512, 280, 176, 128]),
        (512, 512, 5, 0.3, [512] * 5),
        (1020, 64, 2, 0.0, [1016, 64]),
        (512, 64, 4, -5.0, decoder_filters(512, 64, 4, -0.99)),
    ],
)
def test_further_lists(most: int, fewest: int, points: int, slope: float, wanted: list[int]) -> None:
    assert decoder_filters(most, fewest, points, slope) == wanted


def test_few_points() -> None:
    assert filter_curve(64, 512, 0, 0.2) == []
    assert filter_curve(60, 512, 1, 0.2) == [60]
    assert filter_curve(64, 512, 2, 0.2) == [64, 512]
    assert decoder_filters(512, 64, 0, 0.5, "cap_max") == []
    assert decoder_filters(512, 64, 1, 0.5, "cap_min") == [512]


def test_the_last_dense_layer_is_never_rounded() -> None:
    assert hidden_nodes(16, 81_790, 1, -0.5) == [81_790]
    assert hidden_nodes(1000, 9_261, 2, -0.5) == [1000, 9_261]
    assert hidden_nodes(1000, 9_261, 0, -0.5) == []
    assert hidden_nodes(512, 512, 3, -0.5) == [512, 512, 512]


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("most", "fewest", "points", "cap_max", "cap_min"),
    [
        (512, 64, 6, [512, 512, 512, 256, 128, 64], [512, 256, 128, 64, 64, 64]),
        (512, 16, 8, [512, 512, 512, 256, 128, 64, 32, 16], [512, 256, 128, 64, 32, 16, 16, 16]),
        (1536, 24, 7, [1536, 768, 384, 192, 96, 48, 24], [1536, 768, 384, 192, 96, 48, 24]),
        (512, 64, 2, [512, 256], [512, 256]),
    ],
)
def test_capped(most: int, fewest: int, points: int, cap_max: list[int], cap_min: list[int], sign: int) -> None:
    assert decoder_filters(most, fewest, points, 0.5 * sign, "cap_max") == cap_max
    assert decoder_filters(most, fewest, points, 0.5 * sign, "cap_min") == cap_min


@pytest.mark.parametrize(
    ("target", "dim", "wanted"),
    [(192, 16, 12), (192, 8, 6), (384, 16, 12), (224, 8, 7), (448, 14, 14), (256, 16, 16), (112, 4, 7), (64, 128, 64)],
)
def test_where_the_decoder_begins(target: int, dim: int, wanted: int) -> None:
    assert scale_dim(target, dim) == wanted


@pytest.mark.parametrize(
    ("filters", "dim", "target", "wanted"),
    [
        (1280, 16, 192, 1278),
        (1280, 16, 384, 1278),
        (1024, 16, 320, 1000),
        (512, 8, 224, 490),
        (512, 8, 160, 500),
        (1024, 16, 448, 980),
        (1024, 16, 256, 1024),
        (1001, 16, 256, 1001),
        (100, 4, 208, 0),
    ],
)
def test_filters_that_can_be_reshaped(filters: int, dim: int, target: int, wanted: int) -> None:
    assert scaled_filters(filters, dim, target) == wanted


def test_filters_that_can_be_reshaped_and_halved() -> None:
    assert scaled_filters(1277, 16, 192) == 1269
    assert scaled_filters(1277, 16, 192, multiple=2) == 1260
