"""The shelves of the Sort tab are read beside the page."""

from __future__ import annotations

import threading

import pytest

from backend.core.errors import BadInputError
from backend.storage.workspace import SideFiles, Workspace
from tests.storage.faces import fill
from ui_tabs import sort_shelf
from ui_tabs.sort_shelf import Shelves


@pytest.fixture
def side(tmp_path) -> SideFiles:
    made = Workspace(tmp_path).create("film", "Ann agreed.").side("src")
    fill(made.aligned_dir, 3)
    return made


@pytest.fixture
def gate(monkeypatch) -> threading.Event:
    """Faces are read only once this is set."""
    opened, read = threading.Event(), sort_shelf._read

    def slow(*given):
        assert opened.wait(20)
        return read(*given)

    monkeypatch.setattr(sort_shelf, "_read", slow)
    monkeypatch.setattr(sort_shelf, "PATIENCE_S", 0.01)
    return opened


def finished(shelves: Shelves, side: SideFiles) -> sort_shelf.Shelf:
    """The shelf, once it has been read."""
    for _ in range(2000):
        shelf = shelves.of(side)
        if shelf is not None:
            return shelf
    raise AssertionError("the faces were not read")


def test_nobody_waits_for_a_first_look_that_takes_long(side, gate) -> None:
    shelves = Shelves()
    assert shelves.of(side) is None
    assert shelves.last(side) is None
    with pytest.raises(BadInputError, match="still being read"):
        shelves.need(side)
    gate.set()
    shelf = finished(shelves, side)
    assert len(shelf) == 3
    assert shelves.of(side) is shelf


def test_after_a_change_the_former_faces_stay_to_be_looked_at(side, gate) -> None:
    shelves = Shelves()
    gate.set()
    before = finished(shelves, side)
    gate.clear()
    side.faceset().trash([before.names[0]], "no good")
    assert shelves.of(side) is None
    assert shelves.last(side) is before
    gate.set()
    assert finished(shelves, side).names == before.names[1:]


def test_faces_that_cannot_be_read_are_a_fault_and_are_tried_again(side, monkeypatch) -> None:
    shelves, faults = Shelves(), [OSError("the disk is gone")]
    read = sort_shelf._read

    def once(*given):
        if faults:
            raise faults.pop()
        return read(*given)

    monkeypatch.setattr(sort_shelf, "_read", once)
    with pytest.raises(OSError, match="the disk is gone"):
        shelves.of(side)
    assert len(finished(shelves, side)) == 3
