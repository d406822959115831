"""AMP: DeepFaceLab's autoencoder with two inters whose channels are mixed, so that a swap can be set between the faces.

Encoder, decoder and routes are DeepFaceLab's. It never trains the two inters, whose weights stay at the random values
they began with; here both learn, always, as in its first release.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from backend.core.faces import FaceType
from backend.models.base import FaceSwapModel, Reconstruction, SwapOutput
from backend.models.blocks import Dense
from backend.models.saehd import Decoder, Encoder, SaehdShape


@dataclass(frozen=True)
class AmpShape:
    """Sizes of one AMP network.

    Attributes:
        resolution: side of the picture in px, a multiple of 32.
        ae_dims, inter_dims, e_dims, d_dims, d_mask_dims: widths of bottleneck, inters, encoder, decoder and mask
            decoder.
        morph_factor: share of the source's channels that come from its own inter while training, 0..1.
        channels: 3 for BGR, 1 for gray.
        face_type: how much of the head is shown.
    """

    resolution: int
    ae_dims: int
    inter_dims: int
    e_dims: int
    d_dims: int
    d_mask_dims: int
    morph_factor: float = 0.5
    channels: int = 3
    face_type: FaceType = FaceType.WHOLE

    @property
    def saehd(self) -> SaehdShape:
        """The SAEHD network whose encoder begins like AMP's, and whose decoder takes codes as wide as AMP's."""
        return SaehdShape(
            resolution=self.resolution,
            archi="df-udt",
            ae_dims=self.inter_dims,
            e_dims=self.e_dims,
            d_dims=self.d_dims,
            d_mask_dims=self.d_mask_dims,
            channels=self.channels,
            face_type=self.face_type,
        )


class AmpEncoder(Encoder):
    """Picture (B, C, R, R) -> code (B, ae): SAEHD's deep encoder with pixel norm, then the bottleneck."""

    def __init__(self, shape: AmpShape) -> None:
        super().__init__(shape.saehd)
        self.dense1 = Dense(self.out_features, shape.ae_dims)

    def forward(self, x: Tensor) -> Tensor:
        """Encode a batch."""
        return self.dense1(super().forward(x))


class AmpInter(nn.Module):
    """Code (B, ae) -> picture code (B, I, S, S)."""

    def __init__(self, shape: AmpShape) -> None:
        super().__init__()
        self.side, self.channels = shape.saehd.dense_side, shape.inter_dims
        self.dense2 = Dense(shape.ae_dims, self.channels * self.side**2)

    def forward(self, x: Tensor) -> Tensor:
        """Unfold a batch of codes."""
        return self.dense2(x).view(-1, self.channels, self.side, self.side)


class AmpDecoder(Decoder):
    """SAEHD's decoder of the flags t and d; the heads of the picture come last, as in DeepFaceLab's files of AMP."""

    def __init__(self, shape: AmpShape) -> None:
        super().__init__(shape.saehd)
        for name in ("out_conv", "out_conv1", "out_conv2", "out_conv3"):
            head = self.get_submodule(name)
            delattr(self, name)
            self.add_module(name, head)


class Amp(FaceSwapModel):
    """One encoder, an inter for each face, one decoder.

    The decoder sees dst through inter_dst, and src through a mixture of both inters: each channel comes from one of
    the two. So it learns to draw codes that lie between the faces, and the swap can be set anywhere between them.
    """

    def __init__(self, shape: AmpShape) -> None:
        super().__init__()
        self.resolution, self.channels, self.face_type = shape.resolution, shape.channels, shape.face_type
        self.inter_dims = shape.inter_dims
        self.own_channels = channel_count(shape.inter_dims, shape.morph_factor)
        self.encoder = AmpEncoder(shape)
        self.inter_src = AmpInter(shape)
        self.inter_dst = AmpInter(shape)
        self.decoder = AmpDecoder(shape)

    def parts(self) -> dict[str, nn.Module]:
        """Encoder, the two inters and the decoder."""
        return {
            "encoder": self.encoder,
            "inter_src": self.inter_src,
            "inter_dst": self.inter_dst,
            "decoder": self.decoder,
        }

    def identity_parts(self) -> tuple[str, ...]:
        """Both inters."""
        return ("inter_src", "inter_dst")

    def autoencode(self, src: Tensor, dst: Tensor, with_swap: bool = False) -> Reconstruction:
        """Rebuild both sides; the swap is the whole one, morph 1.

        In training mode each src face draws which of its channels come from inter_src, with torch's generator of the
        device. In evaluation mode these are the first ones, so that the same weights always draw the same picture;
        DeepFaceLab draws them there too.
        """
        selector = self.random_selector(len(src), src.device) if self.training else self.first_channels(src.device)
        return self.mix(src, dst, selector, with_swap)

    def mix(self, src: Tensor, dst: Tensor, selector: Tensor, with_swap: bool = False) -> Reconstruction:
        """Rebuild both sides; each sub-network runs once on one batch.

        Args:
            src, dst, with_swap: see autoencode().
            selector: (B, I) or (1, I) bool, True for the channels of src's code that come from inter_src.
        """
        n, m = len(src), len(dst)
        flat = self.encoder(torch.cat((src, dst)))
        of_src, of_dst = self.inter_src(flat if with_swap else flat[:n]), self.inter_dst(flat)
        src_code = torch.where(selector[:, :, None, None], of_src[:n], of_dst[:n])
        codes = (src_code, of_dst[n:], of_src[n:].detach()) if with_swap else (src_code, of_dst[n:])
        face, mask = self.decoder(torch.cat(codes))
        swap = (face[n + m :], mask[n + m :]) if with_swap else (None, None)
        return Reconstruction(face[:n], mask[:n], face[n : n + m], mask[n : n + m], *swap)

    def swap(self, dst: Tensor, morph: float = 1.0) -> SwapOutput:
        """Decode dst with its first int(I * morph) channels from inter_src; of its own route only the mask is made."""
        n, count = len(dst), channel_count(self.inter_dims, morph)
        flat = self.encoder(dst)
        own = self.inter_dst(flat)
        code = torch.cat((self.inter_src(flat)[:, :count], own[:, count:]), dim=1)
        masks = self.decoder.mask(torch.cat((code, own)))
        return SwapOutput(self.decoder.face(code), masks[:n], masks[n:])

    def random_selector(self, count: int, device: torch.device) -> Tensor:
        """(count, I) bool: rows with exactly ``own_channels`` True at random places, all equally likely."""
        places = torch.rand(count, self.inter_dims, device=device).topk(self.own_channels, dim=1).indices
        return torch.zeros(count, self.inter_dims, dtype=torch.bool, device=device).scatter(1, places, True)

    def first_channels(self, device: torch.device) -> Tensor:
        """(1, I) bool: the first ``own_channels`` True, one of the selections that training draws."""
        return (torch.arange(self.inter_dims, device=device) < self.own_channels)[None]


def channel_count(inter_dims: int, morph: float) -> int:
    """How many of the channels come from inter_src: inter_dims * morph, a float32 product, cut off.

    Args:
        inter_dims: channels in all.
        morph: their share, 0..1.
    """
    return int(np.float32(inter_dims) * np.float32(morph))


def build_amp(shape: AmpShape) -> FaceSwapModel:
    """A freshly initialised network of this shape, float32 in channels-last memory, which convolves fastest."""
    return Amp(shape).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] - torch's stub lacks it
