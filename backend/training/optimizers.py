"""AdaBelief and RMSprop as DeepFaceLab computes them: no bias correction, no weight decay, epsilon outside the root.

Tensors are updated in buckets. On a CPU a bucket is small enough for its state to stay in the cache from one operation
to the next; on an accelerator all tensors form one bucket and each operation is one kernel launch.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor

from backend.core.errors import DamagedFileError
from backend.core.settings.train import TrainSettings

EPSILON = 1e-6
CPU_BUCKET = 1 << 18


class MovingAverageOptimizer(torch.optim.Optimizer):
    """An optimiser whose state is one or two moving averages per weight.

    Args:
        parameters: what to optimise, float32.
        learning_rate: step size.

    ``param_groups[i]["iterations"]`` counts the steps taken and is stored with the state.
    """

    AVERAGES: ClassVar[tuple[str, ...]] = ()

    def __init__(self, parameters: Iterable[Tensor], learning_rate: float) -> None:
        super().__init__(parameters, {"lr": learning_rate, "iterations": 0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:
        """Move every parameter that has a gradient. ``closure`` is not supported."""
        if closure is not None:
            raise ValueError("this optimiser evaluates no closure")
        for group in self.param_groups:
            group["iterations"] += 1
            for bucket in buckets([p for p in group["params"] if p.grad is not None]):
                gradients = [p.grad for p in bucket if p.grad is not None]
                averages = [[self._average(p, name) for p in bucket] for name in self.AVERAGES]
                self.update(bucket, gradients, averages, group["lr"])

    @abstractmethod
    def update(
        self, weights: list[Tensor], gradients: list[Tensor], averages: list[list[Tensor]], learning_rate: float
    ) -> None:
        """Move one bucket of weights and their averages, in the order of ``AVERAGES``, in place."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a stored state, in the memory order of the weights.

        Raises:
            DamagedFileError: an average is missing or does not have the shape of its weight.
        """
        try:
            super().load_state_dict(state_dict)
        except (ValueError, KeyError) as error:
            raise DamagedFileError(f"The stored optimiser state does not fit this model ({error}).") from error
        for weight, state in self.state.items():
            for name in self.AVERAGES:
                stored = state.get(name)
                if stored is None or stored.shape != weight.shape:
                    raise DamagedFileError(f"The stored optimiser state does not fit this model: '{name}' of a weight.")
                state[name] = torch.empty_like(weight).copy_(stored)

    def _average(self, weight: Tensor, name: str) -> Tensor:
        state = self.state[weight]
        if name not in state:
            state[name] = torch.zeros_like(weight)
        return state[name]


class AdaBelief(MovingAverageOptimizer):
    """m = .9m + .1g; v = .999v + .001(g - m)^2 with the new m; w -= lr * m / (sqrt(v) + 1e-6).

    Zhuang et al., "AdaBelief optimizer: adapting stepsizes by the belief in observed gradients", 2020, in
    DeepFaceLab's form. State: ``m`` and ``v`` of each weight.
    """

    AVERAGES = ("m", "v")

    def update(
        self, weights: list[Tensor], gradients: list[Tensor], averages: list[list[Tensor]], learning_rate: float
    ) -> None:
        """Move one bucket."""
        m, v = averages
        torch._foreach_lerp_(m, gradients, 0.1)
        surprise = torch._foreach_sub(gradients, m)
        torch._foreach_mul_(v, 0.999)
        torch._foreach_addcmul_(v, surprise, surprise, 0.001)
        divide(weights, m, v, learning_rate)


class RMSprop(MovingAverageOptimizer):
    """a = .9a + .1g^2; w -= lr * g / (sqrt(a) + 1e-6), in DeepFaceLab's form. State: ``a`` of each weight."""

    AVERAGES = ("a",)

    def update(
        self, weights: list[Tensor], gradients: list[Tensor], averages: list[list[Tensor]], learning_rate: float
    ) -> None:
        """Move one bucket."""
        (a,) = averages
        torch._foreach_mul_(a, 0.9)
        torch._foreach_addcmul_(a, gradients, gradients, 0.1)
        divide(weights, gradients, a, learning_rate)


def divide(weights: list[Tensor], direction: list[Tensor], square: list[Tensor], learning_rate: float) -> None:
    """weights -= learning_rate * direction / (sqrt(square) + epsilon), in place."""
    scale = torch._foreach_sqrt(square)
    torch._foreach_add_(scale, EPSILON)
    torch._foreach_addcdiv_(weights, direction, scale, -learning_rate)


def buckets(weights: list[Tensor]) -> Iterator[list[Tensor]]:
    """Split weights into lists that are updated together."""
    bucket: list[Tensor] = []
    size = 0
    for weight in weights:
        bucket.append(weight)
        size += weight.numel()
        if weight.device.type == "cpu" and size >= CPU_BUCKET:
            yield bucket
            bucket, size = [], 0
    if bucket:
        yield bucket


def build_optimizer(settings: TrainSettings, parameters: Iterable[Tensor]) -> MovingAverageOptimizer:
    """The optimiser these settings ask for."""
    kind = AdaBelief if settings.optimizer == "adabelief" else RMSprop
    return kind(parameters, settings.learning_rate)
