"""How one step moves weights: the rules of AdaBelief, RMSprop, Adam, AdamW and Lion.

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
        beta_1: what Adam and AdamW keep of their mean gradient at each step.
    """

    AVERAGES: ClassVar[tuple[str, ...]] = ()
    """Names of the moving averages that are kept of each weight."""

    weight_decay: float = 0.0
    beta_1: float = 0.9

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


class Adam(Rule):
    """w -= lr * m' / (sqrt(s') + 1e-8), where m = beta_1 m + (1 - beta_1) g, s = .999s + .001g^2.

    m' and s' are m and s divided by 1 - beta^t. Kingma and Ba, "Adam: a method for stochastic optimization", 2014, with
    the epsilon of the paper and of torch; Keras takes 1e-7. No weight decay. Averages: ``mean`` and ``square``. A step
    that does not count still raises t, which makes later steps a little shorter.
    """

    AVERAGES = ("mean", "square")

    def update(self, weights: list[Tensor], gradients: list[Tensor], averages: list[list[Tensor]], move: Move) -> None:
        """Move weights and averages."""
        mean, square = averages
        move.silence_(gradients)
        torch._foreach_mul_(mean, move.memory(self.beta_1))
        torch._foreach_add_(mean, gradients, alpha=1.0 - self.beta_1)
        torch._foreach_mul_(square, move.memory(0.999))
        torch._foreach_addcmul_(square, gradients, gradients, 0.001)
        correction = (1.0 - 0.999**move.number) ** 0.5
        rate = move.learning_rate * correction / (1.0 - self.beta_1**move.number)
        scale = torch._foreach_sqrt(square)
        torch._foreach_add_(scale, 1e-8 * correction)
        decay = self._decay(move.learning_rate / rate if rate else 0.0)
        direction = torch._foreach_addcmul(mean, weights, scale, decay) if decay else mean
        move.stop_(scale)
        torch._foreach_addcdiv_(weights, move.thinned(direction), scale, -rate)

    def _decay(self, share: float) -> float:
        """What of a weight is added to its mean gradient, given the learning rate over that of this step."""
        return 0.0


class AdamW(Adam):
    """Adam with decoupled weight decay: w -= lr * (m' / (sqrt(s') + 1e-8) + decay * w).

    Loshchilov and Hutter, "Decoupled weight decay regularization", 2017; the decay is multiplied by the learning rate
    as in torch.
    """

    def _decay(self, share: float) -> float:
        """The decay, undone what the step's rate does to it."""
        return self.weight_decay * share


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


def rule_named(name: str, weight_decay: float, beta_1: float = 0.9) -> Rule:
    """The rule of a setting's name: "adabelief", "rmsprop", "adam", "adamw" or "lion".

    Weight decay is for the last two, beta_1 for Adam and AdamW.
    """
    kinds: dict[str, type[Rule]] = {
        "adabelief": AdaBelief,
        "rmsprop": RMSprop,
        "adam": Adam,
        "adamw": AdamW,
        "lion": Lion,
    }
    return kinds[name](weight_decay, beta_1)
