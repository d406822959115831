from __future__ import annotations

from collections import namedtuple
from pathlib import Path

import pytest

from backend.core.errors import BadInputError, DiskFullError, ModelBusyError
from backend.core.settings import SaehdSettings
from backend.storage import atomic
from backend.storage.checkpoint import load_latest
from backend.storage.folder_lock import LockOwner, locked
from backend.storage.model_folder import ModelFolder, resume_settings
from backend.storage.model_operations import (
    copy_model,
    delete_model,
    deleted_models,
    empty_deleted,
    new_model,
    rename_model,
    restore_deleted,
)
from tests.storage.models import content, film, make_model, train_to

Usage = namedtuple("Usage", "total used free")


def test_a_renamed_model_resumes(tmp_path: Path) -> None:
    project = film(tmp_path)
    before = content(make_model(project, "anna", 3, 5).path)
    rename_model(project, "anna", "bert 2")
    assert project.models() == ["bert 2"]
    folder = ModelFolder(project.model_dir("bert 2"))
    assert content(folder.path) == before
    saved = load_latest(folder.generations_dir)
    assert saved is not None
    assert saved.state.iteration == 5
    assert resume_settings(saved.state.info.settings, SaehdSettings(model="bert 2")).model == "bert 2"
    info = folder.info()
    assert info is not None
    assert info.train_settings().model == "bert 2"


@pytest.mark.parametrize("name", ["Bert", "bert", "../bert", "", ".trash", "con", "loose file"])
def test_a_bad_or_taken_name_is_refused(tmp_path: Path, name: str) -> None:
    project = film(tmp_path)
    make_model(project, "anna", 1)
    make_model(project, "Bert", 1)
    (project.model_root / "loose file").touch()
    with pytest.raises(BadInputError):
        rename_model(project, "anna", name)
    with pytest.raises(BadInputError):
        copy_model(project, "anna", name, "test")
    assert project.models() == ["anna", "Bert"]


def test_letter_case_of_a_name_can_change(tmp_path: Path) -> None:
    project = film(tmp_path)
    make_model(project, "anna", 1)
    rename_model(project, "anna", "Anna")
    rename_model(project, "Anna", "Anna")
    assert project.models() == ["Anna"]


def test_nothing_touches_a_model_in_training(tmp_path: Path) -> None:
    project = film(tmp_path)
    folder = make_model(project, "anna", 1)
    with folder.lock("job 20240101-train"):
        with pytest.raises(ModelBusyError, match="job 20240101-train"):
            rename_model(project, "anna", "bert")
        with pytest.raises(ModelBusyError):
            delete_model(project, "anna", "anna")
        with pytest.raises(ModelBusyError):
            copy_model(project, "anna", "bert", "test")
    assert project.models() == ["anna"]
    assert deleted_models(project) == []


def test_unknown_models_are_named(tmp_path: Path) -> None:
    project = film(tmp_path)
    make_model(project, "anna", 1)
    for act in (
        lambda: rename_model(project, "nobody", "bert"),
        lambda: delete_model(project, "nobody", "nobody"),
        lambda: copy_model(project, "../anna", "bert", "test"),
    ):
        with pytest.raises(BadInputError, match="Models: anna"):
            act()


def test_deleting_needs_the_name_and_can_be_taken_back(tmp_path: Path) -> None:
    project = film(tmp_path)
    before = content(make_model(project, "anna", 2).path)
    with pytest.raises(BadInputError, match="typed name"):
        delete_model(project, "anna", "Anna")
    deleted = delete_model(project, "anna", "anna")
    assert project.models() == []
    assert deleted_models(project) == [deleted]
    assert deleted.name == "anna"
    assert restore_deleted(project, deleted.id) == "anna"
    assert content(project.model_dir("anna")) == before
    assert deleted_models(project) == []
    with pytest.raises(BadInputError, match="trash"):
        restore_deleted(project, deleted.id)


def test_a_taken_name_gets_a_number_when_it_comes_back(tmp_path: Path) -> None:
    project = film(tmp_path)
    make_model(project, "anna", 2)
    first = delete_model(project, "anna", "anna")
    make_model(project, "anna", 7)
    second = delete_model(project, "anna", "anna")
    assert [model.id for model in deleted_models(project)] == [second.id, first.id]
    make_model(project, "anna", 9)
    assert restore_deleted(project, first.id) == "anna-2"
    assert restore_deleted(project, second.id) == "anna-3"
    assert {status.name: status.iteration for status in project.status().models} == {
        "anna": 9,
        "anna-2": 2,
        "anna-3": 7,
    }


def test_emptying_the_trash_is_final(tmp_path: Path) -> None:
    project = film(tmp_path)
    make_model(project, "anna", 2)
    make_model(project, "bert", 2)
    delete_model(project, "anna", "anna")
    assert empty_deleted(project) > 1000
    assert deleted_models(project) == []
    assert empty_deleted(project) == 0
    assert project.models() == ["bert"]


def test_a_copy_goes_on_by_itself(tmp_path: Path) -> None:
    project = film(tmp_path)
    source = make_model(project, "anna", 2, 4)
    source.write_notes("mine")
    (source.backups_dir / "000000001-20260101-000000").mkdir(parents=True)
    before = content(source.path)
    done: list[int] = []
    copy = copy_model(project, "anna", "bert", "test", done.append)
    assert content(copy.path) == before
    assert not copy.backups_dir.exists()
    assert sum(done) == sum(map(len, before.values()))
    train_to(copy, 9)
    assert content(source.path) == before
    assert len(copy.losses) == 9


def test_a_stopped_copy_leaves_nothing(tmp_path: Path) -> None:
    project = film(tmp_path)
    make_model(project, "anna", 2)

    def stop(count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy_model(project, "anna", "bert", "test", stop)
    assert [path.name for path in project.model_root.iterdir()] == ["anna"]


def test_a_copy_needs_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = film(tmp_path)
    make_model(project, "anna", 2)
    monkeypatch.setattr(atomic.shutil, "disk_usage", lambda path: Usage(1 << 40, 0, 1 << 20))
    with pytest.raises(DiskFullError):
        copy_model(project, "anna", "bert", "test")
    assert project.models() == ["anna"]


def test_what_a_crash_left_is_ignored_and_cleaned(tmp_path: Path) -> None:
    project = film(tmp_path)
    left = project.model_root / ".unfinished-0123"
    make_model(project, "anna", 1)
    (left / "generations").mkdir(parents=True)
    assert project.models() == ["anna"]
    with locked(left / "writer.lock", LockOwner.this_process("another copy")):
        copy_model(project, "anna", "bert", "test")
        assert left.exists(), "a copy under way was taken for a leftover"
    copy_model(project, "anna", "carl", "test")
    assert not left.exists()


def test_a_name_taken_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    project = film(tmp_path)
    with pytest.raises(BadInputError, match="already"), new_model(project, "anna") as target:
        (target / "model.json").touch()
        make_model(project, "anna", 6)
    assert project.status().models[0].iteration == 6
    assert [path.name for path in project.model_root.iterdir()] == ["anna"]
