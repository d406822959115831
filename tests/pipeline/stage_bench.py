"""A project in a temporary workspace and a context that remembers what a stage reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backend.pipeline.context import StageContext
from backend.storage.workspace import Project, Workspace


@dataclass
class Reports:
    """Events by kind, in order."""

    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [data for name, data in self.events if name == kind]

    def words(self) -> str:
        return " ".join(data["message"] for data in self.of("log"))


def bench(root: Path, stop: Callable[[], bool] = lambda: False) -> tuple[Project, StageContext, Reports]:
    """A new project "film", a context for it and what that reports."""
    (root / "workspace").mkdir(exist_ok=True)
    workspace = Workspace(root / "workspace")
    project = workspace.open("film") if "film" in workspace.projects() else workspace.create("film", "All agreed.", "")
    job = project.jobs_dir / "0001-test"
    job.mkdir(parents=True, exist_ok=True)
    reports = Reports()
    return project, StageContext(project, job, lambda kind, data: reports.events.append((kind, data)), stop), reports


def stop_after(calls: int) -> Callable[[], bool]:
    """False for some calls, True afterwards."""
    left = [calls]

    def asked() -> bool:
        left[0] -= 1
        return left[0] < 0

    return asked
