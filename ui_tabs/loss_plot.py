"""The loss curve as SVG text: raw and smoothed lines of both sides, linear or logarithmic, in the page's colours."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from backend.storage.loss_history import LossCurve
from ui_tabs.job_panel import empty_html

WIDTH, HEIGHT = 760, 260
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 10, 26
LINES_AT_MOST = 5

Scale = Callable[[float], float]


def loss_plot(curve: LossCurve, logarithmic: bool) -> str:
    """SVG of a decimated loss curve.

    Args:
        curve: at most some hundred points.
        logarithmic: whether the losses stand on a logarithmic axis.
    """
    if len(curve.iteration) < 2:
        return empty_html("The loss of both sides appears here after the first iterations.")
    lowest = float(min(curve.src.min(), curve.dst.min()))
    highest = float(max(curve.src.max(), curve.dst.max()))
    low, high = _limits(lowest, highest, logarithmic)
    first, last = float(curve.iteration[0]), float(curve.iteration[-1])

    def x(iteration: float) -> float:
        return LEFT + (iteration - first) / max(1.0, last - first) * (WIDTH - LEFT - RIGHT)

    def y(loss: float) -> float:
        at = max(loss, low)
        share = math.log(at / low) / math.log(high / low) if logarithmic else (at - low) / (high - low)
        return HEIGHT - BOTTOM - min(1.0, share) * (HEIGHT - TOP - BOTTOM)

    iterations = [float(i) for i in curve.iteration]
    parts = [_loss_axis(_ticks(low, high, logarithmic), y), _iteration_axis(first, last, x)]
    for side, raw, smooth in (("src", curve.src, curve.src_smooth), ("dst", curve.dst, curve.dst_smooth)):
        parts.append(_line(side, "raw", iterations, raw.tolist(), (x, y)))
        parts.append(_line(side, "smooth", iterations, smooth.tolist(), (x, y)))
    words = (
        f"Loss of {curve.count:,} iterations up to {last:,.0f}; "
        f"src {curve.src_smooth[-1]:.4f}, dst {curve.dst_smooth[-1]:.4f}"
    )
    return (
        f'<figure class="lk-plot"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{words}">'
        f"{''.join(parts)}</svg><figcaption>"
        f'<span class="lk-side-src">src {curve.src_smooth[-1]:.4f}</span>'
        f'<span class="lk-side-dst">dst {curve.dst_smooth[-1]:.4f}</span>'
        "<span>thin: loss, thick: smoothed, over iterations</span></figcaption></figure>"
    )


def _limits(lowest: float, highest: float, logarithmic: bool) -> tuple[float, float]:
    if logarithmic:
        low = max(lowest, 1e-6) * 0.93
        return low, max(highest * 1.07, low * 1.5)
    return 0.0, max(highest * 1.05, 1e-6)


def _ticks(low: float, high: float, logarithmic: bool) -> list[float]:
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


def _loss_axis(ticks: Sequence[float], y: Scale) -> str:
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


def _line(
    side: str, kind: str, iterations: Sequence[float], losses: Sequence[float], scales: tuple[Scale, Scale]
) -> str:
    x, y = scales
    points = " ".join(f"{x(i):.1f},{y(loss):.1f}" for i, loss in zip(iterations, losses, strict=True))
    return f'<polyline class="{side} {kind}" points="{points}"/>'
