"""Models as DeepFaceLab leaves them: drawn weights, and what its optimisers remember."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from backend.core.settings import TrainSettings
from backend.models.dfl_names import dfl_moment_name, dfl_weights, to_dfl_layout
from backend.models.discriminators import CodeDiscriminator, UNetDiscriminator
from backend.models.registry import build_model
from tests.storage.dfl_folders import write_dfl

SIZES = {"resolution": 64, "ae_dims": 32, "e_dims": 16, "d_dims": 16, "d_mask_dims": 16}
OPTIONS = {**SIZES, "face_type": "wf", "archi": "df-ud", "batch_size": 2, "adabelief": True}


def moments(networks: Mapping[str, Any], kinds: tuple[str, ...] = ("m", "v"), steps: int = 70) -> dict[str, Any]:
    """An optimiser's file: positive numbers that tell every average from every other."""
    rng = np.random.default_rng(5)
    made: dict[str, Any] = {"iters:0": np.int64(steps)}
    for kind in kinds:
        for network, module in networks.items():
            for name, parameter in module.named_parameters():
                shape = to_dfl_layout(parameter).shape
                made[dfl_moment_name(kind, network, name)] = rng.random(shape, np.float32) * 1e-3
    return made


def networks_of(settings: TrainSettings, kinds: tuple[str, ...] = ("m", "v")) -> dict[str, dict[str, Any]]:
    """Every file of a model with these settings, its optimiser included."""
    model = build_model(settings, seed=3)
    files: dict[str, dict[str, Any]] = {name: dict(dfl_weights(part)) for name, part in model.parts().items()}
    return {**files, "src_dst_opt": moments(model.parts(), kinds)}


def judges(channels: int = 3, patch: int = 16, dims: int = 4) -> dict[str, dict[str, Any]]:
    """Both discriminators and their optimisers, for OPTIONS."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(8)
        gan, code = UNetDiscriminator(channels, patch, dims), CodeDiscriminator(32, 4)
    return {
        "GAN": dict(dfl_weights(gan)),
        "GAN_opt": moments({"D_src": gan}, steps=11),
        "code_discriminator": dict(dfl_weights(code)),
        "D_code_opt": moments({"dis": code}, steps=12),
    }


def write_model(folder: Path, settings: TrainSettings, options: Mapping[str, Any], stem: str, **facts: Any) -> Path:
    """A whole folder; returns its data file."""
    return write_dfl(folder, stem, networks_of(settings), options, **facts)
