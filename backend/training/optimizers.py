"""Optimisers whose state is one or two moving averages per weight, and what is done to gradients before their step.

Tensors are updated in buckets. On a CPU a bucket is small enough for its state to stay in the cache from one operation
to the next, and a weight that is larger is cut into several; on an accelerator a bucket is so large that launching its
operations costs nothing, and still bounds the memory that they borrow.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from backend.core.errors import DamagedFileError
from backend.core.settings.train import TrainSettings
from backend.training.optimizer_rules import Move, Rule, rule_named

CPU_BUCKET = 1 << 18
"""Elements of a bucket on a CPU."""
DEVICE_BUCKET = 1 << 25
"""Elements of a bucket on an accelerator, at least."""

Row = tuple[Tensor, ...]
"""A weight, its gradient and its averages; or the same piece of each."""


class MovingAverageOptimizer(torch.optim.Optimizer):
    """Moves weights by a rule.

    Args:
        parameters: what to optimise, float32.
        rule: how they move.
        learning_rate: step size.
        dropout_seed: move a random share of the weights at each step, others at every step; None moves them all. The
            masks depend on this number and on the count of steps only: a resumed training goes on with the same ones,
            and processes that train together draw the same.

    ``param_groups[i]["iterations"]`` counts the steps taken, those that did not count included, and is stored with the
    state. All parameters are in one group, but for those that began to learn later: they count their own steps.
    """

    def __init__(
        self, parameters: Iterable[Tensor], rule: Rule, learning_rate: float, dropout_seed: int | None = None
    ) -> None:
        super().__init__(parameters, {"lr": learning_rate, "iterations": 0})
        self.rule = rule
        self._order: list[Tensor] = list(self.param_groups[0]["params"])
        self._dropout_seed = dropout_seed
        self._generators: dict[torch.device, torch.Generator] = {}

    @torch.no_grad()
    def step(self, applied: Tensor | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Move every parameter that has a gradient.

        Args:
            applied: 0-dim bool on the device of the parameters. When it is False, weights and averages stay exactly as
                they are, whatever the gradients; the host does not wait to know. None moves without asking and is
                a little faster. With a tensor, gradients are used up.
        """
        for group in self.param_groups:
            group["iterations"] += 1
            rows = [(p, p.grad, *self._averages(p)) for p in group["params"] if p.grad is not None]
            if rows:
                move = Move(group["lr"], group["iterations"], applied, self._dropout(group["iterations"], rows[0][0]))
                for bucket in buckets(rows):
                    weights, gradients, *averages = map(list, zip(*bucket, strict=True))
                    self.rule.update(weights, gradients, averages, move)

    def state_dict(self) -> dict[str, Any]:
        """The state in torch's form; parameters are numbered in the order in which they were given."""
        packed = super().state_dict()
        place = {id(weight): number for number, weight in enumerate(self._order)}
        places = [place[id(weight)] for group in self.param_groups for weight in group["params"]]
        groups = [{**group, "params": [places[n] for n in group["params"]]} for group in packed["param_groups"]]
        state = {places[number]: averages for number, averages in packed["state"].items()}
        return {"state": state, "param_groups": _regrouped(groups, state)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a stored state, in the memory order of the weights; parameters without any begin at step 1.

        Raises:
            DamagedFileError: it is another rule's, or an average does not have the shape of its weight.
        """
        try:
            groups = _regrouped(state_dict["param_groups"], state_dict["state"])
            numbers = sorted(number for group in groups for number in group["params"])
            if numbers != list(range(len(self._order))):
                raise ValueError(f"{len(numbers)} parameters instead of {len(self._order)}")
            self.param_groups = [
                {**self.defaults, "params": [self._order[number] for number in group["params"]]} for group in groups
            ]
            super().load_state_dict({"state": state_dict["state"], "param_groups": groups})
        except (ValueError, KeyError) as error:
            raise DamagedFileError(f"The stored optimiser state does not fit this model ({error}).") from error
        for weight, state in self.state.items():
            if set(state) != set(self.rule.AVERAGES):
                raise DamagedFileError("The stored optimiser state belongs to another kind of optimiser.")
            for name, stored in state.items():
                if stored.shape != weight.shape:
                    raise DamagedFileError(f"The stored optimiser state does not fit this model: '{name}'.")
                state[name] = torch.empty_like(weight).copy_(stored)

    def _averages(self, weight: Tensor) -> list[Tensor]:
        state = self.state[weight]
        for name in self.rule.AVERAGES:
            if name not in state:
                state[name] = torch.zeros_like(weight)
        return [state[name] for name in self.rule.AVERAGES]

    def _dropout(self, number: int, weight: Tensor) -> torch.Generator | None:
        """The generator of the masks of one step."""
        if self._dropout_seed is None:
            return None
        if weight.device not in self._generators:
            self._generators[weight.device] = torch.Generator(weight.device)
        return self._generators[weight.device].manual_seed((self._dropout_seed + number) % (1 << 31))


def _regrouped(groups: list[dict[str, Any]], learned: Collection[int]) -> list[dict[str, Any]]:
    """Groups by their count of steps, the highest first; parameters that have not learned yet count from zero."""
    held: dict[int, list[int]] = {}
    for group in groups:
        for number in group["params"]:
            held.setdefault(int(group["iterations"]) if number in learned else 0, []).append(number)
    facts = {name: value for name, value in groups[0].items() if name != "params"}
    return [{**facts, "iterations": count, "params": sorted(held[count])} for count in sorted(held, reverse=True)]


class OffloadedOptimizer(MovingAverageOptimizer):
    """The same with its state and float32 weights in main memory; the device keeps working weights and gradients.

    A step copies gradients over, moves the weights on the CPU and copies these back; only the way back overlaps with
    what follows. It waits for the device. Weights on the device that were changed otherwise, by ``load_state_dict``
    of a network for example, are noticed and taken over. The stored state is that of the optimiser it replaces.

    Args:
        parameters: on the device, of any floating type.
        rule, learning_rate, dropout_seed: as for MovingAverageOptimizer.
    """

    def __init__(
        self, parameters: Iterable[Tensor], rule: Rule, learning_rate: float, dropout_seed: int | None = None
    ) -> None:
        self._working = list(parameters)
        self._exact = [_host_twin(weight).copy_(weight.detach()) for weight in self._working]
        self._gradients: dict[int, Tensor] = {}
        self._versions = [weight._version for weight in self._working]
        super().__init__(self._exact, rule, learning_rate, dropout_seed)

    @torch.no_grad()
    def step(self, applied: Tensor | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Move every parameter that has a gradient; see MovingAverageOptimizer."""
        moved = [i for i, weight in enumerate(self._working) if self._fetch(i, weight.grad)]
        for device in {self._working[i].device for i in moved} - {torch.device("cpu")}:
            torch.accelerator.synchronize(device)
        super().step(None if applied is None or bool(applied) else torch.zeros((), dtype=torch.bool))
        for i in moved:
            self._exact[i].grad = None
            self._working[i].copy_(self._exact[i], non_blocking=True)
            self._versions[i] = self._working[i]._version

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients on the device, or set them to zero."""
        for weight in self._working:
            if set_to_none:
                weight.grad = None
            elif weight.grad is not None:
                weight.grad.zero_()

    def _fetch(self, i: int, gradient: Tensor | None) -> bool:
        """Begin to copy one gradient over, and its weight where somebody else changed it; False without gradient."""
        if gradient is None:
            return False
        weight, exact = self._working[i], self._exact[i]
        if i not in self._gradients:
            self._gradients[i] = _host_twin(weight)
        exact.grad = self._gradients[i].copy_(gradient, non_blocking=True)
        if weight._version != self._versions[i]:
            exact.copy_(weight, non_blocking=True)
        return True


def _host_twin(weight: Tensor) -> Tensor:
    """An empty float32 tensor in main memory, in the weight's memory order, pinned where that makes copies faster."""
    pinned = weight.device.type in ("cuda", "xpu")
    return torch.empty_like(weight, dtype=torch.float32, device="cpu", requires_grad=False, pin_memory=pinned)


def buckets(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Join rows into lists that are updated together, and cut those that are too large for a CPU's cache."""
    bucket: list[Row] = []
    size = 0
    for row in rows:
        for piece in _pieces(row):
            bucket.append(piece)
            size += piece[0].numel()
            if size >= (CPU_BUCKET if piece[0].device.type == "cpu" else DEVICE_BUCKET):
                yield bucket
                bucket, size = [], 0
    if bucket:
        yield bucket


def _pieces(row: Row) -> Iterable[Row]:
    """A row in flat pieces, in the order in which the weight lies in memory; whole where it is small or strided."""
    weight = row[0]
    if weight.device.type != "cpu" or weight.numel() <= CPU_BUCKET:
        return [row]
    if not weight.is_contiguous():
        if not weight.is_contiguous(memory_format=torch.channels_last):
            return [row]
        row = tuple(tensor.permute(0, 2, 3, 1) for tensor in row)
    _, gradient, *_ = row
    flat = [gradient.reshape(-1) if tensor is gradient else tensor.view(-1) for tensor in row]
    return zip(*(tensor.split(CPU_BUCKET) for tensor in flat), strict=True)


def gradient_norm(gradients: list[Tensor]) -> Tensor:
    """Length of all gradients as one vector, 0-dim float32 on their device; not finite when one of them is not."""
    if not gradients:
        return torch.zeros(())
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))


def clip_(gradients: list[Tensor], norm: Tensor, limit: float | Tensor = 1.0) -> None:
    """Scale gradients of this norm (0-dim) in place to the limit when they are longer, as DeepFaceLab does.

    The limit may be a 0-dim tensor on their device; one that is no number scales nothing.
    """
    torch._foreach_mul_(gradients, torch.where(norm > limit, limit / norm, 1.0))


def build_optimizer(
    settings: TrainSettings, parameters: Iterable[Tensor], on_cpu: bool | None = None
) -> MovingAverageOptimizer:
    """The optimiser these settings ask for.

    Args:
        parameters: what to optimise, float32.
        on_cpu: keep state and weights in main memory; None follows the settings, where the parameters are not there.
    """
    weights = list(parameters)
    rule = rule_named(settings.optimizer, settings.weight_decay, settings.beta_1)
    if on_cpu is None:
        on_cpu = settings.optimizer_on_cpu and any(weight.device.type != "cpu" for weight in weights)
    kind = OffloadedOptimizer if on_cpu else MovingAverageOptimizer
    return kind(weights, rule, settings.learning_rate, settings.seed if settings.lr_dropout else None)
