"""Networks in ONNX files, run by onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from onnxruntime.capi import onnxruntime_pybind11_state as state  # pyright: ignore[reportAttributeAccessIssue]

from backend.core.errors import DamagedFileError

FAILURES: tuple[type[Exception], ...] = (
    state.EPFail,
    state.Fail,
    state.InvalidArgument,
    state.InvalidGraph,
    state.InvalidProtobuf,
    state.NoModel,
    state.NoSuchFile,
    state.NotImplemented,
    state.RuntimeException,
    RuntimeError,
    ValueError,
)
"""What onnxruntime raises when it cannot load or run a network; its errors have no base class of their own."""

_ONLY_FATAL = 4

_PROVIDERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "cuda": ("CUDAExecutionProvider", "ROCMExecutionProvider", "MIGraphXExecutionProvider"),
        "mps": ("CoreMLExecutionProvider",),
        "xpu": ("OpenVINOExecutionProvider",),
        "npu": ("CANNExecutionProvider",),
    }
)
"""Kind of device, as torch names it -> what runs on it, best first."""

_TYPES: Mapping[str, type[np.generic]] = MappingProxyType(
    {
        "tensor(float)": np.float32,
        "tensor(float16)": np.float16,
        "tensor(double)": np.float64,
        "tensor(int64)": np.int64,
        "tensor(int32)": np.int32,
        "tensor(uint8)": np.uint8,
    }
)


@dataclass(frozen=True)
class Slot:
    """An input or output of a network.

    Attributes:
        name: in the file.
        shape: sizes; None where any size fits.
        dtype: numpy's name of its type.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype[Any]


class OnnxNetwork:
    """A network of an ONNX file. run() may be called from several threads.

    Args:
        file: the network.
        device: "cpu", "best", or a device as torch names it; the CPU where this onnxruntime cannot use it.
        threads: how many compute at once on the CPU; 0 takes as many as torch does in this process.

    Attributes:
        file: it came from.
        inputs, outputs: in the order of the file.

    Raises:
        DamagedFileError: the file is missing, or is no network that onnxruntime can run.
    """

    def __init__(self, file: Path, device: str = "cpu", threads: int = 0) -> None:
        self.file = file
        options = onnxruntime.SessionOptions()
        # Without a number onnxruntime binds a thread to every core of the computer, also to those it may not use.
        options.intra_op_num_threads = threads or torch.get_num_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = _ONLY_FATAL
        try:
            # From its path, so that weights which lie beside the file are found.
            self._session = onnxruntime.InferenceSession(str(file), options, providers=providers(device))
            self.inputs = tuple(_slot(item) for item in self._session.get_inputs())
            self.outputs = tuple(_slot(item) for item in self._session.get_outputs())
        except (*FAILURES, OSError, KeyError) as error:
            raise self._damaged(error) from error

    @property
    def provider(self) -> str:
        """What it runs on, as onnxruntime names it."""
        return self._session.get_providers()[0]

    def run(self, feeds: Mapping[str, npt.ArrayLike]) -> list[Any]:
        """All outputs.

        Args:
            feeds: an array for every input, by name; changed to the type the network wants.

        Raises:
            DamagedFileError: the network cannot be run with these.
        """
        types = {slot.name: slot.dtype for slot in self.inputs}
        typed = {name: np.ascontiguousarray(value, types[name]) for name, value in feeds.items()}
        try:
            return list(self._session.run(None, typed))
        except FAILURES as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> DamagedFileError:
        said = str(error).replace(str(self.file), self.file.name)
        reason = " ".join(said.split())[:160] or type(error).__name__
        return DamagedFileError(
            f"The network {self.file.name} in {self.file.parent} cannot be used ({reason}).",
            "Replace the file by a whole one, or remove it.",
        )


def providers(device: str) -> list[Any]:
    """What onnxruntime shall run on, best first; always ends with the CPU.

    Args:
        device: "cpu", "best", or a device as torch names it, such as "cuda:1".
    """
    kind, _, index = device.partition(":")
    wanted = [name for names in _PROVIDERS.values() for name in names] if kind == "best" else _PROVIDERS.get(kind, ())
    present = [name for name in wanted if name in onnxruntime.get_available_providers()]
    placed = [(name, {"device_id": index}) if index.isdecimal() else name for name in present]
    return [*placed, "CPUExecutionProvider"]


def _slot(item: Any) -> Slot:
    shape = tuple(size if isinstance(size, int) and size > 0 else None for size in item.shape)
    return Slot(item.name, shape, np.dtype(_TYPES[item.type]))
