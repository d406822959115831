"""Words only: the label, group and order of every setting, and the names of choices."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from ui_tabs.labels_faces import FACE_CHOICES, FACE_LABELS
from ui_tabs.labels_merge import MERGE_CHOICES, MERGE_LABELS
from ui_tabs.labels_train import TRAIN_CHOICES, TRAIN_LABELS

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
        "dfl": "DeepFaceLab files of",
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
        "train": TRAIN_LABELS,
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
                "face_type": ("Face type", MAIN),
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
        **TRAIN_CHOICES,
        **MERGE_CHOICES,
    }
)
"""Field -> value -> word; values without an entry are shown as they are."""


def label_of(stage: str, name: str) -> str:
    """Label of a field in plain words."""
    return LABELS.get(stage, {}).get(name, (name.replace("_", " ").capitalize(), MAIN))[0]


def choice_label(name: str, value: Any) -> str:
    """Word for one value of a choice; those of a list with commas between them."""
    if isinstance(value, list | tuple):
        return ", ".join(choice_label(name, item) for item in value)
    return CHOICES.get(name, {}).get(value, str(value))


def group_of(stage: str, name: str) -> str:
    """Group of a field, MAIN for those that are always visible."""
    return LABELS.get(stage, {}).get(name, ("", MAIN))[1]


def group_id(key: str, group: str) -> str:
    """The elem_id of a form's closed group; "" for the main one."""
    return f"{key}-group-{re.sub(r'[^a-z0-9]+', '-', group.lower()).strip('-')}" if group else ""


def layout(stage: str, names: Sequence[str]) -> list[tuple[str, list[str]]]:
    """(group, fields) in the order of the page; fields without words come last, in the main group."""
    words = LABELS.get(stage, {})
    ordered = [name for name in words if name in names] + [name for name in names if name not in words]
    groups: dict[str, list[str]] = {}
    for name in ordered:
        groups.setdefault(words.get(name, ("", MAIN))[1], []).append(name)
    return sorted(groups.items(), key=lambda item: item[0] != MAIN)
