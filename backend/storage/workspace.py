"""The user's folder of projects. A DeepFaceLab workspace put into it, or named as it, opens as it is."""

from __future__ import annotations

import os
import secrets
import shutil
import threading
from pathlib import Path
from typing import cast

from backend.core.errors import BadInputError
from backend.storage.atomic import write_json
from backend.storage.project import (
    PROJECT_FILE,
    ModelStatus,
    Project,
    ProjectInfo,
    ProjectStatus,
    SideFiles,
    SideName,
    SideStatus,
    check_name,
    find_video,
    iso_now,
)

__all__ = [
    "ModelStatus",
    "Project",
    "ProjectInfo",
    "ProjectStatus",
    "SideFiles",
    "SideStatus",
    "Workspace",
]

_NOT_PROJECTS = frozenset(("weights", "incoming", "data_src", "data_dst", "model", "results", "jobs", "presets"))


class Workspace:
    """The folder of all projects; it is made when it is not there. Threads may share it.

    Attributes:
        root: absolute, links resolved.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.root.mkdir(parents=True, exist_ok=True)
        self._open: dict[str, Project] = {}
        self._lock = threading.Lock()

    def projects(self) -> list[str]:
        """Names of the projects, letter case ignored in their order.

        A folder counts that has a project.json or looks like a DeepFaceLab workspace; so does the workspace folder
        itself, under its own name.
        """
        with os.scandir(self.root) as entries:
            names = {e.name for e in entries if _may_be_project(e.name) and e.is_dir() and _is_project(Path(e.path))}
        if _may_be_project(self.root.name) and _is_project(self.root):
            names.add(self.root.name)
        return sorted(names, key=lambda name: (name.lower(), name))

    def create(self, name: str, consent: str, notes: str = "") -> Project:
        """Make a project. BadInputError when the name does not fit or is taken."""
        check_name(name, "project")
        if name.lower() in _NOT_PROJECTS:
            raise BadInputError(f"'{name}' cannot be the name of a project.", "The workspace uses it for itself.")
        path = self.root / name
        taken = {entry.name.lower() for entry in self.root.iterdir() if not _is_empty_folder(entry)}
        if name.lower() in taken or name in self.projects():
            raise BadInputError(f"There is already something named '{name}' in the workspace.", "Choose another name.")
        path.mkdir(exist_ok=True)
        for folder in ("data_src", "data_dst", "model", "results", "jobs"):
            (path / folder).mkdir(exist_ok=True)
        info = ProjectInfo(name=name, consent=consent, notes=notes, created=iso_now())
        write_json(path / PROJECT_FILE, info.model_dump())
        return self.open(name)

    def open(self, name: str) -> Project:
        """The project of a name; the same object each time. BadInputError when there is none."""
        path = self._find(name)
        if path is None:
            known = ", ".join(self.projects()) or "none yet"
            raise BadInputError(f"There is no project '{name}' in the workspace.", f"The projects are: {known}.")
        with self._lock:
            known = self._open.get(name)
            if known is None or known.path != path:
                known = self._open[name] = Project(path)
            return known

    def delete(self, name: str, typed_name: str) -> None:
        """Remove a project from the disk, with everything in it.

        Raises:
            BadInputError: no such project, the typed name is another one, or the folder is not ours to remove.
        """
        path = self.open(name).path
        if typed_name != name:
            raise BadInputError("Nothing was deleted: the typed name is not that of the project.", f"Type {name}.")
        if path == self.root or path.is_symlink():
            what = "is the workspace folder itself" if path == self.root else "is a link to another folder"
            raise BadInputError(f"The project '{name}' {what}.", "Delete that folder by hand.")
        with self._lock:
            self._open.pop(name, None)
        doomed = self.root / f".deleted-{secrets.token_hex(8)}"
        path.rename(doomed)
        shutil.rmtree(doomed)

    def resolve_inside(self, path: Path | str) -> Path:
        """The path with links resolved; relative ones begin at the workspace. BadInputError when it lies outside."""
        try:
            resolved = (self.root / path).resolve()
        except (OSError, ValueError, RuntimeError) as error:
            raise BadInputError(f"'{path}' is no path.") from error
        if not resolved.is_relative_to(self.root):
            raise BadInputError(f"'{path}' lies outside the workspace.", f"Put the file somewhere in {self.root}.")
        return resolved

    def _find(self, name: str) -> Path | None:
        if not _may_be_project(name):
            return None
        if _is_project(self.root / name):
            return self.root / name
        return self.root if name == self.root.name and _is_project(self.root) else None


def _may_be_project(name: str) -> bool:
    """Whether a name can be that of a folder directly in the workspace that is not one of its own."""
    plain = bool(name) and not name.startswith(".") and not set(name) & set("/\\\0")
    return plain and name.lower() not in _NOT_PROJECTS


def _is_project(folder: Path) -> bool:
    if (folder / PROJECT_FILE).is_file():
        return True
    if any((folder / part).is_dir() for part in ("data_src", "data_dst", "model")):
        return True
    return any(find_video(folder, cast("SideName", side)) is not None for side in ("src", "dst"))


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())
