"""Settings of training that all models share."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import field_validator, model_validator

from backend.core.names import NAME_RULE, is_folder_name
from backend.core.settings.base import Settings, setting

OptimizerName = Literal["adabelief", "rmsprop", "adamw", "lion"]
TrainColorTransfer = Literal["none", "rct", "lct", "mkl", "idt", "sot"]

GRAY_TRANSFERS = ("none", "lct", "sot")
"""Colour transfers that can match the brightness of one channel."""


NARROWEST_MASK_DECODER = 4


class TrainSettings(Settings):
    """What every model's training takes. A model class adds its architecture in a subclass.

    A subclass that narrows a field to one value fixes it: such a field has no widget.
    """

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
        "adabelief", "AdaBelief learns fast; RMSprop and Lion need less memory; AdamW is the common one."
    )
    weight_decay: float = setting(0.0, "Shrinks the weights a little at each step (AdamW and Lion).", ge=0, le=1)
    lr_dropout: bool = setting(
        False, "Move three weights in ten at each step, with a rate that waves: sharpens the end of a training."
    )
    clip_gradients: bool = setting(False, "Limit the gradient's length to 1: against collapse, a little slower.")
    average_weights: bool = setting(
        False, "Keep a running average of the weights and use it for previews and merging: calmer results."
    )

    # -- losses
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
            if self.random_hsv_power:
                raise ValueError("a grayscale model has no hue to shift; set the random colour shift to 0")
            if self.color_transfer not in GRAY_TRANSFERS:
                raise ValueError("a grayscale model can only match brightness; choose none, lct or sot")
        return self

    @property
    def pretraining(self) -> bool:
        """Whether this run learns faces in general, from another faceset."""
        return bool(getattr(self, "pretrain", False))

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
