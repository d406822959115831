"""How a project is merged: the settings with key frames and rules, as the page left them. ``--config`` reads the file.

::

    <project>/merge_plan.json            the settings
              merge_plan.json.damaged    one that could not be read when new settings were saved
"""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from backend.core.errors import DamagedFileError
from backend.core.settings import MergeSettings
from backend.storage.atomic import move_over, read_json, write_json
from backend.storage.project import Project

PLAN_FILE = "merge_plan.json"


def plan_path(project: Project) -> Path:
    """Where the plan lies, there or not."""
    return project.path / PLAN_FILE


def load_plan(project: Project) -> MergeSettings | None:
    """The stored settings; None when there are none or they cannot be used, see plan_problem()."""
    return _read(project)[0]


def plan_problem(project: Project) -> str:
    """Why the stored settings cannot be used, a sentence; "" when they can, or when there are none."""
    return _read(project)[1]


def save_plan(project: Project, settings: MergeSettings) -> None:
    """Store the settings (temp, fsync, rename). A file that cannot be used is kept beside the new one."""
    path = plan_path(project)
    if plan_problem(project) and path.is_file():
        move_over(path, path.with_name(f"{PLAN_FILE}.damaged"))
    write_json(path, settings.model_dump(mode="json"))


def _read(project: Project) -> tuple[MergeSettings | None, str]:
    try:
        return MergeSettings.model_validate(read_json(plan_path(project))), ""
    except FileNotFoundError:
        return None, ""
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        return None, f"{PLAN_FILE} does not fit this version ({where}: {first['msg']})."
    except (OSError, DamagedFileError) as error:
        return None, str(error)
