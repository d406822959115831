"""Number formats of training: which one a device should use, and the contexts that use it.

Convolutions and dense layers run in the short format, with products summed in float32 by the kernels. Weights, pixel
norms, losses and the optimiser's state stay float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

FIRST_SCALE = 2.0**10
"""Loss scale of a fresh training: what the fork with mixed precision advises for this kind of network."""
LEAST_SCALE, MOST_SCALE = 1.0, 2.0**24
GOOD_STEPS = 2000
"""Steps without overflow after which the scale doubles."""


@dataclass(frozen=True)
class Precision:
    """How a device computes.

    Attributes:
        name: "fp32", "bf16" or "fp16".
        device: where.
        note: why this is not the format that was asked for; empty when it is.
    """

    name: str
    device: torch.device
    note: str = ""

    def autocast(self) -> torch.autocast:
        """Context for the forward pass of the network."""
        dtype = torch.float16 if self.name == "fp16" else torch.bfloat16
        return torch.autocast(self.device.type, dtype, enabled=self.name != "fp32")


class LossScale:
    """Multiplies losses so that small fp16 gradients survive, and finds out by how much. The host waits for nothing.

    The factor begins at FIRST_SCALE, halves when gradients overflow and doubles after GOOD_STEPS steps that did not,
    as in Micikevicius et al., "Mixed precision training", 2017; it stays within LEAST_SCALE and MOST_SCALE.

    Args:
        device: where losses are computed.
        enabled: only fp16 needs it; otherwise nothing is scaled.

    Attributes:
        enabled: as given.
    """

    def __init__(self, device: torch.device, enabled: bool) -> None:
        self.enabled = enabled
        self._scale = torch.full((), FIRST_SCALE, device=device)
        self._good = torch.zeros((), dtype=torch.int32, device=device)

    def can_fall(self) -> Tensor:
        """Whether overflows may still be cured by a smaller scale, 0-dim bool on the device."""
        return self._scale > LEAST_SCALE

    def scale(self, loss: Tensor) -> Tensor:
        """The loss to call ``backward`` of, 0-dim float32."""
        return loss * self._scale if self.enabled else loss

    def unscale_(self, gradients: list[Tensor]) -> None:
        """Turn gradients of the scaled loss into those of the loss, in place. The scale is a power of two: exact."""
        if self.enabled and gradients:
            torch._foreach_mul_(gradients, self._scale.reciprocal())

    def update(self, finite: Tensor) -> None:
        """Choose the next scale.

        Args:
            finite: whether all gradients of the last step were, 0-dim bool on the device.
        """
        if not self.enabled:
            return
        good = torch.where(finite, self._good + 1, 0)
        grows = good >= GOOD_STEPS
        factor = torch.where(finite, torch.where(grows, 2.0, 1.0), 0.5)
        self._scale.mul_(factor).clamp_(LEAST_SCALE, MOST_SCALE)
        self._good.copy_(torch.where(grows, 0, good))

    def state_dict(self) -> dict[str, Any]:
        """The scale and the good steps since it last changed, plain numbers. Waits for the device."""
        return {"scale": float(self._scale), "good_steps": int(self._good)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what state_dict() gave."""
        self._scale.fill_(float(state["scale"]))
        self._good.fill_(int(state["good_steps"]))


def choose_precision(wanted: str, device: torch.device) -> Precision:
    """Number format for a device.

    Args:
        wanted: "auto" (bf16 where the device has it, else fp32), "fp32", "bf16" or "fp16".
        device: where to train.

    Returns:
        what was wanted where the device can do it, else fp32 with a note.
    """
    if wanted == "auto":
        return Precision("bf16" if has_bf16(device) else "fp32", device)
    if wanted == "bf16" and not has_bf16(device):
        return Precision("fp32", device, f"{device.type} has no fast bf16 here; computing in fp32.")
    if wanted == "fp16" and device.type == "cpu":
        return Precision("fp32", device, "fp16 is many times slower than fp32 on a CPU; computing in fp32.")
    return Precision(wanted, device)


def has_bf16(device: torch.device) -> bool:
    """Whether a device multiplies bf16 in hardware."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "xpu":
        return torch.xpu.is_bf16_supported()
    if device.type == "cpu":
        return any(found for name, found in torch.cpu.get_capabilities().items() if "bf16" in name)
    return False
