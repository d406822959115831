"""The figure of the learning rate finder."""

from __future__ import annotations

import math
import re

from backend.storage.lr_curve import LrCurve
from ui_tabs.loss_plot import LEFT, RIGHT, WIDTH
from ui_tabs.rate_plot import rate_plot


def found(strength: str = "aggressive") -> LrCurve:
    """A curve that falls until 1e-3 and breaks beyond."""
    rates = tuple(10 ** (-10 + 9 * i / 90) for i in range(91))
    losses = tuple(2.0 - 0.2 * (math.log10(r) + 10) if r <= 1.001e-3 else 0.6 + 50 * (r - 1e-3) for r in rates)
    return LrCurve(rates=rates, losses=losses, smoothed=losses, best=1e-3, strength=strength, chosen=2e-4, iteration=91)


def test_a_dot_for_each_strength_stands_at_its_rate() -> None:
    drawn = rate_plot(found())
    dots = re.findall(r'class="(dot[^"]*)" cx="([\d.]+)"', drawn)
    assert [look for look, _ in dots] == ["dot", "dot chosen", "dot"]
    width = WIDTH - LEFT - RIGHT
    places = [LEFT + (math.log10(1e-3 / share) + 10) / 9 * width for share in (10, 5, 2.5)]
    assert [float(x) for _, x in dots] == [round(place, 1) for place in places]
    for words in ("1.00e-04", "2.00e-04", "4.00e-04", ">1e-10<", ">1e-2<"):
        assert words in drawn


def test_broken_losses_stay_inside_the_figure() -> None:
    tops = [
        float(y) for pair in re.findall(r'points="([^"]+)"', rate_plot(found())) for y in re.findall(r",([\d.]+)", pair)
    ]
    assert min(tops) >= 10
    assert max(tops) <= 234


def test_a_single_step_is_drawn() -> None:
    one = LrCurve(
        rates=(1e-4,), losses=(1.0,), smoothed=(1.0,), best=1e-4, strength="default", chosen=1e-5, iteration=1
    )
    assert "<circle" in rate_plot(one)
