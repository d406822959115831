from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest

from backend.core.errors import BadInputError, StopRequested
from backend.core.faces import FaceType
from backend.core.settings import GrayFacesSettings
from backend.pipeline import gray_faces
from backend.storage import jpeg
from backend.storage.face_file import read_face, write_face
from backend.storage.image import read_image
from backend.storage.tool_undo import take_back
from backend.storage.workspace import Project, SideFiles
from backend.training.dataset import CacheBudget, FaceCache, FaceShape, load_faces
from tests.pipeline.faceset_project import bytes_of, context, fill_side, make_project, stop_after


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path)


@pytest.fixture
def side(project: Project) -> SideFiles:
    return project.side("src")


def test_one_channel_and_the_same_data(project: Project, side: SideFiles) -> None:
    paths = fill_side(side, 3)
    write_face(paths[0], dataclasses.replace(read_face(paths[0]), sharpness=3.5, track=7))
    before = {path.name: (jpeg.read_payload(path.read_bytes()), read_image(path)) for path in paths}
    result = gray_faces.run(GrayFacesSettings(), context(project))
    assert result == {"faces": 3, "converted": 3, "unchanged": 0, "left": 0}
    for path in paths:
        payload, colour = before[path.name]
        assert jpeg.read_payload(path.read_bytes()) == payload
        assert cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED).ndim == 2
        expected = cv2.cvtColor(colour, cv2.COLOR_BGR2GRAY).astype(int)
        assert np.abs(read_image(path, 1).astype(int) - expected).mean() < 2
    assert side.faceset().metadata(paths[0].name).track == 7


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("type_letter", ["wf", "f"])
def test_training_takes_gray_files(project: Project, side: SideFiles, channels: int, type_letter: str) -> None:
    fill_side(side, 4)
    shape = FaceShape(resolution=32, face_type=FaceType.from_letter(type_letter), channels=channels)
    budget = CacheBudget(1 << 30, project.path)

    def load() -> FaceCache:
        records = side.faceset().records()
        return load_faces(records, records, shape, budget)[0]

    colour = load()
    gray_faces.run(GrayFacesSettings(), context(project))
    gray = load()
    assert gray.images.shape == (4, 32, 32, channels)
    assert not gray.skipped
    assert np.array_equal(colour.masks, gray.masks)
    for before, after in zip(colour.images, gray.images, strict=True):
        expected = before[..., 0] if channels == 1 else cv2.cvtColor(before, cv2.COLOR_BGR2GRAY)
        assert np.abs(after[..., 0].astype(int) - expected).mean() < 3
        assert channels == 1 or np.array_equal(after[..., 0], after[..., 2])


def test_gray_ones_stay_byte_for_byte_and_undo_works(project: Project, side: SideFiles) -> None:
    fill_side(side, 2)
    colour = bytes_of(side.aligned_dir)
    job = context(project)
    gray_faces.run(GrayFacesSettings(), job)
    once = bytes_of(side.aligned_dir)
    again = gray_faces.run(GrayFacesSettings(), context(project, "again"))
    assert again["unchanged"] == 2
    assert bytes_of(side.aligned_dir) == once
    take_back(job.job_dir, side)
    assert bytes_of(side.aligned_dir) == colour


def test_an_unusable_file_and_a_stop(project: Project, side: SideFiles) -> None:
    fill_side(side, 3)
    (side.aligned_dir / "broken.jpg").write_bytes(b"no picture")
    before = bytes_of(side.aligned_dir)
    with pytest.raises(StopRequested):
        gray_faces.run(GrayFacesSettings(), context(project, stop_requested=stop_after(2)))
    assert bytes_of(side.aligned_dir) == before
    gray_faces.run(GrayFacesSettings(), context(project))
    assert bytes_of(side.aligned_dir)["broken.jpg"] == b"no picture"
    with pytest.raises(BadInputError):
        gray_faces.run(GrayFacesSettings(side="dst"), context(project))
