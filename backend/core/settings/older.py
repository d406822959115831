"""Settings of DeepFaceLab 1's models: H64, H128, DF, LIAEF128 and SAE."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import model_validator

from backend.core.settings.base import setting
from backend.core.settings.faces import FaceTypeLetter
from backend.core.settings.train import OptimizerName, TrainSettings

NARROWEST_BOTTLENECK = 32
SAE_BOTTLENECKS = (("df", 512), ("liae", 256), ("vg", 512))
"""Bottleneck width of each architecture of SAE where 0 leaves it to a rule."""


class OlderSettings(TrainSettings):
    """What the older models have in common: their losses, their optimiser, and what they do without."""

    RANDOM_SCALE: ClassVar[float] = 0.05

    resolution: int = setting(128, "Side of the network's picture.", unit="px", frozen=True)
    face_type: FaceTypeLetter = setting("f", "How much of the head is swapped.", frozen=True)
    channels: Literal[1, 3] = setting(3, "3 trains in colour, 1 is a true grayscale network.", frozen=True)
    learning_rate: float = setting(5e-5, "Step size of the optimiser.", ge=1e-7, le=1e-2, live=True)
    optimizer: OptimizerName = setting(
        "adam", "Adam is the older models' own; AdaBelief learns fast; RMSprop and Lion need less memory."
    )
    beta_1: float = setting(
        0.5,
        "Share of the last steps' direction that Adam and AdamW keep; 0.5 is that of the older models.",
        ge=0,
        le=0.99,
    )
    random_src_flip: bool = setting(True, "Mirror source faces at random: more poses from one side.")
    random_dst_flip: bool = setting(True, "Mirror destination faces at random.")
    pixel_loss: bool = setting(
        False,
        "Compare pixel by pixel instead of by structure: for fine detail, after some 20,000 iterations.",
        live=True,
    )
    structure_weight: float = setting(
        10.0, "Weight of the structure loss (DSSIM), which counts without pixel loss.", ge=0, le=1000, live=True
    )
    pixel_weight: float = setting(
        50.0, "Weight of the squared difference, which counts with pixel loss.", ge=0, le=1000, live=True
    )
    mask_weight: float = setting(1.0, "Weight of the mask loss.", ge=0, le=1000, live=True)
    eyes_mouth_priority: Literal[False] = setting(False, "The older models have no such priority.")
    eyes_mouth_weight: float = setting(0.0, "The older models have no such loss.", ge=0, le=0)
    blur_out_mask: Literal[False] = setting(False, "The older models do not blur the surroundings.")
    gan_power: float = setting(0.0, "The older models have no discriminator.", ge=0, le=0)
    gan_patch_size: int = setting(0, "The older models have no discriminator.", ge=0, le=0)
    gan_dims: int = setting(16, "The older models have no discriminator.", ge=16, le=16)


class _PlainSettings(OlderSettings):
    """One size, one architecture; only the half faces have a lighter form."""

    lightweight: bool = setting(
        False, "Half as wide a bottleneck and decoder: for graphics cards with little memory.", frozen=True
    )


class H64Settings(_PlainSettings):
    """H64: half faces of 64 px, the smallest and quickest."""

    model_class: Literal["h64"] = setting("h64", "Family of the network.", frozen=True)
    resolution: Literal[64] = setting(64, "Side of the network's picture.", unit="px", frozen=True)
    face_type: Literal["h"] = setting("h", "How much of the head is swapped.", frozen=True)
    batch_size: int = setting(16, "Faces of each side per iteration, over all devices together.", ge=1, le=512)
    mask_loss_function: Literal["mse", "mae"] = setting("mae", "What predicted masks are compared by.", live=True)


class H128Settings(_PlainSettings):
    """H128: H64 at twice the size."""

    model_class: Literal["h128"] = setting("h128", "Family of the network.", frozen=True)
    resolution: Literal[128] = setting(128, "Side of the network's picture.", unit="px", frozen=True)
    face_type: Literal["h"] = setting("h", "How much of the head is swapped.", frozen=True)
    mask_loss_function: Literal["mse", "mae"] = setting("mae", "What predicted masks are compared by.", live=True)


class DfSettings(_PlainSettings):
    """DF: H128 for full faces, where it keeps the source's look."""

    model_class: Literal["df"] = setting("df", "Family of the network.", frozen=True)
    resolution: Literal[128] = setting(128, "Side of the network's picture.", unit="px", frozen=True)
    face_type: Literal["f"] = setting("f", "How much of the head is swapped.", frozen=True)
    lightweight: Literal[False] = setting(False, "DF has one size.", frozen=True)


