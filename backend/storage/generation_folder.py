"""Checkpoints as far as they can be judged without torch; what is inside is known to backend.storage.checkpoint."""

from __future__ import annotations

import contextlib
import hashlib
import re
from pathlib import Path
from typing import Any

from backend.core.errors import DamagedFileError
from backend.storage.atomic import read_json
from backend.storage.linking import Progress, no_progress, pass_on

STATE = "state.json"
TENSORS = ".safetensors"

_NAME = re.compile(r"\d+-\d+")
_SET = re.compile(r"[a-z_]+")


def generation_names(folder: Path) -> list[str]:
    """Names of the complete generations in a generations folder, oldest first."""
    with contextlib.suppress(OSError):
        return sorted(path.name for path in folder.iterdir() if _NAME.fullmatch(path.name) and path.is_dir())
    return []


def newest_generation(folder: Path) -> Path | None:
    """The newest complete generation, unchecked; None when there is none."""
    names = generation_names(folder)
    return folder / names[-1] if names else None


def stored_info(generation: Path) -> dict[str, Any]:
    """The model.json that belongs to a generation. DamagedFileError when it cannot be read."""
    return _state(generation)["info"]


def check_generation(generation: Path, progress: Progress = no_progress) -> None:
    """Compare every set of tensors with its checksum. DamagedFileError names the first that is not as it was written.

    Args:
        generation: the folder.
        progress: told the bytes as they are read.
    """
    checksums = _state(generation)["checksums"]
    if "weights" not in checksums or not all(_SET.fullmatch(name) for name in checksums):
        raise DamagedFileError(f"{STATE} of the checkpoint {generation.name} lists no weights.")
    for name, expected in checksums.items():
        file = generation / f"{name}{TENSORS}"
        digest = hashlib.sha256()
        try:
            with file.open("rb") as read:
                pass_on(read, [digest.update], progress)
        except OSError as error:
            raise DamagedFileError(f"{file.name} of the checkpoint {generation.name} cannot be read.") from error
        if digest.hexdigest() != expected:
            raise DamagedFileError(f"{file.name} of the checkpoint {generation.name} fails its checksum.")


def sha256_of(path: Path) -> str:
    """Checksum of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def newest_whole_generation(folder: Path, progress: Progress = no_progress) -> Path:
    """The newest generation that passes its checksums. DamagedFileError when there is none."""
    faults = []
    for name in reversed(generation_names(folder)):
        try:
            check_generation(folder / name, progress)
        except DamagedFileError as error:
            faults.append(error.what)
            continue
        return folder / name
    reasons = f" ({' '.join(faults)})" if faults else ""
    raise DamagedFileError(f"No checkpoint in {folder} is whole{reasons}.", "Train the model, or restore a backup.")


def _state(generation: Path) -> dict[str, Any]:
    try:
        state = read_json(generation / STATE)
        if isinstance(state["info"], dict) and isinstance(state["checksums"], dict):
            return state
    except (OSError, DamagedFileError, KeyError, TypeError) as error:
        raise DamagedFileError(f"{STATE} of the checkpoint {generation.name} cannot be read.") from error
    raise DamagedFileError(f"{STATE} of the checkpoint {generation.name} is not what a checkpoint has.")
