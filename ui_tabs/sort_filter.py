"""Which faces of a side are shown: conditions that all have to hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ui_tabs.sort_shelf import Flags, Shelf

ANY = "any"
BLUR_CHOICES = (("any", ANY), ("the blurriest", "blurriest"), ("the sharpest", "sharpest"))
MASK_CHOICES = (
    ("any", ANY),
    ("with a mask", "with"),
    ("without a mask", "without"),
    ("with an XSeg mask", "xseg"),
    ("with polygons", "polygons"),
)
ORIGIN_CHOICES = (
    ("any", ANY),
    ("found by the networks", "networks"),
    ("filled from neighbours", "filled"),
    ("placed by hand", "manual"),
)


@dataclass(frozen=True)
class FaceFilter:
    """What is shown. As it is made, everything.

    Attributes:
        cells: cells of the pose map; tracks, persons: their numbers. Empty for all.
        blur: ANY, "blurriest" or "sharpest"; percent: how many of the faces with known sharpness that means.
        mask: one of MASK_CHOICES; origin: one of ORIGIN_CHOICES.
        several: only faces of frames with several faces.
        score: only faces of at most this confidence; 1 for all.
        unknown_pose: only faces whose pose was never measured.
    """

    cells: frozenset[int] = frozenset()
    tracks: frozenset[int] = frozenset()
    persons: frozenset[int] = frozenset()
    blur: str = ANY
    percent: float = 10
    mask: str = ANY
    origin: str = ANY
    several: bool = False
    score: float = 1.0
    unknown_pose: bool = False

    @property
    def active(self) -> bool:
        """Whether anything is left out at all."""
        return self != FaceFilter(percent=self.percent)

    def matches(self, shelf: Shelf) -> Flags:
        """(n,) whether each face of the shelf is shown."""
        shown = np.ones(len(shelf), np.bool_)
        for wanted, column in ((self.cells, shelf.cell), (self.tracks, shelf.track), (self.persons, shelf.person)):
            if wanted:
                shown &= np.isin(column, list(wanted))
        if self.unknown_pose:
            shown &= shelf.cell < 0
        if self.several:
            shown &= shelf.in_frame > 1
        if self.score < 1:
            shown &= shelf.score <= self.score
        return shown & self._sharp(shelf) & self._masked(shelf) & self._origin(shelf)

    def _sharp(self, shelf: Shelf) -> Flags:
        known = ~np.isnan(shelf.sharpness)
        if self.blur == ANY:
            return np.ones(len(shelf), np.bool_)
        if not known.any():
            return known
        percent = self.percent if self.blur == "blurriest" else 100 - self.percent
        edge = np.percentile(shelf.sharpness[known], percent)
        return shelf.sharpness <= edge if self.blur == "blurriest" else shelf.sharpness >= edge

    def _masked(self, shelf: Shelf) -> Flags:
        either = shelf.xseg | shelf.polygons
        found: dict[str, Flags] = {"with": either, "without": ~either, "xseg": shelf.xseg, "polygons": shelf.polygons}
        return found.get(self.mask, np.ones(len(shelf), np.bool_))

    def _origin(self, shelf: Shelf) -> Flags:
        found: dict[str, Flags] = {
            "networks": ~(shelf.filled | shelf.manual),
            "filled": shelf.filled,
            "manual": shelf.manual,
        }
        return found.get(self.origin, np.ones(len(shelf), np.bool_))


def numbers_of(data: Any) -> frozenset[int]:
    """Numbers that a browser sent, as a set; what is none of them is left out."""
    return frozenset(int(item) for item in data if isinstance(item, int | float | str) and str(item).isdecimal())
