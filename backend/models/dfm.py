"""Networks as DeepFaceLab's DFM: an ONNX graph that live programs run.

Inputs ``in_face:0`` (N, R, R, 3) float32 BGR 0..1 and, of AMP, ``morph_value:0`` (1,) float32. Outputs in this order
``out_face_mask:0`` (N, R, R, 1) of the destination's route, ``out_celeb_face:0`` (N, R, R, 3) BGR and
``out_celeb_face_mask:0`` (N, R, R, 1) of the swap; float32 0..1. Any number of faces at once, one of traced networks.

The graphs of SAEHD, Quick96 and AMP are written node by node rather than traced by torch: tracing turns each
depth-to-space into transposes of six axes, fixes the number of faces and knows no half precision. It does for the
other networks, see backend.models.dfm_traced. Whoever writes such a file compares it with the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from backend import __version__
from backend.core.errors import BadInputError
from backend.models.amp import Amp, AmpInter
from backend.models.base import FaceSwapModel
from backend.models.blocks import Conv, Dense, Downscale, DownscaleChain, ResidualBlock, Upscale
from backend.models.dfm_traced import traced_swap
from backend.models.saehd import Decoder, Encoder, Inter, SaehdDf, SaehdLiae

OPSET = 12
IN_FACE, MORPH = "in_face:0", "morph_value:0"
OUTPUTS = ("out_face_mask:0", "out_celeb_face:0", "out_celeb_face_mask:0")

GRAY_OF_BGR = (0.114, 0.587, 0.299)
"""Weights of blue, green and red in gray, those of ITU-R BT.601 which OpenCV uses as well."""

_IR_VERSION = 7
"""Of the files that came with operator set 12."""

_MAX_BYTES = (1 << 31) - (1 << 22)
"""An ONNX file that is a single piece cannot be larger than 2 GiB; a little is left for the nodes."""


def dfm_model(model: FaceSwapModel, fp16: bool, facts: Mapping[str, str]) -> onnx.ModelProto:
    """A network as DFM.

    Args:
        model: float32, on the CPU; one with a single channel takes colour, makes gray of it and gives three equal
            channels.
        fp16: convolve in float16; inputs, outputs and dense layers stay float32.
        facts: key -> text that the file carries as metadata.

    Returns:
        the ONNX model, with all its weights inside.

    Raises:
        BadInputError: there is no DFM of such a network, or it is too large for one file.
    """
    proto = _written(model, fp16) if isinstance(model, SaehdDf | SaehdLiae | Amp) else _traced(model, fp16)
    proto.producer_name, proto.producer_version = "Lookalike", __version__
    helper.set_model_props(proto, dict(facts))
    return proto


def _traced(model: FaceSwapModel, fp16: bool) -> onnx.ModelProto:
    if fp16:
        raise BadInputError(
            f"A {type(model).__name__} network cannot be written in half precision.", "Write it without that."
        )
    if most_bytes(model, fp16) > _MAX_BYTES:
        raise _too_large()
    return traced_swap(model, GRAY_OF_BGR, IN_FACE, OUTPUTS)


def _written(model: FaceSwapModel, fp16: bool) -> onnx.ModelProto:
    graph = _Graph(model, fp16)
    dst_mask, face, mask = _swap(graph, model)
    if model.channels == 1:
        face = graph.add("Concat", [face, face, face], axis=1)
    for name, made in zip(OUTPUTS, (dst_mask, face, mask), strict=True):
        graph.add("Transpose", [made], name, perm=[0, 2, 3, 1])
    return helper.make_model(graph.made(model), opset_imports=[helper.make_opsetid("", OPSET)], ir_version=_IR_VERSION)


def _too_large() -> BadInputError:
    return BadInputError(
        "The network is too large for a DFM file, which cannot hold more than 2 GiB.",
        "Use half precision, or a model with smaller dims.",
    )


def most_bytes(model: FaceSwapModel, fp16: bool) -> int:
    """How large the weights in the file are at most: parts that a swap does without are left out."""
    counts = [(m, sum(p.numel() for p in m.parameters(recurse=False))) for m in model.modules()]
    return sum(count * (2 if fp16 and isinstance(module, nn.Conv2d) else 4) for module, count in counts)


class _Graph:
    """Nodes and weights as they are added. Values are known by their names."""

    def __init__(self, model: FaceSwapModel, fp16: bool) -> None:
        self._modules = {module: name for name, module in model.named_modules()}
        self._fp16 = fp16
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._bytes = 0

    def add(self, kind: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        """One node; returns the name of its output."""
        name = f"{kind}_{len(self._nodes)}"
        output = output or f"{name}_out"
        self._nodes.append(helper.make_node(kind, inputs, [output], name, **attributes))
        return output

    def constant(self, name: str, array: npt.NDArray[np.generic]) -> str:
        """A stored array; one of a name that is stored already is that one."""
        if name not in self._constants:
            self._bytes += array.nbytes
            if self._bytes > _MAX_BYTES:
                raise _too_large()
            self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def narrow(self, x: str) -> str:
        """Before convolutions: float16 where they use it."""
        return self.add("Cast", [x], to=TensorProto.FLOAT16) if self._fp16 else x

    def wide(self, x: str) -> str:
        """After convolutions: float32."""
        return self.add("Cast", [x], to=TensorProto.FLOAT) if self._fp16 else x

    def apply(self, module: nn.Module, x: str) -> str:
        """One of the building blocks."""
        match module:
            case Conv():
                return self._conv(module, x)
            case Dense():
                return self._dense(module, x)
            case DownscaleChain():
                for down in module.downs:
                    x = self.apply(down, x)
                return x
            case Downscale():
                return self._activate(self._conv(module.conv1, x), 0.1, module.cosine)
            case Upscale():
                return self.depth_to_space(self._activate(self._conv(module.conv1, x), 0.1, module.cosine))
            case ResidualBlock():
                inner = self._activate(self._conv(module.conv1, x), 0.2, module.cosine)
                total = self.add("Add", [self._conv(module.conv2, inner), x])
                return self._activate(total, 0.2, module.cosine)
        raise TypeError(f"There is no ONNX of {type(module).__name__}.")

    def depth_to_space(self, x: str) -> str:
        """See backend.models.blocks.depth_to_space()."""
        return self.add("DepthToSpace", [x], blocksize=2, mode="DCR")

    def made(self, model: FaceSwapModel) -> onnx.GraphProto:
        """The graph with its inputs and outputs."""
        picture = ["batch", model.resolution, model.resolution]
        inputs = [helper.make_tensor_value_info(IN_FACE, TensorProto.FLOAT, [*picture, 3])]
        if isinstance(model, Amp):
            inputs.append(helper.make_tensor_value_info(MORPH, TensorProto.FLOAT, [1]))
        outputs = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [*picture, channels])
            for name, channels in zip(OUTPUTS, (1, 3, 1), strict=True)
        ]
        return helper.make_graph(self._nodes, "dfm", inputs, outputs, list(self._constants.values()))

    def _parameters(self, module: Conv | Dense, half: bool) -> list[str]:
        kind = np.float16 if half else np.float32
        return [
            self.constant(f"{self._modules[module]}.{name}", value.detach().cpu().numpy().astype(kind))
            for name, value in module.named_parameters()
        ]

    def _conv(self, module: Conv, x: str) -> str:
        kernel, stride, pad = (int(value[0]) for value in (module.kernel_size, module.stride, module.padding))
        return self.add(
            "Conv",
            [x, *self._parameters(module, self._fp16)],
            kernel_shape=[kernel] * 2,
            strides=[stride] * 2,
            pads=[pad] * 4,
        )

    def _dense(self, module: Dense, x: str) -> str:
        return self.add("Gemm", [x, *self._parameters(module, half=False)], transB=1)

    def _activate(self, x: str, slope: float, cosine: bool) -> str:
        if cosine:
            return self.add("Mul", [x, self.add("Cos", [x])])
        return self.add("LeakyRelu", [x], alpha=slope)


def _swap(graph: _Graph, model: FaceSwapModel) -> tuple[str, str, str]:
    """The way of model.swap(): mask of the destination's route, face and mask of the swap, channels first."""
    x = _picture(graph, model)
    match model:
        case SaehdDf():
            code = _inter(graph, model.inter, _encode(graph, model.encoder, x))
            return _mask(graph, model.decoder_dst, code), *_decode(graph, model.decoder_src, code)
        case SaehdLiae():
            flat = _encode(graph, model.encoder, x)
            both, own = _inter(graph, model.inter_AB, flat), _inter(graph, model.inter_B, flat)
            dst = graph.add("Concat", [own, both], axis=1)
            return _mask(graph, model.decoder, dst), *_decode(
                graph, model.decoder, graph.add("Concat", [both, both], axis=1)
            )
        case Amp():
            flat = _encode(graph, model.encoder, x)
            ours, own = _inter(graph, model.inter_src, flat), _inter(graph, model.inter_dst, flat)
            return _mask(graph, model.decoder, own), *_decode(
                graph, model.decoder, _mixed(graph, model.inter_dims, ours, own)
            )
    raise BadInputError(f"There is no DFM of a {type(model).__name__} network.")


