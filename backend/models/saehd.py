"""SAEHD: DeepFaceLab's autoencoder with the architectures df and liae and the flags u, d, t, c."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backend.core.faces import FaceType
from backend.models.base import FaceSwapModel, Reconstruction, SwapOutput
from backend.models.blocks import (
    Conv,
    Dense,
    Downscale,
    DownscaleChain,
    ResidualBlock,
    Upscale,
    depth_to_space,
    pixel_norm,
)


@dataclass(frozen=True)
class SaehdShape:
    """Sizes of one SAEHD network.

    Attributes:
        resolution: side of the picture in px, a multiple of 16, of 32 with flag d.
        archi: "df" or "liae", optionally a dash and flags: u normalises the code, d doubles the picture in the
            image head, t is deeper, c uses the activation x*cos(x).
        ae_dims, e_dims, d_dims, d_mask_dims: widths of bottleneck, encoder, decoder and mask decoder.
        channels: 3 for BGR, 1 for gray.
        face_type: how much of the head is shown.
    """

    resolution: int
    archi: str
    ae_dims: int
    e_dims: int
    d_dims: int
    d_mask_dims: int
    channels: int = 3
    face_type: FaceType = FaceType.FULL

    @property
    def is_liae(self) -> bool:
        """Whether the two faces share one decoder."""
        return self.archi.startswith("liae")

    def has(self, flag: str) -> bool:
        """Whether the architecture carries this flag letter."""
        return flag in self.archi.partition("-")[2]

    @property
    def dense_side(self) -> int:
        """Side of the picture that the inter's dense layers produce."""
        return self.resolution // (32 if self.has("d") else 16)

    @property
    def code_channels(self) -> int:
        """Channels of one inter's output."""
        return self.ae_dims * (2 if self.is_liae else 1)


class Encoder(nn.Module):
    """Picture (B, C, R, R) -> flat code (B, n), channels first; pixel norm with flag u."""

    def __init__(self, shape: SaehdShape) -> None:
        super().__init__()
        e, cosine = shape.e_dims, shape.has("c")
        self.deep = shape.has("t")
        self.normed = shape.has("u")
        if self.deep:
            self.down1 = Downscale(shape.channels, e, cosine)
            self.res1 = ResidualBlock(e, cosine)
            self.down2 = Downscale(e, e * 2, cosine)
            self.down3 = Downscale(e * 2, e * 4, cosine)
            self.down4 = Downscale(e * 4, e * 8, cosine)
            self.down5 = Downscale(e * 8, e * 8, cosine)
            self.res5 = ResidualBlock(e * 8, cosine)
        else:
            self.down1 = DownscaleChain(shape.channels, e, cosine)
        side = shape.resolution // (32 if self.deep else 16)
        self.out_features = e * 8 * side * side

    def forward(self, x: Tensor) -> Tensor:
        """Encode a batch."""
        x = self.down1(x)
        if self.deep:
            x = self.res1(x)
            x = self.down4(self.down3(self.down2(x)))
            x = self.res5(self.down5(x))
        x = x.flatten(1)
        return pixel_norm(x) if self.normed else x


class Inter(nn.Module):
    """Flat code (B, n) -> bottleneck -> picture code (B, c, S, S); S is doubled by an upscale unless flag t."""

    def __init__(self, shape: SaehdShape, in_features: int) -> None:
        super().__init__()
        self.side, self.channels = shape.dense_side, shape.code_channels
        self.dense1 = Dense(in_features, shape.ae_dims)
        self.dense2 = Dense(shape.ae_dims, self.channels * self.side**2)
        self.upscale1 = None if shape.has("t") else Upscale(self.channels, self.channels, shape.has("c"))

    def forward(self, x: Tensor) -> Tensor:
        """Squeeze a batch of codes."""
        x = self.dense2(self.dense1(x))
        x = x.view(-1, self.channels, self.side, self.side)
        return x if self.upscale1 is None else self.upscale1(x)


