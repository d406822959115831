from __future__ import annotations

from pathlib import Path

import pytest

from backend.core.errors import BadInputError
from backend.storage.project import SideFiles
from backend.storage.tool_undo import UNDO_FILE, ToolUndo, can_undo, note_undo, park, take_back, unpark
from tests.storage.faces import fill, names_in


@pytest.fixture
def side(tmp_path: Path) -> SideFiles:
    return SideFiles(tmp_path / "film", "src")


@pytest.fixture
def job(tmp_path: Path) -> Path:
    folder = tmp_path / "job"
    folder.mkdir()
    return folder


def visible(folder: Path) -> list[str]:
    return [name for name in names_in(folder) if not name.startswith(".")]


def test_added_faces_go_to_the_trash(side: SideFiles, job: Path) -> None:
    fill(side.aligned_dir, 3)
    note_undo(job, ToolUndo(added=("00002_0.jpg", "gone.jpg")))
    assert can_undo(job, side)
    assert take_back(job, side) == "1 added ones are in the trash."
    assert visible(side.aligned_dir) == ["00001_0.jpg", "00003_0.jpg"]
    assert side.faceset().trashed() == ["00002_0.jpg"]
    assert not can_undo(job, side)


def test_names_come_back_for_the_files_that_are_left(side: SideFiles, job: Path) -> None:
    fill(side.aligned_dir, 2)
    note_undo(job, ToolUndo(renamed={"00001_0.jpg": "b.jpg", "00002_0.jpg": "a.jpg", "gone.jpg": "c.jpg"}))
    take_back(job, side)
    assert visible(side.aligned_dir) == ["a.jpg", "b.jpg"]


def test_files_put_aside_come_back_under_free_names(side: SideFiles, job: Path) -> None:
    fill(side.aligned_dir, 1)
    for name in ("x.png", "y.png"):
        (side.aligned_dir / name).write_bytes(name.encode())
    first = park(side, ["x.png"])
    (side.aligned_dir / "x.png").write_bytes(b"another")
    second = park(side, ["x.png", "y.png"])
    assert visible(side.aligned_dir) == ["00001_0.jpg"]
    note_undo(job, ToolUndo(parked=second))
    take_back(job, side)
    unpark(side, first)
    assert (side.aligned_dir / "x.png").read_bytes() == b"another"
    assert (side.aligned_dir / "y.png").read_bytes() == b"y.png"
    assert (side.aligned_dir / "x_1.png").read_bytes() == b"x.png"


def test_only_the_newest_batch_is_swapped_back(side: SideFiles, job: Path) -> None:
    fill(side.aligned_dir, 2)
    fill(side.frames_dir / ".staged-1", 2)
    note_undo(job, ToolUndo(batch=side.faceset().swap_in(side.frames_dir / ".staged-1", "test")))
    assert can_undo(job, side)
    side.faceset().trash(["00001_0.jpg"])
    assert not can_undo(job, side)
    with pytest.raises(BadInputError, match="no longer"):
        take_back(job, side)
    side.faceset().undo()
    assert can_undo(job, side)


def test_put_aside_files_that_are_gone_cannot_come_back(side: SideFiles, job: Path) -> None:
    fill(side.aligned_dir, 1)
    (side.aligned_dir / "x.png").write_bytes(b"x")
    note_undo(job, ToolUndo(parked=park(side, ["x.png"])))
    assert side.faceset().empty_trash() == 1
    assert not can_undo(job, side)
    with pytest.raises(BadInputError, match="no longer in the trash"):
        take_back(job, side)


def test_an_emptied_trash_says_so(side: SideFiles, job: Path) -> None:
    fill(side.aligned_dir, 2)
    fill(side.frames_dir / ".staged-1", 2)
    note_undo(job, ToolUndo(batch=side.faceset().swap_in(side.frames_dir / ".staged-1", "test")))
    side.faceset().empty_trash()
    assert not can_undo(job, side)
    with pytest.raises(BadInputError, match="no longer in the trash"):
        take_back(job, side)


@pytest.mark.parametrize("text", ["", "[]", '{"added": 3}', '{"parked": {"../x": "y"}}', '{"added": ["../x"]}'])
def test_damaged_notes_offer_nothing(side: SideFiles, job: Path, text: str) -> None:
    fill(side.aligned_dir, 1)
    (side.trash_dir).mkdir()
    (side.trash_dir / "x").write_bytes(b"what lies beside the files that were put aside")
    (job / UNDO_FILE).write_text(text)
    assert not can_undo(job, side)
