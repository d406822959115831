"""Results are videos and folders of pictures, each with its sidecar."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from backend.core.errors import BadInputError
from backend.core.settings import ExportSettings
from backend.core.settings.export import CODECS
from backend.storage.atomic import write_json
from backend.storage.image import write_image
from backend.storage.results import (
    delete_result,
    file_facts,
    read_sidecar,
    remove_abandoned,
    sidecar_path,
    told_settings,
)
from backend.storage.workspace import Project, Workspace


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Workspace(tmp_path).create("film", "All agreed.", "")
    project.results_dir.mkdir(parents=True, exist_ok=True)
    return project


def add_folder(project: Project, name: str) -> Path:
    folder = project.results_dir / name
    folder.mkdir()
    for number in (1, 2):
        write_image(folder / f"{number:05}.png", np.full((4, 4, 3), number, np.uint8))
    write_json(sidecar_path(folder), {"model": name, **file_facts(folder)})
    return folder


def test_every_container_is_a_result(project: Project) -> None:
    for at, container in enumerate(CODECS):
        path = project.results_dir / f"{container}.{container}"
        if container == "png":
            path = add_folder(project, "shot.v2")
        else:
            path.write_bytes(b"x")
        os.utime(path, (at, at))
    names = [path.name for path in project.results()]
    assert names == ["shot.v2", "gif.gif", "avi.avi", "webm.webm", "mkv.mkv", "mov.mov", "mp4.mp4"]
    assert project.status().results == len(CODECS)


def test_other_folders_are_none(project: Project) -> None:
    (project.results_dir / "empty").mkdir()
    hidden = add_folder(project, "half")
    hidden.rename(project.results_dir / ".half.partial")
    assert project.results() == []
    assert project.status().results == 0


def test_a_folder_and_its_sidecar_go_together(project: Project) -> None:
    first, second = add_folder(project, "a.b"), add_folder(project, "a")
    assert sidecar_path(first).name == "a.b.json"
    assert read_sidecar(first)["model"] == "a.b"
    delete_result(project, "a.b")
    assert not first.exists()
    assert not (project.results_dir / "a.b.json").exists()
    assert second.is_dir()
    assert read_sidecar(second)["model"] == "a"
    for name in ("a.b", "../results/a", "a/00001.png", ""):
        with pytest.raises(BadInputError):
            delete_result(project, name)


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_deleting_a_linked_folder_takes_the_link(project: Project, tmp_path: Path) -> None:
    elsewhere = add_folder(project, "kept").rename(tmp_path / "kept")
    (project.results_dir / "link").symlink_to(elsewhere, target_is_directory=True)
    delete_result(project, "link")
    assert len(list(elsewhere.iterdir())) == 2


def test_facts_tie_the_sidecar_to_the_content(project: Project) -> None:
    folder = add_folder(project, "a")
    picture = (folder / "00001.png").read_bytes()
    facts = file_facts(folder)
    assert facts["pictures"]["00001.png"] == hashlib.sha256(picture).hexdigest()
    assert (facts["folder"], list(facts["pictures"])) == ("a", ["00001.png", "00002.png"])
    assert facts["bytes"] == sum(p.stat().st_size for p in folder.iterdir())
    one = file_facts(folder / "00001.png")
    assert one == {"file": "00001.png", "sha256": hashlib.sha256(picture).hexdigest(), "bytes": len(picture)}


def test_certificates_and_keys_stay_out_of_sidecars() -> None:
    settings = ExportSettings(sign=True, certificate=Path("/home/me/c.pem"), private_key=Path("/home/me/k.pem"))
    told = told_settings({"export": settings.model_dump(mode="json"), "merge": {"mode": "overlay"}})
    assert told["merge"] == {"mode": "overlay"}
    assert told["export"]["sign"] is True
    assert "/home/me" not in str(told)


def test_a_far_too_large_sidecar_is_not_read(project: Project) -> None:
    folder = add_folder(project, "a")
    with sidecar_path(folder).open("r+b") as file:
        file.truncate(65 << 20)
    assert read_sidecar(folder) == {}


def test_what_a_killed_export_left_goes_but_not_what_is_being_written(project: Project) -> None:
    folder = project.results_dir
    old, fresh, done = folder / ".a.job-1.partial.mp4", folder / ".b.job-2.partial.mp4", folder / "c.mp4"
    for file in (old, fresh, done):
        file.write_bytes(b"x")
    abandoned, growing = folder / ".d.job-3.partial", folder / ".e.job-4.partial"
    for pictures in (abandoned, growing):
        pictures.mkdir()
        write_image(pictures / "1.png", np.zeros((4, 4, 3), np.uint8))
    for path in (old, done, abandoned / "1.png", abandoned, growing):
        os.utime(path, (1, 1))
    remove_abandoned(folder)
    assert {path.name for path in folder.iterdir()} == {fresh.name, done.name, growing.name}
