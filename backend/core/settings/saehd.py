"""Settings of DeepFaceLab's SAEHD family."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, ClassVar, Literal, Mapping

from pydantic import field_validator, model_validator

from backend.core.settings.base import setting
from backend.core.settings.faces import FaceTypeLetter
from backend.core.settings.train import TrainSettings


class SaehdSettings(TrainSettings):
    """DeepFaceLab's SAEHD autoencoder. With one channel it is the grayscale SAEHDBW."""

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
                    "lr_schedule": "anneal",
                    "precision": "bf16",
                    "preview_interval": 50,
                    "holdout_every": 8,
                }
            ),
            "Grayscale 128 (SAEHDBW)": MappingProxyType({"channels": 1}),
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
    d_mask_dims: int = setting(
        0, "Width of the mask decoder; 0 takes a third of the decoder's width.", ge=0, le=256, step=2, frozen=True
    )
    channels: Literal[1, 3] = setting(3, "3 trains in colour, 1 is a true grayscale network.", frozen=True)
    true_face_power: float = setting(
        0.0, "Pull the swap towards the source's look (df only); 0.01 is usual, 0 is off.", ge=0, le=1, live=True
    )
    face_style_power: float = setting(
        0.0, "Carry the destination's colours into the face; begin at 0.001, 0 is off.", ge=0, le=100, live=True
    )
    bg_style_power: float = setting(
        0.0,
        "Carry the destination's surroundings along the face's edge; 2 is usual, 0 is off.",
        ge=0,
        le=100,
        live=True,
    )
    pretrain: bool = setting(False, "Learn faces in general first, from the pretraining faceset.")
    pretrain_faces: str = setting(
        "", "Folder of aligned faces for pretraining, for example another project's data_src/aligned."
    )

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
    def _options_agree(self) -> SaehdSettings:
        if "d" in self.archi.partition("-")[2] and self.resolution % 32:
            raise ValueError("architecture flag d needs a resolution that is a multiple of 32")
        if self.true_face_power and not self.archi.startswith("df"):
            raise ValueError("true face needs a df architecture; liae has no code of its own to judge")
        if self.pretrain and not self.pretrain_faces.strip() and not self.synthetic:
            raise ValueError("pretraining needs a folder of faces to learn from")
        return self

    def effective(self) -> SaehdSettings:
        """While pretraining: both sides mirrored, all head turns equally often, no warp and nothing adversarial."""
        if not self.pretrain:
            return self
        forced: dict[str, Any] = {
            "random_src_flip": True,
            "random_dst_flip": True,
            "random_warp": False,
            "random_hsv_power": 0.0,
            "color_lightness": 0.0,
            "color_ab": 0.0,
            "color_clahe_chance": 0.0,
            "warp_to_landmarks": False,
            "src_scale": 0.0,
            "sort_by_yaw": False,
            "color_transfer": "none",
            "uniform_yaw": True,
            "lr_dropout": False,
            "gan_power": 0.0,
            "true_face_power": 0.0,
            "face_style_power": 0.0,
            "bg_style_power": 0.0,
        }
        return self.model_copy(update=forced)
