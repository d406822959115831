"""The command line that repeats a run: shown on the page, read by backend.cli."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from backend.core.settings import (
    TRAIN_SETTINGS,
    Settings,
    SummarySettings,
    TrainSettings,
    is_fixed,
    is_hidden,
    settings_class,
)


def command_line(
    stage: str, project: str, settings: Settings, workspace: Path | None = None, config: Path | None = None
) -> str:
    """The shell command that runs a stage with these settings.

    Args:
        stage: name of the stage.
        project: name of the project.
        settings: only those that differ from their defaults are written out, and the family where it is not the first.
        workspace: left out when None or the default ``workspace``.
        config: file that holds what has no flag; named when the settings have any of it.
    """
    if isinstance(settings, SummarySettings):
        return shlex.join(["python", "-m", "backend", stage, *_described(project, settings, workspace)])
    words = ["python", "-m", "backend", stage, *_place(project, workspace)]
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        another = name == "model_class" and not isinstance(settings, settings_class(stage))
        if value == field.get_default(call_default_factory=True) and not another:
            continue
        if is_hidden(field):
            words += ["--config", str(config)] if config is not None and "--config" not in words else []
        else:
            words += _flag(name, value)
    return shlex.join(words)


def _place(project: str, workspace: Path | None) -> list[str]:
    elsewhere = workspace is not None and workspace != Path("workspace")
    return ["--project", project, *(["--workspace", str(workspace)] if elsewhere else [])]


def _described(project: str, settings: SummarySettings, workspace: Path | None) -> list[str]:
    """The flags of ``summary``: those of training. Without a model they stand alone, so that no stored one is meant."""
    stored = [*_place(project, workspace), "--model", settings.model] if settings.model else []
    kind = TRAIN_SETTINGS.get(str(settings.train.get("model_class")), TrainSettings)
    flags: list[str] = []
    for name, given in settings.train.items():
        value, field = tuple(given) if isinstance(given, list) else given, kind.model_fields.get(name)
        usual = field is not None and value == field.get_default(call_default_factory=True)
        if name == "model_class":
            usual = value == next(iter(TRAIN_SETTINGS))
        fixed = name != "model_class" and field is not None and is_fixed(field)
        if name != "model" and not fixed and (stored or not usual):
            flags += _flag(name, value)
    return [*stored, *flags]


def _flag(name: str, value: Any) -> list[str]:
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    if isinstance(value, tuple):
        return [f"--{flag}", *map(str, value)]
    text = str(value)
    return [f"--{flag}={text}"] if text.startswith("-") else [f"--{flag}", text]
