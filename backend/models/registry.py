"""The model classes that can be trained. A new one is one file of blocks and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch

from backend.core.errors import BadInputError
from backend.core.faces import FaceType
from backend.core.settings import AmpSettings, PhazeASettings, Quick96Settings, SaehdSettings, TrainSettings
from backend.core.settings.older import (
    DfSettings,
    H64Settings,
    H128Settings,
    Liaef128Settings,
    OlderSettings,
    SaeSettings,
)
from backend.models.amp import AmpShape, build_amp
from backend.models.base import FaceSwapModel
from backend.models.older import build_older
from backend.models.older_shapes import older_shape
from backend.models.phaze_a import build_phaze_a
from backend.models.saehd import SaehdShape, build_saehd


@dataclass(frozen=True)
class ModelSpec:
    """One model class.

    Attributes:
        name: its name in the settings.
        settings: its settings class.
        build: makes a freshly initialised network from such settings.
    """

    name: str
    settings: type[TrainSettings]
    build: Callable[[TrainSettings], FaceSwapModel]


def _saehd(settings: TrainSettings) -> FaceSwapModel:
    if not isinstance(settings, SaehdSettings):
        raise _foreign(settings, "SAEHD")
    shape = SaehdShape(
        resolution=settings.resolution,
        archi=settings.archi,
        ae_dims=settings.ae_dims,
        e_dims=settings.e_dims,
        d_dims=settings.d_dims,
        d_mask_dims=settings.d_mask_dims,
        channels=settings.channels,
        face_type=FaceType.from_letter(settings.face_type),
    )
    return build_saehd(shape)


def _quick96(settings: TrainSettings) -> FaceSwapModel:
    if not isinstance(settings, Quick96Settings):
        raise _foreign(settings, "Quick96")
    shape = SaehdShape(
        resolution=settings.resolution,
        archi="df-ud",
        ae_dims=128,
        e_dims=64,
        d_dims=64,
        d_mask_dims=16,
        channels=settings.channels,
        face_type=FaceType.from_letter(settings.face_type),
    )
    return build_saehd(shape)


def _amp(settings: TrainSettings) -> FaceSwapModel:
    if not isinstance(settings, AmpSettings):
        raise _foreign(settings, "AMP")
    shape = AmpShape(
        resolution=settings.resolution,
        ae_dims=settings.ae_dims,
        inter_dims=settings.inter_dims,
        e_dims=settings.e_dims,
        d_dims=settings.d_dims,
        d_mask_dims=settings.d_mask_dims,
        morph_factor=settings.morph_factor,
        channels=settings.channels,
        face_type=FaceType.from_letter(settings.face_type),
    )
    return build_amp(shape)


def _older(settings: TrainSettings) -> FaceSwapModel:
    if not isinstance(settings, OlderSettings):
        raise _foreign(settings, "an older model")
    return build_older(older_shape(settings))


def _phaze_a(settings: TrainSettings) -> FaceSwapModel:
    if not isinstance(settings, PhazeASettings):
        raise _foreign(settings, "Phaze-A")
    return build_phaze_a(settings)


def _foreign(settings: TrainSettings, model: str) -> BadInputError:
    return BadInputError(f"These settings are not those of {model}: {type(settings).__name__}.")


MODELS: Mapping[str, ModelSpec] = MappingProxyType(
    {
        spec.name: spec
        for spec in (
            ModelSpec("saehd", SaehdSettings, _saehd),
            ModelSpec("quick96", Quick96Settings, _quick96),
            ModelSpec("amp", AmpSettings, _amp),
            ModelSpec("h64", H64Settings, _older),
            ModelSpec("h128", H128Settings, _older),
            ModelSpec("df", DfSettings, _older),
            ModelSpec("liaef128", Liaef128Settings, _older),
            ModelSpec("sae", SaeSettings, _older),
            ModelSpec("phaze_a", PhazeASettings, _phaze_a),
        )
    }
)
"""Model class name -> its specification."""


def build_model(settings: TrainSettings, seed: int | None = None) -> FaceSwapModel:
    """A freshly initialised network for these settings, float32 on the current default device.

    Args:
        settings: the settings of its model class.
        seed: draws the weights from this seed and leaves torch's generator as it was; None draws from torch's
            generator.

    Raises:
        BadInputError: the model class is unknown, or the settings belong to another one.
    """
    spec = MODELS.get(settings.model_class)
    if spec is None:
        known = ", ".join(sorted(MODELS))
        raise BadInputError(f"There is no model class '{settings.model_class}'.", f"Choose one of: {known}.")
    settings = settings.resolved()
    if seed is None:
        return spec.build(settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return spec.build(settings)
