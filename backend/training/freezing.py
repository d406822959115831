"""Which parts of a network hold still while the rest learns."""

from __future__ import annotations

from backend.core.settings import TrainSettings
from backend.models.base import FaceSwapModel


def frozen_names(model: FaceSwapModel, settings: TrainSettings) -> frozenset[str]:
    """What holds still: what the model says, and what the settings name."""
    chosen = settings.freeze_layers if settings.freeze_weights else ()
    return frozenset((*model.frozen_parts(settings.random_warp), *chosen))
