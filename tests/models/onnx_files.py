"""Tiny networks in ONNX files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

Size = int | str | None
FLOAT = TensorProto.FLOAT


def write_graph(path: Path, nodes: Sequence[onnx.NodeProto], inputs: dict, outputs: dict, constants: dict) -> Path:
    """A file of these nodes.

    Args:
        path: the file.
        nodes: of the graph.
        inputs: name -> (type, sizes).
        outputs: name -> sizes, all float32.
        constants: name -> array.
    """
    graph = helper.make_graph(
        list(nodes),
        "tiny",
        [helper.make_tensor_value_info(name, kind, sizes) for name, (kind, sizes) in inputs.items()],
        [helper.make_tensor_value_info(name, FLOAT, sizes) for name, sizes in outputs.items()],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


def write_enhancer(
    path: Path,
    side: int | None,
    scale: int,
    low: float = 0.0,
    further: tuple[str, int] | None = None,
    nhwc: bool = False,
) -> Path:
    """An enhancer that enlarges, takes half of the first colour away and clips to low..1.

    Args:
        path: the file.
        side: it takes; None for any.
        scale: how many times the output is larger; its pixels are repeated.
        low: of the range it clips to.
        further: name and type of a further input that is added to the picture.
        nhwc: whether colours come last.
    """
    sides: list[Size] = [side, side] if side else ["h", "w"]
    whole: list[Size] = [side * scale] * 2 if side else ["oh", "ow"]
    taken, given = ([1, *sides, 3], [1, *whole, 3]) if nhwc else ([1, 3, *sides], [1, 3, *whole])
    factors = np.array([1, 1, scale, scale], np.float32)
    weights = np.array([0.5, 1, 1], np.float32).reshape(1, 3, 1, 1)
    nodes = [helper.make_node("Transpose", ["picture"], ["nchw"], perm=[0, 3, 1, 2])] if nhwc else []
    nodes += [
        helper.make_node("Resize", ["nchw" if nhwc else "picture", "", "factors"], ["large"], mode="nearest"),
        helper.make_node("Mul", ["large", "weights"], ["weighted"]),
        helper.make_node("Clip", ["weighted", "low", "high"], ["clipped"]),
    ]
    last, inputs = "clipped", {"picture": (FLOAT, taken)}
    if further:
        nodes += [
            helper.make_node("Cast", [further[0]], ["further32"], to=FLOAT),
            helper.make_node("Add", [last, "further32"], ["added"]),
        ]
        last, inputs[further[0]] = "added", (further[1], [1])
    ending = {"perm": [0, 2, 3, 1]} if nhwc else {}
    nodes.append(helper.make_node("Transpose" if nhwc else "Identity", [last], ["drawn"], **ending))
    constants = {"factors": factors, "weights": weights, "low": np.float32(low), "high": np.float32(1)}
    return write_graph(path, nodes, inputs, {"drawn": given}, constants)


def write_segmentation(path: Path, nhwc: bool = True, sigmoid: bool = True, batch: Size = "n", side: int = 256) -> Path:
    """A mask network whose logits are 10 * (blue - red).

    Args:
        path: the file.
        nhwc: whether colours come last.
        sigmoid: whether the output is a probability.
        batch: pictures at once, a name for any number.
        side: of its pictures.
    """
    weights = np.array([10, 0, -10], np.float32).reshape((3, 1) if nhwc else (1, 3, 1, 1))
    nodes = [
        helper.make_node("MatMul", ["in_face", "weights"], ["logits"])
        if nhwc
        else helper.make_node("Conv", ["in_face", "weights"], ["logits"]),
        helper.make_node("Sigmoid" if sigmoid else "Identity", ["logits"], ["out_mask"]),
    ]
    taken, given = ([batch, side, side, 3], [batch, side, side, 1])
    if not nhwc:
        taken, given = ([batch, 3, side, side], [batch, 1, side, side])
    return write_graph(path, nodes, {"in_face": (FLOAT, taken)}, {"out_mask": given}, {"weights": weights})
