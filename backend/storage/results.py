"""Exported videos and the provenance sidecars beside them: <name>.mp4 and <name>.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from backend.core.errors import BadInputError, DamagedFileError
from backend.storage.atomic import read_json
from backend.storage.workspace import Project


def sidecar_path(video: Path) -> Path:
    """Where the provenance of an exported video is written."""
    return video.with_suffix(".json")


def read_sidecar(video: Path) -> dict[str, Any]:
    """What the sidecar of a result says; empty when there is none or it cannot be understood."""
    try:
        stored = read_json(sidecar_path(video))
    except (OSError, DamagedFileError):
        return {}
    return stored if isinstance(stored, dict) else {}


def delete_result(project: Project, name: str) -> None:
    """Remove an exported video and its sidecar from the disk. BadInputError when there is no such result.

    Args:
        name: file name of the video without folder.
    """
    video = next((path for path in project.results() if path.name == name), None)
    if video is None:
        raise BadInputError(f"There is no result '{name}' in the project '{project.name}'.")
    video.unlink(missing_ok=True)
    sidecar_path(video).unlink(missing_ok=True)
