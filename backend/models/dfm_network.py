"""A network in a DFM file, which swaps faces and does nothing else. See backend.models.dfm for the format."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from google.protobuf.message import DecodeError
from torch import Tensor, nn

from backend.core.errors import BadInputError, DamagedFileError
from backend.core.faces import FaceType
from backend.models.base import FaceSwapModel, Reconstruction, SwapOutput
from backend.models.onnx_network import OnnxNetwork, Slot

MOST_BYTES = (1 << 31) - 1
"""An ONNX file that is a single piece cannot be larger."""

MOST_SIDE = 2048
"""Largest picture that is taken, px."""

_DOMAINS = ("", "ai.onnx")
_STRANGE = "It is no DFM file of a face swap: ask whoever made it for another one."


def check_dfm(path: Path) -> dict[str, str]:
    """Refuse a file that asks for more than its own contents: operations of others, or weights that lie elsewhere.

    Args:
        path: the file.

    Returns:
        what the file says about itself: key -> text.

    Raises:
        DamagedFileError: it is too large, no ONNX file, or asks for more.
    """
    if path.stat().st_size > MOST_BYTES:
        raise DamagedFileError(f"{path.name} is larger than 2 GiB; no DFM file is.", _STRANGE)
    try:
        proto = onnx.load(path, load_external_data=False)
    except (DecodeError, ValueError, RuntimeError) as error:
        raise DamagedFileError(f"{path.name} is cut off, or no DFM file at all.", "Copy it again.") from error
    known = {*_DOMAINS, *(function.domain for function in proto.functions)}
    for node, tensors in (found for place in (proto.graph, *proto.functions) for found in _nodes(place)):
        if node.domain not in known:
            operation = f"{node.op_type[:60]} of {node.domain[:60]}"
            raise DamagedFileError(f"{path.name} needs the operation {operation}, which is not here.", _STRANGE)
        _require_inside(path, tensors)
    _require_inside(path, _stored(proto.graph))
    return {entry.key: entry.value for entry in proto.metadata_props}


def _nodes(graph: Any) -> Iterator[tuple[Any, list[Any]]]:
    """Every node of a graph or function with the tensors among its attributes, also inside loops and branches."""
    for node in graph.node:
        tensors = [tensor for each in node.attribute for tensor in (each.t, *each.tensors) if tensor.ByteSize()]
        sparse = [item for each in node.attribute for item in (each.sparse_tensor, *each.sparse_tensors)]
        yield node, tensors + [part for item in sparse for part in (item.values, item.indices)]
        for each in node.attribute:
            for inner in (each.g, *each.graphs):
                yield from _nodes(inner)
                yield node, list(_stored(inner))


def _stored(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)


def _require_inside(path: Path, tensors: Any) -> None:
    for tensor in tensors:
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise DamagedFileError(f"{path.name} keeps weights in another file, which is not read.", _STRANGE)


class DfmNetwork(FaceSwapModel):
    """A DFM file as a network whose only way is the swap. swap() may be called from several threads.

    Args:
        file: the DFM file.
        device: "cpu", "best", or a device as torch names it; see backend.models.onnx_network.
        face_type: how much of the head it takes; the file need not say.

    Attributes:
        morphs: whether the swap can be set between the faces, as that of AMP.
        provider: what it runs on, as onnxruntime names it.

    Raises:
        DamagedFileError: it is no network that can be run, or its inputs and outputs are not those of a DFM file.
    """

    def __init__(self, file: Path, device: str, face_type: FaceType) -> None:
        super().__init__()
        self._network = OnnxNetwork(file, device)
        self._face, *more = self._network.inputs or (Slot("", (), np.dtype(np.float32)),)
        self._require(_is_picture(self._face), "its first input is no picture")
        self._require(len(more) <= 1 and all(map(_is_morph, more)), "it has an input that is not known")
        self._require(len(self._network.outputs) == 3, "it does not give a face and two masks")
        self._morph = more[0] if more else None
        self.resolution = int(self._face.shape[1] or 0)
        self.channels = 3
        self.face_type = face_type
        self.morphs = self._morph is not None
        self.provider = self._network.provider

    def try_out(self) -> None:
        """Swap two pictures of noise. DamagedFileError when what comes out is not what a DFM file gives."""
        count = 2 if self._face.shape[0] is None else 1
        noise = np.random.default_rng(0).random((count, self.resolution, self.resolution, 3), np.float32)
        self._run(noise, 0.5)

    def swap(self, dst: Tensor, morph: float = 1.0) -> SwapOutput:
        """Swap dst faces (B, 3, R, R), float 0..1, BGR; ``morph`` counts where the file has that input.

        Raises:
            DamagedFileError: the file cannot be run, or gives something else than faces and masks.
        """
        faces = dst.permute(0, 2, 3, 1).float().cpu().numpy()
        alone = self._face.shape[0] == 1
        made = [self._run(part, morph) for part in (np.split(faces, len(faces)) if alone else (faces,))]
        joined = [torch.from_numpy(np.concatenate(each)) for each in zip(*made, strict=True)]
        dst_mask, face, mask = (each.permute(0, 3, 1, 2).to(dst.device) for each in joined)
        return SwapOutput(face, mask, dst_mask)

    def autoencode(self, src: Tensor, dst: Tensor, with_swap: bool = False) -> Reconstruction:
        """BadInputError: a DFM file only swaps."""
        raise BadInputError("A DFM file only swaps: it does not rebuild faces.", "Use a model that was trained here.")

    def parts(self) -> dict[str, nn.Module]:
        """None: what is inside the file is closed."""
        return {}

    def _run(self, faces: npt.NDArray[np.float32], morph: float) -> list[npt.NDArray[np.float32]]:
        """Mask of the destination's route, face and mask of the swap, each (n, R, R, c) float32."""
        feeds: dict[str, npt.ArrayLike] = {self._face.name: faces}
        if self._morph is not None:
            feeds[self._morph.name] = np.full([1] * len(self._morph.shape), morph, np.float32)
        made = [np.asarray(each, np.float32) for each in self._network.run(feeds)]
        wanted = [(*faces.shape[:3], channels) for channels in (1, 3, 1)]
        self._require([each.shape for each in made] == wanted, "it does not give a face and two masks of its size")
        self._require(all(np.isfinite(each).all() for each in made), "what it gives are no numbers")
        return made

    def _require(self, fine: object, fault: str) -> None:
        if not fine:
            raise DamagedFileError(f"{self._network.file.name} cannot be used: {fault}.", _STRANGE)


def _is_picture(slot: Slot) -> bool:
    """(N, R, R, 3) float32 under a name that live programs know."""
    named = "in_face" in slot.name and slot.dtype == np.float32 and len(slot.shape) == 4
    side = slot.shape[1] if named else None
    return side is not None and side == slot.shape[2] and 16 <= side <= MOST_SIDE and slot.shape[3] == 3


def _is_morph(slot: Slot) -> bool:
    return "morph_value" in slot.name and slot.dtype == np.float32 and len(slot.shape) <= 1
