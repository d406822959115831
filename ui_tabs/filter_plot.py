"""The filter curves of the model builder as SVG text, with the resulting list below; computed from settings alone."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

from backend.core.filter_curve import STEEPEST
from backend.core.settings import PhazeASettings

WIDTH, HEIGHT = 360, 132
LEFT, RIGHT, TOP, BOTTOM = 8, 8, 20, 20
POINTS = 41
"""Of the smooth curve behind the bars."""
LABELLED_AT_MOST = 9
"""More bars than this have their number in the list only."""

DRAWN_BY = (
    "output_size",
    "shared_fc",
    "enc_architecture",
    "enc_scaling",
    "fc_depth",
    "fc_min_filters",
    "fc_max_filters",
    "fc_dimensions",
    "fc_filter_slope",
    "fc_upsampler",
    "fc_upsamples",
    "fc_upsample_filters",
    "enable_gblock",
    "fc_gblock_depth",
    "fc_gblock_min_nodes",
    "fc_gblock_max_nodes",
    "fc_gblock_filter_slope",
    "dec_upscale_method",
    "dec_upscales_in_fc",
    "dec_min_filters",
    "dec_max_filters",
    "dec_slope_mode",
    "dec_filter_slope",
)
"""Settings that the plots depend on."""


@dataclass(frozen=True)
class Bars:
    """What one plot shows.

    Attributes:
        title: what the numbers are.
        values: one for each layer.
        under: a word below each bar.
        ends: (start, end, slope) of the curve behind them, None where there is none.
        told: sentence below the list.
        set_apart: so many of the first bars are drawn in another tone.
    """

    title: str
    values: Sequence[int]
    under: Sequence[str]
    ends: tuple[float, float, float] | None = None
    told: str = ""
    set_apart: int = 0


def filter_plots(settings: PhazeASettings) -> tuple[str, str, str]:
    """Markup of the curves of the hidden part, of the G-Block's style and of the decoder.

    Args:
        settings: not checked; they may contradict each other.
    """
    sizes, s = settings.layout(), settings
    area = s.fc_dimensions**2
    numbers = [str(i + 1) for i in range(max(len(sizes.fc_nodes), len(sizes.fc_gblock_nodes)))]
    side, channels = sizes.fc_end
    hidden = Bars(
        "nodes of the dense layers",
        sizes.fc_nodes,
        numbers,
        (sizes.fc_min_filters * area, sizes.fc_max_filters * area, s.fc_filter_slope) if s.fc_depth > 1 else None,
        f"Reshaped to {_picture(*sizes.fc_start)}; the hidden part gives {_picture(side, channels)}.",
    )
    style = Bars(
        "nodes of the style's layers",
        sizes.fc_gblock_nodes,
        numbers,
        (s.fc_gblock_min_nodes, s.fc_gblock_max_nodes, s.fc_gblock_filter_slope) if s.fc_gblock_depth > 1 else None,
    )
    empty = "Without a G-Block there is no style." if not s.enable_gblock else ""
    return (
        plot_html(hidden, "No dense layers: the bottleneck is reshaped as it is."),
        plot_html(style, empty),
        plot_html(_decoder(settings), "The hidden part ends at the output's size already."),
    )


def _decoder(s: PhazeASettings) -> Bars:
    sizes = s.layout()
    side, channels = sizes.decoder_start
    inside = min(s.dec_upscales_in_fc, len(sizes.decoder_filters))
    told = f"From {_picture(side, channels)} to {s.output_size} px."
    if inside:
        told += f" The first {inside} {'is' if inside == 1 else 'are'} in the hidden part."
    full = s.dec_slope_mode == "full" and len(sizes.decoder_filters) > 1
    return Bars(
        "filters of the decoder",
        sizes.decoder_filters,
        [f"{side * 2 ** (i + 1)} px" for i in range(len(sizes.decoder_filters))],
        (s.dec_max_filters, s.dec_min_filters, s.dec_filter_slope) if full else None,
        told,
        inside,
    )


def plot_html(bars: Bars, empty: str) -> str:
    """A bar for each layer, the curve behind them, and the list in words; ``empty`` is said where there is no layer."""
    if not bars.values:
        return f'<p class="lk-note">{html.escape(empty)}</p>' if empty else ""
    listed = ", ".join(f"{value:,}" for value in bars.values)
    words = html.escape(f"{bars.title[:1].upper()}{bars.title[1:]}: {listed}")
    drawn = "".join(_bar(bars, index) for index in range(len(bars.values)))
    return (
        f'<figure class="lk-filters"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{words}">{drawn}'
        f"{_curve(bars)}</svg><figcaption><b>{listed}</b><span>{html.escape(bars.title)}</span>"
        f"{f'<span>{html.escape(bars.told)}</span>' if bars.told else ''}</figcaption></figure>"
    )


def _bar(bars: Bars, index: int) -> str:
    value, count = bars.values[index], len(bars.values)
    step = (WIDTH - LEFT - RIGHT) / count
    wide = min(step * 0.62, 56)
    middle, top = LEFT + step * (index + 0.5), _y(value, _most(bars))
    apart = ' class="apart"' if index < bars.set_apart else ""
    bar = (
        f'<rect{apart} x="{middle - wide / 2:.1f}" y="{top:.1f}" width="{wide:.1f}" '
        f'height="{max(1.0, HEIGHT - BOTTOM - top):.1f}" rx="2"/>'
    )
    if count > LABELLED_AT_MOST:
        return bar
    under = bars.under[index] if index < len(bars.under) else ""
    return (
        f'{bar}<text x="{middle:.1f}" y="{top - 5:.1f}" text-anchor="middle">{value:,}</text>'
        f'<text class="under" x="{middle:.1f}" y="{HEIGHT - 6}" text-anchor="middle">{html.escape(under)}</text>'
    )


def _curve(bars: Bars) -> str:
    """The curve that the bars follow, before it is rounded down."""
    if bars.ends is None:
        return ""
    start, end, slope = bars.ends
    s = min(STEEPEST, max(-STEEPEST, slope))
    step = (WIDTH - LEFT - RIGHT) / len(bars.values)
    first, last = LEFT + step / 2, WIDTH - RIGHT - step / 2
    points = []
    for i in range(POINTS):
        x = i / (POINTS - 1)
        t = (x - x * s) / (s - 2 * s * x + 1)
        points.append(f"{first + x * (last - first):.1f},{_y(start + t * (end - start), _most(bars)):.1f}")
    return f'<polyline points="{" ".join(points)}"/>'


def _most(bars: Bars) -> float:
    return max(1.0, *bars.values, *(bars.ends[:2] if bars.ends else ()))


def _y(value: float, most: float) -> float:
    return HEIGHT - BOTTOM - max(0.0, value / most) * (HEIGHT - TOP - BOTTOM)


def _picture(side: int, channels: int) -> str:
    return f"{side} x {side} x {channels:,}"
