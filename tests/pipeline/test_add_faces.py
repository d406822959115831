from __future__ import annotations

from pathlib import Path

import pytest

from backend.core.errors import BadInputError, StopRequested
from backend.core.faces import FaceType
from backend.core.settings import AddFacesSettings
from backend.pipeline import add_faces
from backend.storage.face_pack import FaceToPack, write_pack
from backend.storage.faceset import Faceset
from backend.storage.tool_undo import take_back
from backend.storage.workspace import Project, SideFiles
from tests.drawn_faces import BRUNO, write_faceset
from tests.pipeline.faceset_project import bytes_of, context, fill_side, make_project, stop_after


def settings(folder: Path | str) -> AddFacesSettings:
    return AddFacesSettings(folder=str(folder))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path)


@pytest.fixture
def side(project: Project) -> SideFiles:
    return project.side("src")


@pytest.fixture
def others(tmp_path: Path) -> Path:
    folder = tmp_path / "others"
    write_faceset(folder, 3, BRUNO, seed=3)
    return folder


def test_copied_byte_for_byte_under_free_names(project: Project, side: SideFiles, others: Path) -> None:
    fill_side(side, 2)
    own, theirs = bytes_of(side.aligned_dir), bytes_of(others)
    result = add_faces.run(settings(others), context(project))
    assert (result["added"], result["renamed"], result["duplicates"], result["left"]) == (3, 2, 0, 0)
    now = bytes_of(side.aligned_dir)
    assert {name: now[name] for name in own} == own
    assert now["00001_0_1.jpg"] == theirs["00001_0.jpg"]
    assert now["00003_0.jpg"] == theirs["00003_0.jpg"]
    assert bytes_of(others) == theirs
    assert not [path for path in others.iterdir() if path.name.startswith(".")]


def test_the_same_bytes_are_not_added_twice(project: Project, side: SideFiles, others: Path) -> None:
    add_faces.run(settings(others), context(project))
    result = add_faces.run(settings(others), context(project))
    assert (result["added"], result["duplicates"]) == (0, 3)
    assert len(side.faceset().records()) == 3


def test_unusable_files_are_left_out(project: Project, side: SideFiles, others: Path) -> None:
    (others / "broken.jpg").write_bytes(b"no picture")
    made = context(project)
    result = add_faces.run(settings(others), made)
    assert (result["added"], result["left"]) == (3, 1)
    assert any("broken.jpg" in warning for warning in made.emit.warnings())
    assert not (side.aligned_dir / "broken.jpg").exists()


def test_mixed_types_are_told(project: Project, side: SideFiles, tmp_path: Path, others: Path) -> None:
    fill_side(side, 2)
    assert add_faces.run(settings(others), context(project))["warning"] == ""
    write_faceset(tmp_path / "full", 2, face_type=FaceType.FULL, size=96)
    made = context(project)
    warning = add_faces.run(settings(tmp_path / "full"), made)["warning"]
    assert "2 of full_face, 96 x 96 px" in warning
    assert "5 of whole_face, 128 x 128 px" in warning
    assert warning in made.emit.warnings()


def test_persons_come_along_as_persons_of_their_own(project: Project, side: SideFiles, others: Path) -> None:
    fill_side(side, 2)
    side.faceset().set_persons({"00001_0.jpg": 0, "00002_0.jpg": 1}, "looks", {1: "anna"})
    theirs = Faceset(others, others.with_name("trash"))
    theirs.set_persons({"00001_0.jpg": 0, "00003_0.jpg": 5}, "looks", {5: "bruno"})
    result = add_faces.run(settings(others), context(project))
    assert result["persons"] == 2
    assert side.faceset().persons() == {"00001_0.jpg": 0, "00002_0.jpg": 1, "00001_0_1.jpg": 2, "00003_0.jpg": 3}
    assert side.faceset().person_titles == {1: "anna", 3: "bruno"}


def test_a_project_side_is_found_in_its_folder(project: Project, side: SideFiles) -> None:
    fill_side(project.side("dst"), 2)
    result = add_faces.run(settings(project.side("dst").frames_dir), context(project))
    assert result["added"] == 2


def test_what_cannot_be_added(project: Project, side: SideFiles, tmp_path: Path) -> None:
    fill_side(side, 1)
    empty = tmp_path / "empty"
    empty.mkdir()
    for folder, words in (
        ("", "No folder"),
        (tmp_path / "missing", "There is no"),
        (empty, "no aligned faces"),
        (side.aligned_dir, "this side itself"),
        (side.frames_dir / ".." / "data_src" / "aligned", "this side itself"),
    ):
        with pytest.raises(BadInputError, match=words):
            add_faces.run(settings(folder), context(project))


def test_a_stop_adds_nothing_and_undo_takes_them_away(project: Project, side: SideFiles, others: Path) -> None:
    fill_side(side, 1)
    before = bytes_of(side.aligned_dir)
    with pytest.raises(StopRequested):
        add_faces.run(settings(others), context(project, stop_requested=stop_after(3)))
    assert bytes_of(side.aligned_dir) == before
    job = context(project)
    add_faces.run(settings(others), job)
    assert take_back(job.job_dir, side) == "3 added ones are in the trash."
    assert bytes_of(side.aligned_dir) == before
    assert len(side.faceset().trashed()) == 3


def test_a_pack_with_persons(project: Project, side: SideFiles, tmp_path: Path, others: Path) -> None:
    faces = [
        FaceToPack(path, path.name, "bruno" if number else "")
        for number, path in enumerate(sorted(others.glob("*.jpg")))
    ]
    write_pack(tmp_path / "bruno.pak", faces)
    result = add_faces.run(settings(tmp_path / "bruno.pak"), context(project))
    assert (result["added"], result["persons"]) == (3, 1)
    assert bytes_of(side.aligned_dir) == bytes_of(others)
    assert side.faceset().persons() == {"00002_0.jpg": 0, "00003_0.jpg": 0}
    assert side.faceset().person_titles == {0: "bruno"}


def test_loose_faces_win_over_a_pack_beside_them(project: Project, side: SideFiles, others: Path) -> None:
    write_pack(others / "faceset.pak", [FaceToPack(path, path.name) for path in others.glob("*.jpg")])
    (others / "00001_0.jpg").unlink()
    made = context(project)
    assert add_faces.run(settings(others), made)["added"] == 2
    assert any("faceset.pak" in warning for warning in made.emit.warnings())
    for path in others.glob("*.jpg"):
        path.unlink()
    assert add_faces.run(settings(others), context(project))["added"] == 1


def test_golden_pack_and_folder_hold_the_same(project: Project, side: SideFiles, golden: Path) -> None:
    assert add_faces.run(settings(golden / "faceset.pak"), context(project))["added"] == 6
    result = add_faces.run(settings(golden / "dfl_faceset"), context(project))
    assert (result["added"], result["duplicates"], result["renamed"]) == (6, 6, 0)
    assert bytes_of(side.aligned_dir) == bytes_of(golden / "dfl_faceset")
