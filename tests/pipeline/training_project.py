"""A tiny project with drawn faces, tiny settings, and a context that remembers what was reported."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from backend.core.settings import SaehdSettings
from backend.pipeline.context import StageContext
from backend.storage.model_folder import ModelFolder
from backend.storage.workspace import Project, Workspace
from tests.drawn_faces import ANNA, BRUNO, write_faceset


def drawn_project(folder: Path, faces: int = 6) -> Project:
    """A project whose two facesets show two drawn people, 64 px, whole face."""
    project = Workspace(folder).create("drawn", "Nobody is shown; the faces are drawn.", "")
    write_faceset(project.side("src").aligned_dir, faces, ANNA, size=64, seed=1)
    write_faceset(project.side("dst").aligned_dir, faces, BRUNO, size=64, seed=2)
    return project


def tiny_settings(**changes: Any) -> SaehdSettings:
    """The smallest network there is, a few iterations, repeatable."""
    small = {
        "model": "tiny",
        "resolution": 64,
        "face_type": "wf",
        "archi": "df",
        "ae_dims": 32,
        "e_dims": 16,
        "d_dims": 16,
        "d_mask_dims": 4,
        "batch_size": 2,
        "precision": "fp32",
        "device": "cpu",
        "target_iterations": 3,
        "preview_interval": 2,
        "seed": 5,
    }
    return SaehdSettings(**{**small, **changes})


def briskly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the stage tell losses after every step, and spend no time on guessing the memory it will need."""
    from backend.pipeline import train
    from backend.training import loop

    monkeypatch.setattr(loop, "READ_INTERVAL_S", 0.0)
    monkeypatch.setattr(train, "require_memory", lambda settings, device, ranks: settings)


@dataclass
class Watched:
    """A context and everything it was told; ``stop`` is the wish to stop, ``requests`` hold others such as "save"."""

    project: Project
    job: str = "job-1"
    requests: list[str] = field(default_factory=list)
    stop: bool = False
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    @property
    def context(self) -> StageContext:
        """What a stage is given."""
        job_dir = self.project.path / "jobs" / self.job
        job_dir.mkdir(parents=True, exist_ok=True)
        return StageContext(
            project=self.project,
            job_dir=job_dir,
            emit=lambda kind, data: self.events.append((kind, data)),
            stop_requested=lambda: self.stop,
            take_request=self._take,
        )

    @property
    def kinds(self) -> Counter[str]:
        """How many events of each kind."""
        return Counter(kind for kind, _ in self.events)

    @property
    def text(self) -> str:
        """All log lines and milestones."""
        return "\n".join(str(data["message"]) for kind, data in self.events if kind in ("log", "milestone"))

    def folder(self, name: str = "tiny") -> ModelFolder:
        """A model of the project."""
        return ModelFolder(self.project.model_dir(name))

    def _take(self, name: str) -> bool:
        if name in self.requests:
            self.requests.remove(name)
            return True
        return False
