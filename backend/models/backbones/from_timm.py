"""Backbones out of the library timm, which is not among our requirements: it is imported only when one is built."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import nn

from backend.core.encoders import TIMM_NAMES
from backend.core.errors import BadInputError
from backend.models.backbones.base import IMAGENET, Normalisation


class _Features(nn.Module):
    """A network of timm without what follows its last map."""

    def __init__(self, body: Any) -> None:
        super().__init__()
        if hasattr(body, "pre_logits"):  # VGG keeps its wide layers here; nothing reads them
            body.pre_logits = nn.Identity()
        self.body = body

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 3, px, px), normalised RGB -> (B, C, h, w)."""
        return self.body.forward_features(x)


def build(name: str, px: int) -> tuple[nn.Module, Normalisation, tuple[int, ...]]:
    """A network with fresh weights, what its checkpoint expects, and the shape of what it gives.

    Args:
        name: key of TIMM_NAMES.
        px: side of its pictures.

    Raises:
        BadInputError: timm does not import, or does not know the network.
    """
    try:
        timm = importlib.import_module("timm")
        net = _create(timm, name)
        with torch.device("meta"):
            shape = _create(timm, name).eval()(torch.empty(1, 3, px, px)).shape
    except (ImportError, RuntimeError, AttributeError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise BadInputError(
            f"The encoder {name} comes from the package timm, which fails here: {reason}.",
            "Install the torchvision that belongs to this torch, or choose another encoder.",
        ) from error
    facts = getattr(net.body, "pretrained_cfg", {})
    normalisation = Normalisation(
        mean=tuple(facts.get("mean", IMAGENET.mean)), std=tuple(facts.get("std", IMAGENET.std))
    )
    return net, normalisation, tuple(shape[1:])


def _create(timm: Any, name: str) -> _Features:
    return _Features(timm.create_model(TIMM_NAMES[name], pretrained=False, num_classes=0, global_pool=""))
