"""What every face-swapping network offers, and what it gives back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from typing import Self

from torch import Tensor, nn

from backend.core.faces import FaceType

_BATCH_NORMS = (nn.modules.batchnorm._BatchNorm,)


@dataclass(frozen=True)
class Reconstruction:
    """Both sides through their own route. Faces (B, C, H, W), masks (B, 1, H, W), float32 0..1, colours BGR.

    ``swap`` and ``swap_mask`` (dst pose with the src face) are None unless they were asked for. ``src_code`` and
    ``dst_code`` are the inter's outputs (B, c, S, S) of networks that have one code per face, else None. ``half`` and
    ``quarter`` are the faces of both sides, src first, at a half and a quarter of the size, of networks that answer
    in several sizes, else None.
    """

    src_src: Tensor
    src_src_mask: Tensor
    dst_dst: Tensor
    dst_dst_mask: Tensor
    swap: Tensor | None = None
    swap_mask: Tensor | None = None
    src_code: Tensor | None = None
    dst_code: Tensor | None = None
    half: Tensor | None = None
    quarter: Tensor | None = None


@dataclass(frozen=True)
class SwapOutput:
    """What merging needs. ``face`` (B, C, H, W), ``mask`` of the swap route and ``dst_mask`` of the dst route
    (B, 1, H, W); float32 0..1, colours BGR.
    """

    face: Tensor
    mask: Tensor
    dst_mask: Tensor


class FaceSwapModel(nn.Module, ABC):
    """A network that learns two faces and swaps them.

    Attributes:
        resolution: side of its square pictures in px.
        channels: 3 for BGR, 1 for gray.
        face_type: how much of the head its pictures show.
        learns_mask: whether its masks mean anything; those of a network that learns none are ones without a gradient.
    """

    resolution: int
    channels: int
    face_type: FaceType
    learns_mask: bool = True
    _still: tuple[nn.Module, ...] = ()

    @abstractmethod
    def autoencode(self, src: Tensor, dst: Tensor, with_swap: bool = False) -> Reconstruction:
        """Rebuild both sides.

        Args:
            src, dst: faces (B, C, H, W), float 0..1, BGR; the two batches may differ in size.
            with_swap: also decode the swap of dst, from codes that pass no gradient on.
        """

    def forward(self, src: Tensor, dst: Tensor, with_swap: bool = False) -> Reconstruction:
        """The same as autoencode(): what is compiled, and what several processes share."""
        return self.autoencode(src, dst, with_swap)

    @abstractmethod
    def swap(self, dst: Tensor, morph: float = 1.0) -> SwapOutput:
        """Swap dst faces.

        Args:
            dst: (B, C, H, W), float 0..1, BGR.
            morph: how far towards src, 0..1; networks that cannot be set between the faces give the whole swap.
        """

    @abstractmethod
    def parts(self) -> dict[str, nn.Module]:
        """Named sub-networks; each is stored on its own. Together they hold every parameter once."""

    def frozen_parts(self, random_warp: bool) -> tuple[str, ...]:
        """Names of the parts that do not learn when the input is, or is not, warped."""
        return ()

    def freezable(self) -> dict[str, nn.Module]:
        """What can be held still or begin with other weights, by name: the parts, and parts of parts."""
        return self.parts()

    def freeze(self, names: Collection[str]) -> None:
        """Hold parts still: their parameters get no gradient, their batch norms stay as they are.

        Args:
            names: of freezable(); all others learn.
        """
        held = [module for name, module in self.freezable().items() if name in names]
        self.requires_grad_(True)
        for module in held:
            module.requires_grad_(False)
        self._still = tuple(norm for module in held for norm in module.modules() if isinstance(norm, _BATCH_NORMS))
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Training or evaluation mode; batch norms of frozen parts stay in the latter."""
        super().train(mode)
        for norm in self._still:
            norm.eval()
        return self

    def facts(self) -> dict[str, str]:
        """What a description of the network says besides its parts: label -> words."""
        return {}

    def identity_parts(self) -> tuple[str, ...]:
        """Names of the parts that begin anew when pretraining ends, because they learned whose face it is."""
        return ()
