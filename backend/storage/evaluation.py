"""The last evaluation of a model: its figures and its picture, in the model's folder. No torch here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from backend.core.errors import DamagedFileError
from backend.storage.atomic import read_json, write_bytes, write_json

FIGURES = "evaluation.json"
PICTURE = "evaluation.jpg"


def write_evaluation(folder: Path, figures: dict[str, Any], jpeg: bytes) -> None:
    """Replace the evaluation in a model's folder by new figures and their picture."""
    write_bytes(folder / PICTURE, jpeg)
    write_json(folder / FIGURES, figures)


def read_evaluation(folder: Path) -> tuple[dict[str, Any], Path | None] | None:
    """(figures, picture) of the last evaluation; None when there is none that can be read."""
    try:
        figures = read_json(folder / FIGURES)
    except (OSError, ValueError, DamagedFileError):
        return None
    if not isinstance(figures, dict):
        return None
    picture = folder / PICTURE
    return figures, picture if picture.is_file() else None
