"""Sub-networks of DeepFaceLab 1's models: encoders, inter and decoder, of any widths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backend.core.faces import FaceType
from backend.models.blocks import Conv, Dense, Downscale, ResidualBlock, Upscale, activate, depth_to_space

SCALE_AT_START = 0.1
HEAD_KERNEL = 5


@dataclass(frozen=True)
class OlderShape:
    """Sizes of one network.

    Attributes:
        resolution: side of the picture in px, a multiple of 16.
        widths: channels after each of the encoder's four convolutions of stride 2.
        bottleneck: width of the inter's first dense layer.
        code_channels: channels that its second dense layer unfolds at a sixteenth of the resolution.
        up_channels: channels of its result, at an eighth.
        faces: channels after each of the three doublings of the face's decoder.
        masks: the same of the mask's decoder; empty when no mask is learned.
        residuals: residual blocks after each doubling of the face's decoder.
        separable: places of the encoder's convolutions, from 0, that are separable.
        deep: residual blocks of the vg encoder; 0 takes the plain one.
        multiscale: also answer at a half and a quarter of the size.
        reflect: convolutions continue pictures as mirrored at their edges instead of with zeros.
        conv_aware: begin with convolution-aware weights.
        is_liae: two inters and one decoder instead of one inter and a decoder for each face.
        channels: 3 for BGR, 1 for gray.
        face_type: how much of the head is shown.
    """

    resolution: int
    widths: tuple[int, int, int, int]
    bottleneck: int
    code_channels: int
    up_channels: int
    faces: tuple[int, int, int]
    masks: tuple[int, ...]
    residuals: int = 0
    separable: tuple[int, ...] = ()
    deep: int = 0
    multiscale: bool = False
    reflect: bool = False
    conv_aware: bool = False
    is_liae: bool = False
    channels: int = 3
    face_type: FaceType = FaceType.FULL


class SeparableDownscale(nn.Module):
    """Depthwise convolution of stride 2, then one of 1x1, activation of slope 0.1: (B, i, H, W) -> (B, o, H/2, W/2)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(in_channels, in_channels, 5, stride=2, padding=2, groups=in_channels, bias=False)
        self.pointwise = Conv(in_channels, out_channels, kernel=1)
        nn.init.xavier_uniform_(self.depthwise.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Halve the picture."""
        return activate(self.pointwise(self.depthwise(x)), 0.1, False)


class ScaledResidualBlock(nn.Module):
    """A residual block of the vg encoder: activations of slope 0.2, and a learned share of what the two
    convolutions find.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = Conv(channels, channels)
        self.conv2 = Conv(channels, channels)
        self.scale = nn.Parameter(torch.full((1,), SCALE_AT_START))

    def forward(self, x: Tensor) -> Tensor:
        """Keeps the shape."""
        inner = self.conv2(activate(self.conv1(F.leaky_relu(x, 0.2)), 0.2, False))
        return F.leaky_relu(x + inner * self.scale.to(inner.dtype), 0.2)


class PlainEncoder(nn.Module):
    """Four convolutions of stride 2: picture (B, C, R, R) -> flat code (B, n), channels first."""

    def __init__(self, shape: OlderShape) -> None:
        super().__init__()
        steps = zip((shape.channels, *shape.widths[:-1]), shape.widths, strict=True)
        self.downs = nn.ModuleList(
            SeparableDownscale(i, o) if place in shape.separable else Downscale(i, o, cosine=False)
            for place, (i, o) in enumerate(steps)
        )
        self.out_features = shape.widths[-1] * (shape.resolution // 16) ** 2

    def forward(self, x: Tensor) -> Tensor:
        """Encode a batch."""
        for down in self.downs:
            x = down(x)
        return x.flatten(1)


class VgEncoder(nn.Module):
    """A deep encoder: residual blocks at half the size, two steps that fold pixels back out of channels, four
    convolutions of stride 2: picture (B, C, R, R) -> flat code (B, n), channels first.
    """

    def __init__(self, shape: OlderShape) -> None:
        super().__init__()
        width = shape.widths[0]
        self.first = Conv(shape.channels, width, kernel=5, stride=2)
        self.blocks = nn.Sequential(*(ScaledResidualBlock(width) for _ in range(shape.deep)))
        self.folds = nn.ModuleList(Downscale(i, width, cosine=False) for i in (width, width // 4))
        steps = zip((width // 4, *shape.widths[:-1]), shape.widths, strict=True)
        self.downs = nn.ModuleList(Downscale(i, o, cosine=False) for i, o in steps)
        side = -(-shape.resolution // 32)
        self.out_features = shape.widths[-1] * side * side

    def forward(self, x: Tensor) -> Tensor:
        """Encode a batch."""
        x = self.first(x)
        x = self.blocks(x) + x
        for fold in self.folds:
            x = depth_to_space(fold(x))
        for down in self.downs:
            x = down(x)
        return x.flatten(1)


class OlderInter(nn.Module):
    """Flat code (B, n) -> bottleneck -> picture code (B, u, R/8, R/8)."""

    def __init__(self, shape: OlderShape, in_features: int) -> None:
        super().__init__()
        self.side, self.channels = shape.resolution // 16, shape.code_channels
        self.dense1 = Dense(in_features, shape.bottleneck)
        self.dense2 = Dense(shape.bottleneck, self.channels * self.side**2)
        self.upscale = Upscale(self.channels, shape.up_channels, cosine=False)

    def forward(self, x: Tensor) -> Tensor:
        """Squeeze a batch of codes."""
        x = self.dense2(self.dense1(x)).view(-1, self.channels, self.side, self.side)
        return self.upscale(x)


class _Ladder(nn.Module):
    """Three doublings, each followed by residual blocks: (B, i, S, S) -> pictures of 2S, 4S and 8S."""

    def __init__(self, in_channels: int, widths: tuple[int, ...], residuals: int) -> None:
        super().__init__()
        steps = zip((in_channels, *widths[:-1]), widths, strict=True)
        self.upscales = nn.ModuleList(Upscale(i, o, cosine=False) for i, o in steps)
        self.residuals = nn.ModuleList(
            nn.ModuleList(ResidualBlock(width, cosine=False) for _ in range(residuals)) for width in widths
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """All three, the largest last."""
        steps: list[Tensor] = []
        for upscale, residuals in zip(self.upscales, self.residuals, strict=True):
            x = upscale(x)
            for block in cast(nn.ModuleList, residuals):
                x = block(x)
            steps.append(x)
        return steps


class OlderDecoder(nn.Module):
    """Picture code (B, c, S, S) -> face (B, C, 8S, 8S) and mask (B, 1, 8S, 8S), float32 0..1.

    Attributes:
        multiscale: whether it answers at a half and a quarter of the size too.
    """

    def __init__(self, shape: OlderShape) -> None:
        super().__init__()
        code = shape.up_channels * (2 if shape.is_liae else 1)
        self.multiscale = shape.multiscale
        self.face_ladder = _Ladder(code, shape.faces, shape.residuals)
        self.face_head = Conv(shape.faces[2], shape.channels, kernel=HEAD_KERNEL)
        if shape.multiscale:
            self.half_head = Conv(shape.faces[1], shape.channels, kernel=HEAD_KERNEL)
            self.quarter_head = Conv(shape.faces[0], shape.channels, kernel=HEAD_KERNEL)
        self.mask_ladder = _Ladder(code, shape.masks, residuals=0) if shape.masks else None
        self.mask_head = Conv(shape.masks[2], 1, kernel=HEAD_KERNEL) if shape.masks else None

    def forward(self, code: Tensor) -> tuple[Tensor, ...]:
        """All of faces(), then the mask."""
        return *self.faces(code), self.mask(code)

    def faces(self, code: Tensor) -> tuple[Tensor, ...]:
        """The face; with ``multiscale`` also at a half and at a quarter of the size."""
        quarter, half, full = self.face_ladder(code)
        if not self.multiscale:
            return (_picture(self.face_head(full)),)
        return _picture(self.face_head(full)), _picture(self.half_head(half)), _picture(self.quarter_head(quarter))

    def face(self, code: Tensor) -> Tensor:
        """The face in full size alone."""
        return _picture(self.face_head(self.face_ladder(code)[-1]))

    def mask(self, code: Tensor) -> Tensor:
        """The mask alone; ones where none is learned."""
        if self.mask_ladder is None or self.mask_head is None:
            side = code.shape[-1] * 8
            return torch.ones(len(code), 1, side, side, device=code.device)
        return _picture(self.mask_head(self.mask_ladder(code)[-1]))


def mirror_edges_(network: nn.Module) -> None:
    """Let every convolution that pads continue its picture as mirrored at the edge instead of with zeros."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and any(int(side) for side in module.padding):
            module.padding_mode = "reflect"


def _picture(logits: Tensor) -> Tensor:
    """Sigmoid in float32, in plain memory order for the losses."""
    return torch.sigmoid(logits.to(torch.float32, memory_format=torch.contiguous_format))
