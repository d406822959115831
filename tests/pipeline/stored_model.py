"""Checkpoints of freshly drawn networks, as a training would leave them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from backend.core.settings import AmpSettings, TrainSettings
from backend.storage.model_folder import ModelFolder, ModelInfo
from backend.storage.workspace import Project


def tiny_amp(**changes: Any) -> AmpSettings:
    """The smallest AMP there is."""
    small = {
        "model": "tiny",
        "resolution": 64,
        "ae_dims": 32,
        "inter_dims": 32,
        "e_dims": 16,
        "d_dims": 16,
        "d_mask_dims": 4,
    }
    return AmpSettings(**{**small, **changes})


def store_model(
    project: Project, settings: TrainSettings, change: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """Draw a network and save it as iteration 9.

    Args:
        project: whose model.
        settings: of the model, also its name.
        change: makes the averaged weights of the weights; None saves no average.

    Returns:
        the weights.
    """
    from backend.models.registry import build_model
    from backend.storage.checkpoint import CheckpointState, save_generation

    weights = build_model(settings, seed=4).state_dict()
    info = ModelInfo(model_class=settings.model_class, settings=settings.model_dump(mode="json"), iteration=9)
    folder = ModelFolder(project.model_dir(settings.model))
    sets = {"weights": weights, **({} if change is None else {"average": change(weights)})}
    save_generation(folder.generations_dir, CheckpointState(iteration=9, info=info), sets)
    folder.write_info(info)
    return weights
