"""When the side index is written: nothing that could be lost to an image editor waits for it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from backend.storage import face_index
from backend.storage.face_file import read_face, write_face_image
from backend.storage.face_index import INDEX_NAME, LATEST_NAME, FaceIndex
from backend.storage.image import encode_image
from tests.storage.faces import fill, make_face, picture

COUNT = 201


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """More faces than one change makes the index be written as a whole for, and their index."""
    fill(tmp_path / "aligned", 1)
    only = tmp_path / "aligned" / "00001_0.jpg"
    for number in range(2, COUNT + 1):
        shutil.copyfile(only, tmp_path / "aligned" / f"{number:05d}_0.jpg")
    assert len(FaceIndex(tmp_path / "aligned").refresh()) == COUNT
    return tmp_path / "aligned"


def add(folder: Path, name: str, seed: int) -> None:
    write_face_image(folder / name, picture(seed=seed), make_face(f"{name}.png", seed))


def drop_data(folder: Path, name: str) -> None:
    (folder / name).write_bytes(encode_image(picture(), ".jpg"))


def test_a_face_that_is_the_only_new_one_can_be_restored_by_another_process(folder: Path) -> None:
    whole = (folder / INDEX_NAME).read_bytes()
    add(folder, "new.jpg", 7)
    before = read_face(folder / "new.jpg")
    FaceIndex(folder).refresh()
    assert (folder / INDEX_NAME).read_bytes() == whole
    drop_data(folder, "new.jpg")
    FaceIndex(folder).refresh()
    entry = FaceIndex(folder).refresh()["new.jpg"]
    assert "no face data" in entry.problem
    assert entry.face is not None
    assert (entry.face.landmarks == before.landmarks).all()


def test_nothing_is_read_again_after_a_small_change(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(folder, "new.jpg", 7)
    (folder / "00003_0.jpg").unlink()
    FaceIndex(folder).refresh()
    read: list[Path] = []
    monkeypatch.setattr(face_index, "read_sized_face", read.append)
    assert FaceIndex(folder).refresh().keys() == FaceIndex(folder).refresh().keys()
    assert read == []


def test_a_new_file_does_not_inherit_the_data_of_one_that_is_gone(folder: Path) -> None:
    (folder / "00003_0.jpg").unlink()
    FaceIndex(folder).refresh()
    drop_data(folder, "00003_0.jpg")
    assert FaceIndex(folder).refresh()["00003_0.jpg"].face is None


def test_many_small_changes_end_in_the_whole_index(folder: Path) -> None:
    whole = (folder / INDEX_NAME).read_bytes()
    for seed in range(3):
        add(folder, f"new_{seed}.jpg", seed)
        FaceIndex(folder).refresh()
    assert (folder / INDEX_NAME).read_bytes() != whole
    assert not (folder / LATEST_NAME).exists()


@pytest.mark.parametrize("damage", [b"", b"[]", b'{"version": 2, "faces": {"00001_0.jpg": 3}}'])
def test_damaged_notes_of_changes_cost_nothing_but_time(folder: Path, damage: bytes) -> None:
    (folder / LATEST_NAME).write_bytes(damage)
    assert len(FaceIndex(folder).refresh()) == COUNT
