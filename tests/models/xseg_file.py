"""DeepFaceLab's XSeg as the ONNX file it exports, from a recipe of its weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from onnx import NodeProto, TensorProto, helper

from tests.models.onnx_files import write_graph

_DOWN = {0: (4, (1, 2)), 1: (3, (1, 1)), 2: (2, (0, 1)), 3: (2, (0, 1)), 4: (2, (0, 1)), 5: (2, (0, 1))}
"""Level -> side of the blur that halves it, and its padding before and after."""


def drawn_weights(recipe: dict) -> dict[str, np.ndarray]:
    """The tensors of a recipe, see the README of the golden networks."""
    rng = np.random.RandomState(recipe["seed"])
    drawn = {}
    for tensor in recipe["tensors"]:
        name, shape = tensor["name"], tensor["shape"]
        u = rng.uniform(-1, 1, size=shape)
        if name.endswith("eps:0"):
            value = np.full(shape, 1e-6)
        elif name.endswith("weight:0") and len(shape) > 1:
            value = u * recipe["gain"] * np.sqrt(3 / np.prod(shape[:-1])) * (0.35 if name.startswith("out_conv") else 1)
        else:
            value = 1 + 0.2 * u if name.endswith("weight:0") else 0.1 * u
        drawn[name] = value.astype(np.float32)
        assert np.isclose(drawn[name].sum(dtype=np.float64), tensor["sum"], rtol=1e-5, atol=1e-4)
    return drawn


class _Writer:
    def __init__(self, weights: dict[str, np.ndarray]) -> None:
        self.weights = weights
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}

    def add(self, kind: str, *inputs: str, **attributes) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def keep(self, array: np.ndarray) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.ascontiguousarray(array)
        return name

    def layer(self, x: str, name: str, up: bool = False) -> str:
        """Convolution, filter response normalisation, thresholded linear unit."""
        axes = (3, 2, 0, 1)
        kernel = self.keep(self.weights[f"{name}/conv/weight:0"].transpose(axes))
        bias = self.keep(self.weights[f"{name}/conv/bias:0"])
        how = {"strides": [2, 2], "pads": [0, 0, 1, 1]} if up else {"pads": [1] * 4}
        x = self.add("ConvTranspose" if up else "Conv", x, kernel, bias, **how)
        square = self.add("ReduceMean", self.add("Mul", x, x), axes=[2, 3])
        root = self.add("Sqrt", self.add("Add", square, self.keep(np.abs(self.weights[f"{name}/frn/eps:0"]))))
        scale, shift, tau = (
            self.keep(self.weights[f"{name}/{key}:0"].reshape(1, -1, 1, 1))
            for key in ("frn/weight", "frn/bias", "tlu/tau")
        )
        return self.add("Max", self.add("Add", self.add("Mul", self.add("Div", x, root), scale), shift), tau)

    def halved(self, x: str, channels: int, level: int) -> str:
        side, (before, after) = _DOWN[level]
        row = np.array({4: [1, 3, 3, 1], 3: [1, 2, 1], 2: [1, 1]}[side], np.float32)
        kernel = np.outer(row, row) / row.sum() ** 2
        weights = self.keep(np.tile(kernel.astype(np.float32), (channels, 1, 1, 1)))
        return self.add("Conv", x, weights, strides=[2, 2], pads=[before, before, after, after], group=channels)

    def dense(self, x: str, name: str) -> str:
        return self.add("Gemm", x, *(self.keep(self.weights[f"{name}/{key}:0"]) for key in ("weight", "bias")))

    def network(self, x: str) -> str:
        """Logits, channels first, of a picture with its channels first."""
        names = [name.partition("/")[0] for name in self.weights]
        skips = []
        for level in range(6):
            convs = list(dict.fromkeys(n for n in names if n.startswith(f"conv{level}")))
            for name in convs:
                x = self.layer(x, name)
            skips.append(x)
            x = self.halved(x, len(self.weights[f"{convs[-1]}/conv/bias:0"]), level)
        x = self.dense(self.dense(self.add("Flatten", x), "dense1"), "dense2")
        x = self.add("Reshape", x, self.keep(np.array([-1, len(self.weights["dense2/bias:0"]) // 16, 4, 4])))
        for level in reversed(range(6)):
            x = self.add("Concat", self.layer(x, f"up{level}", up=True), skips[level], axis=1)
            for name in dict.fromkeys(n for n in names if n.startswith(f"uconv{level}")):
                x = self.layer(x, name)
        kernel, bias = (self.weights[f"out_conv/{key}:0"] for key in ("weight", "bias"))
        return self.add("Conv", x, self.keep(kernel.transpose(3, 2, 0, 1)), self.keep(bias), pads=[1] * 4)


def write_xseg(path: Path, recipe: Path, sigmoid: bool) -> Path:
    """in_face (N, 256, 256, 3) -> out_mask (N, 256, 256, 1), with or without the sigmoid at its end."""
    writer = _Writer(drawn_weights(json.loads(recipe.read_text())))
    made = writer.network(writer.add("Transpose", "in_face", perm=[0, 3, 1, 2]))
    made = writer.add("Sigmoid", made) if sigmoid else made
    writer.nodes.append(helper.make_node("Transpose", [made], ["out_mask"], perm=[0, 2, 3, 1]))
    inputs = {"in_face": (TensorProto.FLOAT, ["n", 256, 256, 3])}
    return write_graph(path, writer.nodes, inputs, {"out_mask": ["n", 256, 256, 1]}, writer.constants)
