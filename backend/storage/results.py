"""Exported files and the sidecars beside them: <name>.json for <name>.mp4, and for a folder <name> of pictures."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from backend.core.errors import BadInputError, DamagedFileError
from backend.storage.atomic import read_json
from backend.storage.image import list_images
from backend.storage.workspace import Project

MAX_SIDECAR = 64 << 20
"""A sidecar with the checksums of 100,000 pictures has about 10 MB."""

SECRET_SETTINGS = ("certificate", "private_key")
"""Settings that never go into a sidecar or a result: where a user keeps certificates is nobody's business."""

UNFINISHED = ".*.partial*"
"""Names of files and folders that are being exported; hidden until they are complete."""

ABANDONED_S = 3600.0
"""Nobody who still writes a file leaves it alone for so long."""

_BLOCK = 1 << 20

Report = Callable[[int, int], None]


def sidecar_path(result: Path) -> Path:
    """Where the provenance of an exported file, or of a folder of exported pictures, is written."""
    return result.with_name(f"{result.name}.json") if result.is_dir() else result.with_suffix(".json")


def sidecar_of(file: Path, of_picture: bool) -> Path | None:
    """The JSON file that may be the sidecar of any file: beside it, or beside the folder a picture lies in."""
    places = [file.with_suffix(".json")]
    if of_picture and file.parent.name:
        places.append(file.parent.with_name(f"{file.parent.name}.json"))
    return next((place for place in places if place.is_file() and place != file), None)


def read_sidecar(result: Path) -> dict[str, Any]:
    """What the sidecar of a result says; empty when there is none or it cannot be understood."""
    return parse_sidecar(sidecar_path(result))


def parse_sidecar(path: Path) -> dict[str, Any]:
    """Content of a sidecar; empty when it is not there, far too large, damaged, or no JSON object."""
    try:
        if path.stat().st_size > MAX_SIDECAR:
            return {}
        stored = read_json(path)
    except (OSError, DamagedFileError):
        return {}
    return stored if isinstance(stored, dict) else {}


def told_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as a sidecar tells them: without the paths of certificate and key, at any depth of dictionaries."""
    return {
        name: told_settings(value) if isinstance(value, Mapping) else value
        for name, value in settings.items()
        if name not in SECRET_SETTINGS
    }


def file_facts(result: Path) -> dict[str, Any]:
    """The facts of a sidecar that tie it to what was exported.

    Returns:
        {"file": name, "sha256", "bytes"}; for a folder {"folder": name, "bytes", "pictures": {file name: sha256}}.
    """
    if not result.is_dir():
        return {"file": result.name, "sha256": sha256_of(result), "bytes": result.stat().st_size}
    pictures = list_images(result)
    return {
        "folder": result.name,
        "bytes": sum(picture.stat().st_size for picture in pictures),
        "pictures": {picture.name: sha256_of(picture) for picture in pictures},
    }


def sha256_of(path: Path, report: Report | None = None) -> str:
    """Checksum of a file, read in blocks; ``report(done, total)`` bytes may raise to stop it."""
    digest, done, total = hashlib.sha256(), 0, path.stat().st_size
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            done += len(block)
            if report:
                report(done, max(done, total))
    return digest.hexdigest()


def delete_result(project: Project, name: str) -> None:
    """Remove an exported video or folder of pictures and its sidecar from the disk. BadInputError when there is none.

    Args:
        name: of the file or folder, without the folder it is in.
    """
    result = next((path for path in project.results() if path.name == name), None)
    if result is None:
        raise BadInputError(f"There is no result '{name}' in the project '{project.name}'.")
    sidecar = sidecar_path(result)
    if result.is_dir() and not result.is_symlink():
        shutil.rmtree(result)
    else:
        result.unlink(missing_ok=True)
    sidecar.unlink(missing_ok=True)


def remove_abandoned(folder: Path) -> None:
    """Remove what exports left half-written that were killed and could not tidy up themselves."""
    for path in folder.glob(UNFINISHED):
        newest = max((part.lstat().st_mtime for part in (path, *list_images(path))), default=0.0)
        if time.time() - newest > ABANDONED_S:
            remove_result(path)


def remove_result(path: Path) -> None:
    """Remove a file, or a folder of pictures; fine when there is none."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
