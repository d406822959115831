"""The rising rate and what it concludes; that a search leaves no trace is shown through the stage."""

from __future__ import annotations

import math

import pytest

from backend.core.errors import LookalikeError
from backend.training.lr_finder import DIVISORS, FIRST, LAST, RisingRate


def risen(losses: list[float], steps: int = 200) -> tuple[RisingRate, bool]:
    rising, more = RisingRate(steps), True
    for loss in losses:
        more = rising.add(loss)
    return rising, more


def test_the_rate_rises_by_equal_factors() -> None:
    rising, more = risen([1.0] * 100, steps=100)
    assert not more
    assert (rising.rates[0], rising.rates[-1]) == pytest.approx((FIRST, LAST))
    factors = [two / one for one, two in zip(rising.rates, rising.rates[1:], strict=False)]
    assert factors == pytest.approx([(LAST / FIRST) ** (1 / 99)] * 99)


def test_losses_are_smoothed_without_bias() -> None:
    losses = [3.0, 1.0, 2.0, 5.0]
    rising, more = risen(losses)
    assert more
    for t in range(1, 5):
        weights = [0.98 ** (t - 1 - i) for i in range(t)]
        mean = sum(w * loss for w, loss in zip(weights, losses, strict=False)) / sum(weights)
        assert rising.smoothed[t - 1] == pytest.approx(mean)
    assert rising.losses == losses


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1000.0])
def test_it_stops_where_learning_breaks(bad: float) -> None:
    rising, more = risen([1.0, 1.0, bad])
    assert not more
    assert (len(rising.rates), len(rising.losses), len(rising.smoothed)) == (2, 2, 2)


def test_four_times_the_lowest_is_still_allowed() -> None:
    """The running mean of 1 and x is (.98 + x) / 1.98."""
    assert risen([1.0, 6.9])[1]
    assert not risen([1.0, 7.0])[1]


@pytest.mark.parametrize("strength", DIVISORS)
def test_the_choice_is_a_share_of_the_rate_of_the_lowest(strength: str) -> None:
    rising, _ = risen([2.0] * 140 + [1.0] * 40 + [4.0] * 10)
    best = rising.rates[179]
    curve = rising.curve(strength, 1e-7, 1e-2)
    assert (curve.best, curve.iteration, curve.strength) == (best, 190, strength)
    assert curve.chosen == pytest.approx(min(best / {"default": 10, "aggressive": 5, "extreme": 2.5}[strength], 1e-2))
    assert rising.curve(strength, 0.05, 0.06).chosen == 0.05
    assert rising.curve(strength, 1e-9, 1e-8).chosen == 1e-8


@pytest.mark.parametrize("losses", [[], [math.nan], [1.0, 1.1, 1.2]])
def test_a_rate_of_nothing_is_an_error(losses: list[float]) -> None:
    rising, _ = risen(losses)
    with pytest.raises(LookalikeError, match="No learning rate was found"):
        rising.curve("default", 1e-7, 1e-2)
