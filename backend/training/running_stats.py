"""What batch norms remember of the pictures they saw, kept clear of numbers that are not finite."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RunningStats:
    """Running means and variances of all batch norms of a network.

    They are only ever averaged: one batch that overflows leaves them infinite for good. Training looks at each batch
    by itself and goes on, while previews and merges, which look at what is remembered, show nothing any more.

    Args:
        network: on its device.
    """

    def __init__(self, network: nn.Module) -> None:
        norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        found = (each for norm in norms for each in (norm.running_mean, norm.running_var))
        self._stats = [stats for stats in found if stats is not None]
        self.renew()

    def renew(self) -> None:
        """Trust what is remembered now, for it was loaded."""
        self._good = torch.cat(self._stats) if self._stats else torch.empty(0)

    @torch.no_grad()
    def settle(self) -> None:
        """Keep what the newest batch left; where any of it is not finite, put back what was before.

        Call after the backward pass, which still looks at it. Nobody waits.
        """
        if not self._stats:
            return
        found = torch.cat(self._stats)
        self._good = torch.where(found.isfinite().all(), found, self._good)
        parts: list[Tensor] = list(self._good.split([len(stats) for stats in self._stats]))
        torch._foreach_copy_(self._stats, parts)
