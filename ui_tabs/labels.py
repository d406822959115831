"""Words only: the label, group and order of every setting, and the names of choices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from ui_tabs.labels_faces import FACE_CHOICES, FACE_LABELS
from ui_tabs.labels_merge import MERGE_CHOICES, MERGE_LABELS

MAIN = ""
"""The group that is always visible; every other group is a closed accordion with its name as title."""

STAGE_TITLES: Mapping[str, str] = MappingProxyType(
    {
        "create": "Create project",
        "sample": "Sample project",
        "edit-clip": "Edit clip",
        "extract-frames": "Frames from video",
        "denoise-frames": "Denoise frames",
        "extract-faces": "Faces from frames",
        "persons": "Tell persons apart",
        "sort": "Sort faces",
        "faceset": "Faceset tool",
        "resize-faces": "Resize faces",
        "gray-faces": "Faces to gray",
        "add-faces": "Add faces",
        "train": "Train",
        "summary": "Describe network of",
        "evaluate": "Evaluate",
        "timelapse": "Time-lapse of",
        "model": "Model file of",
        "merge": "Merge",
        "export": "Export",
        "render": "Merge and export",
        "verify": "Verify",
    }
)

ACTION_TITLES: Mapping[str, str] = MappingProxyType(
    {
        "copy": "Copy model",
        "export": "Export model",
        "dfm": "DFM file of",
        "import": "Import a model file",
        "backup": "Back up model",
        "restore": "Go back with model",
        "pack": "Pack faces",
        "unpack": "Unpack faces",
        "save-metadata": "Save face metadata",
        "restore-metadata": "Restore face metadata",
        "original-names": "Original names of faces",
        "measure": "Measure faces",
        "png-to-jpg": "PNG faces to JPEG",
        "debug-images": "Debug images of faces",
        "export-masks": "Export masks of faces",
    }
)
"""What a job of the stages "model" and "faceset" does -> its title."""

SIDES: Mapping[str, str] = MappingProxyType({"src": "Source", "dst": "Destination"})
SIDE_CHOICES = (("Source", "src"), ("Destination", "dst"))

NETWORK = "Network"
SAMPLES = "Samples"
LOSSES = "Losses"
ADVERSARIAL = "Adversarial and style"
OPTIMISER = "Optimiser"
DEVICE = "Precision and device"
SAVING = "Saving, backups and previews"

_TRAIN = MappingProxyType(
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
        "morph_factor": ("Morph factor", NETWORK),
        "channels": ("Channels", NETWORK),
        "random_warp": ("Random warp", SAMPLES),
        "random_src_flip": ("Mirror source at random", SAMPLES),
        "random_dst_flip": ("Mirror destination at random", SAMPLES),
        "random_hsv_power": ("Random colour shift", SAMPLES),
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
        "optimizer": ("Optimiser", OPTIMISER),
        "lr_dropout": ("Learning rate dropout", OPTIMISER),
        "weight_decay": ("Weight decay", OPTIMISER),
        "clip_gradients": ("Clip gradients", OPTIMISER),
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
        "preview_interval": ("Iterations between previews", SAVING),
        "tensorboard": ("TensorBoard files", SAVING),
    }
)

LABELS: Mapping[str, Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "create": MappingProxyType(
            {
                "src": ("Source video", MAIN),
                "dst": ("Destination video", MAIN),
                "consent": ("Consent statement", MAIN),
                "notes": ("Notes", MAIN),
            }
        ),
        "sample": MappingProxyType({"seconds": ("Length of the clips", MAIN)}),
        **FACE_LABELS,
        "train": _TRAIN,
        "summary": MappingProxyType({"model": ("Model", MAIN), "train": ("Training settings", MAIN)}),
        "evaluate": MappingProxyType(
            {
                "model": ("Model", MAIN),
                "faces": ("Faces of each side", MAIN),
                "jitter_frames": ("Faces for the jitter", MAIN),
                "rows": ("Faces in the picture", MAIN),
                "device": ("Device", MAIN),
            }
        ),
        "timelapse": MappingProxyType(
            {"model": ("Model", MAIN), "page": ("Preview page", MAIN), "fps": ("Previews per second", MAIN)}
        ),
        "model": MappingProxyType(
            {
                "action": ("What to do", MAIN),
                "model": ("Model", MAIN),
                "name": ("Name", MAIN),
                "file": ("File", MAIN),
                "fp16": ("Half precision", MAIN),
            }
        ),
        **MERGE_LABELS,
    }
)
"""Stage -> field -> (label, group). The order of the entries is the order on the page."""

CHOICES: Mapping[str, Mapping[Any, str]] = MappingProxyType(
    {
        **FACE_CHOICES,
        "optimizer": MappingProxyType(
            {"adabelief": "AdaBelief", "rmsprop": "RMSprop", "adamw": "AdamW", "lion": "Lion"}
        ),
        "lr_schedule": MappingProxyType(
            {"constant": "constant", "anneal": "anneal towards the end", "decay": "decay at intervals"}
        ),
        "model_class": MappingProxyType({"saehd": "SAEHD", "quick96": "Quick96, fixed settings", "amp": "AMP"}),
        "precision": MappingProxyType(
            {
                "auto": "auto",
                "fp32": "fp32, exact",
                "bf16": "bf16, fast",
                "fp16": "fp16, with gradient scaling",
            }
        ),
        "channels": MappingProxyType({1: "1, grayscale", 3: "3, colour"}),
        **MERGE_CHOICES,
    }
)
"""Field -> value -> word; values without an entry are shown as they are."""


def label_of(stage: str, name: str) -> str:
    """Label of a field in plain words."""
    return LABELS.get(stage, {}).get(name, (name.replace("_", " ").capitalize(), MAIN))[0]


def choice_label(name: str, value: Any) -> str:
    """Word for one value of a choice."""
    return CHOICES.get(name, {}).get(value, str(value))


def layout(stage: str, names: Sequence[str]) -> list[tuple[str, list[str]]]:
    """(group, fields) in the order of the page; fields without words come last, in the main group."""
    words = LABELS.get(stage, {})
    ordered = [name for name in words if name in names] + [name for name in names if name not in words]
    groups: dict[str, list[str]] = {}
    for name in ordered:
        groups.setdefault(words.get(name, ("", MAIN))[1], []).append(name)
    return sorted(groups.items(), key=lambda item: item[0] != MAIN)
