"""Settings of DeepFaceLab's AMP."""

from __future__ import annotations

from typing import Literal

from backend.core.settings.base import setting
from backend.core.settings.train import TrainSettings


class AmpSettings(TrainSettings):
    """DeepFaceLab's AMP: two inters whose channels are mixed, so that the swap can be set between dst and src."""

    model_class: Literal["amp"] = setting("amp", "Family of the network.", frozen=True)
    resolution: int = setting(
        224,
        "Side of the network's picture; more is sharper and slower.",
        ge=64,
        le=640,
        step=32,
        unit="px",
        frozen=True,
    )
    face_type: Literal["f", "wf", "head"] = setting("wf", "How much of the head is swapped.", frozen=True)
    ae_dims: int = setting(256, "Width of the bottleneck.", ge=32, le=1024, frozen=True)
    inter_dims: int = setting(
        1024, "Width of the two inters; at least the bottleneck's is advised.", ge=32, le=2048, frozen=True
    )
    e_dims: int = setting(64, "Width of the encoder.", ge=16, le=256, step=2, frozen=True)
    d_dims: int = setting(64, "Width of the decoder.", ge=16, le=256, step=2, frozen=True)
    d_mask_dims: int = setting(
        0, "Width of the mask decoder; 0 takes a third of the decoder's width.", ge=0, le=256, step=2, frozen=True
    )
    morph_factor: float = setting(
        0.5,
        "Share of the source's channels that come from its own inter; less looks more like dst.",
        ge=0.1,
        le=0.5,
        frozen=True,
    )
    channels: Literal[1, 3] = setting(3, "3 trains in colour, 1 is a true grayscale network.", frozen=True)
    masked_training: Literal[True] = setting(True, "AMP trains what lies inside the mask.")
    eyes_mouth_priority: Literal[True] = setting(True, "AMP always weighs eyes and mouth more.")
