"""Settings of the model builder: faceswap's Phaze-A, all its options under its names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import field_validator, model_validator

from backend.core.encoders import ENCODERS
from backend.core.settings.base import setting
from backend.core.settings.faces import FaceTypeLetter
from backend.core.settings.phaze_a_checks import cautions_of, refuse_impossible
from backend.core.settings.phaze_a_layout import PhazeALayout, layout_of
from backend.core.settings.phaze_a_presets import PHAZE_A_PRESETS
from backend.core.settings.train import FurtherLoss, LossName, TrainSettings

Norm = Literal["none", "instance", "layer", "rms"]


class PhazeASettings(TrainSettings):
    """A network put together from parts. Side a is the source, side b the destination."""

    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = PHAZE_A_PRESETS
    RANDOM_SCALE: ClassVar[float] = 0.05

    model_class: Literal["phaze_a"] = setting("phaze_a", "Family of the network.", frozen=True)
    face_type: FaceTypeLetter = setting("f", "How much of the head is swapped.", frozen=True)
    channels: Literal[1, 3] = setting(3, "3 trains in colour, 1 is a true grayscale network.", frozen=True)
    learn_mask: bool = setting(True, "Also learn the face's mask, which merging cuts out by.", frozen=True)

    # -- general
    output_size: int = setting(
        128, "Side of the picture the network gives.", ge=64, le=2048, step=16, unit="px", frozen=True
    )
    shared_fc: Literal["none", "full", "half"] = setting(
        "none", "A hidden part both faces share beside their own: none, its own part, or the source's.", frozen=True
    )
    enable_gblock: bool = setting(True, "Steer what the hidden part gives by a style vector (G-Block).", frozen=True)
    split_fc: bool = setting(True, "A hidden part for each face instead of one for both.", frozen=True)
    split_gblock: bool = setting(False, "A G-Block for each face instead of one for both.", frozen=True)
    split_decoders: bool = setting(False, "A decoder for each face instead of one for both.", frozen=True)

    # -- encoder
    enc_architecture: str = setting("fs_original", "Network that looks at the face.", frozen=True)
    enc_scaling: int = setting(
        7, "Size of the picture it sees, of the size it was made for.", ge=0, le=200, unit="%", frozen=True
    )
    enc_load_weights: bool = setting(
        True,
        "Begin with weights trained on ImageNet or by CLIP, where there are any; only for a new model.",
        frozen=True,
    )

    # -- bottleneck
    bottleneck_type: Literal["average_pooling", "dense", "max_pooling", "flatten"] = setting(
        "dense", "How the encoder's answer is squeezed.", frozen=True
    )
    bottleneck_norm: Norm = setting("none", "Normalisation just before the bottleneck.", frozen=True)
    bottleneck_size: int = setting(1024, "Width of a dense bottleneck.", ge=128, le=4096, frozen=True)
    bottleneck_in_encoder: bool = setting(
        True, "Squeeze in the shared encoder; otherwise each hidden part does it for itself.", frozen=True
    )

    # -- hidden layers
    fc_depth: int = setting(1, "Dense layers of the hidden part.", ge=0, le=16, frozen=True)
    fc_min_filters: int = setting(
        1024, "Filters of its first layer; of no effect at a depth of 1.", ge=16, le=5120, frozen=True
    )
    fc_max_filters: int = setting(1024, "Filters of its last layer.", ge=128, le=5120, frozen=True)
    fc_dimensions: int = setting(4, "Side of the small picture it makes.", ge=1, le=16, frozen=True)
    fc_filter_slope: float = setting(
        -0.5, "How the filters grow from first to last; 0 is evenly.", ge=-0.99, le=0.99, frozen=True
    )
    fc_dropout: float = setting(0.0, "Share of its inputs that is left out at random.", ge=0, le=0.99)
    fc_upsampler: Literal["resize_images", "subpixel", "upscale_fast", "upscale_hybrid", "upsample2d"] = setting(
        "upsample2d", "How the small picture is doubled.", frozen=True
    )
    fc_upsamples: int = setting(1, "How often it is doubled.", ge=0, le=4, frozen=True)
    fc_upsample_filters: int = setting(
        512, "Filters of the doublings; upsample2d has none.", ge=128, le=5120, frozen=True
    )

    # -- g-block hidden layers
    fc_gblock_depth: int = setting(3, "Dense layers that make the style vector.", ge=1, le=16, frozen=True)
    fc_gblock_min_nodes: int = setting(512, "Width of the first of them.", ge=128, le=5120, frozen=True)
    fc_gblock_max_nodes: int = setting(512, "Width of the last of them.", ge=128, le=5120, frozen=True)
    fc_gblock_filter_slope: float = setting(
        -0.5, "How their width grows from first to last.", ge=-0.99, le=0.99, frozen=True
    )
    fc_gblock_dropout: float = setting(0.0, "Share of their inputs that is left out at random.", ge=0, le=0.99)

    # -- decoder
    dec_upscale_method: Literal["subpixel", "resize_images", "upscale_fast", "upscale_hybrid", "upscale_dny"] = setting(
        "subpixel", "How the decoder doubles pictures; hybrid and resize take less memory.", frozen=True
    )
    dec_upscales_in_fc: int = setting(
        0, "Doublings of the decoder that happen in the hidden part.", ge=0, le=6, frozen=True
    )
    dec_norm: Literal["none", "batch", "group", "instance", "layer", "rms"] = setting(
        "none", "Normalisation after each doubling.", frozen=True
    )
    dec_min_filters: int = setting(64, "Filters of the last doubling.", ge=16, le=512, frozen=True)
    dec_max_filters: int = setting(512, "Filters of the first doubling.", ge=256, le=5120, frozen=True)
    dec_slope_mode: Literal["full", "cap_max", "cap_min"] = setting(
        "full", "Follow the curve throughout, or halve and stay at the most or at the fewest.", frozen=True
    )
    dec_filter_slope: float = setting(
        -0.45, "How the filters fall from first to last, with the sign of the presets.", ge=-0.99, le=0.99, frozen=True
    )
    dec_res_blocks: int = setting(1, "Residual blocks after each doubling.", ge=0, le=8, frozen=True)
    dec_output_kernel: Literal[1, 3, 5, 7, 9] = setting(5, "Kernel of the last convolution.", unit="px", frozen=True)
    dec_gaussian: bool = setting(True, "Noise after each doubling while training.", frozen=True)
    dec_skip_last_residual: bool = setting(True, "No residual block after the last doubling.", frozen=True)

    # -- weights: see TrainSettings for freeze_layers and load_layers
    freeze_layers: tuple[str, ...] = setting(
        ("keras_encoder",), "Parts of the network that hold still; keras_encoder is the backbone inside the encoder."
    )

    # -- faceswap's own encoder
    fs_original_depth: int = setting(4, "Halvings of the picture.", ge=2, le=10, frozen=True)
    fs_original_min_filters: int = setting(128, "Filters of the first.", ge=16, le=2048, frozen=True)
    fs_original_max_filters: int = setting(1024, "Most filters of any.", ge=256, le=8192, frozen=True)
    fs_original_use_alt: bool = setting(False, "The other form: small kernels and pooling.", frozen=True)

    # -- mobilenet
    mobilenet_width: float = setting(1.0, "Width of a MobileNet, of its usual one.", ge=0.1, le=2, frozen=True)
    mobilenet_depth: int = setting(1, "Filters per channel of MobileNet v1.", ge=1, le=10, frozen=True)
    mobilenet_dropout: float = setting(0.001, "Dropout of MobileNet v1.", ge=0.001, le=2, frozen=True)
    mobilenet_minimalistic: bool = setting(False, "MobileNet v3 without its costlier layers.", frozen=True)

    # -- training, as in faceswap
    loss_function: LossName = setting("ssim", "What pictures are compared by.", live=True)
    loss_function_2: FurtherLoss = setting("mse", "A second loss that is added.", live=True)
    structure_weight: float = setting(0.0, "Phaze-A has no losses but the chosen ones.", ge=0, le=0)
    pixel_weight: float = setting(0.0, "Phaze-A has no losses but the chosen ones.", ge=0, le=0)
    eye_multiplier: float = setting(
        3.0, "How much more the losses weigh inside the eyes; 1 is no more. Needs masked training.", ge=1, le=40
    )
    mouth_multiplier: float = setting(
        2.0, "How much more the losses weigh inside the mouth; 1 is no more. Needs masked training.", ge=1, le=40
    )

    @property
    def resolution(self) -> int:
        """Side of the picture the network gives, under the name that all models use."""
        return self.output_size

    @field_validator("enc_architecture")
    @classmethod
    def _encoder_is_known(cls, name: str) -> str:
        if name not in ENCODERS:
            raise ValueError(f"there is no encoder '{name}'; there are {', '.join(ENCODERS)}")
        return name

    @model_validator(mode="after")
    def _can_be_built(self) -> PhazeASettings:
        refuse_impossible(self)
        return self

    def layout(self) -> PhazeALayout:
        """Sizes of the network these settings give."""
        return layout_of(self)

    def cautions(self) -> tuple[tuple[str, str], ...]:
        """(field, sentence) of what is allowed and probably not meant."""
        return (*super().cautions(), *cautions_of(self))
