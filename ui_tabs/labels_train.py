"""Words of the Train tab: the label, group and order of every setting, and the names of choices."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

MAIN = ""

NETWORK = "Network"
ENCODER = "Encoder"
BOTTLENECK = "Bottleneck"
HIDDEN = "Hidden layers"
GBLOCK = "G-Block hidden layers"
DECODER = "Decoder"
WEIGHTS = "Weights"
FS_ENCODER = "fs_original encoder"
MOBILENET = "MobileNet encoder"
SAMPLES = "Samples"
LOSSES = "Losses"
ADVERSARIAL = "Adversarial and style"
OPTIMISER = "Optimiser"
DEVICE = "Precision and device"
SAVING = "Saving, backups and previews"

TRAIN_LABELS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "model": ("Model name", MAIN),
        "device": ("Device", MAIN),
        "batch_size": ("Batch size", MAIN),
        "target_iterations": ("Target iterations", MAIN),
        "time_limit_min": ("Time limit", MAIN),
        "model_class": ("Model family", NETWORK),
        "resolution": ("Resolution", NETWORK),
        "face_type": ("Face type", NETWORK),
        "archi": ("Architecture", NETWORK),
        "ae_dims": ("Bottleneck width", NETWORK),
        "inter_dims": ("Inter width", NETWORK),
        "e_dims": ("Encoder width", NETWORK),
        "d_dims": ("Decoder width", NETWORK),
        "d_mask_dims": ("Mask decoder width", NETWORK),
        "e_ch_dims": ("Encoder width per colour", NETWORK),
        "d_ch_dims": ("Decoder width per colour", NETWORK),
        "lightweight": ("Lightweight", NETWORK),
        "morph_factor": ("Morph factor", NETWORK),
        "channels": ("Channels", NETWORK),
        "residual_blocks": ("Residual blocks in the decoder", NETWORK),
        "multiscale_decoder": ("Multiscale decoder", NETWORK),
        "lightweight_encoder": ("Lightweight encoder", NETWORK),
        "remove_gray_border": ("Remove gray border", NETWORK),
        "ca_weights": ("CA weights", NETWORK),
        "learn_mask": ("Learn the mask", NETWORK),
        "output_size": ("Output size", NETWORK),
        "shared_fc": ("Shared hidden part", NETWORK),
        "enable_gblock": ("G-Block", NETWORK),
        "split_fc": ("Split hidden part", NETWORK),
        "split_gblock": ("Split G-Block", NETWORK),
        "split_decoders": ("Split decoders", NETWORK),
        "enc_architecture": ("Encoder", ENCODER),
        "enc_scaling": ("Encoder scaling", ENCODER),
        "enc_load_weights": ("Pretrained weights", ENCODER),
        "bottleneck_type": ("Bottleneck type", BOTTLENECK),
        "bottleneck_norm": ("Bottleneck norm", BOTTLENECK),
        "bottleneck_size": ("Bottleneck size", BOTTLENECK),
        "bottleneck_in_encoder": ("Bottleneck in the encoder", BOTTLENECK),
        "fc_depth": ("Depth", HIDDEN),
        "fc_min_filters": ("Min filters", HIDDEN),
        "fc_max_filters": ("Max filters", HIDDEN),
        "fc_dimensions": ("Dimensions", HIDDEN),
        "fc_filter_slope": ("Filter slope", HIDDEN),
        "fc_dropout": ("Dropout", HIDDEN),
        "fc_upsampler": ("Upsampler", HIDDEN),
        "fc_upsamples": ("Upsamples", HIDDEN),
        "fc_upsample_filters": ("Upsample filters", HIDDEN),
        "fc_gblock_depth": ("Style depth", GBLOCK),
        "fc_gblock_min_nodes": ("Style min nodes", GBLOCK),
        "fc_gblock_max_nodes": ("Style max nodes", GBLOCK),
        "fc_gblock_filter_slope": ("Style slope", GBLOCK),
        "fc_gblock_dropout": ("Style dropout", GBLOCK),
        "dec_upscale_method": ("Upscale method", DECODER),
        "dec_upscales_in_fc": ("Upscales in the hidden part", DECODER),
        "dec_norm": ("Decoder norm", DECODER),
        "dec_min_filters": ("Decoder min filters", DECODER),
        "dec_max_filters": ("Decoder max filters", DECODER),
        "dec_slope_mode": ("Slope mode", DECODER),
        "dec_filter_slope": ("Decoder slope", DECODER),
        "dec_res_blocks": ("Residual blocks", DECODER),
        "dec_output_kernel": ("Output kernel", DECODER),
        "dec_gaussian": ("Gaussian noise", DECODER),
        "dec_skip_last_residual": ("Skip the last residual", DECODER),
        "freeze_weights": ("Freeze parts", WEIGHTS),
        "freeze_layers": ("Frozen parts", WEIGHTS),
        "load_weights": ("Begin with weights of", WEIGHTS),
        "load_layers": ("Parts that begin so", WEIGHTS),
        "fs_original_depth": ("fs_original depth", FS_ENCODER),
        "fs_original_min_filters": ("fs_original min filters", FS_ENCODER),
        "fs_original_max_filters": ("fs_original max filters", FS_ENCODER),
        "fs_original_use_alt": ("fs_original alternative form", FS_ENCODER),
        "mobilenet_width": ("MobileNet width", MOBILENET),
        "mobilenet_depth": ("MobileNet depth", MOBILENET),
        "mobilenet_dropout": ("MobileNet dropout", MOBILENET),
        "mobilenet_minimalistic": ("MobileNet minimalistic", MOBILENET),
        "random_warp": ("Random warp", SAMPLES),
        "random_src_flip": ("Mirror source at random", SAMPLES),
        "random_dst_flip": ("Mirror destination at random", SAMPLES),
        "random_hsv_power": ("Random colour shift", SAMPLES),
        "color_lightness": ("Random lightness", SAMPLES),
        "color_ab": ("Random colours a and b", SAMPLES),
        "color_clahe_chance": ("Equalised contrast (CLAHE)", SAMPLES),
        "color_clahe_max_size": ("CLAHE grid", SAMPLES),
        "warp_to_landmarks": ("Warp to landmarks", SAMPLES),
        "src_scale": ("Scale source faces", SAMPLES),
        "sort_by_yaw": ("Similar head turns together", SAMPLES),
        "color_transfer": ("Colour transfer", SAMPLES),
        "uniform_yaw": ("All head turns equally often", SAMPLES),
        "pretrain": ("Pretrain", SAMPLES),
        "pretrain_faces": ("Pretraining faceset", SAMPLES),
        "holdout_every": ("Hold back one face in", SAMPLES),
        "cache_mb": ("Memory for faces", SAMPLES),
        "seed": ("Seed", SAMPLES),
        "synthetic": ("Drawn noise instead of faces", SAMPLES),
        "masked_training": ("Masked training", LOSSES),
        "eyes_mouth_priority": ("Eyes and mouth first", LOSSES),
        "blur_out_mask": ("Blur outside the mask", LOSSES),
        "loss_function": ("Loss", LOSSES),
        "loss_function_2": ("Second loss", LOSSES),
        "loss_weight_2": ("Second weight", LOSSES),
        "loss_function_3": ("Third loss", LOSSES),
        "loss_weight_3": ("Third weight", LOSSES),
        "loss_function_4": ("Fourth loss", LOSSES),
        "loss_weight_4": ("Fourth weight", LOSSES),
        "eye_multiplier": ("Eye multiplier", LOSSES),
        "mouth_multiplier": ("Mouth multiplier", LOSSES),
        "mask_loss_function": ("Mask loss", LOSSES),
        "pixel_loss": ("Pixel loss", LOSSES),
        "structure_weight": ("Structure weight", LOSSES),
        "pixel_weight": ("Pixel weight", LOSSES),
        "mask_weight": ("Mask weight", LOSSES),
        "eyes_mouth_weight": ("Eyes and mouth weight", LOSSES),
        "gan_power": ("GAN power", ADVERSARIAL),
        "gan_patch_size": ("GAN patch size", ADVERSARIAL),
        "gan_dims": ("GAN width", ADVERSARIAL),
        "true_face_power": ("True face power", ADVERSARIAL),
        "face_style_power": ("Face style power", ADVERSARIAL),
        "bg_style_power": ("Background style power", ADVERSARIAL),
        "learning_rate": ("Learning rate", OPTIMISER),
        "lr_schedule": ("Learning rate over time", OPTIMISER),
        "lr_decay": ("Rate left at each interval", OPTIMISER),
        "lr_decay_every": ("Iterations between lowerings", OPTIMISER),
        "warmup_iterations": ("Warm-up iterations", OPTIMISER),
        "lr_finder": ("Learning rate finder", OPTIMISER),
        "lr_finder_iterations": ("Finder steps", OPTIMISER),
        "lr_finder_strength": ("Finder strength", OPTIMISER),
        "optimizer": ("Optimiser", OPTIMISER),
        "optimizer_mode": ("Optimiser mode", OPTIMISER),
        "beta_1": ("Beta 1", OPTIMISER),
        "lr_dropout": ("Learning rate dropout", OPTIMISER),
        "weight_decay": ("Weight decay", OPTIMISER),
        "clip_gradients": ("Clip gradients", OPTIMISER),
        "autoclip": ("Autoclip", OPTIMISER),
        "autoclip_percentile": ("Autoclip percentile", OPTIMISER),
        "autoclip_history": ("Autoclip history", OPTIMISER),
        "accumulate": ("Batches per step", OPTIMISER),
        "average_weights": ("Average the weights", OPTIMISER),
        "precision": ("Precision", DEVICE),
        "compile": ("Compile the network", DEVICE),
        "optimizer_on_cpu": ("Optimiser in main memory", DEVICE),
        "shrink_batch": ("Smaller batch when memory runs out", DEVICE),
        "save_interval_min": ("Save every", SAVING),
        "backup_every_h": ("Back up every", SAVING),
        "backups_kept": ("Backups kept", SAVING),
        "backups_gb": ("Disk space for backups", SAVING),
        "snapshot_every": ("Iterations between snapshots", SAVING),
        "preview_interval": ("Iterations between previews", SAVING),
        "tensorboard": ("TensorBoard files", SAVING),
    }
)


TRAIN_CHOICES: Mapping[str, Mapping[Any, str]] = MappingProxyType(
    {
        "optimizer": MappingProxyType(
            {"adabelief": "AdaBelief", "rmsprop": "RMSprop", "adam": "Adam", "adamw": "AdamW", "lion": "Lion"}
        ),
        "lr_schedule": MappingProxyType(
            {"constant": "constant", "anneal": "anneal towards the end", "decay": "decay at intervals"}
        ),
        "model_class": MappingProxyType(
            {
                "saehd": "SAEHD, all options",
                "quick96": "Quick96, fixed settings",
                "amp": "AMP, morphs between both faces",
                "phaze_a": "Phaze-A, model builder",
                "h64": "H64, half faces of 64 px",
                "h128": "H128, half faces of 128 px",
                "df": "DF, full faces of 128 px",
                "liaef128": "LIAEF128, full faces of 128 px",
                "sae": "SAE, the forerunner of SAEHD",
                "dfm": "DFM file, merges only",
            }
        ),
        "lr_finder": MappingProxyType(
            {"off": "off", "set": "use the best rate", "plot": "only draw the curve", "plot_and_set": "both"}
        ),
        "precision": MappingProxyType(
            {
                "auto": "auto",
                "fp32": "fp32, exact",
                "bf16": "bf16, fast",
                "fp16": "fp16, with gradient scaling",
            }
        ),
        "channels": MappingProxyType({1: "1, grayscale", 3: "3, colour"}),
        "optimizer_mode": MappingProxyType(
            {1: "1, state on the device", 2: "2, state in main memory", 3: "3, state in main memory"}
        ),
    }
)

FAMILY_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "saehd": "The one to begin with: df keeps the source's look, liae adapts to the destination; up to 640 px.",
        "quick96": "96 px, full faces, nothing to set but batch size and rate: for a first try.",
        "amp": "One network that can be set between the destination's and the source's face when merging.",
        "phaze_a": "faceswap's model builder: encoder, hidden layers and decoder are put together from parts. "
        "Its presets rebuild the classic models.",
        "h64": "The smallest and quickest of DeepFaceLab's older models; for small faces and weak machines.",
        "h128": "H64 at twice the size: sharper half faces.",
        "df": "Full faces that keep the source's shape and look.",
        "liaef128": "Full faces that adapt to the destination's shape and light.",
        "sae": "df, liae or vg with free widths, residual blocks and several sizes at once.",
    }
)
"""Family of models -> what it is for."""
