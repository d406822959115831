"""What takes disk, and what may be emptied."""

from __future__ import annotations

import pytest

from backend.core.errors import BadInputError
from backend.storage.usage import CLEANABLE, clean, usage
from backend.storage.workspace import Workspace


@pytest.fixture
def project(tmp_path):
    made = Workspace(tmp_path).create("film", "ann agreed")
    for folder, number in ((made.merged_dir, 3), (made.merged_mask_dir, 2), (made.side("src").trash_dir, 1)):
        folder.mkdir(parents=True)
        for index in range(number):
            (folder / f"{index}.png").write_bytes(b"x" * 100)
    (made.side("dst").frames_dir / "00001.png").write_bytes(b"x" * 50)
    return made


def test_every_kind_is_counted_once(project):
    found = {use.title: (use.files, use.bytes) for use in usage(project)}
    assert found[CLEANABLE["merged"]] == (5, 500)
    assert found[CLEANABLE["trash"]] == (1, 100)
    assert found["Frames of the destination"] == (1, 50)
    assert found["Frames of the source"] == (0, 0)


def test_cleaning_frees_only_its_kind(project):
    assert clean(project, "merged") == 500
    assert not project.merged_dir.exists()
    assert (project.side("src").trash_dir / "0.png").exists()
    assert clean(project, "merged") == 0


def test_models_and_faces_cannot_be_cleaned(project):
    with pytest.raises(BadInputError, match="cannot be cleaned"):
        clean(project, "models")
