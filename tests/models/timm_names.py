"""What timm's checkpoints of EfficientNetV2 and MobileNetV3 hold, from its strings that describe their blocks."""

from __future__ import annotations

import re

V3_SMALL = (
    ("ds_r1_k3_s2_e1_c16_se0.25",),
    ("ir_r1_k3_s2_e4.5_c24", "ir_r1_k3_s1_e3.67_c24"),
    ("ir_r1_k5_s2_e4_c40_se0.25", "ir_r2_k5_s1_e6_c40_se0.25"),
    ("ir_r2_k5_s1_e3_c48_se0.25",),
    ("ir_r3_k5_s2_e6_c96_se0.25",),
    ("cn_r1_k1_s1_c576",),
)
V3_LARGE = (
    ("ds_r1_k3_s1_e1_c16",),
    ("ir_r1_k3_s2_e4_c24", "ir_r1_k3_s1_e3_c24"),
    ("ir_r3_k5_s2_e3_c40_se0.25",),
    ("ir_r1_k3_s2_e6_c80", "ir_r1_k3_s1_e2.5_c80", "ir_r2_k3_s1_e2.3_c80"),
    ("ir_r2_k3_s1_e6_c112_se0.25",),
    ("ir_r3_k5_s2_e6_c160_se0.25",),
    ("cn_r1_k1_s1_c960",),
)
V2_S = (
    ("cn_r2_k3_s1_e1_c24_skip",),
    ("er_r4_k3_s2_e4_c48",),
    ("er_r4_k3_s2_e4_c64",),
    ("ir_r6_k3_s2_e4_c128_se0.25",),
    ("ir_r9_k3_s1_e6_c160_se0.25",),
    ("ir_r15_k3_s2_e6_c256_se0.25",),
)

Shapes = dict[str, tuple[int, ...]]


def mobilenet_v3(arch: tuple[tuple[str, ...], ...], width: float, nodes: int) -> Shapes:
    """Names and shapes of a checkpoint with its classifier of 1000 classes."""
    shapes, channels = _blocks(arch, 16, lambda c: eights(c * width), of_middle=True)
    shapes |= {"conv_head.weight": (nodes, channels, 1, 1), "conv_head.bias": (nodes,)}
    return shapes | {"classifier.weight": (1000, nodes), "classifier.bias": (1000,)}


def efficientnet_v2_s() -> Shapes:
    """Names and shapes of a checkpoint with its classifier of 1000 classes."""
    shapes, channels = _blocks(V2_S, 24, int, of_middle=False)
    shapes |= {"conv_head.weight": (1280, channels, 1, 1), **_norm("bn2", 1280)}
    return shapes | {"classifier.weight": (1000, 1280), "classifier.bias": (1000,)}


def eights(channels: float) -> int:
    """timm's rounding of channels."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest


def _norm(name: str, channels: int) -> Shapes:
    vectors = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{vector}": (channels,) for vector in vectors} | {f"{name}.num_batches_tracked": ()}


def _blocks(arch, stem: int, scaled, of_middle: bool) -> tuple[Shapes, int]:
    found: Shapes = {"conv_stem.weight": (stem, 3, 3, 3), **_norm("bn1", stem)}
    inputs = stem
    for stage, rows in enumerate(arch):
        place = 0
        for row in rows:
            kind, *marks = row.removesuffix("_skip").split("_")
            values = {m[1]: float(m[2]) for mark in marks if (m := re.match(r"(se|[rksec])([\d.]+)$", mark))}
            outputs = scaled(values["c"])
            for _ in range(int(values["r"])):
                block = _block(kind, inputs, outputs, values, of_middle)
                found |= {f"blocks.{stage}.{place}.{name}": shape for name, shape in block.items()}
                inputs, place = outputs, place + 1
    return found, inputs


def _block(kind: str, inputs: int, outputs: int, values: dict[str, float], of_middle: bool) -> Shapes:
    kernel = int(values["k"])
    middle = eights(inputs * values.get("e", 1))
    window = (kernel, kernel)
    if kind == "cn":
        return {"conv.weight": (outputs, inputs, *window), **_norm("bn1", outputs)}
    if kind == "er":
        shapes: Shapes = {"conv_exp.weight": (middle, inputs, *window), **_norm("bn1", middle)}
        return shapes | {"conv_pwl.weight": (outputs, middle, 1, 1), **_norm("bn2", outputs)}
    excite: Shapes = {}
    if "se" in values:
        squeezed = eights(middle * values["se"]) if of_middle else int(inputs * values["se"])
        excite = {
            "se.conv_reduce.weight": (squeezed, middle, 1, 1),
            "se.conv_reduce.bias": (squeezed,),
            "se.conv_expand.weight": (middle, squeezed, 1, 1),
            "se.conv_expand.bias": (middle,),
        }
    if kind == "ds":
        shapes = {"conv_dw.weight": (inputs, 1, *window), **_norm("bn1", inputs), **excite}
        return shapes | {"conv_pw.weight": (outputs, inputs, 1, 1), **_norm("bn2", outputs)}
    shapes = {"conv_pw.weight": (middle, inputs, 1, 1), **_norm("bn1", middle)}
    shapes |= {"conv_dw.weight": (middle, 1, *window), **_norm("bn2", middle), **excite}
    return shapes | {"conv_pwl.weight": (outputs, middle, 1, 1), **_norm("bn3", outputs)}
