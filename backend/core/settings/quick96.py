"""Settings of Quick96: everything that shapes the result is fixed."""

from __future__ import annotations

from typing import ClassVar, Literal

from backend.core.settings.base import setting
from backend.core.settings.train import TrainSettings


class Quick96Settings(TrainSettings):
    """DeepFaceLab's Quick96: a df-ud network of 96 px with fixed dims, losses and optimiser."""

    RANDOM_SCALE: ClassVar[float] = 0.05

    model_class: Literal["quick96"] = setting("quick96", "Family of the network.", frozen=True)
    resolution: Literal[96] = setting(96, "Side of the network's picture.", unit="px", frozen=True)
    face_type: Literal["f"] = setting("f", "How much of the head is swapped.", frozen=True)
    channels: Literal[1, 3] = setting(3, "3 trains in colour, 1 is a true grayscale network.", frozen=True)
    batch_size: int = setting(4, "Faces of each side per iteration, over all devices together.", ge=1, le=512)
    learning_rate: float = setting(2e-4, "Step size of the optimiser.", ge=1e-7, le=1e-2, live=True)
    optimizer: Literal["rmsprop"] = setting("rmsprop", "Quick96 uses RMSprop.")
    weight_decay: float = setting(0.0, "Quick96 has none.", ge=0, le=0)
    lr_dropout: Literal[True] = setting(True, "Quick96 moves three weights in ten at each step.")
    clip_gradients: Literal[False] = setting(False, "Quick96 does not clip.")
    masked_training: Literal[True] = setting(True, "Quick96 trains what lies inside the mask.")
    eyes_mouth_priority: Literal[False] = setting(False, "Quick96 has no such priority.")
    blur_out_mask: Literal[False] = setting(False, "Quick96 does not blur the surroundings.")
    structure_weight: float = setting(10.0, "Weight of the structure loss (DSSIM).", ge=10, le=10)
    pixel_weight: float = setting(10.0, "Weight of the pixel loss (squared difference).", ge=10, le=10)
    mask_weight: float = setting(10.0, "Weight of the mask loss.", ge=10, le=10)
    eyes_mouth_weight: float = setting(0.0, "Quick96 has no such loss.", ge=0, le=0)
    gan_power: float = setting(0.0, "Quick96 has no discriminator.", ge=0, le=0)
    gan_patch_size: int = setting(0, "Quick96 has no discriminator.", ge=0, le=0)
    gan_dims: int = setting(16, "Quick96 has no discriminator.", ge=16, le=16)
    random_warp: Literal[True] = setting(True, "Quick96 warps two inputs of three.")
    random_src_flip: Literal[False] = setting(False, "Quick96 mirrors nothing.")
    random_dst_flip: Literal[False] = setting(False, "Quick96 mirrors nothing.")
    random_hsv_power: float = setting(0.0, "Quick96 shifts no colours.", ge=0, le=0)
    color_transfer: Literal["none"] = setting("none", "Quick96 transfers no colours.")
    uniform_yaw: Literal[False] = setting(False, "Quick96 draws faces as they come.")
    autoclip: Literal[False] = setting(False, "Quick96 does not clip.")
    autoclip_percentile: float = setting(10.0, "Quick96 does not clip.", ge=10, le=10)
    autoclip_history: int = setting(10_000, "Quick96 does not clip.", ge=10_000, le=10_000)
    beta_1: float = setting(0.9, "RMSprop has none.", ge=0.9, le=0.9)
    loss_function: Literal["own"] = setting("own", "Quick96 has its own losses.")
    loss_function_2: Literal["none"] = setting("none", "Quick96 has its own losses.")
    loss_weight_2: float = setting(0.0, "Quick96 has its own losses.", ge=0, le=0)
    loss_function_3: Literal["none"] = setting("none", "Quick96 has its own losses.")
    loss_weight_3: float = setting(0.0, "Quick96 has its own losses.", ge=0, le=0)
    loss_function_4: Literal["none"] = setting("none", "Quick96 has its own losses.")
    loss_weight_4: float = setting(0.0, "Quick96 has its own losses.", ge=0, le=0)
    eye_multiplier: float = setting(1.0, "Quick96 has no such loss.", ge=1, le=1)
    mouth_multiplier: float = setting(1.0, "Quick96 has no such loss.", ge=1, le=1)
    mask_loss_function: Literal["mse"] = setting("mse", "Quick96 has its own losses.")
    color_lightness: float = setting(0.0, "Quick96 shifts no colours.", ge=0, le=0)
    color_ab: float = setting(0.0, "Quick96 shifts no colours.", ge=0, le=0)
    color_clahe_chance: float = setting(0.0, "Quick96 shifts no colours.", ge=0, le=0)
    color_clahe_max_size: int = setting(4, "Quick96 shifts no colours.", ge=4, le=4)
    warp_to_landmarks: Literal[False] = setting(False, "Quick96 warps at random.")
    src_scale: float = setting(0.0, "Quick96 has none.", ge=0, le=0)
    sort_by_yaw: Literal[False] = setting(False, "Quick96 draws faces as they come.")
