"""DFM files of networks that are not written node by node: torch traces them, for one face at a time.

Traced are the operations that one picture takes, so sizes that depend on the number of faces are fixed: the file takes
one at a time, which is what live programs give it. Places in the source, which tracing records, are taken out again.
"""

from __future__ import annotations

import io
import warnings
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from backend.core.errors import BadInputError
from backend.models.base import FaceSwapModel

OPSETS = (12, 14, 17)
"""Operator sets that are tried in this order: 12 is what readers of DFM files expect; it does not know attention."""


class _Swap(nn.Module):
    """model.swap() with the inputs and outputs of a DFM file, see backend.models.dfm."""

    gray_of_bgr: Tensor
    area: Tensor

    def __init__(self, model: FaceSwapModel, gray_of_bgr: tuple[float, ...]) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("gray_of_bgr", torch.tensor(gray_of_bgr).view(1, 3, 1, 1))
        side = getattr(model, "input_px", model.resolution)
        self.shrinks = side < model.resolution
        if self.shrinks:
            self.register_buffer("area", area_weights(model.resolution, int(side)))

    def forward(self, faces: Tensor) -> tuple[Tensor, ...]:
        """(1, R, R, 3) BGR 0..1 -> mask of the destination's route, face and mask of the swap, channels last."""
        x = faces.permute(0, 3, 1, 2)
        if self.shrinks:  # to what the encoder sees: ONNX has no such pooling, and the model then finds nothing to do
            x = self.area @ x @ self.area.t()
        if self.model.channels == 1:
            x = (x * self.gray_of_bgr).sum(1, keepdim=True)
        out = self.model.swap(x)
        face = out.face if self.model.channels == 3 else torch.cat((out.face,) * 3, 1)
        return tuple(made.permute(0, 2, 3, 1).contiguous() for made in (out.dst_mask, face, out.mask))


def area_weights(size: int, smaller: int) -> Tensor:
    """(smaller, size) weights that shrink one side of a picture as torch's mode "area" does, float32.

    Each new pixel is the mean of those from floor(i * size / smaller) to ceil((i + 1) * size / smaller).
    """
    weights = torch.zeros(smaller, size)
    for i in range(smaller):
        first, last = i * size // smaller, -(-(i + 1) * size // smaller)
        weights[i, first:last] = 1.0 / (last - first)
    return weights


def traced_swap(
    model: FaceSwapModel, gray_of_bgr: tuple[float, ...], in_face: str, outputs: tuple[str, ...]
) -> onnx.ModelProto:
    """The swap of a network as ONNX, in the lowest operator set that can say it.

    Args:
        model: float32, in evaluation mode, on the CPU.
        gray_of_bgr: weights of blue, green and red in gray, for a network of one channel.
        in_face, outputs: names of the input and of the three outputs.

    Raises:
        BadInputError: no operator set can say it.
    """
    picture = torch.full((1, model.resolution, model.resolution, 3), 0.5)
    attends = any("Attention" in type(module).__name__ for module in model.modules())
    for opset in OPSETS[1:] if attends else OPSETS:
        file = io.BytesIO()
        try:
            with warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("ignore")
                torch.onnx.export(
                    _Swap(model, gray_of_bgr).eval(),
                    (picture,),
                    file,  # pyright: ignore[reportArgumentType] - only the other exporter wants a path
                    input_names=[in_face],
                    output_names=list(outputs),
                    opset_version=opset,
                    dynamo=False,
                )
        except (RuntimeError, ValueError, TypeError, NotImplementedError):
            continue
        return _without_places(onnx.load_from_string(file.getvalue()))
    raise BadInputError(
        f"A {type(model).__name__} network with these parts cannot be written as DFM.", "Merge with it here."
    )


def _without_places(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same without texts that name places in the source."""
    parts: list[Any] = [proto, proto.graph, *proto.graph.node, *proto.graph.value_info, *proto.graph.initializer]
    for part in parts:
        part.ClearField("doc_string")
    for node in proto.graph.node:
        node.ClearField("metadata_props")
    return proto
