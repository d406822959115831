"""How one step moves weights: the rules of AdaBelief, RMSprop, AdamW and Lion.

A rule works on lists of tensors with torch's foreach operations, in place. Whether the step counts at all may be
known on the device only. Nothing waits for it: in a step that does not count, averages are multiplied by one, and what
a weight moves by is zero or divided by infinity.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

MOVED = 77 / 256
"""Share of the weights that a step with dropout moves: DeepFaceLab's 0.3, as a random byte can say it."""


Tensors = list[Tensor] | tuple[Tensor, ...]


@dataclass(frozen=True)
class Move:
    """What one step of a rule needs to know besides the tensors.

    Attributes:
        learning_rate: step size.
        number: of this step, from 1.
        applied: 0-dim bool on the device; False leaves weights and averages as they are. None is a plain yes.
        dropout: draws which weights move; None moves them all.
    """

    learning_rate: float
    number: int
    applied: Tensor | None = None
    dropout: torch.Generator | None = None

    def memory(self, share: float) -> float | Tensor:
        """What an average keeps of itself: this share, or all of it when the step does not count."""
        return share if self.applied is None else torch.where(self.applied, share, 1.0)

    def stop_(self, divisors: Tensors) -> None:
        """Make positive divisors infinite when the step does not count."""
        if self.applied is not None:
            torch._foreach_mul_(divisors, torch.where(self.applied, 1.0, torch.inf))

    def silence_(self, tensors: Tensors, instead: Tensors | None = None) -> None:
        """Replace tensors by zero, or by those named, when the step does not count. They may be NaN."""
        if self.applied is None:
            return
        if instead is None:
            refused = ~self.applied
            for tensor in tensors:
                tensor.masked_fill_(refused, 0.0)
            return
        for tensor, other in zip(tensors, instead, strict=True):
            torch.where(self.applied, tensor, other, out=tensor)

    def thinned(self, directions: Tensors) -> Tensors:
        """The directions in which weights move: all, or a random share of their elements and zero elsewhere."""
        if self.dropout is None:
            return directions
        return torch._foreach_mul(directions, [random_mask(d, self.dropout) for d in directions])


