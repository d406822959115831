"""Compiling a network, or saying why it cannot be compiled here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn


def compiled(network: nn.Module, device: torch.device) -> tuple[Callable[..., Any], str]:
    """Compile a network with torch's inductor.

    The first step of each batch size then takes from ten seconds to minutes, later ones are faster on most GPUs.

    Returns:
        what to call, and a sentence when it is the plain network because something is missing; else "".
    """
    missing = _missing(device)
    if missing:
        return network, f"The network was not compiled: {missing}."
    return torch.compile(network), ""


def _missing(device: torch.device) -> str:
    """What the compiler lacks on a device, "" when it has everything."""
    if device.type == "cpu":
        from torch._inductor import cpp_builder, exc

        try:
            cpp_builder.get_cpp_compiler()
        except (exc.InvalidCxxCompiler, RuntimeError, OSError):
            return "compiling for the CPU needs a C++ compiler (g++ or clang)"
        return ""
    from torch.utils._triton import has_triton

    return "" if has_triton() else "compiling for an accelerator needs the package triton"
