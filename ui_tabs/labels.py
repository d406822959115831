"""Words only: the label, group and order of every setting, and the names of choices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

MAIN = ""
"""The group that is always visible; every other group is a closed accordion with its name as title."""

STAGE_TITLES: Mapping[str, str] = MappingProxyType(
    {
        "create": "Create project",
        "sample": "Sample project",
        "extract-frames": "Frames from video",
        "extract-faces": "Faces from frames",
        "sort": "Sort faces",
        "train": "Train",
        "merge": "Merge",
        "export": "Export",
    }
)

SIDES: Mapping[str, str] = MappingProxyType({"src": "Source", "dst": "Destination"})
SIDE_CHOICES = (("Source", "src"), ("Destination", "dst"))

_TRAIN = MappingProxyType(
    {
        "model": ("Model name", MAIN),
        "device": ("Device", MAIN),
        "batch_size": ("Batch size", MAIN),
        "target_iterations": ("Target iterations", MAIN),
        "time_limit_min": ("Time limit", MAIN),
        "resolution": ("Resolution", "Network"),
        "face_type": ("Face type", "Network"),
        "archi": ("Architecture", "Network"),
        "ae_dims": ("Bottleneck width", "Network"),
        "e_dims": ("Encoder width", "Network"),
        "d_dims": ("Decoder width", "Network"),
        "d_mask_dims": ("Mask decoder width", "Network"),
        "channels": ("Channels", "Network"),
        "model_class": ("Model family", "Network"),
        "learning_rate": ("Learning rate", "Optimiser and loss"),
        "anneal": ("Anneal towards the end", "Optimiser and loss"),
        "optimizer": ("Optimiser", "Optimiser and loss"),
        "masked_training": ("Masked training", "Optimiser and loss"),
        "eyes_mouth_priority": ("Eyes and mouth first", "Optimiser and loss"),
        "precision": ("Precision", "Optimiser and loss"),
        "random_warp": ("Random warp", "Samples"),
        "random_src_flip": ("Mirror source at random", "Samples"),
        "random_dst_flip": ("Mirror destination at random", "Samples"),
        "holdout_every": ("Hold back one face in", "Samples"),
        "cache_mb": ("Memory for faces", "Samples"),
        "seed": ("Seed", "Samples"),
        "save_interval_min": ("Save every", "Saving and previews"),
        "preview_interval": ("Iterations between previews", "Saving and previews"),
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
        "extract-frames": MappingProxyType(
            {
                "side": ("Side", MAIN),
                "fps": ("Frames per second", MAIN),
                "image_format": ("Image format", MAIN),
                "start_s": ("Begin at", "Time range and quality"),
                "end_s": ("End at", "Time range and quality"),
                "jpeg_quality": ("JPG quality", "Time range and quality"),
            }
        ),
        "extract-faces": MappingProxyType(
            {
                "side": ("Side", MAIN),
                "detector": ("Detector", MAIN),
                "landmarker": ("Landmarks", MAIN),
                "face_type": ("Face type", MAIN),
                "image_size": ("Image size", MAIN),
                "max_faces": ("Faces per frame at most", MAIN),
                "device": ("Device", "Detection"),
                "score": ("Confidence", "Detection"),
                "min_face_px": ("Smallest face", "Detection"),
                "jpeg_quality": ("JPEG quality", "Files"),
                "debug_images": ("Debug images", "Files"),
            }
        ),
        "sort": MappingProxyType(
            {
                "side": ("Side", MAIN),
                "by": ("Sort by", MAIN),
                "reverse": ("Reverse", MAIN),
                "apply": ("Rename files", MAIN),
            }
        ),
        "train": _TRAIN,
        "merge": MappingProxyType(
            {
                "model": ("Model", MAIN),
                "mode": ("Mode", MAIN),
                "mask_mode": ("Mask", "Mask"),
                "erode_mask": ("Erode mask", "Mask"),
                "blur_mask": ("Blur mask", "Mask"),
                "color_transfer": ("Colour transfer", "Colour"),
                "face_scale": ("Face scale", "Finish"),
                "first_frame": ("First frame", "Range and device"),
                "last_frame": ("Last frame", "Range and device"),
                "device": ("Device", "Range and device"),
            }
        ),
        "export": MappingProxyType(
            {
                "name": ("File name", MAIN),
                "crf": ("Quality, CRF", MAIN),
                "include_audio": ("Sound", MAIN),
                "speed": ("Encoder speed", "Encoder and mark"),
                "mark": ("AI mark", "Encoder and mark"),
            }
        ),
    }
)
"""Stage -> field -> (label, group). The order of the entries is the order on the page."""

CHOICES: Mapping[str, Mapping[Any, str]] = MappingProxyType(
    {
        "face_type": MappingProxyType(
            {"h": "half face", "mf": "mid-full face", "f": "full face", "wf": "whole face", "head": "head"}
        ),
        "by": MappingProxyType(
            {
                "hist": "similar pictures together",
                "blur": "sharpest first",
                "yaw": "head turn, left to right",
                "pitch": "head tilt, up to down",
                "name": "source frame",
            }
        ),
        "image_format": MappingProxyType({"png": "PNG", "jpg": "JPG"}),
        "optimizer": MappingProxyType({"adabelief": "AdaBelief", "rmsprop": "RMSprop"}),
        "channels": MappingProxyType({1: "1, grayscale", 3: "3, colour"}),
        "mask_mode": MappingProxyType(
            {
                "full": "full square",
                "dst": "landmark hull of dst",
                "learned-prd": "learned, swapped face",
                "learned-dst": "learned, dst face",
                "learned-prd*learned-dst": "learned, both multiplied",
            }
        ),
        "color_transfer": MappingProxyType({"none": "none", "rct": "Reinhard (rct)", "lct": "linear (lct)"}),
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
