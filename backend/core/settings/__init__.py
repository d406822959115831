"""Every setting of every stage, declared once."""

from __future__ import annotations

from types import MappingProxyType
from typing import Mapping

from backend.core.settings.base import Settings, bounds_of, is_frozen, setting, unit_of
from backend.core.settings.faces import ExtractFacesSettings, SortSettings
from backend.core.settings.merge import MergeSettings
from backend.core.settings.train import TRAIN_SETTINGS, SaehdSettings, TrainSettings
from backend.core.settings.video import (
    CreateSettings,
    ExportSettings,
    ExtractFramesSettings,
    SampleSettings,
    Side,
)

STAGE_SETTINGS: Mapping[str, type[Settings]] = MappingProxyType(
    {
        "create": CreateSettings,
        "sample": SampleSettings,
        "extract-frames": ExtractFramesSettings,
        "extract-faces": ExtractFacesSettings,
        "sort": SortSettings,
        "train": TrainSettings,
        "merge": MergeSettings,
        "export": ExportSettings,
    }
)
"""Stage name -> settings. For train the model class decides, see settings_class()."""


def settings_class(stage: str, model_class: str = "saehd") -> type[Settings]:
    """Settings model of a stage; KeyError for an unknown stage or model class."""
    return TRAIN_SETTINGS[model_class] if stage == "train" else STAGE_SETTINGS[stage]


__all__ = [
    "STAGE_SETTINGS",
    "TRAIN_SETTINGS",
    "CreateSettings",
    "ExportSettings",
    "ExtractFacesSettings",
    "ExtractFramesSettings",
    "MergeSettings",
    "SaehdSettings",
    "SampleSettings",
    "Settings",
    "Side",
    "SortSettings",
    "TrainSettings",
    "bounds_of",
    "is_frozen",
    "setting",
    "settings_class",
    "unit_of",
]
