"""Settings of training that all models share."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import field_validator, model_validator

from backend.core.names import NAME_RULE, is_folder_name
from backend.core.settings.base import Settings, setting
from backend.core.settings.losses import loss_cautions, refuse_no_loss

OptimizerName = Literal["adabelief", "rmsprop", "adam", "adamw", "lion"]
TrainColorTransfer = Literal["none", "rct", "lct", "mkl", "idt", "sot"]
LossName = Literal[
    "mae",
    "mse",
    "logcosh",
    "smooth_loss",
    "l_inf_norm",
    "ssim",
    "ms_ssim",
    "gmsd",
    "pixel_gradient_diff",
    "laploss",
    "ffl",
    "flip",
    "lpips_alex",
    "lpips_squeeze",
    "lpips_vgg16",
]
FirstLoss = Literal["own"] | LossName
FurtherLoss = Literal["none"] | LossName

GRAY_TRANSFERS = ("none", "lct", "sot")
"""Colour transfers that can match the brightness of one channel."""


NARROWEST_MASK_DECODER = 4


class TrainSettings(Settings):
    """What every model's training takes. A model class adds its architecture in a subclass.

    A subclass that narrows a field to one value fixes it: such a field has no widget.
    """

    RANDOM_SCALE: ClassVar[float] = 0.15
    """Share by which faces come larger or smaller at random."""

    model_class: str = setting("saehd", "Family of the network.", frozen=True)
    model: str = setting("model", "Name of the model; on the command line an existing name resumes it.", frozen=True)

    # -- where and how it computes
    device: str = setting(
        "best", "Where to train: best, cpu, a device by name, all, or several names with commas between them."
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = setting(
        "auto", "Number format of the convolutions; auto takes bf16 where the device has it."
    )
    compile: bool = setting(
        False, "Compile the network: a slow first step, then faster ones on most GPUs; no gain on a CPU."
    )
    optimizer_on_cpu: bool = setting(
        False, "Keep the optimiser's state and the exact weights in main memory: for graphics cards with little."
    )
    shrink_batch: bool = setting(False, "When memory runs out, go on with a smaller batch instead of ending.")

    # -- how long, and what is kept
    batch_size: int = setting(8, "Faces of each side per iteration, over all devices together.", ge=1, le=512)
    accumulate: int = setting(
        1, "Batches per optimiser step: the effect of a bigger batch without its memory.", ge=1, le=64
    )
    target_iterations: int = setting(
        0, "Stop at this iteration; 0 trains until stopped.", ge=0, le=10_000_000, live=True
    )
    time_limit_min: float = setting(
        0.0, "Stop after this time; 0 is no limit.", ge=0, le=100_000, unit="min", live=True
    )
    save_interval_min: float = setting(10.0, "Time between saves.", ge=0.1, le=1440, unit="min", live=True)
    preview_interval: int = setting(200, "Iterations between preview images.", ge=1, le=100_000, live=True)
    backup_every_h: float = setting(0.0, "Time between backups; 0 makes none.", ge=0, le=24, unit="h", live=True)
    backups_kept: int = setting(24, "Backups kept; older ones go.", ge=1, le=1000, live=True)
    backups_gb: float = setting(50.0, "Disk space for backups; older ones go.", ge=0.1, le=10_000, unit="GB", live=True)
    snapshot_every: int = setting(
        0, "Iterations between snapshots, backups that no limit removes; 0 makes none.", ge=0, le=1_000_000, live=True
    )
    tensorboard: bool = setting(False, "Also write TensorBoard event files into the model's folder.")

    # -- optimiser
    learning_rate: float = setting(5e-5, "Step size of the optimiser.", ge=1e-7, le=1e-2, live=True)
    lr_schedule: Literal["constant", "anneal", "decay"] = setting(
        "constant",
        "anneal lowers it over the last part of a run with a target or time limit; decay by a share at intervals.",
        live=True,
    )
    lr_decay: float = setting(0.96, "With decay: what is left of the rate at each interval.", ge=0.1, le=1, live=True)
    lr_decay_every: int = setting(
        100_000, "With decay: iterations from one lowering to the next.", ge=1, le=10_000_000, live=True
    )
    warmup_iterations: int = setting(0, "Iterations over which the rate rises from zero.", ge=0, le=100_000)
    optimizer: OptimizerName = setting(
        "adabelief", "AdaBelief learns fast; RMSprop and Lion need less memory; Adam and AdamW are the common ones."
    )
    beta_1: float = setting(
        0.9,
        "Share of the last steps' direction that Adam and AdamW keep; 0.5 is that of the older models.",
        ge=0,
        le=0.99,
    )
    weight_decay: float = setting(0.0, "Shrinks the weights a little at each step (AdamW and Lion).", ge=0, le=1)
    lr_dropout: bool = setting(
        False, "Move three weights in ten at each step, with a rate that waves: sharpens the end of a training."
    )
    clip_gradients: bool = setting(False, "Limit the gradient's length to 1: against collapse, a little slower.")
    autoclip: bool = setting(False, "Limit the gradient's length to what it mostly stays under, by its own history.")
    autoclip_percentile: float = setting(
        10.0, "With autoclip: share of the earlier lengths that lie below the limit.", ge=1, le=100, unit="%"
    )
    autoclip_history: int = setting(
        10_000, "With autoclip: steps that are remembered; 0 remembers a million.", ge=0, le=1_000_000
    )
    lr_finder: Literal["off", "set", "plot", "plot_and_set"] = setting(
        "off",
        "Try rising learning rates before a new model's first iteration: use the best, only draw the curve, or both.",
    )
    lr_finder_iterations: int = setting(1000, "Steps of that try.", ge=100, le=10_000, step=100)
    lr_finder_strength: Literal["default", "aggressive", "extreme"] = setting(
        "default", "How near to where learning breaks: the rate of the lowest loss divided by 10, 5 or 2.5."
    )
    average_weights: bool = setting(
        False, "Keep a running average of the weights and use it for previews and merging: calmer results."
    )

    # -- weights
    freeze_weights: bool = setting(False, "Hold the parts named below still while the rest learns.")
    freeze_layers: tuple[str, ...] = setting(
        ("encoder",), "Parts of the network that hold still; keras_encoder is the backbone inside the encoder."
    )
    load_weights: str = setting(
        "", "For a new model: a model of this project whose weights the parts named below begin with."
    )
    load_layers: tuple[str, ...] = setting(("encoder",), "Parts that begin with the weights of that model.")

    # -- losses
    loss_function: FirstLoss = setting(
        "own",
        "What pictures are compared by, at 100 %; own is the composition this family was made with.",
        live=True,
    )
    loss_function_2: FurtherLoss = setting(
        "none", "A second loss that is added; one chosen twice counts once, with its later weight.", live=True
    )
    loss_weight_2: float = setting(100.0, "Weight of the second loss.", ge=0, le=400, unit="%", live=True)
    loss_function_3: FurtherLoss = setting("none", "A third loss that is added.", live=True)
    loss_weight_3: float = setting(0.0, "Weight of the third loss.", ge=0, le=400, unit="%", live=True)
    loss_function_4: FurtherLoss = setting("none", "A fourth loss that is added.", live=True)
    loss_weight_4: float = setting(0.0, "Weight of the fourth loss.", ge=0, le=400, unit="%", live=True)
    eye_multiplier: float = setting(
        1.0, "How much more the chosen losses weigh inside the eyes; 1 is no more. Needs masked training.", ge=1, le=40
    )
    mouth_multiplier: float = setting(
        1.0, "How much more the chosen losses weigh inside the mouth; 1 is no more. Needs masked training.", ge=1, le=40
    )
    mask_loss_function: Literal["mse", "mae"] = setting("mse", "What predicted masks are compared by.", live=True)
    masked_training: bool = setting(True, "Train only what lies inside the face mask.")
    eyes_mouth_priority: bool = setting(False, "Weigh eyes and mouth more: against crossed eyes and blurred teeth.")
    blur_out_mask: bool = setting(False, "Blur the target outside the face mask: calmer edges, more time per step.")
    structure_weight: float = setting(10.0, "Weight of the structure loss (DSSIM).", ge=0, le=1000, live=True)
    pixel_weight: float = setting(10.0, "Weight of the pixel loss (squared difference).", ge=0, le=1000, live=True)
    mask_weight: float = setting(10.0, "Weight of the mask loss.", ge=0, le=1000, live=True)
    eyes_mouth_weight: float = setting(
        300.0, "Weight of the eyes and mouth loss, where they have priority.", ge=0, le=10_000, live=True
    )
    gan_power: float = setting(
        0.0, "Weight of the adversarial loss, for detail at the end; 0.1 is usual, 0 is off.", ge=0, le=5, live=True
    )
    gan_patch_size: int = setting(
        0, "Area the discriminator judges at once; 0 takes an eighth of the resolution.", ge=0, le=640, unit="px"
    )
    gan_dims: int = setting(16, "Width of the discriminator.", ge=4, le=512)

    # -- samples
    random_warp: bool = setting(True, "Warp the input: generalises better; switch off near the end for sharpness.")
    random_src_flip: bool = setting(False, "Mirror source faces at random: more poses from one side.")
    random_dst_flip: bool = setting(True, "Mirror destination faces at random.")
    random_hsv_power: float = setting(
        0.0, "Shift hue, saturation and brightness of the source's input at random; 0.05 is usual.", ge=0, le=0.3
    )
    color_lightness: float = setting(
        0.0, "Change the lightness of whole faces at random, by up to this.", ge=0, le=75, unit="%"
    )
    color_ab: float = setting(0.0, "Change the colours a and b of LAB at random, by up to this.", ge=0, le=50, unit="%")
    color_clahe_chance: float = setting(
        0.0, "Share of the faces whose local contrast is equalised (CLAHE).", ge=0, le=75, unit="%"
    )
    color_clahe_max_size: int = setting(
        4, "Steps by which that equalising may go finer than its coarsest grid; more is more local.", ge=1, le=8
    )
    warp_to_landmarks: bool = setting(
        False, "Warp the input towards the landmarks of similar faces of the other side instead of at random."
    )
    src_scale: float = setting(
        0.0,
        "Enlarge or shrink source faces, in training and previews, where the two faces differ in shape.",
        ge=-30,
        le=30,
        unit="%",
    )
    sort_by_yaw: bool = setting(
        False, "Give each destination face a source face of a similar head turn: for faces with few turns in common."
    )
    color_transfer: TrainColorTransfer = setting("none", "Give source faces the colours of random destination faces.")
    uniform_yaw: bool = setting(False, "Draw all head turns equally often: for sets with few profiles.")
    holdout_every: int = setting(0, "Hold back one face in N for the SSIM report; 0 trains on all.", ge=0, le=1000)
    cache_mb: int = setting(
        4096, "Memory for decoded faces; beyond it they are mapped from disk.", ge=64, le=1_000_000, unit="MB"
    )
    synthetic: bool = setting(False, "Train on drawn noise instead of faces: measures speed without a faceset.")
    seed: int = setting(0, "Seed of weights and augmentation; 0 picks one.", ge=0, le=2**31 - 1)

    @field_validator("model")
    @classmethod
    def _model_is_a_name(cls, name: str) -> str:
        if not is_folder_name(name):
            raise ValueError(f"'{name}' cannot be the name of a model. {NAME_RULE}")
        return name

    @field_validator("freeze_layers", "load_layers", mode="before")
    @classmethod
    def _names_may_be_one_text(cls, value: Any) -> Any:
        """Names may also come as one text with commas or spaces between them; each counts once."""
        words = [value] if isinstance(value, str) else value
        if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
            return value
        names = [name for word in words for name in word.replace(",", " ").split()]
        wrong = [name for name in names if not name.replace(".", "_").isidentifier()]
        if wrong:
            raise ValueError(f"'{wrong[0]}' cannot be the name of a part; names are words such as encoder")
        return tuple(dict.fromkeys(names))

    @field_validator("load_weights")
    @classmethod
    def _weights_come_from_a_model(cls, name: str) -> str:
        if name and not is_folder_name(name):
            raise ValueError(f"'{name}' cannot be the name of a model. {NAME_RULE}")
        return name

    @model_validator(mode="after")
    def _one_way_to_clip(self) -> TrainSettings:
        if self.autoclip and self.clip_gradients:
            raise ValueError("gradients are clipped in one way at a time; switch off Clip gradients or Autoclip")
        return self

    @model_validator(mode="after")
    def _parts_are_named(self) -> TrainSettings:
        if self.freeze_weights and not self.freeze_layers:
            raise ValueError("nothing is named to hold still; choose Frozen parts, or switch off Freeze parts")
        if self.load_weights and not self.load_layers:
            raise ValueError("no part is named to load; choose Parts that begin so, or empty Begin with weights of")
        return self

    @model_validator(mode="after")
    def _mask_decoder_has_a_width(self) -> TrainSettings:
        if 0 < getattr(self, "d_mask_dims", 0) < NARROWEST_MASK_DECODER:
            raise ValueError(f"the mask decoder's width has to be at least {NARROWEST_MASK_DECODER}, or 0")
        return self

    @model_validator(mode="after")
    def _gan_patch_fits(self) -> TrainSettings:
        resolution = int(getattr(self, "resolution", 0))
        if self.gan_power and self.gan_patch_size and not 3 <= self.gan_patch_size <= resolution:
            raise ValueError(f"the discriminator's area has to be 3 to {resolution} px, the resolution, or 0")
        return self

    @model_validator(mode="after")
    def _gray_has_no_colours(self) -> TrainSettings:
        if getattr(self, "channels", 3) == 1:
            if self.random_hsv_power or self.color_ab:
                raise ValueError("a grayscale model has no hue to shift; set the random colour shifts to 0")
            if self.color_transfer not in GRAY_TRANSFERS:
                raise ValueError("a grayscale model can only match brightness; choose none, lct or sot")
        return self

    @property
    def pretraining(self) -> bool:
        """Whether this run learns faces in general, from another faceset."""
        return bool(getattr(self, "pretrain", False))

    @model_validator(mode="after")
    def _something_is_compared(self) -> TrainSettings:
        refuse_no_loss(self)
        return self

    @property
    def parts_apart(self) -> bool:
        """Whether eyes and mouth need masks of their own: a multiplier weighs them, inside the face mask."""
        return self.masked_training and max(self.eye_multiplier, self.mouth_multiplier) > 1

    def cautions(self) -> tuple[tuple[str, str], ...]:
        """(field, sentence) of what is allowed and probably not meant."""
        found = [*loss_cautions(self)]
        if self.warp_to_landmarks and not self.random_warp:
            found.append(("warp_to_landmarks", "Random warp is off, and inputs are still warped: to landmarks."))
        if self.sort_by_yaw and self.random_src_flip != self.random_dst_flip:
            found.append(("sort_by_yaw", "Mirrored faces turn the other way: mirror both sides at random, or neither."))
        return tuple(found)

    def resolved(self) -> Self:
        """The settings with numbers where 0 leaves them to a rule, as a model stores them.

        The mask decoder is a third as wide as the decoder, rounded up to an even number, as in DeepFaceLab.
        """
        third = int(getattr(self, "d_dims", 0)) // 3
        if not third or getattr(self, "d_mask_dims", 0):
            return self
        return self.model_copy(update={"d_mask_dims": third + third % 2})

    def effective(self) -> TrainSettings:
        """The settings as a run applies them; pretraining overrides some, see SaehdSettings."""
        return self
