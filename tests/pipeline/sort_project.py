"""A project with drawn faces, for the tests of sorting."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from backend.core.settings import SortSettings
from backend.pipeline import sort
from backend.pipeline.context import StageContext
from backend.storage.face_file import read_face, write_face
from backend.storage.project import Project
from backend.storage.workspace import Workspace


def new_project(folder: Path) -> Project:
    (folder / "workspace").mkdir()
    return Workspace(folder / "workspace").create("film", "Drawn people agreed.", "")


def context(project: Project, **more) -> StageContext:
    return StageContext(project=project, job_dir=project.path, emit=lambda kind, data: None, **more)


def order(project: Project, side: str = "src") -> list[str]:
    return project.side(side).faceset().names()


def sorted_by(project: Project, by: str, **settings) -> dict:
    return sort.run(SortSettings(by=by, **settings), context(project))


def change(path: Path, **facts) -> None:
    write_face(path, dataclasses.replace(read_face(path), **facts))
