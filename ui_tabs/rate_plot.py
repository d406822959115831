"""What the search for a learning rate found, as an SVG: the loss over a rising rate, and the rates to choose from."""

from __future__ import annotations

import html
import math

from backend.storage.lr_curve import LrCurve
from ui_tabs.loss_plot import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Scale, curve_line, loss_axis, loss_ticks

STRENGTHS = (("default", 10.0), ("aggressive", 5.0), ("extreme", 2.5))
"""Strength of the search -> what the rate of the lowest loss is divided by."""

_HIGHEST = 2.0
"""Losses beyond this multiple of the first smoothed one are cut off: there the training has broken."""


def rate_plot(curve: LrCurve) -> str:
    """The figure: thin the losses, thick their running mean, a dot for the rate of each strength."""
    smoothed, rates = curve.smoothed, curve.rates
    low, top = min(smoothed), max(min(max(smoothed), _HIGHEST * smoothed[0]), min(smoothed) * 1.05)
    high = max(top * 1.05, low + 1e-6)
    first, last = math.log10(rates[0]), math.log10(rates[-1])

    def x(rate: float) -> float:
        return LEFT + (math.log10(rate) - first) / max(1e-9, last - first) * (WIDTH - LEFT - RIGHT)

    def y(loss: float) -> float:
        share = (min(max(loss, low), high) - low) / (high - low)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    def at(rate: float) -> float:
        nearest = min(range(len(rates)), key=lambda i: abs(math.log10(rates[i]) - math.log10(rate)))
        return smoothed[nearest]

    dots = [(word, curve.best / share) for word, share in STRENGTHS]
    drawn = [loss_axis(loss_ticks(low, high, False), y), _rate_axis(first, last, x)]
    drawn.append(curve_line("src raw", rates, curve.losses, (x, y)))
    drawn.append(curve_line("src smooth", rates, smoothed, (x, y)))
    for word, rate in dots:
        look = "dot chosen" if word == curve.strength else "dot"
        title = f"<title>{html.escape(f'{word}: {rate:.2e}')}</title>"
        drawn.append(f'<circle class="{look}" cx="{x(rate):.1f}" cy="{y(at(rate)):.1f}" r="5">{title}</circle>')
    told = ", ".join(f"{word} {rate:.2e}" for word, rate in dots)
    words = html.escape(f"Loss over a rising learning rate; {told}")
    keys = "".join(f"<span>{html.escape(word)} <b>{rate:.2e}</b></span>" for word, rate in dots)
    return (
        f'<figure class="lk-plot"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{words}">{"".join(drawn)}'
        f"</svg><figcaption>{keys}<span>dots: the rates of the three strengths, full: the chosen one, "
        f"{curve.chosen:.2e}</span></figcaption></figure>"
    )


def _rate_axis(first: float, last: float, x: Scale) -> str:
    """A label at every second power of ten."""
    powers = range(math.ceil(first), math.floor(last) + 1)
    return "".join(
        f'<text x="{min(x(10.0**power), WIDTH - 24):.1f}" y="{HEIGHT - 8}" text-anchor="middle">1e{power}</text>'
        for power in powers
        if power % 2 == 0 or len(powers) < 6
    )
