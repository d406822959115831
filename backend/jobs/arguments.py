"""Command line arguments, derived from the settings models: preset < saved file < flags."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import tyro
import yaml
from pydantic import TypeAdapter, ValidationError

from backend.core.errors import BadInputError, LookalikeError
from backend.core.settings import STAGE_SETTINGS, TRAIN_SETTINGS, Settings, is_hidden, settings_class
from backend.jobs.store import one_line
from backend.storage.model_folder import ModelFolder
from backend.storage.workspace import Workspace

PROGRAM = "python -m backend"
DEFAULT_WORKSPACE = Path("workspace")

_BOX = re.compile(r"\x1b\[[0-9;]*m|[╭╮╰╯│─]")


@dataclasses.dataclass(frozen=True)
class Arguments:
    """A parsed command line."""

    stage: str
    project: str
    workspace: Path
    settings: Settings


@dataclasses.dataclass(frozen=True)
class _Common:
    project: Annotated[str, tyro.conf.arg(help="Name of the project.", metavar="NAME")]
    workspace: Annotated[Path, tyro.conf.arg(help="Folder of all projects.", metavar="DIR")] = DEFAULT_WORKSPACE
    config: Annotated[
        Path | None, tyro.conf.arg(help="Settings saved as JSON or YAML; flags override them.", metavar="FILE")
    ] = None


@dataclasses.dataclass(frozen=True)
class _TrainCommon(_Common):
    preset: Annotated[str, tyro.conf.arg(help="Start from a preset, for example 'First look (CPU)'.")] = ""


def parse_arguments(stage: str, argv: Sequence[str]) -> Arguments:
    """Parse the words behind the stage's name. ``--help`` prints and leaves with SystemExit(0).

    Raises:
        BadInputError: unknown flags, values out of range, a preset or file that cannot be used.
    """
    if stage not in STAGE_SETTINGS:
        raise BadInputError(f"There is no stage '{stage}'.", f"Stages are {', '.join(STAGE_SETTINGS)}.")
    words = list(argv)
    model_class = early(words, "model-class") or "saehd"
    if model_class not in TRAIN_SETTINGS:
        raise BadInputError(f"There is no model class '{model_class}'.", f"There are: {', '.join(TRAIN_SETTINGS)}.")
    kind = settings_class(stage, model_class)
    base = _base(kind, _base_values(stage, kind, words))
    common = _TrainCommon if stage == "train" else _Common
    parsed = parse_flags(
        dataclasses.make_dataclass("Flags", [*_common_fields(common), *_setting_fields(kind, base)], kw_only=True),
        words,
        f"{PROGRAM} {stage}",
        kind.__doc__ or "",
    )
    settings = _checked(kind, {name: getattr(parsed, name, getattr(base, name)) for name in kind.model_fields})
    paths = {name: value.absolute() for name, value in settings if isinstance(value, Path)}
    return Arguments(stage, parsed.project, parsed.workspace, settings.model_copy(update=paths))


def parse_flags(kind: type[Any], argv: Sequence[str], program: str, description: str) -> Any:
    """Fill a dataclass from flags; a fault becomes one sentence instead of a box.

    Raises:
        BadInputError: the flags cannot be used.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(kind, args=list(argv), prog=program, description=description)
    except SystemExit as exit_:
        if not exit_.code:
            raise
        raise BadInputError(_sentence(said.getvalue()), f"See {program} --help.") from None


def early(words: Sequence[str], flag: str) -> str:
    """Value of a flag before the real parsing, "" when it is not there; dashes and underscores are the same."""
    for index, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name.startswith("--") and name[2:].replace("_", "-") == flag:
            return value if equals else "".join(words[index + 1 : index + 2])
    return ""


def read_config(path: Path, stage: str) -> dict[str, Any]:
    """Settings of a stage from JSON or YAML: the settings themselves, a job's request.json, or one part per stage.

    Raises:
        BadInputError: the file cannot be read or holds something else.
    """
    try:
        text = path.read_text(encoding="utf-8")
        values = json.loads(text) if path.suffix.lower() == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise BadInputError(f"The settings file {path} cannot be read: {one_line(error)}.") from error
    if isinstance(values, dict) and isinstance(values.get(stage), dict):
        values = values[stage]
    elif isinstance(values, dict) and isinstance(values.get("settings"), dict):
        if values.get("stage", stage) != stage:
            raise BadInputError(f"The settings file {path} is for the stage '{values['stage']}', not '{stage}'.")
        values = values["settings"]
    if not isinstance(values, dict):
        raise BadInputError(f"The settings file {path} holds no settings by name.")
    return {str(name).replace("-", "_"): value for name, value in values.items()}


def _base_values(stage: str, kind: type[Settings], words: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    config = early(words, "config")
    saved = read_config(Path(config), stage) if config else {}
    if stage == "train":
        model = early(words, "model") or str(saved.get("model", kind.model_fields["model"].default))
        values.update(_model_values(early(words, "project"), early(words, "workspace"), model))
        values.update(_preset(kind, early(words, "preset")))
    return {**values, **saved}


def _model_values(project: str, workspace: str, model: str) -> dict[str, Any]:
    root = Path(workspace) if workspace else DEFAULT_WORKSPACE
    if not project or not root.is_dir():
        return {}
    with contextlib.suppress(LookalikeError):
        info = ModelFolder(Workspace(root).open(project).model_dir(model)).info()
        if info is not None:
            return info.train_settings().model_dump()
    return {}


def _preset(kind: type[Settings], name: str) -> Mapping[str, Any]:
    presets: Mapping[str, Mapping[str, Any]] = getattr(kind, "PRESETS", {})
    if name and name not in presets:
        raise BadInputError(f"There is no preset '{name}'.", f"Presets are: {', '.join(presets)}.")
    return presets[name] if name else {}


def _base(kind: type[Settings], values: Mapping[str, Any]) -> Settings:
    """What the flags change. Settings that only do not fit each other are let through: the flags may put that right."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        if any(fault["loc"] for fault in error.errors()):
            raise BadInputError(f"{one_line(error)}.") from error
        hints = get_type_hints(kind)
        return kind.model_construct(**{name: TypeAdapter(hints[name]).validate_python(values[name]) for name in values})


def _checked(kind: type[Settings], values: Mapping[str, Any]) -> Settings:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise BadInputError(f"{one_line(error)}.") from error


def _common_fields(common: type[Any]) -> list[tuple[str, Any, Any]]:
    hints = get_type_hints(common, include_extras=True)
    return [
        (item.name, hints[item.name], dataclasses.field(default=item.default)) for item in dataclasses.fields(common)
    ]


def _setting_fields(kind: type[Settings], base: Settings) -> list[tuple[str, Any, Any]]:
    fields: list[tuple[str, Any, Any]] = []
    for name, info in kind.model_fields.items():
        if is_hidden(info):
            continue
        shown = Annotated[info.annotation, tyro.conf.arg(help=info.description)]
        fields.append((name, shown, dataclasses.field(default_factory=partial(getattr, base, name))))
    return fields


def _sentence(box: str) -> str:
    """The first paragraph of tyro's boxed message on one line."""
    lines = [_BOX.sub("", line).strip() for line in box.splitlines()]
    text: list[str] = []
    for line in lines[1:]:
        if not line:
            break
        text.append(line)
    return " ".join(text) or " ".join(lines).strip()