def _picture(graph: _Graph, model: FaceSwapModel) -> str:
    """The input with its channels first, in gray for a network of a single channel."""
    x = IN_FACE
    if model.channels == 1:
        weights = np.array(GRAY_OF_BGR, np.float32)[:, None]
        x = graph.add("MatMul", [x, graph.constant("gray_of_bgr", weights)])
    return graph.add("Transpose", [x], perm=[0, 3, 1, 2])


def _encode(graph: _Graph, encoder: Encoder, x: str) -> str:
    """Its blocks in the order in which they were made, which is that of their use."""
    x = graph.narrow(x)
    dense = [child for child in encoder.children() if isinstance(child, Dense)]
    for child in encoder.children():
        if child not in dense:
            x = graph.apply(child, x)
    x = graph.add("Flatten", [graph.wide(x)], axis=1)
    if encoder.normed:
        mean = graph.add("ReduceMean", [graph.add("Mul", [x, x])], axes=[1], keepdims=1)
        small = graph.constant("pixel_norm_epsilon", np.array(1e-6, np.float32))
        x = graph.add("Div", [x, graph.add("Sqrt", [graph.add("Add", [mean, small])])])
    for layer in dense:
        x = graph.apply(layer, x)
    return x


def _inter(graph: _Graph, inter: Inter | AmpInter, x: str) -> str:
    """Flat code -> picture code, ready for convolutions."""
    layers = [inter.dense2] if isinstance(inter, AmpInter) else [inter.dense1, inter.dense2]
    for layer in layers:
        x = graph.apply(layer, x)
    shape = np.array([-1, inter.channels, inter.side, inter.side], np.int64)
    x = graph.narrow(graph.add("Reshape", [x, graph.constant("code_shape", shape)]))
    last = inter.upscale1 if isinstance(inter, Inter) else None
    return x if last is None else graph.apply(last, x)


