"""Phaze-A, the model builder: a network put together from parts. Side a is the source, side b the destination."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backend.core.faces import FaceType
from backend.core.settings import PhazeASettings
from backend.models.base import FaceSwapModel, Reconstruction, SwapOutput
from backend.models.phaze_a_encoder import Bottleneck, Encoder
from backend.models.phaze_a_parts import Decoder, DenseLayers, GBlock, Hidden, Maps


class PhazeA(FaceSwapModel):
    """Encoder, hidden parts, maybe a style with G-Blocks, decoders; the swap of dst takes the way of side a.

    Args:
        settings: of the network.

    Attributes:
        input_px: side of the picture the encoder sees; the model resizes for it.
    """

    def __init__(self, settings: PhazeASettings) -> None:
        super().__init__()
        sizes, self._settings = settings.layout(), settings
        self.resolution, self.channels = settings.output_size, settings.channels
        self.face_type = FaceType.from_letter(settings.face_type)
        self.learns_mask = settings.learn_mask
        self.input_px = sizes.input_px
        self.encoder = Encoder(settings)
        shape = self.encoder.out_shape
        for name in _sides("fc", settings.split_fc):
            self.add_module(name, Hidden(settings, shape))
        if settings.shared_fc == "full":
            self.fc_shared = Hidden(settings, shape)
        width = sizes.decoder_input[1]
        if settings.enable_gblock:
            self.fc_gblock = DenseLayers(settings, shape, sizes.fc_gblock_nodes, settings.fc_gblock_dropout)
            steered = _steered_channels(settings)
            for name in _sides("g_block", settings.split_gblock):
                self.add_module(name, GBlock(steered, self.fc_gblock.width))
        for name in _sides("decoder", settings.split_decoders):
            self.add_module(name, Decoder(settings, width))

    def parts(self) -> dict[str, nn.Module]:
        """The encoder, the hidden parts, the G-Blocks and the decoders that there are, by faceswap's names."""
        return dict(self.named_children())

    def freezable(self) -> dict[str, nn.Module]:
        """The parts, and the backbone inside the encoder where it is not faceswap's own."""
        if self._settings.enc_architecture == "fs_original":
            return self.parts()
        return {**self.parts(), "keras_encoder": self.encoder.network}

    def identity_parts(self) -> tuple[str, ...]:
        """The hidden parts."""
        return tuple(name for name in self.parts() if name.startswith("fc_"))

    def facts(self) -> dict[str, str]:
        """Sizes on the way from the input to the output."""
        s, sizes = self._settings, self._settings.layout()
        seen = self.encoder.network_shape
        width = next(part.width for part in self.modules() if isinstance(part, Bottleneck))
        place = "in the encoder" if s.bottleneck_in_encoder else "in every hidden part"
        facts = {
            "Encoder": f"{s.enc_architecture}, sees {sizes.input_px} px",
            "Encoder gives": " x ".join(f"{n:,}" for n in (*seen[1:], seen[0])),
            "Bottleneck": f"{s.bottleneck_type.replace('_', ' ')} to {width:,} values, {place}",
            "Hidden nodes": _listed(sizes.fc_nodes),
            "Style nodes": _listed(sizes.fc_gblock_nodes),
            "Decoder begins at": _picture(sizes.decoder_start),
            "Decoder filters": _listed(sizes.decoder_filters),
        }
        if sizes.fc_max_filters != s.fc_max_filters:
            facts["Max filters"] = f"{s.fc_max_filters:,} become {sizes.fc_max_filters:,} for {s.output_size} px"
        return facts

    def autoencode(self, src: Tensor, dst: Tensor, with_swap: bool = False) -> Reconstruction:
        """Rebuild both sides; what both share runs once on one batch."""
        n, m = len(src), len(dst)
        code = self.encoder(self._seen(torch.cat((src, dst))))
        maps, swapped = self._maps(code, n, with_swap)
        if self._settings.split_decoders:
            face, mask = self._part("decoder_a")(_stacked(_rows(maps, 0, n), swapped))
            dst_face, dst_mask = self._part("decoder_b")(_rows(maps, n))
            swap = (face[n:], mask[n:])
        else:
            face, mask = self._part("decoder_both")(_stacked(maps, swapped))
            dst_face, dst_mask = face[n : n + m], mask[n : n + m]
            swap = (face[n + m :], mask[n + m :])
        return Reconstruction(face[:n], mask[:n], dst_face, dst_mask, *(swap if with_swap else (None, None)))

    def swap(self, dst: Tensor, morph: float = 1.0) -> SwapOutput:
        """The way of side a on dst; of dst's own way only the mask is made, and nothing where none is learned."""
        s, code = self._settings, self.encoder(self._seen(dst))
        first: Maps = self._part("fc_a" if s.split_fc else "fc_both")(code)
        shared = self._shared(code, first)
        style = self.fc_gblock(code) if s.enable_gblock else None
        face, mask = self._decoder("a")(self._steered(_beside(first, shared), style, len(code)))
        alike = not (s.split_fc or s.split_gblock or s.split_decoders)
        if alike or not s.learn_mask:
            return SwapOutput(face, mask, mask)
        own = cast(Hidden, self._part("fc_b")).mask_map(code) if s.split_fc else first
        maps = _beside(own[-1:], None if shared is None else shared[-1:])
        if not s.dec_upscales_in_fc:
            maps = self._steered(maps, style, 0)
        return SwapOutput(face, mask, self._decoder("b").mask(maps))

    def _maps(self, code: Tensor, n: int, with_swap: bool) -> tuple[Maps, Maps | None]:
        """What the decoders take of src and dst, n of them src; and of the swap, from maps that pass no gradient on."""
        s = self._settings
        if s.split_fc:
            first: Maps = self._part("fc_a")(code if s.shared_fc == "half" else code[:n])
            own = _stacked(_rows(first, 0, n), self._part("fc_b")(code[n:]))
        else:
            first = own = self._part("fc_both")(code)
        shared = self._shared(code, first)
        style = self.fc_gblock(code) if s.enable_gblock else None
        maps = self._steered(_beside(own, shared), style, n)
        if not with_swap:
            return maps, None
        with torch.no_grad():
            if not (s.split_fc or s.split_gblock):
                return maps, _rows(maps, n)
            other = _rows(first, n) if len(first[0]) > n else self._part("fc_a")(code[n:])
            beside = _beside(other, None if shared is None else _rows(shared, n))
            return maps, self._steered(beside, None if style is None else style[n:], len(code) - n)

    def _shared(self, code: Tensor, first: Maps) -> Maps | None:
        """What the shared hidden part gives: its own part, or the one of side a."""
        kind = self._settings.shared_fc
        return self.fc_shared(code) if kind == "full" else first if kind == "half" else None

    def _steered(self, maps: Maps, style: Tensor | None, n: int) -> Maps:
        """The face's map behind the G-Block; the first n are of side a. A mask's map of its own stays as it is."""
        if style is None:
            return maps
        x = maps[0]
        if not self._settings.split_gblock:
            return (self._part("g_block_both")(x, style), *maps[1:])
        ways = (("g_block_a", slice(0, n)), ("g_block_b", slice(n, len(x))))
        found = [self._part(name)(x[rows], style[rows]) for name, rows in ways if rows.stop > rows.start]
        return (torch.cat(found), *maps[1:])

    def _seen(self, pictures: Tensor) -> Tensor:
        """The pictures at the encoder's size."""
        side = self.input_px
        if side == self.resolution:
            return pictures
        if side < self.resolution:
            return F.interpolate(pictures, size=(side, side), mode="area")
        return F.interpolate(pictures, size=(side, side), mode="bilinear", align_corners=False)

    def _part(self, name: str) -> nn.Module:
        return self.get_submodule(name)

    def _decoder(self, side: str) -> Decoder:
        name = f"decoder_{side}" if self._settings.split_decoders else "decoder_both"
        return cast(Decoder, self._part(name))


