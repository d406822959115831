from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import get_args

import cv2
import pytest

from backend.core.errors import BadInputError, StopRequested
from backend.core.settings import SortSettings
from backend.core.settings.faces import SortKey
from backend.ops.pose import estimate_pose
from backend.pipeline import sort
from backend.pipeline.context import StageContext
from backend.pipeline.sort_methods import METHODS
from backend.storage.face_file import read_face, write_face_image
from backend.storage.image import read_image
from backend.storage.project import Project
from backend.storage.sort_values import read_values
from tests.drawn_faces import BRUNO, write_faceset
from tests.pipeline.sort_project import change, context, new_project, order, sorted_by


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return new_project(tmp_path)


@pytest.fixture
def folder(project: Project) -> Path:
    return project.side("src").aligned_dir


def test_by_pose_from_metadata(project: Project, folder: Path) -> None:
    paths = write_faceset(folder, 4)
    for path, (pitch, yaw) in zip(paths, [(0.1, -0.3), (0.3, 0.5), (-0.2, 0.0), (0.0, 0.2)], strict=True):
        change(path, pose_rad=(pitch, yaw, 0.0))
    result = sort.run(SortSettings(by="yaw"), context(project))
    assert order(project) == [paths[i].name for i in (1, 3, 2, 0)]
    assert (result["faces"], result["renamed"], result["damaged"]) == (4, 0, 0)
    sort.run(SortSettings(by="pitch", reverse=True), context(project))
    assert order(project) == [paths[i].name for i in (2, 3, 0, 1)]


def test_pose_is_measured_when_it_was_never_stored(project: Project, folder: Path) -> None:
    write_faceset(folder, 6)
    sort.run(SortSettings(by="yaw"), context(project))
    records = project.side("src").faceset().records()
    yaws = [estimate_pose(record.face.landmarks, 128)[1] for record in records]
    assert yaws == sorted(yaws, reverse=True)
    assert yaws[0] - yaws[-1] > 0.1


def test_sharpest_first(project: Project, folder: Path) -> None:
    paths = write_faceset(folder, 3)
    for path, sigma in zip(paths, (4.0, 0.0, 2.0), strict=True):
        face, image = read_face(path), read_image(path)
        soft = cv2.GaussianBlur(image, (0, 0), sigma) if sigma else image
        write_face_image(path, soft, dataclasses.replace(face, sharpness=None), 95)
    sort.run(SortSettings(by="blur"), context(project))
    assert order(project) == [paths[i].name for i in (1, 2, 0)]


