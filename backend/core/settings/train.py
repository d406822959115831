"""Settings of training: what all models share, and the SAEHD family."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, ClassVar, Literal, Mapping

from pydantic import field_validator, model_validator

from backend.core.names import NAME_RULE, is_folder_name
from backend.core.settings.base import Settings, setting
from backend.core.settings.faces import FaceTypeLetter


class TrainSettings(Settings):
    """What every model's training takes. A model class adds its architecture in a subclass."""

    model_class: str = setting("saehd", "Family of the network.", frozen=True)
    model: str = setting("model", "Name of the model; an existing name resumes it.", frozen=True)
    device: str = setting("best", "Where to train: best, cpu, or a device by name.")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = setting(
        "auto", "Number format of the convolutions; auto takes bf16 where the device has it."
    )
    batch_size: int = setting(8, "Faces of each side per iteration.", ge=1, le=512)
    target_iterations: int = setting(0, "Stop at this iteration; 0 trains until stopped.", ge=0, le=10_000_000)
    time_limit_min: float = setting(0.0, "Stop after this time; 0 is no limit.", ge=0, le=100_000, unit="min")
    save_interval_min: float = setting(10.0, "Time between saves.", ge=0.1, le=1440, unit="min")
    preview_interval: int = setting(200, "Iterations between preview images.", ge=1, le=100_000)
    learning_rate: float = setting(5e-5, "Step size of the optimiser.", ge=1e-7, le=1e-2)
    anneal: bool = setting(
        False, "Lower the learning rate over the last part of a run that has a target or a time limit."
    )
    optimizer: Literal["adabelief", "rmsprop"] = setting(
        "adabelief", "AdaBelief learns faster, RMSprop needs less memory."
    )
    masked_training: bool = setting(True, "Train only what lies inside the face mask.")
    eyes_mouth_priority: bool = setting(False, "Weigh eyes and mouth more: against crossed eyes and blurred teeth.")
    random_warp: bool = setting(True, "Warp the input: generalises better; switch off near the end for sharpness.")
    random_src_flip: bool = setting(False, "Mirror source faces at random: more poses from one side.")
    random_dst_flip: bool = setting(True, "Mirror destination faces at random.")
    holdout_every: int = setting(0, "Hold back one face in N for the SSIM report; 0 trains on all.", ge=0, le=1000)
    cache_mb: int = setting(
        4096, "Memory for decoded faces; beyond it they are mapped from disk.", ge=64, le=1_000_000, unit="MB"
    )
    seed: int = setting(0, "Seed of weights and augmentation; 0 picks one.", ge=0, le=2**31 - 1)

    @field_validator("model")
    @classmethod
    def _model_is_a_name(cls, name: str) -> str:
        if not is_folder_name(name):
            raise ValueError(f"'{name}' cannot be the name of a model. {NAME_RULE}")
        return name


class SaehdSettings(TrainSettings):
    """DeepFaceLab's SAEHD autoencoder."""

    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {
            "First look (CPU)": MappingProxyType(
                {
                    "resolution": 96,
                    "face_type": "wf",
                    "archi": "df-ud",
                    "ae_dims": 96,
                    "e_dims": 32,
                    "d_dims": 32,
                    "d_mask_dims": 12,
                    "batch_size": 8,
                    "learning_rate": 5e-4,
                    "anneal": True,
                    "precision": "bf16",
                    "preview_interval": 50,
                    "holdout_every": 8,
                }
            ),
        }
    )

    model_class: Literal["saehd"] = setting("saehd", "Family of the network.", frozen=True)
    resolution: int = setting(
        128,
        "Side of the network's picture; more is sharper and slower.",
        ge=64,
        le=640,
        step=16,
        unit="px",
        frozen=True,
    )
    face_type: FaceTypeLetter = setting("f", "How much of the head is swapped.", frozen=True)
    archi: str = setting(
        "liae-ud",
        "df keeps the source's look, liae adapts to the destination; u likeness, d double size, t detail, c cosine.",
        frozen=True,
    )
    ae_dims: int = setting(256, "Width of the bottleneck.", ge=32, le=1024, frozen=True)
    e_dims: int = setting(64, "Width of the encoder.", ge=16, le=256, step=2, frozen=True)
    d_dims: int = setting(64, "Width of the decoder.", ge=16, le=256, step=2, frozen=True)
    d_mask_dims: int = setting(22, "Width of the mask decoder.", ge=4, le=256, step=2, frozen=True)
    channels: Literal[1, 3] = setting(3, "3 trains in colour, 1 is a true grayscale network.", frozen=True)

    @field_validator("archi")
    @classmethod
    def _archi_is_known(cls, archi: str) -> str:
        kind, dash, flags = archi.partition("-")
        if kind not in ("df", "liae") or (dash and not flags):
            raise ValueError("has to be df or liae, with flags after a dash, for example liae-ud")
        if len(set(flags)) != len(flags) or not set(flags) <= set("udtc"):
            raise ValueError("the flags are u, d, t and c, each at most once")
        return archi

    @model_validator(mode="after")
    def _archi_fits_resolution(self) -> SaehdSettings:
        if "d" in self.archi.partition("-")[2] and self.resolution % 32:
            raise ValueError("architecture flag d needs a resolution that is a multiple of 32")
        return self


TRAIN_SETTINGS: Mapping[str, type[TrainSettings]] = MappingProxyType({"saehd": SaehdSettings})
"""Model class name -> its settings. A new model adds one line."""
