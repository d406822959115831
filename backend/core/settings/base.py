"""The base of all settings: one frozen model per stage, from which the form, the command line and the checks derive."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo


class Settings(BaseModel):
    """Frozen, strict about unknown names; a wrong value is refused with pydantic's message for the field."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), validate_default=True)


def setting(  # noqa: PLR0913 - the facts of one setting are read together
    default: Any,
    sentence: str,
    *,
    ge: float | None = None,
    le: float | None = None,
    step: float | None = None,
    unit: str = "",
    frozen: bool = False,
    live: bool = False,
    hidden: bool = False,
) -> Any:
    """Declare one setting.

    Args:
        default: the default value; ``...`` for a required one.
        sentence: one sentence of help, ending with a full stop.
        ge, le: inclusive range of a number.
        step: a number has to be a multiple of this.
        unit: unit of the value: "px", "s", "%", "fps", ...
        frozen: True for what cannot change after a model has been created.
        live: True for what can change while the job runs.
        hidden: True for what has neither a widget nor a flag: it is made on the page, or read with --config.
    """
    extra = {"unit": unit, "frozen": frozen, "live": live, "hidden": hidden}
    bounds = "" if ge is None or le is None else f" [{ge}..{le}{' ' + unit if unit else ''}]"
    return Field(default, description=sentence + bounds, ge=ge, le=le, multiple_of=step, json_schema_extra=extra)


def unit_of(field: FieldInfo) -> str:
    """Unit of a declared setting, "" when it has none."""
    return str(_extra(field).get("unit", ""))


def is_frozen(field: FieldInfo) -> bool:
    """Whether a declared setting is fixed once the model exists."""
    return bool(_extra(field).get("frozen", False))


def is_live(field: FieldInfo) -> bool:
    """Whether a declared setting can change while the job runs."""
    return bool(_extra(field).get("live", False))


def is_hidden(field: FieldInfo) -> bool:
    """Whether a declared setting has neither a widget nor a flag."""
    return bool(_extra(field).get("hidden", False))


def is_fixed(field: FieldInfo) -> bool:
    """Whether a declared setting has only one allowed value, so that there is nothing to choose."""
    low, high, _ = bounds_of(field)
    return len(get_args(field.annotation)) == 1 or (low is not None and low == high)


def bounds_of(field: FieldInfo) -> tuple[float | None, float | None, float | None]:
    """(lowest, highest, step) of a numeric setting, None where open."""
    found: dict[str, float | None] = {"ge": None, "le": None, "multiple_of": None}
    for item in field.metadata:
        for name in found:
            if getattr(item, name, None) is not None:
                found[name] = getattr(item, name)
    return found["ge"], found["le"], found["multiple_of"]


def _extra(field: FieldInfo) -> dict[str, Any]:
    extra = field.json_schema_extra
    return extra if isinstance(extra, dict) else {}