class Decoder(nn.Module):
    """Picture code (B, c, S, S) -> face (B, C, R, R) and mask (B, 1, R, R), float32 0..1."""

    def __init__(self, shape: SaehdShape) -> None:
        super().__init__()
        cosine, deep, self.double = shape.has("c"), shape.has("t"), shape.has("d")
        factors = [8, 8, 4, 2] if deep else [8, 4, 2]
        code = shape.code_channels * (2 if shape.is_liae else 1)
        faces = [code, *(shape.d_dims * k for k in factors)]
        masks = [code, *(shape.d_mask_dims * k for k in factors)]
        if self.double:
            masks.append(shape.d_mask_dims)
        self.stages = len(factors)
        self.mask_stages = len(masks) - 1
        for i in range(self.stages):
            self.add_module(f"upscale{i}", Upscale(faces[i], faces[i + 1], cosine))
        for i in range(self.stages):
            self.add_module(f"res{i}", ResidualBlock(faces[i + 1], cosine))
        for i in range(self.stages):
            self.add_module(f"upscalem{i}", Upscale(masks[i], masks[i + 1], cosine))
        self.out_conv = Conv(faces[-1], shape.channels, kernel=1)
        if self.double:
            self.out_conv1 = Conv(faces[-1], shape.channels)
            self.out_conv2 = Conv(faces[-1], shape.channels)
            self.out_conv3 = Conv(faces[-1], shape.channels)
            self.add_module(f"upscalem{self.stages}", Upscale(masks[-2], masks[-1], cosine))
        self.out_convm = Conv(masks[-1], 1, kernel=1)

    def forward(self, code: Tensor) -> tuple[Tensor, Tensor]:
        """Face and mask."""
        return self.face(code), self.mask(code)

    def face(self, code: Tensor) -> Tensor:
        """The face alone."""
        x = code
        for i in range(self.stages):
            x = self.get_submodule(f"res{i}")(self.get_submodule(f"upscale{i}")(x))
        x = self._double_head(x) if self.double else self.out_conv(x)
        return _sigmoid(x)

    def mask(self, code: Tensor) -> Tensor:
        """The mask alone."""
        x = code
        for i in range(self.mask_stages):
            x = self.get_submodule(f"upscalem{i}")(x)
        return _sigmoid(self.out_convm(x))

    def _double_head(self, x: Tensor) -> Tensor:
        """The four head convolutions, each supplying one sub-pixel, as one convolution of four times the channels."""
        heads = (self.out_conv1, self.out_conv2, self.out_conv3)
        first = F.pad(self.out_conv.weight, (1, 1, 1, 1))
        weight = torch.cat((first, *(head.weight for head in heads)))
        bias = torch.cat([head.bias for head in (self.out_conv, *heads) if head.bias is not None])
        return depth_to_space(F.conv2d(x, weight, bias, padding=1))


class SaehdDf(FaceSwapModel):
    """One inter, a decoder for each face: keeps the source's look."""

    def __init__(self, shape: SaehdShape) -> None:
        super().__init__()
        self.resolution, self.channels, self.face_type = shape.resolution, shape.channels, shape.face_type
        self.encoder = Encoder(shape)
        self.inter = Inter(shape, self.encoder.out_features)
        self.decoder_src = Decoder(shape)
        self.decoder_dst = Decoder(shape)

    def parts(self) -> dict[str, nn.Module]:
        """Encoder, inter and the two decoders."""
        return {
            "encoder": self.encoder,
            "inter": self.inter,
            "decoder_src": self.decoder_src,
            "decoder_dst": self.decoder_dst,
        }

    def autoencode(self, src: Tensor, dst: Tensor, with_swap: bool = False) -> Reconstruction:
        """Rebuild both sides; the encoder and inter see them as one batch."""
        n = len(src)
        codes = self.inter(self.encoder(torch.cat((src, dst))))
        src_code, dst_code = codes[:n], codes[n:]
        face, mask = self.decoder_src(torch.cat((src_code, dst_code.detach())) if with_swap else src_code)
        dst_dst, dst_dst_mask = self.decoder_dst(dst_code)
        swap = (face[n:], mask[n:]) if with_swap else (None, None)
        return Reconstruction(face[:n], mask[:n], dst_dst, dst_dst_mask, *swap, src_code, dst_code)

    def identity_parts(self) -> tuple[str, ...]:
        """The inter."""
        return ("inter",)

    def swap(self, dst: Tensor, morph: float = 1.0) -> SwapOutput:
        """The source decoder on the code of dst; of the dst decoder only the mask is made."""
        code = self.inter(self.encoder(dst))
        face, mask = self.decoder_src(code)
        return SwapOutput(face, mask, self.decoder_dst.mask(code))


