"""The command line that repeats a run: shown on the page, read by backend.cli."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from backend.core.settings import Settings, is_hidden


def command_line(
    stage: str, project: str, settings: Settings, workspace: Path | None = None, config: Path | None = None
) -> str:
    """The shell command that runs a stage with these settings.

    Args:
        stage: name of the stage.
        project: name of the project.
        settings: only those that differ from their defaults are written out.
        workspace: left out when None or the default ``workspace``.
        config: file that holds what has no flag; named when the settings have any of it.
    """
    words = ["python", "-m", "backend", stage, "--project", project]
    if workspace is not None and workspace != Path("workspace"):
        words += ["--workspace", str(workspace)]
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if value == field.get_default(call_default_factory=True):
            continue
        if is_hidden(field):
            words += ["--config", str(config)] if config is not None and "--config" not in words else []
        else:
            words += _flag(name, value)
    return shlex.join(words)


def _flag(name: str, value: Any) -> list[str]:
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    text = str(value)
    return [f"--{flag}={text}"] if text.startswith("-") else [f"--{flag}", text]
