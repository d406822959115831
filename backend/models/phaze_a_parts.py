"""The parts behind the encoder of the model builder: hidden parts, style, G-Blocks and decoders.

Maps go from part to part as a tuple: one map from which both the face and its mask are made, or one for each once
the hidden part has begun the decoder's upscales.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backend.core.errors import BadInputError
from backend.core.settings import PhazeASettings
from backend.models.blocks import Conv, Dense
from backend.models.phaze_a_blocks import (
    HeConv,
    ResidualBlock,
    ValidConv,
    build_norm,
    build_upscale,
    leak,
    noised,
    normalised,
    reshaped,
)
from backend.models.phaze_a_encoder import Bottleneck, Shape

Maps = tuple[Tensor, ...]
STYLE_WIDTH = 512


class DenseLayers(nn.Module):
    """A bottleneck where the encoder has none, then dense layers without activations, each behind a dropout.

    Args:
        s: settings.
        shape: of what the encoder gives.
        nodes: of the layers.
        dropout: share of their inputs left out while training.

    Attributes:
        width: of the vector it gives.
    """

    def __init__(self, s: PhazeASettings, shape: Shape, nodes: tuple[int, ...], dropout: float) -> None:
        super().__init__()
        self.bottleneck = None if s.bottleneck_in_encoder else Bottleneck(s, shape)
        if self.bottleneck is None and len(shape) > 1:
            raise ValueError(f"The dense layers need a vector and get {shape}.")
        first = next(iter(shape)) if self.bottleneck is None else self.bottleneck.width
        widths = (first, *nodes)
        self.dropout = dropout
        self.layers = nn.ModuleList(Dense(*pair) for pair in zip(widths, nodes, strict=False))
        self.width = widths[-1]

    def forward(self, x: Tensor) -> Tensor:
        """A vector (B, width) of what the encoder gave."""
        if self.bottleneck is not None:
            x = self.bottleneck(x)
        for layer in self.layers:
            x = layer(F.dropout(x, self.dropout, self.training) if self.dropout else x)
        return x


class UpscaleBlock(nn.Module):
    """One upscale of a decoder with what follows it: noise, norm, activation and residual blocks.

    Args:
        s: settings.
        in_channels, filters: channels before, and filters of the upscale.
        residuals: residual blocks behind it.
        noise: add noise while training.
    """

    def __init__(self, s: PhazeASettings, in_channels: int, filters: int, residuals: int, noise: bool) -> None:
        super().__init__()
        self.upscale = build_upscale(s.dec_upscale_method, in_channels, filters)
        self.width = self.upscale.width
        self.norm = build_norm(s.dec_norm, self.width)
        self.residuals = nn.ModuleList(ResidualBlock(self.width) for _ in range(residuals))
        self.noise = noise
        plain = 1.0 if s.dec_upscale_method == "upscale_dny" else 0.1
        self.slope = 0.2 if residuals else plain

    def forward(self, x: Tensor) -> Tensor:
        """Double a map."""
        noisy = self.noise and self.training
        if not noisy and self.norm is None:
            x = self.upscale(x, self.slope)
        else:
            x = noised(self.upscale(x), noisy)
            x = leak(x if self.norm is None else self.norm(x), self.slope)
        for block in self.residuals:
            x = block(x)
        return x


class Upscales(nn.Module):
    """A run of a decoder's upscales, for the face and, where it is learned, for the mask.

    Args:
        s: settings.
        in_channels: of each map, after it is reshaped where the decoder begins here.
        first, last: which of the decoder's upscales, the last one not included.
    """

    def __init__(self, s: PhazeASettings, in_channels: int, first: int, last: int) -> None:
        super().__init__()
        sizes = s.layout()
        self.start = sizes.decoder_start[0] if first == 0 else 0
        self.entry: nn.Module | None = None
        if first == 0 and s.dec_upscale_method == "upscale_dny":
            self.entry = DnyEntry(in_channels, s.dec_max_filters)
            in_channels = s.dec_max_filters
        filters = sizes.decoder_filters[first:last]
        self.face = _chain(s, in_channels, filters, face=True)
        self.mask = _chain(s, in_channels, filters, face=False) if s.learn_mask else None
        self.width = _width(self.face, in_channels)

    def forward(self, maps: Maps) -> Maps:
        """The face's map, and the mask's where it is learned."""
        maps = self.begun(maps)
        return (self.face(maps[0]),) if self.mask is None else (self.face(maps[0]), self.mask(maps[-1]))

    def begun(self, maps: Maps) -> Maps:
        """What comes in, reshaped and prepared where the decoder begins here."""
        if self.start:
            maps = tuple(reshaped(x, self.start) for x in maps)
        return maps if self.entry is None else tuple(self.entry(x) for x in maps)


class DnyEntry(nn.Module):
    """The two convolutions with which a decoder of upscale_dny begins: 4x4, padded by one more behind, then 3x3."""

    def __init__(self, in_channels: int, filters: int) -> None:
        super().__init__()
        self.conv1 = ValidConv(in_channels, filters, 4)
        self.conv2 = HeConv(filters, filters)

    def forward(self, x: Tensor) -> Tensor:
        """Prepare a map; its size stays."""
        return leak(self.conv2(leak(self.conv1(F.pad(x, (1, 2, 1, 2))), 0.2)), 0.2)


class Hidden(nn.Module):
    """A hidden part ("FC"): dense layers, a small picture of them, its upsamples, and maybe the decoder's first.

    Args:
        s: settings.
        shape: of what the encoder gives.

    Raises:
        BadInputError: without dense layers, the bottleneck's values cannot be laid out as the picture.
    """

    def __init__(self, s: PhazeASettings, shape: Shape) -> None:
        super().__init__()
        sizes = s.layout()
        self.side, channels = sizes.fc_start
        self.dense = DenseLayers(s, shape, sizes.fc_nodes, s.fc_dropout)
        if self.dense.width != self.side**2 * channels:
            raise _cannot_lay_out(s, self.dense.width, self.side**2 * channels)
        self.upsamples = s.fc_upsamples
        self.plain = s.fc_upsampler == "upsample2d"
        self.ups = nn.ModuleList()
        for _ in range(0 if self.plain else s.fc_upsamples):
            up = build_upscale(s.fc_upsampler, channels, sizes.fc_upsample_filters)
            channels = up.width
            self.ups.append(up)
        inside = s.dec_upscales_in_fc
        self.upscales = Upscales(s, sizes.decoder_start[1], 0, inside) if inside else None

    def forward(self, code: Tensor) -> Maps:
        """One map, or the face's and the mask's."""
        x = self._picture(code)
        return (x,) if self.upscales is None else self.upscales((x,))

    def mask_map(self, code: Tensor) -> Maps:
        """The map of which the mask is made."""
        x = self._picture(code)
        if self.upscales is None or self.upscales.mask is None:
            return (x,)
        return (self.upscales.mask(*self.upscales.begun((x,))),)

    def _picture(self, code: Tensor) -> Tensor:
        x = self.dense(code)
        x = x.view(len(x), self.side, self.side, -1).permute(0, 3, 1, 2)
        for up in self.ups:
            x = up(x)
        return self._enlarged(x) if self.plain else x

    def _enlarged(self, x: Tensor) -> Tensor:
        """Without filters: a single doubling repeats pixels, several at once are bilinear."""
        if self.upsamples == 0:
            return F.leaky_relu(x, 0.1)
        if self.upsamples == 1:
            return leak(F.interpolate(x, scale_factor=2, mode="nearest"), 0.1)
        return leak(F.interpolate(x, scale_factor=2**self.upsamples, mode="bilinear", align_corners=False), 0.1)


class GBlock(nn.Module):
    """Steers a map by a style vector: twice AdaIN, to which noise is added that the network weighs.

    Args:
        channels: of the map.
        style_width: of the style vector.
    """

    def __init__(self, channels: int, style_width: int) -> None:
        super().__init__()
        widths = (style_width, STYLE_WIDTH, STYLE_WIDTH)
        self.styles = nn.ModuleList(Dense(width, STYLE_WIDTH) for width in widths)
        for dense in self.styles.children():
            nn.init.kaiming_normal_(dense.weight)  # pyright: ignore[reportArgumentType] - they are Dense
        self.first = HeConv(channels, channels)
        self.second = Conv(channels, channels)
        self.shifts = nn.ModuleList(Dense(STYLE_WIDTH, channels) for _ in range(2))
        self.scales = nn.ModuleList(Dense(STYLE_WIDTH, channels) for _ in range(2))
        self.noises = nn.ModuleList(Conv(channels, channels, kernel=1) for _ in range(2))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """A map (B, c, H, W) of the same shape; style (B, style_width)."""
        for i, dense in enumerate(self.styles):
            style = dense(style) if i == 2 else leak(dense(style), 0.1)
        x = noised(self.first(x), self.training)
        for i in range(2):
            noise = self.noises[i](noised(x, self.training))
            x = self.second(x) if i else x
            x = leak(adain(x, self.shifts[i](style), self.scales[i](style)) + noise, 0.2)
        return x


def adain(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """(x - mean) / (std + 1e-3) * scale + shift, in float32.

    Args:
        x: (B, c, H, W), normalised per sample and channel.
        shift, scale: (B, c).
    """
    with torch.autocast(x.device.type, enabled=False):
        return normalised(x.float(), (2, 3)) * scale.float()[..., None, None] + shift.float()[..., None, None]


class Decoder(nn.Module):
    """Maps -> face (B, C, R, R) and mask (B, 1, R, R), float32 0..1.

    Args:
        s: settings.
        in_channels: of each map, after it is reshaped where the hidden part did not do so.
    """

    def __init__(self, s: PhazeASettings, in_channels: int) -> None:
        super().__init__()
        self.upscales = Upscales(s, in_channels, s.dec_upscales_in_fc, len(s.layout().decoder_filters))
        self.face_out = HeConv(self.upscales.width, s.channels, s.dec_output_kernel)
        self.mask_out = HeConv(self.upscales.width, 1, s.dec_output_kernel) if s.learn_mask else None

    def forward(self, maps: Maps) -> tuple[Tensor, Tensor]:
        """Face and mask; where no mask is learned it is ones."""
        maps = self.upscales(maps)
        face = _sigmoid(self.face_out(maps[0]))
        return face, torch.ones_like(face[:, :1]) if self.mask_out is None else _sigmoid(self.mask_out(maps[-1]))

    def mask(self, maps: Maps) -> Tensor:
        """The mask alone, of a network that learns it."""
        if self.upscales.mask is None or self.mask_out is None:
            raise ValueError("This decoder learns no mask.")
        return _sigmoid(self.mask_out(self.upscales.mask(self.upscales.begun(maps[-1:])[0])))


def _chain(s: PhazeASettings, in_channels: int, filters: tuple[int, ...], face: bool) -> nn.Sequential:
    """Upscales in a row; those of a mask have no noise and no residual blocks."""
    blocks = nn.Sequential()
    for i, width in enumerate(filters):
        skipped = s.dec_skip_last_residual and i == len(filters) - 1
        residuals = s.dec_res_blocks if face and not skipped else 0
        blocks.append(UpscaleBlock(s, in_channels, width, residuals, face and s.dec_gaussian))
        in_channels = _width(blocks, in_channels)
    return blocks


def _width(blocks: nn.Sequential, otherwise: int) -> int:
    """Channels that the last of these blocks gives."""
    last = blocks[-1] if len(blocks) else None
    return last.width if isinstance(last, UpscaleBlock) else otherwise


def _cannot_lay_out(s: PhazeASettings, found: int, wanted: int) -> BadInputError:
    return BadInputError(
        f"Without dense layers the bottleneck has to give {wanted:,} values, and with {s.enc_architecture} it gives "
        f"{found:,}.",
        "Change Bottleneck type, Max filters or Dimensions, or set Depth to at least 1.",
    )


def _sigmoid(logits: Tensor) -> Tensor:
    """Sigmoid in float32, in plain memory order for the losses."""
    return torch.sigmoid(logits.to(torch.float32, memory_format=torch.contiguous_format))
