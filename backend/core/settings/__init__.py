"""Every setting of every stage, declared once."""

from __future__ import annotations

from types import MappingProxyType
from typing import Mapping

from backend.core.settings.amp import AmpSettings
from backend.core.settings.base import Settings, bounds_of, is_fixed, is_frozen, is_hidden, is_live, setting, unit_of
from backend.core.settings.export import ExportSettings, RenderSettings, VerifySettings
from backend.core.settings.faces import ExtractFacesSettings, PersonsSettings, SortSettings
from backend.core.settings.facesets import (
    AddFacesSettings,
    FacesetSettings,
    GrayFacesSettings,
    ResizeFacesSettings,
)
from backend.core.settings.merge import FaceRule, MergeKey, MergeLook, MergeSettings
from backend.core.settings.models import (
    EvaluateSettings,
    ModelFileSettings,
    SummarySettings,
    TimelapseSettings,
)
from backend.core.settings.older import DfSettings, H64Settings, H128Settings, Liaef128Settings, SaeSettings
from backend.core.settings.phaze_a import PhazeASettings
from backend.core.settings.quick96 import Quick96Settings
from backend.core.settings.saehd import SaehdSettings
from backend.core.settings.train import TrainSettings
from backend.core.settings.video import (
    CreateSettings,
    DenoiseFramesSettings,
    EditClipSettings,
    ExtractFramesSettings,
    SampleSettings,
    Side,
)

STAGE_SETTINGS: Mapping[str, type[Settings]] = MappingProxyType(
    {
        "create": CreateSettings,
        "sample": SampleSettings,
        "edit-clip": EditClipSettings,
        "extract-frames": ExtractFramesSettings,
        "denoise-frames": DenoiseFramesSettings,
        "extract-faces": ExtractFacesSettings,
        "persons": PersonsSettings,
        "sort": SortSettings,
        "faceset": FacesetSettings,
        "resize-faces": ResizeFacesSettings,
        "gray-faces": GrayFacesSettings,
        "add-faces": AddFacesSettings,
        "train": TrainSettings,
        "summary": SummarySettings,
        "evaluate": EvaluateSettings,
        "timelapse": TimelapseSettings,
        "model": ModelFileSettings,
        "merge": MergeSettings,
        "export": ExportSettings,
        "render": RenderSettings,
        "verify": VerifySettings,
    }
)
"""Stage name -> settings. For train the model class decides, see settings_class()."""

TRAIN_SETTINGS: Mapping[str, type[TrainSettings]] = MappingProxyType(
    {
        "saehd": SaehdSettings,
        "quick96": Quick96Settings,
        "amp": AmpSettings,
        "phaze_a": PhazeASettings,
        "h64": H64Settings,
        "h128": H128Settings,
        "df": DfSettings,
        "liaef128": Liaef128Settings,
        "sae": SaeSettings,
    }
)
"""Model class name -> its settings. A new model adds one line."""


def settings_class(stage: str, model_class: str = "saehd") -> type[Settings]:
    """Settings model of a stage; KeyError for an unknown stage or model class."""
    return TRAIN_SETTINGS[model_class] if stage == "train" else STAGE_SETTINGS[stage]


__all__ = [
    "STAGE_SETTINGS",
    "TRAIN_SETTINGS",
    "AddFacesSettings",
    "AmpSettings",
    "CreateSettings",
    "DenoiseFramesSettings",
    "DfSettings",
    "EditClipSettings",
    "EvaluateSettings",
    "ExportSettings",
    "ExtractFacesSettings",
    "ExtractFramesSettings",
    "FaceRule",
    "FacesetSettings",
    "GrayFacesSettings",
    "H64Settings",
    "H128Settings",
    "Liaef128Settings",
    "MergeKey",
    "MergeLook",
    "MergeSettings",
    "ModelFileSettings",
    "PersonsSettings",
    "PhazeASettings",
    "Quick96Settings",
    "RenderSettings",
    "ResizeFacesSettings",
    "SaeSettings",
    "SaehdSettings",
    "SampleSettings",
    "Settings",
    "Side",
    "SortSettings",
    "SummarySettings",
    "TimelapseSettings",
    "TrainSettings",
    "VerifySettings",
    "bounds_of",
    "is_fixed",
    "is_frozen",
    "is_hidden",
    "is_live",
    "setting",
    "settings_class",
    "unit_of",
]
