"""Loss curves as SVG text: raw and smoothed lines, linear or logarithmic, in the page's colours, sessions marked."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ui_tabs.job_panel import empty_html

WIDTH, HEIGHT = 760, 260
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 10, 26
LINES_AT_MOST = 5
MARKS_AT_MOST = 60
LOWEST = 1e-6
"""Smallest loss on a logarithmic axis."""

Scale = Callable[[float], float]


@dataclass(frozen=True)
class Line:
    """One loss over the iterations; NaN leaves a gap.

    Attributes:
        label: what the legend calls it.
        style: classes of its colour: src, dst, or part-0 to part-6, with ``second`` for a dashed line.
        raw, smooth: as many values as the plot has iterations.
    """

    label: str
    style: str
    raw: Sequence[float]
    smooth: Sequence[float]

    @property
    def newest(self) -> float:
        """The newest smoothed value; NaN when the line is not there at the end."""
        return self.smooth[-1]


@dataclass(frozen=True)
class Plot:
    """What is drawn.

    Attributes:
        iterations: ascending, at most some hundred.
        lines: at least one.
        count: iterations in the range before decimation.
        sessions: (iteration, words) at which a run began.
    """

    iterations: Sequence[float]
    lines: Sequence[Line]
    count: int
    sessions: Sequence[tuple[int, str]] = ()


def loss_plot(plot: Plot, logarithmic: bool) -> str:
    """SVG of decimated loss curves; ``logarithmic`` puts the losses on a logarithmic axis."""
    values = [value for line in plot.lines for value in line.raw if math.isfinite(value)]
    if len(plot.iterations) < 2 or not values:
        return empty_html("The loss of both sides appears here after the first iterations.")
    if logarithmic:
        values = [value for value in values if value > LOWEST] or [LOWEST]
    low, high = _limits(min(values), max(values), logarithmic)
    first, last = plot.iterations[0], plot.iterations[-1]

    def x(iteration: float) -> float:
        return LEFT + (iteration - first) / max(1.0, last - first) * (WIDTH - LEFT - RIGHT)

    def y(loss: float) -> float:
        at = max(loss, low)
        share = math.log(at / low) / math.log(high / low) if logarithmic else (at - low) / (high - low)
        return HEIGHT - BOTTOM - min(1.0, share) * (HEIGHT - TOP - BOTTOM)

    marks = [mark for mark in plot.sessions if first < mark[0] < last][-MARKS_AT_MOST:]
    parts = [loss_axis(loss_ticks(low, high, logarithmic), y), _iteration_axis(first, last, x), _sessions(marks, x)]
    for line in plot.lines:
        parts.append(curve_line(f"{line.style} raw", plot.iterations, line.raw, (x, y)))
        parts.append(curve_line(f"{line.style} smooth", plot.iterations, line.smooth, (x, y)))
    return _figure(plot, "".join(parts), bool(marks))


def _figure(plot: Plot, drawn: str, marked: bool) -> str:
    newest = [(line, "off" if math.isnan(line.newest) else f"{line.newest:.4f}") for line in plot.lines]
    told = ", ".join(f"{line.label} {value}" for line, value in newest)
    words = html.escape(f"Loss of {plot.count:,} iterations up to {plot.iterations[-1]:,.0f}; {told}")
    legend = "".join(
        f'<span class="lk-key lk-key-{line.style}">{html.escape(line.label)} {value}</span>' for line, value in newest
    )
    rest = "thin: loss, thick: smoothed, over iterations" + ("; dashed: a new session" if marked else "")
    return (
        f'<figure class="lk-plot"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{words}">{drawn}</svg>'
        f"<figcaption>{legend}<span>{rest}</span></figcaption></figure>"
    )


def _limits(lowest: float, highest: float, logarithmic: bool) -> tuple[float, float]:
    if logarithmic:
        return lowest * 0.93, max(highest * 1.07, lowest * 1.5)
    return 0.0, max(highest * 1.05, 1e-6)


def loss_ticks(low: float, high: float, logarithmic: bool) -> list[float]:
    """Round values for the lines of a loss axis."""
    if not logarithmic:
        step = _round_step((high - low) / LINES_AT_MOST)
        return [step * i for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)):
        found = [d * 10.0**e for e in decades for d in digits if low <= d * 10.0**e <= high]
        if len(found) >= 3:
            break
    return found


def _round_step(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(max(step, 1e-12)))
    return next(m * power for m in (1.0, 2.0, 5.0, 10.0) if m * power >= step)


def loss_axis(ticks: Sequence[float], y: Scale) -> str:
    """Lines across the plot with their values."""
    return "".join(
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(t):.1f}" y2="{y(t):.1f}"/>'
        f'<text x="{LEFT - 6}" y="{y(t) + 4:.1f}" text-anchor="end">{t:.3g}</text>'
        for t in ticks
    )


def _iteration_axis(first: float, last: float, x: Scale) -> str:
    step = max(1.0, _round_step((last - first) / LINES_AT_MOST))
    ticks = [step * i for i in range(math.ceil(first / step), math.floor(last / step) + 1)]
    return "".join(
        f'<text x="{min(x(t), WIDTH - 20):.1f}" y="{HEIGHT - 8}" text-anchor="middle">{t:,.0f}</text>' for t in ticks
    )


def _sessions(marks: Sequence[tuple[int, str]], x: Scale) -> str:
    return "".join(
        f'<line class="session" x1="{x(at):.1f}" x2="{x(at):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}">'
        f"<title>{html.escape(words)}</title></line>"
        for at, words in marks
    )


def curve_line(style: str, iterations: Sequence[float], losses: Sequence[float], scales: tuple[Scale, Scale]) -> str:
    """Polylines of one line, one for each stretch without gaps; a single point is drawn as a dot."""
    x, y = scales
    stretches: list[list[str]] = [[]]
    for iteration, loss in zip(iterations, losses, strict=True):
        if math.isfinite(loss):
            stretches[-1].append(f"{x(iteration):.1f},{y(loss):.1f}")
        elif stretches[-1]:
            stretches.append([])
    return "".join(
        f'<polyline class="{style}" points="{" ".join(points if len(points) > 1 else points * 2)}"/>'
        for points in stretches
        if points
    )