def _mixed(graph: _Graph, channels: int, ours: str, own: str) -> str:
    """The first int(channels * morph) channels of the one code, the rest of the other; the product is float32."""
    total = graph.constant("inter_dims", np.array([channels], np.float32))
    count = graph.add("Cast", [graph.add("Mul", [total, MORPH])], to=TensorProto.INT64)
    order = graph.constant("channel_order", np.arange(channels, dtype=np.int64).reshape(1, -1, 1, 1))
    return graph.add("Where", [graph.add("Less", [order, count]), ours, own])


def _decode(graph: _Graph, decoder: Decoder, code: str) -> tuple[str, str]:
    """Face and mask, float32 0..1."""
    x = code
    for stage in range(decoder.stages):
        for kind in ("upscale", "res"):
            x = graph.apply(decoder.get_submodule(f"{kind}{stage}"), x)
    if decoder.double:
        heads = (decoder.out_conv, decoder.out_conv1, decoder.out_conv2, decoder.out_conv3)
        x = graph.depth_to_space(graph.add("Concat", [graph.apply(head, x) for head in heads], axis=1))
    else:
        x = graph.apply(decoder.out_conv, x)
    return graph.add("Sigmoid", [graph.wide(x)]), _mask(graph, decoder, code)


def _mask(graph: _Graph, decoder: Decoder, code: str) -> str:
    """The mask alone, float32 0..1."""
    x = code
    for stage in range(decoder.mask_stages):
        x = graph.apply(decoder.get_submodule(f"upscalem{stage}"), x)
    return graph.add("Sigmoid", [graph.wide(graph.apply(decoder.out_convm, x))])
