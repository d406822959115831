"""Number formats of training: which one a device should use, and the contexts that use it.

Convolutions and dense layers run in the short format, with products summed in float32 by the kernels. Weights, pixel
norms, losses and the optimiser's state stay float32.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


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

    def scaler(self) -> torch.amp.GradScaler:
        """Scales losses so that small fp16 gradients survive; does nothing for the other formats."""
        return torch.amp.GradScaler(self.device.type, enabled=self.name == "fp16")


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
    if wanted == "fp16" and device.type not in ("cuda", "xpu"):
        return Precision("fp32", device, f"fp16 is not offered on {device.type}; computing in fp32.")
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
