"""The trash tells what went when and why, gives whole facesets back, and deletes only when it is told to."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

from backend.core.errors import BadInputError
from backend.storage.faceset import Faceset
from tests.storage.faces import fill, names_in

NAMES = [f"0000{n}_0.jpg" for n in range(1, 5)]


@pytest.fixture
def faceset(tmp_path: Path) -> Faceset:
    """Four faces."""
    fill(tmp_path / "aligned", 4)
    return again(tmp_path)


def again(path: Path) -> Faceset:
    """A new object for the same folder, as another process has it."""
    return Faceset(path / "aligned", path / "aligned_trash")


def contents(folder: Path) -> dict[str, bytes]:
    """Name -> bytes of every face of a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.jpg"))}


def incoming(path: Path) -> dict[str, bytes]:
    """Fill a folder beside the faces with other pictures: three of the same names and a new one."""
    folder = path / "aligned_resized"
    fill(folder, 5)
    (folder / NAMES[3]).unlink()
    found = contents(folder)
    for number, name in enumerate(found):
        (folder / name).write_bytes(found[name] + bytes((number,)))
    return contents(folder)


def test_batches_tell_what_went_and_why(faceset: Faceset) -> None:
    assert faceset.trash_batches() == []
    first = faceset.trash(NAMES[:2], "too dark")
    second = faceset.trash(NAMES[2:3])
    newest, oldest = faceset.trash_batches()
    assert (newest.id, newest.reason, newest.names) == (second, "", (NAMES[2],))
    assert (oldest.id, oldest.reason, oldest.names) == (first, "too dark", tuple(NAMES[:2]))
    assert 0 < oldest.time <= newest.time
    faceset.restore([NAMES[0]])
    assert faceset.trash_batches()[1].names == (NAMES[1],)


def test_batches_of_an_older_log_are_understood(faceset: Faceset, tmp_path: Path) -> None:
    faceset.trash(NAMES[:1])
    log = tmp_path / "aligned_trash" / ".batches.json"
    log.write_text(json.dumps({"batches": [{"id": "a", "time": 1.5, "moves": [[NAMES[0], NAMES[0]]]}]}))
    (batch,) = faceset.trash_batches()
    assert (batch.id, batch.time, batch.reason) == ("a", 1.5, "")
    assert faceset.undo() == NAMES[:1]


def test_emptying_deletes_faces_and_nothing_else(faceset: Faceset, tmp_path: Path) -> None:
    assert faceset.empty_trash() == 0
    faceset.trash(NAMES[:3])
    (tmp_path / "aligned_trash" / "notes.txt").write_text("mine")
    assert faceset.empty_trash() == 3
    assert faceset.trashed() == []
    assert faceset.trash_batches() == []
    assert faceset.undo() == []
    assert names_in(tmp_path / "aligned_trash") == [".batches.json", "notes.txt"]
    assert faceset.names() == NAMES[3:]


def test_emptying_deletes_what_tools_put_aside(faceset: Faceset, tmp_path: Path) -> None:
    aside = tmp_path / "aligned_trash" / "put-aside"
    aside.mkdir(parents=True)
    (aside / "faceset.pak").write_bytes(b"pack")
    faceset.trash(NAMES[:2])
    assert faceset.empty_trash() == 3
    assert not aside.exists()


def test_a_swap_and_its_undoing(faceset: Faceset, tmp_path: Path) -> None:
    old, new = contents(tmp_path / "aligned"), incoming(tmp_path)
    faceset.set_order(NAMES[::-1], "yaw")
    faceset.set_persons(dict.fromkeys(NAMES, 2), "track")
    batch = faceset.swap_in(tmp_path / "aligned_resized", "resized to 256 px")
    assert contents(tmp_path / "aligned") == new
    assert not (tmp_path / "aligned_resized").exists()
    assert faceset.names() == [NAMES[2], NAMES[1], NAMES[0], "00005_0.jpg"]
    assert faceset.persons() == dict.fromkeys(NAMES[:3], 2)
    assert [(b.id, b.reason, b.names) for b in faceset.trash_batches()] == [(batch, "resized to 256 px", tuple(NAMES))]
    assert faceset.undo() == NAMES
    assert contents(tmp_path / "aligned") == old
    assert faceset.names() == NAMES[::-1]
    assert faceset.persons() == dict.fromkeys(NAMES, 2)
    assert sorted(contents(tmp_path / "aligned_trash").values()) == sorted(new.values())
    assert faceset.undo() == []
    (left,) = faceset.trash_batches()
    assert len(faceset.restore(left.names)) == 4


