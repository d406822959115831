"""Presets of training by name: those that come with each family of models, and those kept in the workspace."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backend.core.errors import BadInputError
from backend.core.settings import TRAIN_SETTINGS
from backend.storage.presets import PresetShelf


def preset_kind(family: str) -> str:
    """What a PresetShelf calls the presets of a family of models."""
    return f"train-{family}"


def built_in_presets(family: str) -> Mapping[str, Mapping[str, Any]]:
    """Presets that come with a family: name -> settings that differ from the defaults."""
    found: Mapping[str, Mapping[str, Any]] = getattr(TRAIN_SETTINGS[family], "PRESETS", {})
    return found


def find_preset(name: str, family: str, root: Path) -> tuple[str, Mapping[str, Any]]:
    """A preset, and the family it is for.

    Args:
        name: of the preset.
        family: of models; "" looks through all of them, in their order.
        root: the workspace, there or not.

    Raises:
        BadInputError: there is none of this name.
        DamagedFileError: its file cannot be read.
    """
    families = [family] if family else list(TRAIN_SETTINGS)
    for candidate in families:
        own = built_in_presets(candidate)
        if name in own:
            return candidate, own[name]
        shelf = PresetShelf(root, preset_kind(candidate))
        if name in shelf.names():
            return candidate, shelf.load(name)
    known = [preset for one in families for preset in _names(one, root)]
    raise BadInputError(f"There is no preset '{name}'.", f"Presets are: {', '.join(dict.fromkeys(known)) or 'none'}.")


def _names(family: str, root: Path) -> list[str]:
    return [*built_in_presets(family), *PresetShelf(root, preset_kind(family)).names()]
