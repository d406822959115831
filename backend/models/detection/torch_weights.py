"""Reading other people's weight files safely."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch import nn

from backend.core.errors import DamagedFileError

UNREADABLE = (RuntimeError, pickle.UnpicklingError, EOFError, KeyError, TypeError, AttributeError, OSError)
"""What loading a file as the weights of a network raises when it holds something else."""


def fill(net: nn.Module, path: Path, device: torch.device) -> nn.Module:
    """Load a state dict into a network and set it up for inference on a device.

    The file is read as plain tensors; it cannot run code.

    Raises:
        DamagedFileError: the file cannot be read or holds the weights of another network.
    """
    try:
        net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except UNREADABLE as error:
        raise damaged(path, error) from error
    return net.to(device).eval().requires_grad_(requires_grad=False)


def damaged(path: Path, error: Exception) -> DamagedFileError:
    """The error for a weight file that cannot be used, with the first words of the reason."""
    reason = " ".join(str(error).split())[:160] or type(error).__name__
    return DamagedFileError(f"The weights in {path} cannot be used ({reason}).", "Delete the file and get it again.")
