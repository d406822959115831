"""The processes that train one model together. Alone, every method does nothing."""

from __future__ import annotations

import contextlib
from typing import TypeVar

from torch import Tensor, nn

T = TypeVar("T")


class Ranks:
    """A process that trains alone.

    Attributes:
        rank: number of this process; 0 reports and saves.
        count: how many there are.
    """

    rank: int = 0
    count: int = 1

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network with gradients that are averaged over all processes."""
        return network

    def gathering(self, last: bool) -> contextlib.AbstractContextManager[None]:
        """Around one forward and backward pass: gradients travel only in the last one before a step."""
        return contextlib.nullcontext()

    def average_(self, tensors: list[Tensor]) -> None:
        """Replace tensors by their means over all processes."""

    def agree(self, value: T) -> T:
        """The value of rank 0, on every rank."""
        return value

    def least(self, value: int) -> int:
        """The smallest of the values of all processes."""
        return value
