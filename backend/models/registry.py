"""The model classes that can be trained. A new one is one file of blocks and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch

from backend.core.errors import BadInputError
from backend.core.faces import FaceType
from backend.core.settings.train import SaehdSettings, TrainSettings
from backend.models.base import FaceSwapModel
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
        raise BadInputError(f"These settings are not those of SAEHD: {type(settings).__name__}.")
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


MODELS: Mapping[str, ModelSpec] = MappingProxyType({"saehd": ModelSpec("saehd", SaehdSettings, _saehd)})
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
    if seed is None:
        return spec.build(settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return spec.build(settings)
