"""The encoder of the model builder: faceswap's own in both forms, or a backbone, and the bottleneck behind it."""

from __future__ import annotations

from math import prod
from typing import Any, cast

import torch.nn.functional as F
from torch import Tensor, nn

from backend.core.settings import PhazeASettings
from backend.models.backbones import BackboneOptions, build_backbone
from backend.models.blocks import Dense
from backend.models.phaze_a_blocks import HeConv, ValidConv, build_norm, leak

Shape = tuple[int, ...]
"""(c, H, W) of a map or (n,) of a vector."""


class FsOriginal(nn.Module):
    """Convolutions of 5x5 and stride 2, padded as faceswap pads, each with an activation of slope 0.1.

    Args:
        channels: of the pictures.
        filters: of the convolutions.
        px: side of the pictures.

    Attributes:
        out_shape: (c, H, W) of what it gives.
    """

    def __init__(self, channels: int, filters: tuple[int, ...], px: int) -> None:
        super().__init__()
        widths = (channels, *filters)
        self.convs = nn.ModuleList(ValidConv(*pair, 5, stride=2) for pair in zip(widths, filters, strict=False))
        for _ in filters:
            px = (px + 1) // 2
        self.out_shape = (filters[-1], px, px)

    def forward(self, x: Tensor) -> Tensor:
        """Encode a batch of pictures."""
        for conv in self.convs:
            before = 1 if x.shape[-1] % 2 == 0 else 2  # an even side is padded by three in all, an odd one by four
            x = leak(conv(F.pad(x, (before, 2, before, 2))), 0.1)
        return x


class FsAlternative(nn.Module):
    """The other form: two convolutions of 3x3 and a pooling to a level, activations of slope 0.2.

    The last level ends in a convolution of 4x4 without padding instead of the pooling.

    Args:
        channels: of the pictures.
        filters: of the stem, then of each level's second convolution.
        px: side of the pictures.

    Attributes:
        out_shape: (c, H, W) of what it gives.
    """

    def __init__(self, channels: int, filters: tuple[int, ...], px: int) -> None:
        super().__init__()
        self.stem = HeConv(channels, filters[0], kernel=1)
        levels = len(filters) - 1
        self.keeps = nn.ModuleList(HeConv(width, width) for width in filters[:-1])
        self.widens = nn.ModuleList(
            ValidConv(filters[i], filters[i + 1], 4) if i == levels - 1 else HeConv(filters[i], filters[i + 1])
            for i in range(levels)
        )
        side = (px >> (levels - 1)) - 3
        self.out_shape = (filters[-1], side, side)

    def forward(self, x: Tensor) -> Tensor:
        """Encode a batch of pictures."""
        x = leak(self.stem(x), 0.2)
        last = len(self.keeps) - 1
        for i, (keep, widen) in enumerate(zip(self.keeps, self.widens, strict=True)):
            x = leak(widen(leak(keep(x), 0.2)), 0.2)
            if i != last:
                x = F.max_pool2d(x, 2)
        return x


class Bottleneck(nn.Module):
    """A norm, then what the encoder gave as one vector (B, n).

    Args:
        s: bottleneck_type, bottleneck_norm and bottleneck_size are looked at.
        shape: of what the encoder gives.

    Attributes:
        width: n.
    """

    def __init__(self, s: PhazeASettings, shape: Shape) -> None:
        super().__init__()
        self.kind = s.bottleneck_type
        self.norm = build_norm(s.bottleneck_norm, shape[0])
        self.dense = Dense(prod(shape), s.bottleneck_size) if self.kind == "dense" else None
        self.width = {"dense": s.bottleneck_size, "flatten": prod(shape)}.get(self.kind, shape[0])

    def forward(self, x: Tensor) -> Tensor:
        """Squeeze a batch; a map is flattened in the order row, column, channel."""
        if self.norm is not None:
            x = self.norm(x)
        if self.kind == "average_pooling":
            return x.mean(dim=(2, 3))
        if self.kind == "max_pooling":
            return x.amax(dim=(2, 3))
        flat = x.permute(0, 2, 3, 1).flatten(1) if x.dim() == 4 else x
        return flat if self.dense is None else self.dense(flat)


class Encoder(nn.Module):
    """The network that looks at the face, with the bottleneck where the settings put it here.

    Attributes:
        network: faceswap's own, or the backbone.
        network_shape: of what it gives.
        out_shape: of what comes behind the bottleneck.
    """

    def __init__(self, s: PhazeASettings) -> None:
        super().__init__()
        self.network: nn.Module = _network(s)
        self.network_shape: Shape = tuple(cast(Any, self.network).out_shape)
        self.bottleneck = Bottleneck(s, self.network_shape) if s.bottleneck_in_encoder else None
        self.out_shape = self.network_shape if self.bottleneck is None else (self.bottleneck.width,)

    def forward(self, x: Tensor) -> Tensor:
        """Encode a batch of pictures of its input size."""
        x = self.network(x)
        return x if self.bottleneck is None else self.bottleneck(x)


def _network(s: PhazeASettings) -> nn.Module:
    sizes = s.layout()
    if s.enc_architecture == "fs_original":
        kind = FsAlternative if s.fs_original_use_alt else FsOriginal
        return kind(s.channels, sizes.encoder_filters, sizes.input_px)
    options = BackboneOptions(
        s.mobilenet_width,
        s.mobilenet_depth,
        s.mobilenet_dropout,
        s.mobilenet_minimalistic,
    )
    return build_backbone(s.enc_architecture, sizes.input_px, s.channels, options)
