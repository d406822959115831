"""What turns gradients into better weights: scaling, clipping, the optimiser, and no step that is not finite."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from backend.core.settings import TrainSettings
from backend.storage.checkpoint import join_optimizer, split_optimizer
from backend.training.autoclip import AutoClip
from backend.training.optimizers import build_optimizer, clip_, gradient_norm
from backend.training.precision import LossScale, Precision
from backend.training.ranks import Ranks

_CLIP = "clip/"
"""Before the names of what clipping remembers, among the tensors of a stored state."""


class Learner:
    """An optimiser of some parameters and everything around its step.

    Whether a step was finite stays on the device: nothing waits for an accelerator. A CPU has nobody to wait for, so
    there a step that is not finite is simply left out.

    Args:
        parameters: what to optimise, float32; those that need no gradient are left alone.
        settings: kind of optimiser, learning rate and clipping.
        precision: decides whether losses are scaled.
        ranks: average gradients over these processes; None when somebody else does.

    Attributes:
        optimizer: its learning rate is set from outside.
        waits: look at each step on the host, as on a CPU.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        settings: TrainSettings,
        precision: Precision,
        ranks: Ranks | None = None,
    ) -> None:
        self._parameters = list(parameters)
        self._clip = settings.clip_gradients
        self._autoclip = (
            AutoClip(settings.autoclip_percentile, settings.autoclip_history, precision.device)
            if settings.autoclip
            else None
        )
        self._kind = settings.optimizer
        self._ranks = ranks
        self.optimizer = build_optimizer(settings, self._parameters)
        self.scale = LossScale(precision.device, precision.name == "fp16")
        self.waits = precision.device.type == "cpu"

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a 0-dim loss."""
        self.scale.scale(loss).backward()

    def step(self) -> Tensor:
        """Move the weights by the gathered gradients and forget these.

        Returns:
            whether they were finite, 0-dim bool on the device; otherwise the weights are as before.
        """
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        if self._ranks is not None:
            self._ranks.average_(gradients)
        self.scale.unscale_(gradients)
        norm = gradient_norm(gradients)
        finite = norm.isfinite()
        if self._autoclip is not None:
            clip_(gradients, norm, self._autoclip.limit(norm))
        elif self._clip:
            clip_(gradients, norm)
        if not self.waits:
            self.optimizer.step(finite)
        elif bool(finite):
            self.optimizer.step()
        self.scale.update(finite)
        self.forget()
        return finite

    def forget(self) -> None:
        """Drop the gradients gathered so far."""
        self.optimizer.zero_grad(set_to_none=True)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """(tensors, JSON) of optimiser, clipping and loss scale."""
        tensors, rest = split_optimizer(self.optimizer.state_dict())
        if self._autoclip is not None:
            tensors.update({f"{_CLIP}{name}": value for name, value in self._autoclip.state_dict().items()})
        return tensors, {"kind": self._kind, "optimizer": rest, "scale": self.scale.state_dict()}

    def load(self, tensors: Mapping[str, Tensor], rest: Mapping[str, Any]) -> str:
        """Take over a stored state; the learning rate stays that of the settings.

        What is stored of parameters that hold still now is dropped; those that held still then begin at step 1.

        Returns:
            a sentence when the state is another optimiser's and this one begins anew, else "".

        Raises:
            DamagedFileError: it is of the same kind and does not fit these parameters.
        """
        averages = {name: value for name, value in tensors.items() if not name.startswith(_CLIP)}
        if self._autoclip is not None:
            clip = {name: value for name, value in tensors.items() if name not in averages}
            self._autoclip.load_state_dict({name.removeprefix(_CLIP): value for name, value in clip.items()})
        if rest.get("kind") != self._kind:
            self._restart()
            return f"The optimiser changed from {rest.get('kind')} to {self._kind} and begins anew."
        rate = self.optimizer.param_groups[0]["lr"]
        state = join_optimizer(averages, rest["optimizer"])
        still = {number for number, weight in enumerate(self._parameters) if not weight.requires_grad}
        state["state"] = {number: held for number, held in state["state"].items() if number not in still}
        self.optimizer.load_state_dict(state)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.scale.load_state_dict(rest["scale"])
        return ""

    def _restart(self) -> None:
        self.optimizer.state.clear()
        for group in self.optimizer.param_groups:
            group["iterations"] = 0


def require_gradients(network: torch.nn.Module, wanted: bool) -> None:
    """Switch the gradients of all parameters on or off."""
    for parameter in network.parameters():
        parameter.requires_grad_(wanted)
