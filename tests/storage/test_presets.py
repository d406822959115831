"""Named settings for all projects."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from backend.core.errors import BadInputError, DamagedFileError
from backend.storage.presets import NOTE_CHARACTERS, Preset, PresetShelf


@pytest.fixture
def shelf(tmp_path: Path) -> PresetShelf:
    return PresetShelf(tmp_path, "merge", {"Plain": Preset({"mode": "overlay"}, "as it comes")})


def test_presets_are_stored_by_name(shelf: PresetShelf) -> None:
    assert shelf.names() == ["Plain"]
    path = shelf.save("Night shots", {"mode": "seamless", "erode_mask": 8}, "dark rooms")
    shelf.save("bright", {"mode": "overlay"})
    assert shelf.names() == ["Plain", "bright", "Night shots"]
    assert shelf.load("Night shots") == {"mode": "seamless", "erode_mask": 8}
    assert shelf.note("Night shots") == "dark rooms"
    assert json.loads(path.read_text())["kind"] == "merge"
    shelf.save("bright", {"mode": "original"})
    assert shelf.load("bright") == {"mode": "original"}
    shelf.delete("bright")
    assert shelf.names() == ["Plain", "Night shots"]


def test_built_in_presets_stay(shelf: PresetShelf) -> None:
    assert shelf.load("Plain") == {"mode": "overlay"}
    assert shelf.is_built_in("plain")
    for act in (lambda: shelf.save("plain", {}), lambda: shelf.delete("Plain")):
        with pytest.raises(BadInputError, match="comes with the program"):
            act()
    assert shelf.load("Plain") == {"mode": "overlay"}


@pytest.mark.parametrize("name", ["", "../up", "a/b", "con", ".hidden", "x" * 81, "a\0b"])
def test_names_are_plain(shelf: PresetShelf, tmp_path: Path, name: str) -> None:
    for act in (lambda: shelf.save(name, {}), lambda: shelf.load(name), lambda: shelf.delete(name)):
        with pytest.raises(BadInputError):
            act()
    assert not list(tmp_path.rglob("*.json"))


def test_what_is_missing_or_damaged_is_said(shelf: PresetShelf) -> None:
    for act in (lambda: shelf.load("gone"), lambda: shelf.delete("gone")):
        with pytest.raises(BadInputError, match="no preset 'gone'"):
            act()
    shelf.save("broken", {})
    for text in ("{", "[]", '{"kind": "merge"}', '{"kind": "merge", "values": 4}'):
        shelf.path("broken").write_text(text)
        with pytest.raises(DamagedFileError, match="no preset"):
            shelf.load("broken")
    shelf.delete("broken")
    with pytest.raises(BadInputError, match="fit"):
        shelf.save("long", {}, "x" * (NOTE_CHARACTERS + 1))
    assert shelf.names() == ["Plain"]


def test_presets_travel_as_files(shelf: PresetShelf, tmp_path: Path) -> None:
    sent = tmp_path / "sent.json"
    shutil.copy(shelf.save("mine", {"erode_mask": 3}, "a note"), sent)
    other = PresetShelf(tmp_path / "other", "merge")
    assert other.bring_in(sent, "theirs") == "theirs"
    assert (other.load("theirs"), other.note("theirs")) == ({"erode_mask": 3}, "a note")
    assert other.bring_in(sent) == "sent"
    with pytest.raises(DamagedFileError, match="for 'merge', not for 'export'"):
        PresetShelf(tmp_path, "export").bring_in(sent)
    with pytest.raises(BadInputError, match="comes with the program"):
        shelf.bring_in(sent, "Plain")
    with pytest.raises(BadInputError, match="cannot be read"):
        shelf.bring_in(tmp_path / "nothing.json")
