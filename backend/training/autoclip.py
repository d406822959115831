"""Clipping gradients to what their length mostly stays under.

Seetharaman, Wichern, Pardo and Le Roux, "AutoClip: adaptive gradient clipping for source separation networks", 2020.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

MOST = 1_000_000
"""Lengths that are remembered at most."""

_FIRST = 1024


class AutoClip:
    """Remembers the lengths of gradients and tells the percentile of them. The host waits for nothing.

    Lengths that are not finite leave an empty place and do not count. Between two neighbours in order, the percentile
    is interpolated, as in numpy and in the paper's own program.

    Args:
        percentile: share of the remembered lengths that lie below the limit, %.
        history: lengths to remember; 0 is MOST.
        device: where the gradients are.
    """

    def __init__(self, percentile: float, history: int, device: torch.device) -> None:
        self._share = percentile / 100
        self._most = min(history, MOST) or MOST
        self._lengths = torch.full((min(_FIRST, self._most),), torch.nan, device=device)
        self._seen = 0

    def limit(self, norm: Tensor) -> Tensor:
        """Take in the length of these gradients, 0-dim float32, and tell to what they are to be clipped.

        Returns:
            0-dim on the device; no number before the first finite length.
        """
        if self._seen == len(self._lengths) < self._most:
            self._grow()
        self._lengths[self._seen % self._most] = torch.where(norm.isfinite(), norm, torch.nan)
        self._seen += 1
        known = min(self._seen, len(self._lengths))
        return torch.nanquantile(self._lengths[:known], self._share)

    def state_dict(self) -> dict[str, Tensor]:
        """The lengths, oldest first, (n,) float32; those that were not finite are NaN."""
        if self._seen <= len(self._lengths):
            return {"lengths": self._lengths[: self._seen].clone()}
        return {"lengths": self._lengths.roll(-(self._seen % self._most))}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over what state_dict() gave, its newest lengths where fewer fit; without any, begin anew."""
        stored = state.get("lengths", torch.empty(0))[-self._most :]
        while len(self._lengths) < len(stored):
            self._grow()
        self._lengths.fill_(torch.nan)
        self._lengths[: len(stored)] = stored.to(self._lengths)
        self._seen = len(stored)

    def _grow(self) -> None:
        more = torch.full((min(len(self._lengths), self._most - len(self._lengths)),), torch.nan)
        self._lengths = torch.cat((self._lengths, more.to(self._lengths.device)))
