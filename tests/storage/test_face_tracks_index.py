"""The faces of a side by frame, person and track."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backend.storage.face_tracks_index import FaceTracksIndex, person_name
from backend.storage.workspace import Project
from tests.pipeline.merge_project import FRAMES, make_destination


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_destination(tmp_path / "workspace")


def test_persons_and_tracks_are_listed(project: Project) -> None:
    index = FaceTracksIndex(project.side("dst"))
    assert len(index) == 2 * (FRAMES - 1)
    assert {name: facts.faces for name, facts in index.persons().items()} == {"anna": 5, "person 2": 5}
    tracks = index.tracks()
    assert list(tracks) == [0, 1]
    assert (tracks[1].person, tracks[1].example) == ("person 2", "00001_1.jpg")
    (project.side("dst").aligned_dir / "00001_1.jpg").unlink()
    index.refresh()
    assert list(index.tracks()) == [0, 1]
    assert index.tracks()[1].example == "00002_1.jpg"
    assert index.tracks()[1].faces == 4


def test_faces_carry_their_data(project: Project) -> None:
    face, other = FaceTracksIndex(project.side("dst")).by_stem["00004"]
    stored = project.side("dst").faceset().metadata("00004_0.jpg")
    np.testing.assert_array_equal(face.landmarks, stored.source_landmarks)
    assert face.landmarks.dtype == np.float64
    assert (face.name, face.track, face.person) == ("00004_0.jpg", 0, "anna")
    assert (other.track, other.person) == (1, "person 2")


def test_without_persons(project: Project) -> None:
    (project.side("dst").aligned_dir / ".persons.json").unlink()
    index = FaceTracksIndex(project.side("dst"))
    assert index.persons() == {}
    assert index.by_stem["00001"][0].person == ""
    assert person_name(3, {3: "eve"}) == "eve"
    assert person_name(3, {}) == "person 4"
