"""Which person every face shows: a number for a file name, kept in a file beside the faces."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from backend.core.errors import DamagedFileError
from backend.storage.atomic import read_json, write_json

PERSONS_NAME = ".persons.json"

_EMPTY: Mapping[Any, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Persons:
    """One finding of persons.

    Attributes:
        method: how they were told apart, "" when they never were.
        made: names this finding; numbers of another one mean other persons.
        numbers: file name -> person.
        titles: person -> what it is called, where that is known.
    """

    method: str = ""
    made: str = ""
    numbers: Mapping[str, int] = field(default_factory=dict)
    titles: Mapping[int, str] = field(default_factory=dict)


class FacePersons:
    """The persons of one folder. Not thread-safe by itself; a Faceset guards it."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / PERSONS_NAME
        self._known = Persons()
        self._stamp: tuple[int, int] | None = None

    def read(self) -> Persons:
        """What is stored; nothing when the file is missing or damaged. Reads it only when it changed."""
        try:
            stat = self._path.stat()
            stamp = (stat.st_mtime_ns, stat.st_ino)
            if stamp != self._stamp:
                self._known, self._stamp = _persons(read_json(self._path), "persons"), stamp
        except (OSError, DamagedFileError, ValueError, TypeError, KeyError, AttributeError):
            self._known, self._stamp = Persons(), None
        return self._known

    def write(self, numbers: Mapping[str, int], method: str, titles: Mapping[int, str] = _EMPTY) -> None:
        """Replace what is stored by a new finding."""
        self._store(Persons(method, secrets.token_hex(6), dict(numbers), dict(titles)))

    def extend(
        self, numbers: Mapping[str, int], method: str, titles: Mapping[int, str], taken: Iterable[int] = ()
    ) -> None:
        """Add further faces, whose persons are none of those that are stored; removed faces still get theirs back.

        Args:
            numbers: file name -> person; the persons get new numbers behind all others.
            method: noted when nothing was stored.
            titles: person -> name, for those that have one.
            taken: numbers of persons that may come back.
        """
        known = self.read()
        first = 1 + max([*known.numbers.values(), *taken], default=-1)
        new = {person: first + place for place, person in enumerate(sorted(set(numbers.values())))}
        together = {**known.numbers, **{name: new[person] for name, person in numbers.items()}}
        named = {**known.titles, **{new[person]: title for person, title in titles.items() if person in new}}
        self._store(Persons(known.method or method, known.made or secrets.token_hex(6), together, named))

    def drop(self, names: Collection[str]) -> None:
        """Forget files that are gone, so that new ones of their names do not pass for them."""
        known = self.read()
        left = {name: number for name, number in known.numbers.items() if name not in names}
        if len(left) < len(known.numbers):
            self._store(replace(known, numbers=left))

    def forget(self) -> None:
        """Store nothing, as before the first finding."""
        self._path.unlink(missing_ok=True)

    # -- files that get other names

    def expect(self, names: Mapping[str, str]) -> None:
        """Before files are renamed: note the numbers they will have, so that settle() needs no names.

        Args:
            names: old -> new of all files that are there; numbers of others are forgotten.
        """
        known = self.read()
        if known.method:
            self._store(known, {names[name]: number for name, number in known.numbers.items() if name in names})

    def settle(self, renamed: bool) -> None:
        """After a renaming that was finished or taken back; doing it twice does no harm."""
        try:
            stored = read_json(self._path)
            if "expected" in stored:
                self._store(_persons(stored, "expected" if renamed else "persons"))
        except (OSError, DamagedFileError, ValueError, TypeError, KeyError, AttributeError):
            return

    # -- files that go to the trash and come back

    def of(self, names: Mapping[str, str]) -> dict[str, Any]:
        """What a batch of the trash has to know, as JSON; ``names`` is name -> name in the trash."""
        known = self.read()
        kept = {stored: known.numbers[name] for name, stored in names.items() if name in known.numbers}
        return _json(known, kept) if kept else {}

    def give_back(self, noted: Mapping[str, Any], names: Mapping[str, str]) -> None:
        """Give restored files the numbers that of() noted, unless persons were found anew since.

        Args:
            noted: what of() returned.
            names: name in the trash -> name now.
        """
        try:
            before = _persons(noted, "persons")
        except (ValueError, TypeError, KeyError, AttributeError):
            return
        known = self.read()
        numbers = {name: before.numbers[stored] for stored, name in names.items() if stored in before.numbers}
        if numbers and known.made in ("", before.made):
            titles = {**before.titles, **known.titles}
            self._store(Persons(before.method, before.made, {**known.numbers, **numbers}, titles))

    def numbers_in(self, noted: Mapping[str, Any] | None) -> list[int]:
        """The numbers that of() noted; none when the note is missing or damaged."""
        try:
            return list(_persons(noted or {}, "persons").numbers.values())
        except (ValueError, TypeError, KeyError, AttributeError):
            return []

    def _store(self, persons: Persons, expected: Mapping[str, int] | None = None) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        extra = {} if expected is None else {"expected": expected}
        write_json(self._path, {"version": 1, **_json(persons, persons.numbers), **extra})
        self._stamp = None


def _json(persons: Persons, numbers: Mapping[str, int]) -> dict[str, Any]:
    titles = {str(person): title for person, title in persons.titles.items()}
    return {"method": persons.method, "made": persons.made, "titles": titles, "persons": dict(numbers)}


def _persons(stored: Mapping[str, Any], key: str) -> Persons:
    return Persons(
        method=str(stored["method"]),
        made=str(stored["made"]),
        numbers={str(name): int(number) for name, number in stored[key].items()},
        titles={int(person): str(title) for person, title in stored.get("titles", {}).items()},
    )
