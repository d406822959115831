"""A running average of a model's weights: calmer pictures than the weights themselves give."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

ModelT = TypeVar("ModelT", bound=nn.Module)


class WeightAverage(Generic[ModelT]):
    """Follows the weights of a model.

    average += (1 - share) * (weights - average) at each update, with share = min(decay, (1 + t) / (10 + t)) at update
    t = 0, 1, ...: the first weights are soon forgotten. It stays on the model's device and the host waits for nothing.

    Args:
        model: to follow; the average begins as its copy.
        decay: what the average keeps of itself at each update, in the long run.

    Attributes:
        model: the averaged model, in evaluation mode, without gradients.
        count: updates done; to be stored along with ``state_dict``.
    """

    def __init__(self, model: ModelT, decay: float = 0.999) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.count = 0
        self._followed = model
        self._decay = decay

    @torch.no_grad()
    def update(self) -> None:
        """Take in the model's present weights; buffers are copied."""
        weights = [weight.detach() for weight in self._followed.parameters()]
        torch._foreach_lerp_(list(self.model.parameters()), weights, 1.0 - kept_share(self.count, self._decay))
        for buffer, followed in zip(self.model.buffers(), self._followed.buffers(), strict=True):
            buffer.copy_(followed)
        self.count += 1

    def state_dict(self) -> dict[str, Tensor]:
        """The averaged weights under the names of the model's own."""
        return self.model.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor], count: int = 0) -> None:
        """Take over averaged weights, and how many updates have made them."""
        self.model.load_state_dict(state)
        self.count = count


def kept_share(count: int, decay: float) -> float:
    """What an average keeps of itself at update number ``count``, from 0."""
    return min(decay, (1 + count) / (10 + count))
