"""What a network is made of: its parts, what each gives, and how much each weighs. Nothing is computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from backend.core.settings import TrainSettings
from backend.training.dry_run import shapes_only


@dataclass(frozen=True)
class PartSummary:
    """One part.

    Attributes:
        name: of the part.
        output: what it gives for one face, channels first: "256 x 16 x 16"; several outputs with commas between.
        parameters: numbers it learns.
        weight_bytes: what they take.
    """

    name: str
    output: str
    parameters: int
    weight_bytes: int


def summarize(settings: TrainSettings) -> tuple[PartSummary, ...]:
    """Parts of the network of these settings, in order; last the discriminators that they switch on."""
    outputs: dict[str, str] = {}
    with shapes_only(settings) as (model, judges), torch.no_grad():
        parts = model.eval().parts()
        for name, part in parts.items():
            part.register_forward_hook(_note(outputs, name))
        one = torch.empty(1, model.channels, model.resolution, model.resolution)
        out = model.autoencode(one, one)
        inputs = {"gan": out.src_src, "true_face": out.src_code}
        outputs.update({name: _shapes(judge(inputs[name])) for name, judge in judges.items()})
        return tuple(_part(name, part, outputs.get(name, "")) for name, part in {**parts, **judges}.items())


def _note(outputs: dict[str, str], name: str) -> Callable[..., None]:
    def note(module: nn.Module, given: Any, made: Any) -> None:
        """Remember the shapes of the first call."""
        outputs.setdefault(name, _shapes(made))

    return note


def _shapes(made: Any) -> str:
    tensors = [made] if isinstance(made, Tensor) else list(made)
    return ", ".join(" x ".join(str(side) for side in tensor.shape[1:]) for tensor in tensors)


def _part(name: str, part: nn.Module, output: str) -> PartSummary:
    weights = list(part.parameters())
    return PartSummary(name, output, sum(w.numel() for w in weights), sum(w.nbytes for w in weights))
