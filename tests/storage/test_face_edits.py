from __future__ import annotations

from pathlib import Path

import pytest

from backend.core.errors import BadInputError
from backend.storage import face_edits
from backend.storage.face_edits import FaceEdits, free_name
from backend.storage.faceset import Faceset
from tests.drawn_faces import ANNA, BRUNO, write_faceset


@pytest.fixture
def faceset(tmp_path: Path) -> Faceset:
    write_faceset(tmp_path / "aligned", 3, ANNA, size=48)
    write_faceset(tmp_path / "other", 3, BRUNO, size=48)
    return Faceset(tmp_path / "aligned", tmp_path / "trash")


@pytest.fixture
def edits(faceset: Faceset, tmp_path: Path) -> FaceEdits:
    return FaceEdits(faceset, tmp_path / "edits")


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.jpg")}


def step(edits: FaceEdits, faceset: Faceset, name: str, other: int) -> None:
    edits.apply("Correct face", "00001.png", {name: faceset.folder.parent / "other" / f"{other:05d}_0.jpg"})


def test_every_kind_of_step_goes_back_and_forth_byte_for_byte(edits: FaceEdits, faceset: Faceset) -> None:
    states = [files(faceset.folder)]
    step(edits, faceset, "00001_0.jpg", 1)
    states.append(files(faceset.folder))
    edits.apply("Delete face", "00002.png", {"00002_0.jpg": None})
    states.append(files(faceset.folder))
    step(edits, faceset, "00002_1.jpg", 2)
    states.append(files(faceset.folder))
    assert [len(state) for state in states] == [3, 3, 2, 3]
    assert states[1]["00001_0.jpg"] == (faceset.folder.parent / "other" / "00001_0.jpg").read_bytes()
    for expected in reversed(states[:-1]):
        assert edits.undo() is not None
        assert files(faceset.folder) == expected
    assert edits.undo() is None
    for expected in states[1:]:
        assert edits.redo() is not None
        assert files(faceset.folder) == expected
    assert edits.redo() is None


def test_a_deleted_face_lies_in_the_trash_until_it_is_taken_back(edits: FaceEdits, faceset: Faceset) -> None:
    edits.apply("Delete face", "00002.png", {"00002_0.jpg": None})
    assert faceset.trashed() == ["00002_0.jpg"]
    edits.undo()
    assert faceset.trashed() == []
    edits.redo()
    (faceset.trash_dir / "00002_0.jpg").unlink()  # the trash was emptied
    edits.undo()
    assert "00002_0.jpg" in faceset.names()


def test_a_new_face_that_is_taken_back_leaves_no_trash(edits: FaceEdits, faceset: Faceset) -> None:
    step(edits, faceset, "00001_1.jpg", 1)
    edits.undo()
    assert faceset.trashed() == []


def test_another_process_sees_the_log(edits: FaceEdits, faceset: Faceset, tmp_path: Path) -> None:
    before = files(faceset.folder)
    step(edits, faceset, "00001_0.jpg", 1)
    again = FaceEdits(Faceset(tmp_path / "aligned", tmp_path / "trash"), tmp_path / "edits")
    assert [s.what for s in again.log().steps] == ["Correct face"]
    again.undo()
    assert files(faceset.folder) == before


def test_steps_follow_renamed_files(edits: FaceEdits, faceset: Faceset) -> None:
    before = sorted(files(faceset.folder).values())
    step(edits, faceset, "00002_0.jpg", 1)
    edits.apply("Delete face", "00001.png", {"00001_0.jpg": None})
    faceset.apply_order()
    assert "00002_0.jpg" not in faceset.names()
    edits.undo()
    edits.undo()
    assert sorted(files(faceset.folder).values()) == before


def test_a_file_that_was_changed_otherwise_is_left_alone(edits: FaceEdits, faceset: Faceset) -> None:
    step(edits, faceset, "00001_0.jpg", 1)
    step(edits, faceset, "00002_0.jpg", 2)
    (faceset.folder / "00002_0.jpg").write_bytes((faceset.folder.parent / "other" / "00003_0.jpg").read_bytes())
    now = files(faceset.folder)
    with pytest.raises(BadInputError, match=r"00002_0\.jpg was changed"):
        edits.undo()
    assert files(faceset.folder) == now
    assert edits.undo() is not None  # the step before is still there
    assert files(faceset.folder)["00001_0.jpg"] != now["00001_0.jpg"]
    assert len(edits.log().steps) == 1


def test_a_new_step_forgets_what_was_taken_back_and_old_steps_end(
    edits: FaceEdits, faceset: Faceset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step(edits, faceset, "00001_0.jpg", 1)
    step(edits, faceset, "00001_0.jpg", 2)
    edits.undo()
    step(edits, faceset, "00001_0.jpg", 3)
    assert edits.redo() is None
    monkeypatch.setattr(face_edits, "KEPT_STEPS", 3)
    for number in (1, 2, 3, 1, 2):
        step(edits, faceset, "00003_0.jpg", number)
    log = edits.log()
    assert (len(log.steps), log.done) == (3, 3)
    kept = {path.stem for path in (tmp_path / "edits").glob("*.jpg")}
    assert kept == {digest for s in log.steps for c in s.changes for digest in (c.before, c.after)}


def test_a_step_that_changes_nothing_is_none(edits: FaceEdits, faceset: Faceset) -> None:
    done = edits.apply("Correct face", "00001.png", {"00001_0.jpg": faceset.folder / "00001_0.jpg"})
    assert done.names == ()
    assert edits.log().steps == ()


def test_a_failed_step_changes_nothing(
    edits: FaceEdits, faceset: Faceset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files(faceset.folder)
    write = face_edits.write_bytes

    def full(path: Path, data: bytes) -> None:
        if path.name == "00002_0.jpg":
            raise OSError(28, "No space left on device")
        write(path, data)

    monkeypatch.setattr(face_edits, "write_bytes", full)
    other = tmp_path / "other" / "00001_0.jpg"
    with pytest.raises(OSError, match="No space"):
        edits.apply("Fill 3 frames", "00001.png", dict.fromkeys(["00001_0.jpg", "00009_0.jpg", "00002_0.jpg"], other))
    assert files(faceset.folder) == before
    assert edits.log().steps == ()


def test_a_damaged_log_is_an_empty_one(edits: FaceEdits, faceset: Faceset, tmp_path: Path) -> None:
    step(edits, faceset, "00001_0.jpg", 1)
    (tmp_path / "edits" / "log.json").write_text('{"version": 1, "steps": [], "done": 7}')
    assert edits.undo() is None


def test_new_names_are_free(tmp_path: Path, faceset: Faceset) -> None:
    assert free_name(faceset.folder, "00001") == "00001_1.jpg"
    assert free_name(faceset.folder, "00001", ["00001_1.JPG"]) == "00001_2.jpg"
    assert free_name(tmp_path / "nowhere", "a") == "a_0.jpg"
