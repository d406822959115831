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
from backend.core.settings import STAGE_SETTINGS, TRAIN_SETTINGS, Settings, TrainSettings, is_hidden, settings_class
from backend.jobs.named_presets import find_preset
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


@dataclasses.dataclass(frozen=True)
class _DescribeCommon(_TrainCommon):
    project: Annotated[str, tyro.conf.arg(help="Name of a project, to describe a model of it.", metavar="NAME")] = ""


def parse_arguments(stage: str, argv: Sequence[str]) -> Arguments:
    """Parse the words behind the stage's name. ``--help`` prints and leaves with SystemExit(0).

    Raises:
        BadInputError: unknown flags, values out of range, a preset or file that cannot be used.
    """
    if stage not in STAGE_SETTINGS:
        raise BadInputError(f"There is no stage '{stage}'.", f"Stages are {', '.join(STAGE_SETTINGS)}.")
    return _parsed(stage, list(argv), _TrainCommon if stage == "train" else _Common, stage)


def parse_description(argv: Sequence[str]) -> Arguments:
    """Parse the words behind ``summary``: the flags of training, none of them needed. Errors as parse_arguments()."""
    return _parsed("train", list(argv), _DescribeCommon, "summary")


def _parsed(stage: str, words: list[str], common: type[Any], command: str) -> Arguments:
    model_class = _model_class(stage, words)
    if model_class not in TRAIN_SETTINGS:
        raise BadInputError(f"There is no model class '{model_class}'.", f"There are: {', '.join(TRAIN_SETTINGS)}.")
    kind = settings_class(stage, model_class)
    base = _base(kind, _base_values(stage, kind, words))
    parsed = parse_flags(
        dataclasses.make_dataclass("Flags", [*_common_fields(common), *_setting_fields(kind, base)], kw_only=True),
        words,
        f"{PROGRAM} {command}",
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
    saved = _saved(stage, words)
    if stage == "train":
        stored = _stored(words, saved)
        if stored is not None and isinstance(stored, kind):
            values.update(stored.model_dump())
        values.update(_preset(words, saved)[1])
    return {**values, **saved}


def _saved(stage: str, words: Sequence[str]) -> dict[str, Any]:
    """What the file of settings holds that the words name, if any."""
    config = early(words, "config")
    return read_config(Path(config), stage) if config else {}


def _stored(words: Sequence[str], saved: Mapping[str, Any]) -> TrainSettings | None:
    """Settings of the model that the words, or else the file of settings, go on with; None for one that is new."""
    project, root = early(words, "project"), Path(early(words, "workspace") or DEFAULT_WORKSPACE)
    if not project or not root.is_dir():
        return None
    model = early(words, "model") or str(saved.get("model", TrainSettings.model_fields["model"].default))
    with contextlib.suppress(LookalikeError):
        info = ModelFolder(Workspace(root).open(project).model_dir(model)).info()
        return info.train_settings() if info is not None else None
    return None


def _model_class(stage: str, words: Sequence[str]) -> str:
    """The family of models: the one named, else that of the preset or of the stored model, else the first."""
    if stage != "train":
        return early(words, "model-class") or "saehd"
    saved = _saved(stage, words)
    stored = _stored(words, saved)
    return _named_class(words, saved) or _preset(words, saved)[0] or (stored.model_class if stored else "saehd")


def _named_class(words: Sequence[str], saved: Mapping[str, Any]) -> str:
    """The family that the words name, else the file of settings; "" for none."""
    return early(words, "model-class") or str(saved.get("model_class", ""))


def _preset(words: Sequence[str], saved: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Family and values of the preset that the words name, if any."""
    name, family = early(words, "preset"), _named_class(words, saved)
    root = Path(early(words, "workspace") or DEFAULT_WORKSPACE)
    return find_preset(name, family if family in TRAIN_SETTINGS else "", root) if name else ("", {})


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