def test_undoing_a_swap_after_its_files_were_renamed_and_removed(faceset: Faceset, tmp_path: Path) -> None:
    old, new = contents(tmp_path / "aligned"), incoming(tmp_path)
    faceset.set_persons({NAMES[3]: 1}, "track")
    faceset.swap_in(tmp_path / "aligned_resized", "")
    faceset.apply_order()
    faceset.trash(["00000.jpg"])
    assert faceset.undo() == ["00000.jpg"]
    assert faceset.undo() == NAMES
    assert contents(tmp_path / "aligned") == old
    assert sorted(contents(tmp_path / "aligned_trash").values()) == sorted(new.values())
    assert faceset.persons() == {NAMES[3]: 1}


def test_a_swap_into_an_empty_place(tmp_path: Path) -> None:
    new, faceset = incoming(tmp_path), again(tmp_path)
    assert faceset.swap_in(tmp_path / "aligned_resized", "first") == ""
    assert contents(tmp_path / "aligned") == new
    assert faceset.undo() == []


def test_what_cannot_be_swapped_in(faceset: Faceset, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    outside = tmp_path.parent.parent / f"{tmp_path.parent.name}_outside"
    fill(outside, 1)
    for folder in (tmp_path / "nothing", tmp_path / "gone", outside):
        with pytest.raises(BadInputError):
            faceset.swap_in(folder, "")
    assert faceset.names() == NAMES
    assert names_in(outside) == ["00001_0.jpg"]
    assert faceset.trash_batches() == []


class CrashError(Exception):
    """The power went."""


def crashing(monkeypatch: pytest.MonkeyPatch, survived: int, error: type[Exception]) -> None:
    """Let that many renames and removals of face files succeed and no more."""
    left = [survived]

    def counted(real):
        def step(self: Path, *arguments, **options):
            if self.suffix == ".jpg" or self.name == ".moving.json":
                if not left[0]:
                    raise error(13, "gone")
                left[0] -= 1
            return real(self, *arguments, **options)

        return step

    for method in ("rename", "unlink"):
        monkeypatch.setattr(Path, method, counted(getattr(Path, method)))


@pytest.mark.parametrize("survived", range(10))
def test_an_interrupted_swap_is_finished(
    faceset: Faceset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, survived: int
) -> None:
    old, new = contents(tmp_path / "aligned"), incoming(tmp_path)
    with monkeypatch.context() as patch:
        crashing(patch, survived, CrashError)
        with contextlib.suppress(CrashError):
            faceset.swap_in(tmp_path / "aligned_resized", "resized")
    fresh = again(tmp_path)
    assert len(fresh.records()) == 4
    assert contents(tmp_path / "aligned") == new
    assert fresh.undo() == NAMES
    assert contents(tmp_path / "aligned") == old


@pytest.mark.parametrize("survived", range(10))
def test_an_interrupted_undoing_is_finished(
    faceset: Faceset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, survived: int
) -> None:
    old, new = contents(tmp_path / "aligned"), incoming(tmp_path)
    faceset.swap_in(tmp_path / "aligned_resized", "resized")
    with monkeypatch.context() as patch:
        crashing(patch, survived, CrashError)
        with contextlib.suppress(CrashError):
            faceset.undo()
    fresh = again(tmp_path)
    assert fresh.undo() == []
    assert contents(tmp_path / "aligned") == old
    assert sorted(contents(tmp_path / "aligned_trash").values()) == sorted(new.values())


@pytest.mark.parametrize("survived", [0, 2, 6])
def test_a_swap_that_fails_takes_all_back(
    faceset: Faceset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, survived: int
) -> None:
    old, new = contents(tmp_path / "aligned"), incoming(tmp_path)
    real, left = Path.rename, [survived]

    def rename(self: Path, target: Path) -> Path:
        left[0] -= 1
        if left[0] == -1:
            raise PermissionError(13, "in use")
        return real(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename)
        with pytest.raises(PermissionError):
            faceset.swap_in(tmp_path / "aligned_resized", "resized")
    assert contents(tmp_path / "aligned") == old
    assert contents(tmp_path / "aligned_resized") == new
    assert faceset.trash_batches() == []
    assert faceset.undo() == []


def test_a_journal_moves_only_faces_of_the_project(faceset: Faceset, tmp_path: Path) -> None:
    """A project that somebody sends may hold a journal that names other files."""
    target = tmp_path / "aligned" / "x.jpg"
    secret = tmp_path.parent.parent / "secret.jpg"
    secret.write_bytes(b"private")
    (tmp_path / "keys.txt").write_text("private")
    for source in ("../../../secret.jpg", str(secret), "../keys.txt"):
        journal = {"version": 1, "moves": [[source, "x.jpg"]]}
        (tmp_path / "aligned" / ".moving.json").write_text(json.dumps(journal))
        assert faceset.names() == NAMES
        assert not target.exists()
        assert not (tmp_path / "aligned" / ".moving.json").exists()
    assert secret.read_bytes() == b"private"
