"""Models that stay loaded between previews: those not used for longest go when they take too much memory together."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from backend.environment import weights_folder
from backend.pipeline.merge_networks import FaceNetworks
from backend.pipeline.predictor import Predictor, load_model
from backend.storage.model_stamp import model_stamp
from backend.storage.weights import default_folder
from backend.storage.workspace import Project

KEPT_BYTES = 4 << 30
"""Weights that stay loaded; a preview that needs more still gets all its models."""

_Key = tuple[Path, str, str]


@dataclass
class _Loaded:
    """A model and the state of its folder when it was looked at last."""

    model: Predictor
    seen: object


class ModelShelf:
    """Loaded models of any project. Not thread-safe.

    Args:
        kept_bytes: how much memory the weights may take together.
    """

    def __init__(self, kept_bytes: int = KEPT_BYTES) -> None:
        self._kept_bytes = kept_bytes
        self._models: dict[_Key, _Loaded] = {}
        self._networks: dict[tuple[Path, str], FaceNetworks] = {}

    def models(self, project: Project, names: Collection[str], device: str) -> dict[str, Predictor]:
        """Models by name, each in its newest state: one that was trained on is loaded again.

        Raises:
            BadInputError, DamagedFileError, DeviceError: see backend.pipeline.predictor.load_model.
        """
        found = {name: self._model(project, name, device) for name in names}
        needed = {(project.path, name, device) for name in names}
        for key in [key for key in self._models if key not in needed]:
            if sum(loaded.model.weight_bytes for loaded in self._models.values()) <= self._kept_bytes:
                break
            del self._models[key]
        return found

    def networks(self, project: Project, device: str) -> FaceNetworks:
        """The enhancer and the mask network for a project; they are looked for again until they are found."""
        key = (project.path, device)
        if key not in self._networks:
            weights_dir = weights_folder() or default_folder(project.path.parent)
            self._networks[key] = FaceNetworks(weights_dir, project.model_root, device)
        return self._networks[key]

    def _model(self, project: Project, name: str, device: str) -> Predictor:
        key = (project.path, name, device)
        loaded = self._models.pop(key, None)
        folder = project.model_dir(name)
        seen = _seen(folder)
        if loaded is None or (loaded.seen != seen and loaded.model.stamp != model_stamp(folder)):
            loaded = None  # its memory is free before the new state is loaded
            loaded = _Loaded(load_model(project, name, device), seen)
        loaded.seen = seen
        self._models[key] = loaded
        return loaded.model


def _seen(folder: Path) -> object:
    """Changes at once when a model was saved, and costs next to nothing to look at."""
    return tuple(path.stat().st_mtime_ns for path in (folder / "model.json", folder / "generations") if path.exists())
