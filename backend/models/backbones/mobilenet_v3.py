"""MobileNetV3 without its classifier (Howard et al. 2019), with the layer names of timm's tf_mobilenetv3_*.

The minimalistic variants have 3x3 kernels and ReLU alone and no squeeze and excitation, as in Google's release.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from backend.models.backbones.base import (
    HALF,
    BackboneOptions,
    Normalisation,
    begin_batch_norms,
    begin_convolutions,
    halved,
)
from backend.models.backbones.mobile_blocks import (
    Activation,
    ConvNormAct,
    DepthwiseSeparable,
    InvertedResidual,
    SameConv,
    SqueezeExcite,
    batch_norm,
    rounded,
)

_STEM = 16


class _Block(NamedTuple):
    """One row of the paper's tables 1 and 2; ``swish`` is its HS, ``stage`` counts from 0."""

    stage: int
    kernel: int
    widening: float
    channels: int
    excites: bool
    swish: bool
    stride: int


_LARGE = (
    _Block(0, 3, 1, 16, False, False, 1),
    _Block(1, 3, 4, 24, False, False, 2),
    _Block(1, 3, 3, 24, False, False, 1),
    _Block(2, 5, 3, 40, True, False, 2),
    _Block(2, 5, 3, 40, True, False, 1),
    _Block(2, 5, 3, 40, True, False, 1),
    _Block(3, 3, 6, 80, False, True, 2),
    _Block(3, 3, 2.5, 80, False, True, 1),
    _Block(3, 3, 2.3, 80, False, True, 1),
    _Block(3, 3, 2.3, 80, False, True, 1),
    _Block(4, 3, 6, 112, True, True, 1),
    _Block(4, 3, 6, 112, True, True, 1),
    _Block(5, 5, 6, 160, True, True, 2),
    _Block(5, 5, 6, 160, True, True, 1),
    _Block(5, 5, 6, 160, True, True, 1),
)
_SMALL = (
    _Block(0, 3, 1, 16, True, False, 2),
    _Block(1, 3, 72 / 16, 24, False, False, 2),
    _Block(1, 3, 88 / 24, 24, False, False, 1),
    _Block(2, 5, 4, 40, True, True, 2),
    _Block(2, 5, 6, 40, True, True, 1),
    _Block(2, 5, 6, 40, True, True, 1),
    _Block(3, 5, 3, 48, True, True, 1),
    _Block(3, 5, 3, 48, True, True, 1),
    _Block(4, 5, 6, 96, True, True, 2),
    _Block(4, 5, 6, 96, True, True, 1),
    _Block(4, 5, 6, 96, True, True, 1),
)


class MobileNetV3(nn.Module):
    """Gives (B, C, px/32, px/32) of normalised RGB (B, 3, px, px).

    Args:
        large: the large network instead of the small one.
        width: factor of all channels but the first convolution's.
        minimalistic: the variant without the costlier layers.
    """

    def __init__(self, large: bool, width: float, minimalistic: bool) -> None:
        super().__init__()
        swish: Activation = nn.ReLU if minimalistic else nn.Hardswish
        self.conv_stem = SameConv(3, _STEM, 3, 2)
        self.bn1 = batch_norm(_STEM)
        self.act1 = swish()
        inputs, stages = _STEM, list[list[nn.Module]]()
        rows = _LARGE if large else _SMALL
        if minimalistic:
            rows = [row._replace(kernel=3, excites=False, swish=False) for row in rows]
        for row in rows:
            channels = rounded(row.channels * width)
            if row.stage == len(stages):
                stages.append([])
            stages[-1].append(_block(row, inputs, channels))
            inputs = channels
        self.out_channels = rounded(inputs * 6)
        stages.append([ConvNormAct((inputs, self.out_channels), 1, 1, swish)])
        self.blocks = nn.Sequential(*(nn.Sequential(*stage) for stage in stages))
        begin_convolutions(self)
        begin_batch_norms(self)

    def forward(self, x: Tensor) -> Tensor:
        """The map before pooling."""
        return self.blocks(self.act1(self.bn1(self.conv_stem(x))))


def build(name: str, px: int, options: BackboneOptions) -> tuple[nn.Module, Normalisation, tuple[int, ...]]:
    """A network with fresh weights, what its checkpoint expects, and the shape of what it gives.

    Args:
        name: of the encoder, "mobilenet_v3_large" or "mobilenet_v3_small".
        px: side of its pictures.
        options: width and minimalistic count.
    """
    net = MobileNetV3(name == "mobilenet_v3_large", options.mobilenet_width, options.mobilenet_minimalistic)
    return net, HALF, (net.out_channels, halved(px), halved(px))


def _block(row: _Block, inputs: int, channels: int) -> nn.Module:
    act: Activation = nn.Hardswish if row.swish else nn.ReLU
    middle = rounded(inputs * row.widening)
    excite = SqueezeExcite(middle, rounded(middle / 4), nn.ReLU, nn.Hardsigmoid) if row.excites else None
    if row.stage == 0:
        return DepthwiseSeparable((inputs, channels), (row.kernel, row.stride), act, excite)
    return InvertedResidual((inputs, channels), middle, (row.kernel, row.stride), act, excite)
