"""DeepFaceLab's tensor names and memory layouts, and ours.

Our sub-modules carry DeepFaceLab's names and are created in the order of its files, so a name only changes its
punctuation: ``down1.downs.0.conv1.weight`` is ``down1/downs_0/conv1/weight:0``. Its kernels are (height, width, in,
out), its dense weights (in, out). Channels before depth-to-space have the same order on both sides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from backend.core.errors import DamagedFileError

FloatArray = npt.NDArray[np.floating[Any]]
MOMENTS: Mapping[str, str] = MappingProxyType({"m": "ms", "v": "vs", "a": "acc"})
"""What an optimiser keeps of each weight: our name -> DeepFaceLab's. AdaBelief has m and v, RMSprop has a."""

STEPS = "iters:0"
"""DeepFaceLab's name of the number of steps an optimiser has taken."""

_LISTED = 3


def dfl_name(parameter: str) -> str:
    """DeepFaceLab's name of one of our parameters, inside its part."""
    return re.sub(r"\.(\d+)", r"_\1", parameter).replace(".", "/") + ":0"


def dfl_moment_name(moment: str, network: str, parameter: str) -> str:
    """DeepFaceLab's name of an average that an optimiser keeps, such as ``ms_encoder/down1/.../weight_0:0``.

    Args:
        moment: our name of it, a key of MOMENTS.
        network: DeepFaceLab's name of the network.
        parameter: our name of the weight inside it.
    """
    return f"{MOMENTS[moment]}_{network}/{dfl_name(parameter)}".replace(":", "_") + ":0"


def to_dfl_layout(weight: Tensor) -> FloatArray:
    """A weight, bias or gradient as float32 array in DeepFaceLab's layout."""
    array = weight.detach().float().cpu()
    if array.dim() == 4:
        array = array.permute(2, 3, 1, 0)
    elif array.dim() == 2:
        array = array.t()
    return np.ascontiguousarray(array.numpy())


def from_dfl_layout(array: FloatArray) -> Tensor:
    """Inverse of ``to_dfl_layout``."""
    axes = {4: (3, 2, 0, 1), 2: (1, 0)}.get(array.ndim)
    moved = array if axes is None else array.transpose(axes)
    return torch.from_numpy(np.array(moved, dtype=np.float32, order="C"))


def dfl_weights(part: nn.Module) -> dict[str, FloatArray]:
    """All parameters of one part (encoder, inter, ...) by DeepFaceLab's names, in the order of its files."""
    return {dfl_name(name): to_dfl_layout(parameter) for name, parameter in part.named_parameters()}


def load_dfl_weights(part: nn.Module, arrays: Mapping[str, FloatArray]) -> None:
    """Fill one part from DeepFaceLab's tensors. Nothing is changed unless all of them fit.

    Args:
        part: encoder, inter, decoder, ...
        arrays: name -> floating point array.

    Raises:
        DamagedFileError: a tensor is missing, not known, of another shape, not of floating point numbers, or holds
            values that are none.
    """
    parameters = {dfl_name(name): parameter for name, parameter in part.named_parameters()}
    _same_names(set(parameters), set(arrays))
    found: dict[str, Tensor] = {}
    for name, parameter in parameters.items():
        array = np.asarray(arrays[name])
        if array.dtype.kind != "f":
            raise DamagedFileError(f"The weights '{name}' are of type {array.dtype}, not floating point numbers.")
        found[name] = from_dfl_layout(array)
        if found[name].shape != parameter.shape:
            wanted = tuple(to_dfl_layout(parameter).shape)
            raise DamagedFileError(
                f"The weights '{name}' have the shape {tuple(array.shape)}, this model needs {wanted}.",
                "Check the model's architecture, resolution and dims.",
            )
        if not found[name].isfinite().all():
            raise DamagedFileError(
                f"The weights '{name}' hold values that are no numbers: that training had broken down.",
                "Take an earlier copy of the model, for example from its folder of backups.",
            )
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(found[name])


def _same_names(wanted: set[str], given: set[str]) -> None:
    for what, names in (("lack", wanted - given), ("hold more than this model:", given - wanted)):
        if names:
            listed = ", ".join(sorted(names)[:_LISTED]) + (", ..." if len(names) > _LISTED else "")
            raise DamagedFileError(
                f"The weights {what} {listed}.", "Check the model's architecture, resolution and dims."
            )
