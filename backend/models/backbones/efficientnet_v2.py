"""EfficientNetV2 without its classifier (Tan and Le 2021), with the layer names of timm's tf_efficientnetv2_*."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from torch import Tensor, nn

from backend.models.backbones.base import HALF, IMAGENET, Normalisation, begin_batch_norms, begin_convolutions, halved
from backend.models.backbones.mobile_blocks import (
    ConvNormAct,
    EdgeResidual,
    InvertedResidual,
    SameConv,
    SqueezeExcite,
    batch_norm,
    rounded,
)

_DROP = 0.2
_BATCH_NORM_MOMENTUM = 0.1
_HEAD = 1280


class _Stage(NamedTuple):
    """Blocks of one stage: "plain", "fused" or "inverted"; the stride is that of the first."""

    kind: str
    blocks: int
    stride: int
    widening: int
    channels: int


_BASE = (
    _Stage("plain", 1, 1, 1, 16),
    _Stage("fused", 2, 2, 4, 32),
    _Stage("fused", 2, 2, 4, 48),
    _Stage("inverted", 3, 2, 4, 96),
    _Stage("inverted", 5, 1, 6, 112),
    _Stage("inverted", 8, 2, 6, 192),
)
_S = (
    _Stage("plain", 2, 1, 1, 24),
    _Stage("fused", 4, 2, 4, 48),
    _Stage("fused", 4, 2, 4, 64),
    _Stage("inverted", 6, 2, 4, 128),
    _Stage("inverted", 9, 1, 6, 160),
    _Stage("inverted", 15, 2, 6, 256),
)
_M = (
    _Stage("plain", 3, 1, 1, 24),
    _Stage("fused", 5, 2, 4, 48),
    _Stage("fused", 5, 2, 4, 80),
    _Stage("inverted", 7, 2, 4, 160),
    _Stage("inverted", 14, 1, 6, 176),
    _Stage("inverted", 18, 2, 6, 304),
    _Stage("inverted", 5, 1, 6, 512),
)
_L = (
    _Stage("plain", 4, 1, 1, 32),
    _Stage("fused", 7, 2, 4, 64),
    _Stage("fused", 7, 2, 4, 96),
    _Stage("inverted", 10, 2, 4, 192),
    _Stage("inverted", 19, 1, 6, 224),
    _Stage("inverted", 25, 2, 6, 384),
    _Stage("inverted", 7, 1, 6, 640),
)

_NETS: Mapping[str, tuple[tuple[_Stage, ...], int, float, float]] = MappingProxyType(
    {
        "efficientnet_v2_b0": (_BASE, 32, 1.0, 1.0),
        "efficientnet_v2_b1": (_BASE, 32, 1.0, 1.1),
        "efficientnet_v2_b2": (_BASE, 32, 1.1, 1.2),
        "efficientnet_v2_b3": (_BASE, 32, 1.2, 1.4),
        "efficientnet_v2_s": (_S, 24, 1.0, 1.0),
        "efficientnet_v2_m": (_M, 24, 1.0, 1.0),
        "efficientnet_v2_l": (_L, 32, 1.0, 1.0),
    }
)
"""Name -> stages, channels of the first convolution, factors of width and depth."""


class EfficientNetV2(nn.Module):
    """Gives (B, C, px/32, px/32) of normalised RGB (B, 3, px, px).

    Args:
        name: key of the table above.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        stages, stem, width, depth = _NETS[name]
        stages = [s._replace(channels=_rounded(s.channels * width), blocks=math.ceil(s.blocks * depth)) for s in stages]
        inputs, self.out_channels = _rounded(stem * width), _rounded(_HEAD * width)
        self.conv_stem = SameConv(3, inputs, 3, 2)
        self.bn1 = batch_norm(inputs)
        total, done, built = sum(stage.blocks for stage in stages), 0, []
        for stage in stages:
            blocks: list[nn.Module] = []
            for i in range(stage.blocks):
                blocks.append(_block(stage, inputs, stage.stride if i == 0 else 1, _DROP * done / total))
                inputs, done = stage.channels, done + 1
            built.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*built)
        self.conv_head = SameConv(inputs, self.out_channels, 1)
        self.bn2 = batch_norm(self.out_channels)
        self.act = nn.SiLU()
        begin_convolutions(self)
        begin_batch_norms(self, _BATCH_NORM_MOMENTUM)

    def forward(self, x: Tensor) -> Tensor:
        """The map before pooling."""
        x = self.blocks(self.act(self.bn1(self.conv_stem(x))))
        return self.act(self.bn2(self.conv_head(x)))


def build(name: str, px: int) -> tuple[nn.Module, Normalisation, tuple[int, ...]]:
    """A network with fresh weights, what its checkpoint expects, and the shape of what it gives.

    Args:
        name: of the encoder, "efficientnet_v2_b0" to "_b3", "_s", "_m" or "_l".
        px: side of its pictures.
    """
    net = EfficientNetV2(name)
    return net, IMAGENET if "_b" in name else HALF, (net.out_channels, halved(px), halved(px))


def _block(stage: _Stage, inputs: int, stride: int, drop: float) -> nn.Module:
    shape, middle = (inputs, stage.channels), inputs * stage.widening
    if stage.kind == "plain":
        return ConvNormAct(shape, 3, stride, nn.SiLU, drop, skip=True)
    if stage.kind == "fused":
        return EdgeResidual(shape, middle, stride, nn.SiLU, drop)
    excite = SqueezeExcite(middle, inputs // 4, nn.SiLU, nn.Sigmoid)
    return InvertedResidual(shape, middle, (3, stride), nn.SiLU, excite, drop)


def _rounded(channels: float) -> int:
    return rounded(channels, floor=0.0)
