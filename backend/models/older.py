"""DeepFaceLab 1's models: H64, H128, DF, LIAEF128 and SAE, all of them one of two networks.

Both faces go through the encoder as one batch, as in SAEHD. DeepFaceLab 1 trained the two halves of H64, H128 and DF
in turn, and masks in steps of their own; here one step serves all. Strided convolutions are padded alike on all sides.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from backend.models.base import FaceSwapModel, Reconstruction, SwapOutput
from backend.models.conv_aware import conv_aware_
from backend.models.older_parts import (
    OlderDecoder,
    OlderInter,
    OlderShape,
    PlainEncoder,
    VgEncoder,
    mirror_edges_,
)


class _Older(FaceSwapModel):
    """What the two networks have in common."""

    def __init__(self, shape: OlderShape) -> None:
        super().__init__()
        self.resolution, self.channels, self.face_type = shape.resolution, shape.channels, shape.face_type
        self.learns_mask = bool(shape.masks)
        self._shape = shape
        self.encoder = VgEncoder(shape) if shape.deep else PlainEncoder(shape)

    def facts(self) -> dict[str, str]:
        """Sizes on the way from the input to the output."""
        shape, side = self._shape, self._shape.resolution // 8
        depth = shape.up_channels * (2 if shape.is_liae else 1)
        facts = {
            "Encoder gives": f"{self.encoder.out_features:,} values",
            "Bottleneck": f"{shape.bottleneck:,} values",
            "Decoder begins at": f"{side} x {side} x {depth:,}",
            "Decoder filters": ", ".join(f"{width:,}" for width in shape.faces),
        }
        if shape.masks:
            facts["Mask decoder filters"] = ", ".join(f"{width:,}" for width in shape.masks)
        return facts


class OlderDf(_Older):
    """One inter, a decoder for each face: keeps the source's look. H64, H128, DF, and SAE's df and vg."""

    def __init__(self, shape: OlderShape) -> None:
        super().__init__(shape)
        self.inter = OlderInter(shape, self.encoder.out_features)
        self.decoder_src = OlderDecoder(shape)
        self.decoder_dst = OlderDecoder(shape)

    def parts(self) -> dict[str, nn.Module]:
        """Encoder, inter and the two decoders."""
        return {
            "encoder": self.encoder,
            "inter": self.inter,
            "decoder_src": self.decoder_src,
            "decoder_dst": self.decoder_dst,
        }

    def identity_parts(self) -> tuple[str, ...]:
        """The inter."""
        return ("inter",)

    def autoencode(self, src: Tensor, dst: Tensor, with_swap: bool = False) -> Reconstruction:
        """Rebuild both sides; the encoder and inter see them as one batch."""
        n = len(src)
        codes = self.inter(self.encoder(torch.cat((src, dst))))
        src_code, dst_code = codes[:n], codes[n:]
        shown = torch.cat((src_code, dst_code.detach())) if with_swap else src_code
        face, *smaller, mask = self.decoder_src(shown)
        dst_dst, *dst_smaller, dst_mask = self.decoder_dst(dst_code)
        swap = (face[n:], mask[n:]) if with_swap else (None, None)
        both = [torch.cat((a[:n], b)) for a, b in zip(smaller, dst_smaller, strict=True)]
        return _reconstruction((face[:n], dst_dst), (mask[:n], dst_mask), swap, both)

    def swap(self, dst: Tensor, morph: float = 1.0) -> SwapOutput:
        """The source decoder on the code of dst; of the dst decoder only the mask is made."""
        code = self.inter(self.encoder(dst))
        return SwapOutput(self.decoder_src.face(code), self.decoder_src.mask(code), self.decoder_dst.mask(code))


class OlderLiae(_Older):
    """Two inters and one decoder: adapts better to the destination. LIAEF128, and SAE's liae.

    The decoder sees [AB, AB] of src, [B, AB] of dst, and [AB, AB] of dst for the swap.
    """

    def __init__(self, shape: OlderShape) -> None:
        super().__init__(shape)
        self.inter_AB = OlderInter(shape, self.encoder.out_features)
        self.inter_B = OlderInter(shape, self.encoder.out_features)
        self.decoder = OlderDecoder(shape)

    def parts(self) -> dict[str, nn.Module]:
        """Encoder, the two inters and the decoder."""
        return {
            "encoder": self.encoder,
            "inter_AB": self.inter_AB,
            "inter_B": self.inter_B,
            "decoder": self.decoder,
        }

    def identity_parts(self) -> tuple[str, ...]:
        """Both inters."""
        return ("inter_AB", "inter_B")

    def autoencode(self, src: Tensor, dst: Tensor, with_swap: bool = False) -> Reconstruction:
        """Rebuild both sides; each sub-network runs once on one batch."""
        n, both_sides = len(src), len(src) + len(dst)
        flat = self.encoder(torch.cat((src, dst)))
        both, own = self.inter_AB(flat), self.inter_B(flat[n:])
        first, second = [both[:n], own], [both]
        if with_swap:
            first.append(both[n:].detach())
            second.append(both[n:].detach())
        code = torch.cat((torch.cat(first), torch.cat(second)), dim=1)
        face, *smaller, mask = self.decoder(code)
        swap = (face[both_sides:], mask[both_sides:]) if with_swap else (None, None)
        faces = face[:n], face[n:both_sides]
        return _reconstruction(faces, (mask[:n], mask[n:both_sides]), swap, [a[:both_sides] for a in smaller])

    def swap(self, dst: Tensor, morph: float = 1.0) -> SwapOutput:
        """Decode [AB, AB] of dst; of its own route only the mask is made."""
        n = len(dst)
        flat = self.encoder(dst)
        both, own = self.inter_AB(flat), self.inter_B(flat)
        code = torch.cat((both, both), dim=1)
        masks = self.decoder.mask(torch.cat((code, torch.cat((own, both), dim=1))))
        return SwapOutput(self.decoder.face(code), masks[:n], masks[n:])


def build_older(shape: OlderShape) -> FaceSwapModel:
    """A freshly initialised network of this shape, float32 in channels-last memory, which convolves fastest."""
    model = OlderLiae(shape) if shape.is_liae else OlderDf(shape)
    if shape.reflect:
        mirror_edges_(model)
    if shape.conv_aware:
        conv_aware_(model)
    return model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] - torch's stub lacks it


def _reconstruction(
    faces: tuple[Tensor, Tensor],
    masks: tuple[Tensor, Tensor],
    swap: tuple[Tensor, Tensor] | tuple[None, None],
    smaller: list[Tensor],
) -> Reconstruction:
    """Both sides, the swap, and both sides at a half and a quarter of the size where there are any."""
    half, quarter = smaller or (None, None)
    return Reconstruction(faces[0], masks[0], faces[1], masks[1], *swap, half=half, quarter=quarter)
