"""Where networks lie that the user adds, and which file of a folder is taken."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

ENHANCERS = "enhancers"
"""Folder of enhancers inside the weights folder."""

SEGMENTATION = "xseg"
"""Folder of mask networks inside the weights folder."""

NETWORK_SUFFIX = ".onnx"


def first_network(folders: Iterable[Path]) -> Path | None:
    """The ONNX file that is used: the first by name in the first folder that has one; None without any."""
    for folder in folders:
        if folder.is_dir():
            found = [file for file in folder.iterdir() if file.suffix.lower() == NETWORK_SUFFIX and file.is_file()]
            if found:
                return min(found, key=lambda file: (file.name.lower(), file.name))
    return None