def random_mask(like: Tensor, generator: torch.Generator) -> Tensor:
    """A mask that is one with probability MOVED in each element, else zero; bool on a CPU, else of the tensor's type.

    On a CPU each element takes one byte of a 64-bit random number, eight times faster than a draw of its own.
    """
    if like.device.type != "cpu":
        return torch.empty_like(like).bernoulli_(MOVED, generator=generator)
    numbers = torch.empty((like.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None, generator=generator)
    return (numbers.view(torch.uint8)[: like.numel()] < round(MOVED * 256)).view(like.shape)


@dataclass(frozen=True)
class Rule(ABC):
    """How an optimiser moves weights.

    Attributes:
        weight_decay: share by which weights shrink, times the learning rate; for the rules that have one.
    """

    AVERAGES: ClassVar[tuple[str, ...]] = ()
    """Names of the moving averages that are kept of each weight."""

    weight_decay: float = 0.0

    @abstractmethod
    def update(self, weights: list[Tensor], gradients: list[Tensor], averages: list[list[Tensor]], move: Move) -> None:
        """Move weights and their averages, in the order of ``AVERAGES``, in place. Gradients are used up."""


class AdaBelief(Rule):
    """m = .9m + .1g; v = .999v + .001(g - m)^2 with the new m; w -= lr * m / (sqrt(v) + 1e-6).

    Zhuang et al., "AdaBelief optimizer: adapting stepsizes by the belief in observed gradients", 2020, in
    DeepFaceLab's form: no bias correction, no weight decay, epsilon outside the root. Averages: ``m`` and ``v``.
    """

    AVERAGES = ("m", "v")

    def update(self, weights: list[Tensor], gradients: list[Tensor], averages: list[list[Tensor]], move: Move) -> None:
        """Move weights and averages."""
        m, v = averages
        move.silence_(gradients, instead=m)  # m stays where it is, and nothing surprises it
        torch._foreach_lerp_(m, gradients, 0.1)
        surprise = torch._foreach_sub(gradients, m)
        torch._foreach_mul_(v, move.memory(0.999))
        torch._foreach_addcmul_(v, surprise, surprise, 0.001)
        del surprise
        scale = torch._foreach_sqrt(v)
        torch._foreach_add_(scale, 1e-6)
        move.stop_(scale)
        torch._foreach_addcdiv_(weights, move.thinned(m), scale, -move.learning_rate)


class RMSprop(Rule):
    """a = .9a + .1g^2; w -= lr * g / (sqrt(a) + 1e-6), in DeepFaceLab's form. Average: ``a``."""

    AVERAGES = ("a",)

    def update(self, weights: list[Tensor], gradients: list[Tensor], averages: list[list[Tensor]], move: Move) -> None:
        """Move weights and the average."""
        (a,) = averages
        move.silence_(gradients)
        torch._foreach_mul_(a, move.memory(0.9))
        torch._foreach_addcmul_(a, gradients, gradients, 0.1)
        scale = torch._foreach_sqrt(a)
        torch._foreach_add_(scale, 1e-6)
        torch._foreach_addcdiv_(weights, move.thinned(gradients), scale, -move.learning_rate)


class AdamW(Rule):
    """Adam with corrected averages and decoupled weight decay; betas .9 and .999, epsilon 1e-8.

    w -= lr * (m' / (sqrt(s') + 1e-8) + decay * w), where m = .9m + .1g, s = .999s + .001g^2, and m', s' are m and s
    divided by 1 - beta^t. Loshchilov and Hutter, "Decoupled weight decay regularization", 2017; the decay is
    multiplied by the learning rate as in torch. Averages: ``mean`` and ``square``. A step that does not count still
    raises t, which makes later steps a little shorter.
    """

    AVERAGES = ("mean", "square")

    def update(self, weights: list[Tensor], gradients: list[Tensor], averages: list[list[Tensor]], move: Move) -> None:
        """Move weights and averages."""
        mean, square = averages
        move.silence_(gradients)
        torch._foreach_mul_(mean, move.memory(0.9))
        torch._foreach_add_(mean, gradients, alpha=0.1)
        torch._foreach_mul_(square, move.memory(0.999))
        torch._foreach_addcmul_(square, gradients, gradients, 0.001)
        correction = (1.0 - 0.999**move.number) ** 0.5
        rate = move.learning_rate * correction / (1.0 - 0.9**move.number)
        scale = torch._foreach_sqrt(square)
        torch._foreach_add_(scale, 1e-8 * correction)
        direction: Tensors = mean
        if self.weight_decay:
            decay = self.weight_decay * move.learning_rate / rate if rate else 0.0
            direction = torch._foreach_addcmul(mean, weights, scale, decay)
        move.stop_(scale)
        torch._foreach_addcdiv_(weights, move.thinned(direction), scale, -rate)


class Lion(Rule):
    """w -= lr * (sign(.9m + .1g) + decay * w); m = .99m + .01g.

    Chen et al., "Symbolic discovery of optimization algorithms", 2023. Every weight moves by the learning rate, so it
    wants a smaller one than the others: a third to a tenth. Average: ``momentum``.
    """

    AVERAGES = ("momentum",)

    def update(self, weights: list[Tensor], gradients: list[Tensor], averages: list[list[Tensor]], move: Move) -> None:
        """Move weights and the average."""
        (momentum,) = averages
        move.silence_(gradients)
        direction = torch._foreach_lerp(momentum, gradients, 0.1)
        torch._foreach_sign_(direction)
        if self.weight_decay:
            torch._foreach_add_(direction, weights, alpha=self.weight_decay)
        torch._foreach_mul_(momentum, move.memory(0.99))
        torch._foreach_add_(momentum, gradients, alpha=0.01)
        move.silence_(direction)
        torch._foreach_add_(weights, move.thinned(direction), alpha=-move.learning_rate)


def rule_named(name: str, weight_decay: float) -> Rule:
    """The rule of a setting's name: "adabelief", "rmsprop", "adamw" or "lion"; the first two have no weight decay."""
    kinds: dict[str, type[Rule]] = {"adabelief": AdaBelief, "rmsprop": RMSprop, "adamw": AdamW, "lion": Lion}
    return kinds[name](weight_decay)
