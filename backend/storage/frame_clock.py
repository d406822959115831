"""When frames are shown: the clock of a range, and how containers that know less about time keep to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np

FINE_TICK = Fraction(1, 90_000)
"""Time base of clips with a variable frame rate."""

CONSTANT_WITHIN_S = 0.0006
"""Containers round times to milliseconds; a rate that fits this well is constant."""

USUAL_RATES = (
    *(Fraction(24_000, 1001), Fraction(24), Fraction(25), Fraction(30_000, 1001), Fraction(30), Fraction(48)),
    *(Fraction(50), Fraction(60_000, 1001), Fraction(60), Fraction(100), Fraction(120_000, 1001), Fraction(120)),
)
USUAL_WITHIN = 0.05
"""An uneven clip whose mean rate is this close to a usual one gets that, as a share of the rate."""

CENTISECOND = Fraction(1, 100)
SHORTEST_DELAY = 2
"""Viewers show a gif frame of less than two hundredths of a second for ten."""


@dataclass(frozen=True)
class FrameClock:
    """When each frame is shown.

    Attributes:
        time_base: seconds per tick.
        ticks: ascending start of each frame; the first is 0.
        end: tick at which the last frame ends.
        constant: whether every frame lasts equally long.
    """

    time_base: Fraction
    ticks: tuple[int, ...]
    end: int
    constant: bool

    @property
    def length_s(self) -> float:
        """Seconds from the first frame to the end of the last."""
        return float(self.end * self.time_base)

    @property
    def rate(self) -> Fraction:
        """Mean frames per second."""
        return len(self.ticks) / (self.end * self.time_base)

    @property
    def timescale(self) -> int:
        """Ticks per second for lengths in the file: fine, and exact for this clock."""
        denominator = self.time_base.denominator
        return denominator * -(-10_000 // denominator)

    @property
    def shortest_s(self) -> float:
        """Length of the shortest frame."""
        return float(min(b - a for a, b in pairwise([*self.ticks, self.end])) * self.time_base)


@dataclass(frozen=True)
class Timing:
    """How the frames that are given become those of a file.

    Attributes:
        clock: of the frames in the file.
        times: how often each given frame is written; 0 leaves it out.
        note: a sentence for the log where the times changed, else "".
    """

    clock: FrameClock
    times: tuple[int, ...]
    note: str = ""


def frame_clock(times_s: Sequence[float], end_s: float, fps: Fraction) -> FrameClock:
    """Clock of frames with the given times: exactly constant when they fit fps or a whole fraction of it.

    Args:
        times_s: ascending seconds of the frames, at least one.
        end_s: when the last one ends, on the same clock.
        fps: rate of the clip the frames came from.
    """
    start, count = times_s[0], len(times_s)
    mean = (times_s[-1] - start) / (count - 1) if count > 1 else float(1 / fps)
    step = Fraction(max(1, round(mean * fps))) / fps
    offsets = np.asarray(times_s, np.float64) - start
    if np.abs(offsets - np.arange(count) * float(step)).max() <= CONSTANT_WITHIN_S:
        return FrameClock(step, tuple(range(count)), count, True)
    ticks: list[int] = []
    for offset in offsets:
        tick = round(float(offset) / FINE_TICK)
        ticks.append(max(tick, ticks[-1] + 1) if ticks else tick)
    end = max(round((end_s - start) / FINE_TICK), ticks[-1] + 1)
    return FrameClock(FINE_TICK, tuple(ticks), end, False)


def timing_for(clock: FrameClock, container: str) -> Timing:
    """How a kind of file keeps to a clock: gif in hundredths of a second, avi at an even rate, the others exactly."""
    if container == "gif":
        return _in_centiseconds(clock)
    if container == "avi" and not clock.constant:
        return _even(clock)
    return Timing(clock, (1,) * len(clock.ticks))


def _in_centiseconds(clock: FrameClock) -> Timing:
    """Every delay rounded so that the error never adds up; frames too short for a viewer are left out."""
    ticks: list[int] = []
    times: list[int] = []
    for start in clock.ticks:
        tick = round(start * clock.time_base / CENTISECOND)
        shown = not ticks or tick - ticks[-1] >= SHORTEST_DELAY
        times.append(int(shown))
        if shown:
            ticks.append(tick)
    end = max(round(clock.end * clock.time_base / CENTISECOND), ticks[-1] + SHORTEST_DELAY)
    constant = len({b - a for a, b in pairwise([*ticks, end])}) == 1
    dropped = len(times) - len(ticks)
    note = f"gif shows at most 50 frames per second: {dropped} of {len(times)} frames are left out." if dropped else ""
    return Timing(FrameClock(CENTISECOND, tuple(ticks), end, constant), tuple(times), note)


def _even(clock: FrameClock) -> Timing:
    """Each slot of the nearest usual rate shows the frame that is on screen in its middle."""
    usual = min(USUAL_RATES, key=lambda rate: abs(rate - clock.rate))
    rate = usual if abs(usual / clock.rate - 1) <= USUAL_WITHIN else clock.rate.limit_denominator(1001)
    slots = max(1, round(clock.end * clock.time_base * rate))
    middles = (np.arange(slots) + 0.5) / float(rate)
    starts = np.array(clock.ticks, np.float64) * float(clock.time_base)
    shown = np.searchsorted(starts, middles, side="right") - 1
    times = np.bincount(shown, minlength=len(clock.ticks))
    note = (
        f"avi knows only even frame rates: the uneven times of the clip become {float(rate):.3f} frames per second, "
        f"{int((times == 0).sum())} frames are left out and {int(np.maximum(times - 1, 0).sum())} shown again."
    )
    return Timing(FrameClock(1 / rate, tuple(range(slots)), slots, True), tuple(int(n) for n in times), note)