class Liaef128Settings(_PlainSettings):
    """LIAEF128: full faces, two inters and one decoder; adapts to the destination's shape."""

    model_class: Literal["liaef128"] = setting("liaef128", "Family of the network.", frozen=True)
    resolution: Literal[128] = setting(128, "Side of the network's picture.", unit="px", frozen=True)
    face_type: Literal["f"] = setting("f", "How much of the head is swapped.", frozen=True)
    lightweight: Literal[False] = setting(False, "LIAEF128 has one size.", frozen=True)


class SaeSettings(OlderSettings):
    """SAE: the styled autoencoder, df, liae and vg with all widths to choose."""

    model_class: Literal["sae"] = setting("sae", "Family of the network.", frozen=True)
    resolution: int = setting(
        128,
        "Side of the network's picture; more is sharper and slower.",
        ge=64,
        le=256,
        step=16,
        unit="px",
        frozen=True,
    )
    face_type: Literal["h", "f"] = setting("f", "How much of the head is swapped.", frozen=True)
    batch_size: int = setting(4, "Faces of each side per iteration, over all devices together.", ge=1, le=512)
    archi: Literal["df", "liae", "vg"] = setting(
        "df", "df keeps the source's look, liae adapts to the destination, vg has a deep encoder.", frozen=True
    )
    ae_dims: int = setting(
        0, "Width of the bottleneck; 0 takes 512, with liae 256; at least 32.", ge=0, le=1024, frozen=True
    )
    e_ch_dims: int = setting(42, "Width of the encoder for each of three colours.", ge=21, le=85, frozen=True)
    d_ch_dims: int = setting(
        21,
        "Width of the decoder for each of three colours, half of the encoder's; more for detail.",
        ge=10,
        le=85,
        frozen=True,
    )
    learn_mask: bool = setting(True, "Also learn the face's mask, which merging cuts out by.", frozen=True)
    residual_blocks: bool = setting(
        False, "Two residual blocks after each doubling of the face's decoder: sharper, slower.", frozen=True
    )
    multiscale_decoder: bool = setting(
        False, "Also answer at a half and a quarter of the size, and learn from all three.", frozen=True
    )
    lightweight_encoder: bool = setting(
        False, "Separable convolutions, with vg half the depth: faster, with less detail.", frozen=True
    )
    remove_gray_border: bool = setting(
        False, "Continue pictures as mirrored at their edges instead of black: no gray rim.", frozen=True
    )
    ca_weights: bool = setting(
        False,
        "Begin with convolution-aware weights, which differ most from each other; only for a new model.",
        frozen=True,
    )
    face_style_power: float = setting(
        0.0, "Carry the destination's colours into the face; 0 is off.", ge=0, le=100, live=True
    )
    bg_style_power: float = setting(
        0.0,
        "Carry the destination's surroundings along the face's edge; 0 is off.",
        ge=0,
        le=100,
        live=True,
    )
    optimizer_mode: Literal[1, 2, 3] = setting(
        1, "1 keeps the optimiser's state on the device; 2 and 3 keep it and the exact weights in main memory."
    )
    optimizer_on_cpu: Literal[False] = setting(False, "SAE says this by its optimiser mode.")

    @model_validator(mode="after")
    def _options_agree(self) -> SaeSettings:
        if 0 < self.ae_dims < NARROWEST_BOTTLENECK:
            raise ValueError(f"the bottleneck's width has to be at least {NARROWEST_BOTTLENECK}, or 0")
        if self.archi == "vg" and self.multiscale_decoder:
            raise ValueError("vg answers in one size; switch the multiscale decoder off, or choose df or liae")
        if self.archi == "vg" and self.residual_blocks:
            raise ValueError("vg has residual blocks of its own; switch the residual blocks off, or choose df or liae")
        return self

    def resolved(self) -> SaeSettings:
        """The settings with the bottleneck's width as a number."""
        return self if self.ae_dims else self.model_copy(update={"ae_dims": dict(SAE_BOTTLENECKS)[self.archi]})

    def effective(self) -> SaeSettings:
        """The optimiser mode, as where the optimiser's state lies."""
        changes: dict[str, Any] = {"optimizer_on_cpu": self.optimizer_mode > 1}
        return self.model_copy(update=changes)
