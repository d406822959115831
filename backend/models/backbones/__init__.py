"""Encoders that others designed, as parts of our networks: see build_backbone()."""

from __future__ import annotations

from torch import nn

from backend.core.encoders import ENCODERS, why_missing
from backend.core.errors import BadInputError
from backend.models.backbones import efficientnet_v2, mobilenet_v3, nasnet
from backend.models.backbones.base import Backbone, BackboneOptions, Normalisation


def build_backbone(name: str, input_px: int, channels: int, options: BackboneOptions) -> Backbone:
    """A backbone with fresh weights on the current default device; see Backbone.forward().

    Libraries are imported only here, when one of their networks is wanted.

    Args:
        name: key of backend.core.encoders.ENCODERS, any but "fs_original".
        input_px: side of the pictures, at least the encoder's min_px.
        channels: of the pictures, 3 for BGR or 1 for gray.
        options: of the MobileNets.

    Raises:
        BadInputError: the encoder is unknown or cannot be had here, the pictures are too small, or nothing would pass.
    """
    facts = ENCODERS.get(name)
    if facts is None or name == "fs_original":
        raise BadInputError(f"There is no backbone '{name}'.", f"There are {', '.join(list(ENCODERS)[1:])}.")
    missing = why_missing(name)
    if missing:
        raise BadInputError(f"The encoder {name} cannot be had.", missing)
    if name == "mobilenet" and options.mobilenet_dropout >= 1:
        raise BadInputError("With a dropout of 1 or more nothing passes.", "Lower the dropout of MobileNet below 1.")
    if input_px < facts.min_px:
        raise BadInputError(
            f"The encoder {name} sees {input_px} px and needs at least {facts.min_px}.", "Raise the encoder scaling."
        )
    net, normalisation, out_shape = _build(name, facts.source, input_px, options)
    return Backbone(name, net, normalisation, channels, out_shape)


def _build(
    name: str, source: str, px: int, options: BackboneOptions
) -> tuple[nn.Module, Normalisation, tuple[int, ...]]:
    if source == "transformers":
        from backend.models.backbones import from_transformers

        return from_transformers.build(name, px, options)
    if source == "timm":
        from backend.models.backbones import from_timm

        return from_timm.build(name, px)
    if name == "nasnet_mobile":
        return nasnet.build(px)
    if name.startswith("efficientnet_v2"):
        return efficientnet_v2.build(name, px)
    return mobilenet_v3.build(name, px, options)


__all__ = ["Backbone", "BackboneOptions", "build_backbone"]