def build_phaze_a(settings: PhazeASettings) -> PhazeA:
    """A freshly initialised network of these settings, float32 in channels-last memory.

    Raises:
        BadInputError: the encoder cannot be had here, or does not fit a hidden part without dense layers.
    """
    return PhazeA(settings).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] - torch's stub


def _sides(name: str, split: bool) -> tuple[str, ...]:
    return (f"{name}_a", f"{name}_b") if split else (f"{name}_both",)


def _steered_channels(settings: PhazeASettings) -> int:
    """Channels of the map a G-Block steers: the joined hidden parts', before the decoder reshapes it."""
    sizes = settings.layout()
    if settings.dec_upscales_in_fc:
        return sizes.decoder_input[1]
    return sizes.fc_end[1] * (1 if settings.shared_fc == "none" else 2)


def _rows(maps: Maps, first: int, last: int | None = None) -> Maps:
    return tuple(x[first:last] for x in maps)


def _stacked(maps: Maps, further: Maps | None) -> Maps:
    """One batch of both."""
    return maps if further is None else tuple(torch.cat(pair) for pair in zip(maps, further, strict=True))


def _beside(maps: Maps, shared: Maps | None) -> Maps:
    """Both on one map's channels."""
    return maps if shared is None else tuple(torch.cat(pair, dim=1) for pair in zip(maps, shared, strict=True))


def _picture(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[0]} x {size[1]:,}"


def _listed(numbers: tuple[int, ...]) -> str:
    return ", ".join(f"{number:,}" for number in numbers) or "none"
