"""What DeepFaceLab's optimisers remember of each weight, in both directions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from backend.models.dfl_names import MOMENTS, STEPS, FloatArray, dfl_moment_name, from_dfl_layout, to_dfl_layout
from backend.training.optimizers import MovingAverageOptimizer

MOST_STEPS = (1 << 31) - 1


@dataclass(frozen=True)
class Taken:
    """How much of an optimiser's memory could be taken over: weights that have theirs, out of how many, and which
    networks have none of it.
    """

    weights: int
    of: int
    without: tuple[str, ...]


def take_moments(
    optimizer: MovingAverageOptimizer, networks: Mapping[str, nn.Module], tensors: Iterable[tuple[str, FloatArray]]
) -> Taken:
    """Fill a fresh optimiser with what DeepFaceLab's remembered. A weight gets all of its averages or none.

    Args:
        optimizer: of all parameters of the networks.
        networks: by DeepFaceLab's names.
        tensors: of its file, by DeepFaceLab's names; those of other weights, kinds and shapes, and those that hold
            values which are no numbers, are passed over.
    """
    wanted = {
        dfl_moment_name(moment, network, name): (parameter, moment)
        for network, module in networks.items()
        for name, parameter in module.named_parameters()
        for moment in optimizer.rule.AVERAGES
        if moment in MOMENTS
    }
    found: dict[Tensor, dict[str, Tensor]] = {}
    for name, array in tensors:
        if name == STEPS and array.size == 1:
            optimizer.param_groups[0]["iterations"] = min(max(0, int(array.item())), MOST_STEPS)
        elif name in wanted and array.dtype.kind == "f":
            parameter, moment = wanted[name]
            average = from_dfl_layout(array)
            if average.shape == parameter.shape and average.isfinite().all():
                found.setdefault(parameter, {})[moment] = average
    for parameter, averages in found.items():
        if len(averages) == len(optimizer.rule.AVERAGES):
            optimizer.state[parameter] = averages
    taken = sum(parameter in optimizer.state for group in optimizer.param_groups for parameter in group["params"])
    if not taken:
        optimizer.param_groups[0]["iterations"] = 0
    without = [n for n, m in networks.items() if not any(p in optimizer.state for p in m.parameters())]
    return Taken(taken, sum(len(group["params"]) for group in optimizer.param_groups), tuple(without))


def missing_words(whose: str, taken: Taken) -> list[str]:
    """A sentence where an optimiser, or a part of it, begins anew; none where all was taken over."""
    if taken.weights == taken.of:
        return []
    if not taken.weights:
        return [f"The optimiser's file of {whose} is another kind's, or another network's; it begins anew."]
    where = f": {', '.join(taken.without)}" if taken.without else ""
    return [f"The optimiser of {whose} begins anew for {taken.of - taken.weights} of {taken.of} weights{where}."]


def moments_of(
    order: Mapping[str, nn.Module], averages: Mapping[str, Mapping[str, Tensor]], kinds: tuple[str, ...], steps: int
) -> Iterator[tuple[str, FloatArray | np.int64]]:
    """An optimiser's memory as DeepFaceLab writes it: the steps, then every average of the first kind, and so on.

    Args:
        order: networks by DeepFaceLab's names; only names and order of their parameters count.
        averages: "network/parameter" -> our name of an average -> the average. Weights without are left out.
        kinds: our names of the averages.
        steps: taken so far.
    """
    yield STEPS, np.int64(steps)
    for kind in kinds:
        for network, module in order.items():
            for name, _ in module.named_parameters():
                stored = averages.get(f"{network}/{name}", {})
                if kind in stored:
                    yield dfl_moment_name(kind, network, name), to_dfl_layout(stored[kind])
