from __future__ import annotations

import math
from pathlib import Path

from backend.storage.faceset import Faceset
from backend.storage.sort_values import VALUES_NAME, read_values, write_values
from tests.storage.faces import fill


def test_values_come_back_rounded_and_finite(tmp_path: Path) -> None:
    names = fill(tmp_path / "aligned", 3)
    Faceset(tmp_path / "aligned", tmp_path / "trash").set_order(names, "hue")
    write_values(tmp_path / "aligned", "hue", {names[0]: 1 / 3, names[1]: math.nan, names[2]: math.inf})
    assert read_values(tmp_path / "aligned") == ("hue", {names[0]: 0.333333})


def test_values_of_other_names_or_another_order_are_not_shown(tmp_path: Path) -> None:
    names = fill(tmp_path / "aligned", 3)
    faceset = Faceset(tmp_path / "aligned", tmp_path / "trash")
    faceset.set_order(names[::-1], "blur")
    write_values(faceset.folder, "blur", {names[0]: 1.0})
    faceset.apply_order()
    assert read_values(faceset.folder) == ("", {})
    write_values(faceset.folder, "blur", {"00000.jpg": 1.0})
    assert read_values(faceset.folder) == ("blur", {"00000.jpg": 1.0})
    faceset.set_order(faceset.names(), "yaw")
    assert read_values(faceset.folder) == ("", {})


def test_without_values_or_order_nothing_is_kept(tmp_path: Path) -> None:
    names = fill(tmp_path / "aligned", 2)
    faceset = Faceset(tmp_path / "aligned", tmp_path / "trash")
    write_values(faceset.folder, "hue", {names[0]: 1.0})
    assert read_values(faceset.folder) == ("", {})
    faceset.set_order(names, "hue")
    write_values(faceset.folder, "hue", {names[0]: 1.0})
    write_values(faceset.folder, "hist", {})
    assert not (faceset.folder / VALUES_NAME).exists()


def test_nothing_or_nonsense_is_no_error(tmp_path: Path) -> None:
    assert read_values(tmp_path) == ("", {})
    for text in ("", "[1]", '{"order": 5}', '{"version": 1, "by": "hue", "order": "x", "values": []}'):
        (tmp_path / VALUES_NAME).write_text(text)
        assert read_values(tmp_path) == ("", {})