def test_similar_pictures_stand_beside_each_other(project: Project, folder: Path, tmp_path: Path) -> None:
    anna = write_faceset(folder, 4, seed=1)
    others = write_faceset(tmp_path / "others", 4, BRUNO, seed=1)
    for number, path in enumerate(others):
        face = read_face(path)
        write_face_image(folder / f"{number + 1:05d}_1.jpg", read_image(path) // 3, face, 95)
    sort.run(SortSettings(by="hist"), context(project))
    dark = [name.endswith("_1.jpg") for name in order(project)]
    assert dark == sorted(dark)
    assert anna[0].name == order(project)[0]


def test_by_frame_and_renamed(project: Project, folder: Path) -> None:
    paths = write_faceset(folder, 3)
    for path, name in zip(paths, ("00030.png", "00010.png", "00020.png"), strict=True):
        change(path, source_filename=name)
    result = sort.run(SortSettings(by="name", apply=True), context(project))
    sources = [record.face.source_filename for record in project.side("src").faceset().records()]
    assert sources == ["00010.png", "00020.png", "00030.png"]
    assert result["renamed"] >= 2
    assert len(list(folder.glob("*.jpg"))) == 3


def test_a_damaged_file_is_left_out_and_stays(project: Project, folder: Path) -> None:
    paths = write_faceset(folder, 3)
    paths[1].write_bytes(b"\xff\xd8 not a picture")
    said = []
    ctx = StageContext(project=project, job_dir=project.path, emit=lambda kind, data: said.append((kind, data)))
    result = sort.run(SortSettings(by="hist"), ctx)
    assert (result["faces"], result["damaged"]) == (2, 1)
    assert any(kind == "log" and paths[1].name in data["message"] for kind, data in said)
    assert paths[1].exists()


def test_a_picture_that_cannot_be_decoded_is_left_out_and_stays(project: Project, folder: Path) -> None:
    paths = write_faceset(folder, 3)
    data = bytearray(paths[1].read_bytes())
    tables = data.find(b"\xff\xc4") + 5
    data[tables : tables + 16] = b"\xfe" * 16  # the face data stays whole
    paths[1].write_bytes(bytes(data))
    result = sort.run(SortSettings(by="hist"), context(project))
    assert (result["faces"], result["damaged"]) == (2, 1)
    assert order(project)[-1] == paths[1].name
    for path in paths:
        path.write_bytes(bytes(data))
    with pytest.raises(BadInputError, match="None of the 3"):
        sort.run(SortSettings(by="hist"), context(project))


def test_empty_and_stopped(project: Project, folder: Path) -> None:
    with pytest.raises(BadInputError):
        sort.run(SortSettings(), context(project))
    write_faceset(folder, 2)
    with pytest.raises(StopRequested):
        sort.run(SortSettings(by="hist"), context(project, stop_requested=lambda: True))


def test_what_is_left_out_goes_to_the_trash_as_one_batch(project: Project, folder: Path) -> None:
    paths = write_faceset(folder, 4)
    change(paths[1], source_filename="00001.png")
    result = sorted_by(project, "one-face")
    assert (result["faces"], result["left_out"], result["trashed"]) == (2, 2, True)
    assert result["reasons"] == {"several faces in the frame": 2}
    faceset = project.side("src").faceset()
    (batch,) = faceset.trash_batches()
    assert "one-face" in batch.reason
    assert "several faces in the frame (2)" in batch.reason
    assert order(project) == [paths[2].name, paths[3].name]
    assert sorted(faceset.undo()) == [paths[0].name, paths[1].name]


def test_without_the_trash_it_comes_last_whatever_the_direction(project: Project, folder: Path) -> None:
    paths = write_faceset(folder, 5)
    change(paths[0], source_filename="00004.png")
    result = sorted_by(project, "one-face", trash=False, reverse=True)
    assert (result["faces"], result["left_out"], result["trashed"]) == (5, 2, False)
    assert order(project) == [paths[i].name for i in (4, 2, 1, 0, 3)]
    assert project.side("src").faceset().trashed() == []


def test_a_choice_that_leaves_nothing_is_refused(project: Project, folder: Path) -> None:
    paths = write_faceset(folder, 2)
    change(paths[1], source_filename="00001.png")
    with pytest.raises(BadInputError, match="would leave none"):
        sorted_by(project, "one-face")
    assert all(path.exists() for path in paths)


def test_a_file_that_cannot_be_read_is_neither_chosen_nor_trashed(project: Project, folder: Path) -> None:
    paths = write_faceset(folder, 4)
    change(paths[1], source_filename="00001.png")
    paths[3].write_bytes(b"\xff\xd8 not a picture")
    result = sorted_by(project, "one-face", apply=True)
    assert (result["faces"], result["damaged"]) == (1, 1)
    assert sorted(path.name for path in folder.glob("*.jpg")) == ["00000.jpg", "00001.jpg"]
    assert (folder / "00001.jpg").read_bytes() == b"\xff\xd8 not a picture"


def test_values_stay_with_their_faces_when_files_are_renamed(project: Project, folder: Path) -> None:
    paths = write_faceset(folder, 4)
    for path, yaw in zip(paths, (0.1, 0.4, -0.2, 0.3), strict=True):
        change(path, pose_rad=(0.0, yaw, 0.0))
    sorted_by(project, "yaw")
    assert read_values(folder) == ("yaw", {p.name: y for p, y in zip(paths, (0.1, 0.4, -0.2, 0.3), strict=True)})
    assert sorted_by(project, "yaw", apply=True, reverse=True)["renamed"] == 4
    assert read_values(folder) == ("yaw", {f"{i:05d}.jpg": y for i, y in enumerate((-0.2, 0.1, 0.3, 0.4))})


def test_every_declared_method_is_there_and_loses_no_file(project: Project, folder: Path) -> None:
    paths = write_faceset(folder, 7, seed=3)
    write_faceset(project.side("dst").aligned_dir, 5, BRUNO, seed=3)
    project.side("src").faceset().set_persons({path.name: i % 2 for i, path in enumerate(paths)}, "test")
    assert set(METHODS) == set(get_args(SortKey))
    for method in METHODS:
        result = sorted_by(project, method, trash=False)
        assert sorted(order(project)) == [path.name for path in paths], method
        assert result["by"] == method
        json.dumps(result, allow_nan=False)
