"""Presets of faceswap: flat JSON files with a model's options, and two keys that say what they are.

::

    {"__filetype": "faceswap_preset", "__section": "train|model|phaze_a", "output_size": 128, ...}

Every fitting option is taken, whatever else the file holds; what is not taken is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from backend.core.encoders import ENCODERS
from backend.core.errors import BadInputError, DamagedFileError
from backend.core.settings import PhazeASettings
from backend.core.settings.faults import reason
from backend.storage.atomic import read_json, write_json

FILETYPE_KEY, SECTION_KEY = "__filetype", "__section"
FILETYPE, SECTION = "faceswap_preset", "train|model|phaze_a"
MAX_BYTES = 1 << 20

_OURS = (
    "model_class",
    "face_type",
    "channels",
    "learn_mask",
    "loss_function",
    "loss_function_2",
    "structure_weight",
    "pixel_weight",
    "eye_multiplier",
    "mouth_multiplier",
)
"""Settings of the builder that are no options of faceswap's: there they belong to all models."""

_PARTS = ("freeze_layers", "load_layers")


@dataclass(frozen=True)
class FaceswapPreset:
    """What a file held.

    Attributes:
        values: option -> value, each fitting its setting; options that the file lacks are not there.
        left_out: sentences without a full stop about what was not taken.
        section: what the file is for, in its own words.
    """

    values: Mapping[str, Any]
    left_out: tuple[str, ...] = field(default=())
    section: str = SECTION


def preset_options() -> tuple[str, ...]:
    """Names of the 48 options that a preset of Phaze-A holds."""
    own = [name for name in PhazeASettings.__annotations__ if name in PhazeASettings.model_fields and name not in _OURS]
    return tuple(dict.fromkeys((*own, *_PARTS)))


def read_faceswap_preset(path: Path) -> FaceswapPreset:
    """Read a preset file as far as it goes.

    Numbers off a slider's step are taken, as in faceswap; so are lists that old files write as words.

    Raises:
        BadInputError: the file is not there, too big, or holds no option at all.
        DamagedFileError: it is no JSON.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise BadInputError(f"{path.name} is too big for a preset.")
        stored = read_json(path)
    except OSError as error:
        raise BadInputError(f"{path.name} cannot be read ({error.strerror}).") from error
    except DamagedFileError as error:
        raise DamagedFileError(f"{path.name} is no preset: it is no JSON.", "Choose another file.") from error
    if not isinstance(stored, dict):
        raise BadInputError(f"{path.name} is no preset: it holds no options by name.", "Choose another file.")
    section = str(stored.get(SECTION_KEY, ""))
    left_out: list[str] = []
    if stored.get(FILETYPE_KEY) != FILETYPE or section != SECTION:
        left_out.append(f"The file is {_kind(stored, section)}; options that Phaze-A has too were taken")
    values: dict[str, Any] = {}
    for name, value in stored.items():
        if name in (FILETYPE_KEY, SECTION_KEY):
            continue
        try:
            values[name] = _fitted(name, value)
        except ValueError as error:
            left_out.append(str(error))
    if not values:
        raise BadInputError(f"{path.name} holds no option of Phaze-A.", "Choose a preset file of faceswap's Phaze-A.")
    return FaceswapPreset(values, tuple(left_out), section)


def write_faceswap_preset(path: Path, values: Mapping[str, Any]) -> None:
    """Write a preset that faceswap reads.

    Args:
        path: the file to write.
        values: settings of the builder by name; what is no option of faceswap's is left out, missing ones are the
            defaults.
    """
    known = PhazeASettings().model_dump(mode="json")
    given = {name: values.get(name, known[name]) for name in preset_options()}
    listed = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}
    write_json(path, {**listed, FILETYPE_KEY: FILETYPE, SECTION_KEY: SECTION})


def _kind(stored: Mapping[str, Any], section: str) -> str:
    if stored.get(FILETYPE_KEY) != FILETYPE:
        return "no preset of faceswap"
    return f"a preset for {section}" if section else "a preset for an unknown model"


def _fitted(name: str, value: Any) -> Any:
    """A value as its setting has it. ValueError with a sentence when there is no such option, or it does not fit."""
    shown = name[:60]
    if name not in preset_options():
        raise ValueError(f"{shown}: there is no such option")
    facts = PhazeASettings.model_fields[name]
    if name == "enc_architecture" and not (isinstance(value, str) and value in ENCODERS):
        raise ValueError(f"{shown}: there is no encoder {str(value)[:40]}")
    if isinstance(value, bool) and facts.annotation in (int, float):
        raise ValueError(f"{shown}: {value} is no number")
    if name in _PARTS and isinstance(value, str):
        value = value.replace(",", " ").split()
    if isinstance(value, float) and facts.annotation is int and value.is_integer():
        value = int(value)
    try:
        return _adapter(facts).validate_python(value)
    except ValidationError as error:
        raise ValueError(f"{shown}: {str(value)[:40]} {reason(cast(Mapping[str, Any], error.errors()[0]))}") from None


def _adapter(facts: FieldInfo) -> TypeAdapter[Any]:
    """Checks one value as the settings would, apart from its step."""
    bounds = [item for item in facts.metadata if getattr(item, "multiple_of", None) is None]
    checked: Any = facts.annotation
    for bound in bounds:
        checked = Annotated[checked, bound]
    return TypeAdapter(checked)