class SaehdLiae(FaceSwapModel):
    """Two inters and one decoder: adapts better to the destination.

    The decoder sees [AB, AB] of src, [B, AB] of dst, and [AB, AB] of dst for the swap.
    """

    def __init__(self, shape: SaehdShape) -> None:
        super().__init__()
        self.resolution, self.channels, self.face_type = shape.resolution, shape.channels, shape.face_type
        self.encoder = Encoder(shape)
        self.inter_AB = Inter(shape, self.encoder.out_features)
        self.inter_B = Inter(shape, self.encoder.out_features)
        self.decoder = Decoder(shape)

    def parts(self) -> dict[str, nn.Module]:
        """Encoder, the two inters and the decoder."""
        return {
            "encoder": self.encoder,
            "inter_AB": self.inter_AB,
            "inter_B": self.inter_B,
            "decoder": self.decoder,
        }

    def frozen_parts(self, random_warp: bool) -> tuple[str, ...]:
        """Without random warp inter_AB stands still, as in DeepFaceLab."""
        return () if random_warp else ("inter_AB",)

    def identity_parts(self) -> tuple[str, ...]:
        """Both inters."""
        return ("inter_AB", "inter_B")

    def autoencode(self, src: Tensor, dst: Tensor, with_swap: bool = False) -> Reconstruction:
        """Rebuild both sides; each sub-network runs once on one batch."""
        n, m = len(src), len(dst)
        flat = self.encoder(torch.cat((src, dst)))
        both, own = self.inter_AB(flat), self.inter_B(flat[n:])
        if with_swap:
            swapped = both[n:].detach()
            first = torch.cat((both[:n], own, swapped))
            second = torch.cat((both, swapped))
        else:
            first, second = torch.cat((both[:n], own)), both
        face, mask = self.decoder(torch.cat((first, second), dim=1))
        swap = (face[n + m :], mask[n + m :]) if with_swap else (None, None)
        return Reconstruction(face[:n], mask[:n], face[n : n + m], mask[n : n + m], *swap)

    def swap(self, dst: Tensor, morph: float = 1.0) -> SwapOutput:
        """Decode [AB, AB] of dst; of its own route only the mask is made."""
        n = len(dst)
        flat = self.encoder(dst)
        both, own = self.inter_AB(flat), self.inter_B(flat)
        code = torch.cat((both, both), dim=1)
        masks = self.decoder.mask(torch.cat((code, torch.cat((own, both), dim=1))))
        return SwapOutput(self.decoder.face(code), masks[:n], masks[n:])


def _sigmoid(logits: Tensor) -> Tensor:
    """Sigmoid in float32, in plain memory order for the losses."""
    return torch.sigmoid(logits.to(torch.float32, memory_format=torch.contiguous_format))


def build_saehd(shape: SaehdShape) -> FaceSwapModel:
    """A freshly initialised network of this shape, float32 in channels-last memory, which convolves fastest."""
    model = SaehdLiae(shape) if shape.is_liae else SaehdDf(shape)
    return model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] - torch's stub lacks it
