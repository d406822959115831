"""Small models on disk: real checkpoints of a few numbers, losses, terms and pictures."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from backend.core.settings import SaehdSettings
from backend.storage.checkpoint import CheckpointState, save_generation
from backend.storage.model_folder import ModelFolder, ModelInfo, Session
from backend.storage.workspace import Project, Workspace


def film(tmp_path: Path) -> Project:
    """A new project."""
    return Workspace(tmp_path / "workspace").create("film", "All agreed.", "")


def jpeg(value: int, width: int = 64, height: int = 48) -> bytes:
    """A gray picture."""
    return cv2.imencode(".jpg", np.full((height, width, 3), value % 256, np.uint8))[1].tobytes()


def train_to(folder: ModelFolder, iteration: int, weight: float | None = None) -> Path:
    """Pretend to have trained up to an iteration: losses, terms, previews, a checkpoint, model.json."""
    before = folder.info()
    begin = before.iteration if before else 0
    rows = range(begin + 1, iteration + 1)
    folder.losses.append([(i, 1 / i, 2 / i, 1e9 + i) for i in rows])
    folder.terms.append(iteration, {"structure_src": 1 / iteration, "mask_dst": 0.5})
    folder.history_dir.mkdir(parents=True, exist_ok=True)
    for page, file in (("faces", "preview.jpg"), ("masked", "preview_masked.jpg")):
        picture = jpeg(iteration)
        (folder.history_dir / f"{iteration:07d}_{page}.jpg").write_bytes(picture)
        (folder.path / file).unlink(missing_ok=True)
        (folder.path / file).write_bytes(picture)
    settings = SaehdSettings(model=folder.name).model_dump(mode="json")
    session = Session(started=1e9, ended=1e9 + 1, first_iteration=begin, last_iteration=iteration)
    sessions = (*(before.sessions if before else ()), session)
    info = ModelInfo(model_class="saehd", settings=settings, iteration=iteration, sessions=sessions)
    weights = {"layer": torch.full((4, 4), float(iteration if weight is None else weight))}
    state = CheckpointState(iteration=iteration, info=info)
    path = save_generation(folder.generations_dir, state, {"weights": weights, "optimizer": {"0/m": torch.ones(3)}})
    folder.write_info(info)
    return path


def make_model(project: Project, name: str, *iterations: int) -> ModelFolder:
    """A model that was saved at the given iterations."""
    folder = ModelFolder(project.model_dir(name))
    for iteration in iterations:
        train_to(folder, iteration)
    return folder


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a folder by its relative path; the lock and hidden files left out."""
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    return {
        n: data for n, data in found.items() if n != "writer.lock" and not any(x.startswith(".") for x in n.split("/"))
    }
