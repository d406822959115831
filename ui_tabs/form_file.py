"""Saved settings coming back into a form: what fits is taken, and one sentence names what does not."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from backend.core.errors import BadInputError
from backend.core.settings import Settings, is_fixed, is_frozen
from ui_tabs.labels import choice_label, label_of

MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Fitted:
    """What of a file goes into a form.

    Attributes:
        values: field -> value, only those that were taken.
        said: what was loaded and what was left out, for the user.
    """

    values: dict[str, Any]
    said: str


def read_settings(path: Path, stage: str) -> dict[str, Any]:
    """Settings of a stage from a JSON or YAML file. BadInputError when it cannot be used."""
    from backend.jobs.arguments import read_config

    if path.stat().st_size > MAX_BYTES:
        raise BadInputError(f"{path.name} is too big for a file of settings.")
    try:
        return read_config(path, stage)
    except BadInputError as error:
        raise BadInputError(str(error).replace(str(path), path.name)) from error


def fit(
    kind: type[Settings], stage: str, given: Mapping[str, Any], shown: Mapping[str, Any], frozen: bool = False
) -> Fitted:
    """Match the settings of a file with a form.

    Args:
        given: what the file says.
        shown: field -> value of everything that has a widget.
        frozen: settings that cannot change after a model was created stay as shown.

    Raises:
        BadInputError: the file is for another family of models.
    """
    _same_family(kind, given)
    left_out = [f"{name} (not known here)" for name in given if name not in kind.model_fields]
    taken = {name: given[name] for name in given if name in shown}
    for name in [n for n in taken if frozen and is_frozen(kind.model_fields[n])]:
        value = taken.pop(name)
        if value != shown[name] and name != "model":
            kept = choice_label(name, shown[name])
            left_out.append(f"{label_of(stage, name)} {choice_label(name, value)} (this model has {kept})")
    left_out += _fixed_otherwise(kind, stage, given)
    for name in _unfit(kind, {**shown, **taken}):
        if name in taken:
            left_out.append(f"{label_of(stage, name)} {taken.pop(name)} (does not fit)")
    count = f"{len(taken)} setting{'' if len(taken) == 1 else 's'} loaded"
    return Fitted(taken, f"{count}; left out: {', '.join(left_out)}." if left_out else f"{count}.")


def _same_family(kind: type[Settings], given: Mapping[str, Any]) -> None:
    field = kind.model_fields.get("model_class")
    if field is None or "model_class" not in given or given["model_class"] == field.default:
        return
    wanted = choice_label("model_class", given["model_class"]).partition(",")[0]
    raise BadInputError(f"These are settings of the family {wanted}.", "Choose that family for a new model first.")


def _fixed_otherwise(kind: type[Settings], stage: str, given: Mapping[str, Any]) -> list[str]:
    """Settings with one allowed value that the file wants otherwise."""
    return [
        f"{label_of(stage, name)} {given[name]} (always {field.default} here)"
        for name, field in kind.model_fields.items()
        if name in given and is_fixed(field) and given[name] != field.default
    ]


def _unfit(kind: type[Settings], values: Mapping[str, Any]) -> Collection[str]:
    """Fields whose value is wrong in itself; contradictions between fields are left to the form."""
    try:
        kind.model_validate(dict(values))
    except ValidationError as error:
        return {str(fault["loc"][0]) for fault in error.errors() if fault["loc"]}
    return ()
