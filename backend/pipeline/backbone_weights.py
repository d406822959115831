"""The first weights of a new network's backbone: trained on ImageNet or by CLIP, from a file or fetched."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from backend.core.encoder_sources import Variant, pretrained_source, why_untrained
from backend.core.errors import DamagedFileError, WeightsMissingError
from backend.core.settings import TrainSettings
from backend.models.backbones import Backbone
from backend.models.backbones.checkpoints import load_checkpoint
from backend.models.base import FaceSwapModel
from backend.storage.encoder_weights import obtain_encoder_weights

Log = Callable[[str, str], None]
_BACKBONE = "keras_encoder"
_CONTAINERS = ("state_dict", "model")


def begin_with_pretrained(model: FaceSwapModel, settings: TrainSettings, weights_dir: Path, log: Log) -> None:
    """Give the backbone of a new network its published weights, if its settings want that and there are any.

    Where they cannot be had, the backbone keeps its fresh weights, and a warning says why and how to get them.

    Args:
        model: a new network; one without a backbone is left alone.
        settings: of the network.
        weights_dir: folder of downloaded weights.
        log: takes a sentence and its level, "info" or "warning".

    Raises:
        DamagedFileError: a file is there and holds something else.
        DiskFullError: the disk has no room for the download.
    """
    backbone = model.freezable().get(_BACKBONE)
    if not getattr(settings, "enc_load_weights", False) or not isinstance(backbone, Backbone):
        return
    variant = variant_of(settings)
    source = pretrained_source(backbone.name, variant)
    if source is None:
        log(f"{why_untrained(backbone.name, variant)} {_from_scratch(settings)}", "warning")
        return
    try:
        path = obtain_encoder_weights(backbone.name, source, weights_dir)
    except WeightsMissingError as error:
        log(f"{error} {_from_scratch(settings)}", "warning")
        return
    load_checkpoint(backbone, read_weights(path), str(path))
    log(f"The encoder {backbone.name} begins with the trained weights in {path.name}.", "info")


def variant_of(settings: TrainSettings) -> Variant:
    """Which MobileNet these settings mean."""
    return Variant(
        width=getattr(settings, "mobilenet_width", 1.0),
        depth=getattr(settings, "mobilenet_depth", 1),
        minimalistic=getattr(settings, "mobilenet_minimalistic", False),
    )


def read_weights(path: Path) -> Mapping[str, Tensor]:
    """The tensors of a file, on the CPU. Pickled files are read by torch's restricted reader, which runs no code.

    Args:
        path: ``.safetensors``, or what torch.save() wrote.

    Raises:
        DamagedFileError: it is no such file.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, zipfile.BadZipFile, RuntimeError, EOFError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DamagedFileError(
            f"{path} cannot be read as weights: {reason}", "Remove the file; it is downloaded again when it is wanted."
        ) from error
    for name in _CONTAINERS:
        if isinstance(found, dict) and isinstance(found.get(name), dict):
            found = found[name]
    named = found.items() if isinstance(found, dict) else ()
    tensors = {name: value for name, value in named if isinstance(value, Tensor)}
    if not tensors:
        raise DamagedFileError(f"{path} holds no weights.", "Remove the file; it is downloaded again.")
    return tensors


def _from_scratch(settings: TrainSettings) -> str:
    held = settings.freeze_weights and {_BACKBONE, "encoder"} & set(settings.freeze_layers)
    advice = " It is frozen and would never learn: switch freezing off." if held else ""
    return f"The encoder learns from scratch.{advice}"
