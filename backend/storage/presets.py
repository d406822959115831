"""Named settings of one kind, for all projects: one JSON file each, which can be copied from and to other workspaces.

::

    <workspace>/presets/<kind>/<name>.json    {"version", "kind", "note", "values"}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from backend.core.errors import BadInputError, DamagedFileError
from backend.core.names import NAME_RULE, is_folder_name
from backend.storage.atomic import read_json, write_json

PRESETS_DIR = "presets"
NOTE_CHARACTERS = 500
MAX_BYTES = 1 << 20

_VERSION = 1
_SUFFIX = ".json"


@dataclass(frozen=True)
class Preset:
    """Settings and what they are for.

    Attributes:
        values: field -> value, JSON.
        note: a sentence or two of the user.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


class PresetShelf:
    """The presets of one kind.

    Args:
        root: the workspace.
        kind: a plain word, for example "merge"; presets of one kind do not fit another.
        built_in: name -> preset that comes with the program; these names cannot be changed or deleted.

    Raises:
        BadInputError: the kind is no plain word.
    """

    def __init__(self, root: Path, kind: str, built_in: Mapping[str, Preset] = MappingProxyType({})) -> None:
        self._kind = _checked(kind, "kind of preset")
        self._built_in = dict(built_in)
        self.folder = root / PRESETS_DIR / kind

    def names(self) -> list[str]:
        """All names: the built-in ones in their order, then the user's by name."""
        taken = {name.lower() for name in self._built_in}
        own = (p.stem for p in self.folder.glob(f"*{_SUFFIX}") if is_folder_name(p.stem) and p.is_file())
        return [*self._built_in, *sorted((n for n in own if n.lower() not in taken), key=lambda n: (n.lower(), n))]

    def is_built_in(self, name: str) -> bool:
        """Whether a name belongs to a preset of the program."""
        return name.lower() in {known.lower() for known in self._built_in}

    def load(self, name: str) -> dict[str, Any]:
        """The values of a preset; what they mean is for the caller to check. Errors as of preset()."""
        return dict(self.preset(name).values)

    def note(self, name: str) -> str:
        """The note of a preset. Errors as of preset()."""
        return self.preset(name).note

    def preset(self, name: str) -> Preset:
        """A preset.

        Raises:
            BadInputError: there is none of this name.
            DamagedFileError: its file cannot be read, or is for another kind.
        """
        if name in self._built_in:
            return self._built_in[name]
        path = self.path(name)
        if not path.is_file():
            raise self._missing(name)
        return _parsed(path, self._kind)

    def save(self, name: str, values: Mapping[str, Any], note: str = "") -> Path:
        """Store a preset, in place of one of the same name.

        Args:
            name: a plain file name.
            values: field -> value, JSON.
            note: what it is for.

        Returns:
            its file.

        Raises:
            BadInputError: the name does not fit or is built in, or the note is too long.
        """
        path = self.path(name)
        self._require_own(name)
        if len(note) > NOTE_CHARACTERS:
            raise BadInputError(f"The note has {len(note)} characters; {NOTE_CHARACTERS} fit.", "Shorten it.")
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(path, {"version": _VERSION, "kind": self._kind, "note": note, "values": dict(values)})
        return path

    def delete(self, name: str) -> None:
        """Remove a preset. BadInputError when there is none of this name, or it is built in."""
        self._require_own(name)
        try:
            self.path(name).unlink()
        except FileNotFoundError:
            raise self._missing(name) from None

    def bring_in(self, file: Path, name: str = "") -> str:
        """Take over a preset from a file, for example of another workspace.

        Args:
            file: what path() named there.
            name: what to call it; that of the file when empty. A preset of this name is replaced.

        Returns:
            its name.

        Raises:
            BadInputError: it cannot be read, the name does not fit or is built in.
            DamagedFileError: it is no preset, or one for another kind.
        """
        try:
            if file.stat().st_size > MAX_BYTES:
                raise BadInputError(f"{file.name} is too big for a preset.")
            found = _parsed(file, self._kind)
        except OSError as error:
            raise BadInputError(f"{file.name} cannot be read ({error.strerror}).") from error
        self.save(name or file.stem, found.values, found.note)
        return name or file.stem

    def path(self, name: str) -> Path:
        """The file of a preset of the user, there or not. BadInputError when the name does not fit."""
        return self.folder / f"{_checked(name, 'preset')}{_SUFFIX}"

    def _missing(self, name: str) -> BadInputError:
        known = ", ".join(self.names()) or "none yet"
        return BadInputError(f"There is no preset '{name}'.", f"The presets are: {known}.")

    def _require_own(self, name: str) -> None:
        if self.is_built_in(name):
            raise BadInputError(f"'{name}' comes with the program and stays as it is.", "Choose another name.")


def _checked(name: str, what: str) -> str:
    if not is_folder_name(name):
        raise BadInputError(f"'{name}' cannot be the name of a {what}.", NAME_RULE)
    return name


def _parsed(path: Path, kind: str) -> Preset:
    try:
        stored = read_json(path)
        found = Preset(dict(stored["values"]), str(stored.get("note", ""))[:NOTE_CHARACTERS])
        of = str(stored["kind"])
    except (DamagedFileError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedFileError(f"{path.name} is no preset, or is damaged.", "Save it again.") from error
    if of != kind:
        raise DamagedFileError(f"{path.name} is a preset for '{of}', not for '{kind}'.", "Choose another file.")
    return found
