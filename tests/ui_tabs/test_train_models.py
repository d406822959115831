"""Care of models: notes, names, copies, files, backups, deleting."""

from __future__ import annotations

import os

import pytest

from backend.core.errors import BadInputError
from backend.core.jobs import JobState
from backend.core.settings import ModelFileSettings, SaehdSettings
from backend.jobs.launch import start_time
from backend.storage.atomic import write_json
from tests.ui_tabs.train_page import make_tab
from ui_tabs.context import View


@pytest.fixture
def train(tmp_path, monkeypatch):
    """(Train tab, its manager, a view on the model "anna")."""
    tab, manager = make_tab(tmp_path, monkeypatch)
    return tab, manager, View(project="film", local={"train.pick": "anna"})


def asked(manager):
    given = manager.jobs("film")[0].request.settings
    return {name: value for name, value in given.items() if value != ModelFileSettings.model_fields[name].default}


def test_notes_are_kept_and_come_back(train):
    tab, _, view = train
    tab.care._write_notes(view, "warp off at 80,000")
    assert tab.care.fill(view)[tab.care.notes] == "warp off at 80,000"
    assert tab.care.fill(View(project="film"))[tab.care.notes] == ""


def test_typing_is_not_disturbed_by_a_look(train):
    tab, _, view = train
    tab.care.tick(view)
    tab.care._model(view).write_notes("from another window")
    assert tab.care.notes not in tab.care.tick(view)


def test_a_renamed_model_stays_the_chosen_one(train):
    tab, manager, view = train
    tab.care._rename(view, " bea ")
    assert manager.workspace.open("film").models() == ["bea"]
    assert tab._moved(view)[tab.pick]["value"] == "bea"
    assert tab.care.tick(view)[tab.care.fold]["label"] == "This model: bea"


def test_a_deleted_model_comes_back(train):
    tab, manager, view = train
    project = manager.workspace.open("film")
    with pytest.raises(BadInputError, match="nothing was deleted"):
        tab.care._delete(view, "ann")
    tab.care._delete(view, "anna")
    assert project.models() == []
    assert tab._moved(view)[tab.pick]["value"] == ""
    assert tab.care.tick(view)[tab.care.back]["visible"] is True
    tab.care._undelete(view)
    assert project.models() == ["anna"]
    assert tab.care.tick(view)[tab.care.back]["visible"] is False


def test_a_model_in_training_is_left_alone(train):
    tab, _, view = train
    tab.page.submit(view, "train", SaehdSettings(model="anna"))
    for action in (tab.care._rename, tab.care._delete):
        with pytest.raises(BadInputError, match="has not ended"):
            action(view, "anna")
    with pytest.raises(BadInputError, match="has not ended"):
        tab.care._restore(view, "000000100-20260131-142500", "anna")


def test_copies_and_files_are_jobs(train):
    tab, manager, view = train
    tab.care._copy(view, "bea")
    assert asked(manager) == {"model": "anna", "name": "bea"}
    tab.care._export(view)
    assert asked(manager) == {"action": "export", "model": "anna"}
    tab.care.exchange._export_dfl(view)
    assert asked(manager) == {"action": "dfl", "model": "anna"}


def test_models_of_other_programs_are_imported_by_upload_or_by_path(train):
    tab, manager, view = train
    exchange = tab.care.exchange
    exchange._import(view, "/somewhere/anna.lookalike-model", "auto")
    assert asked(manager) == {"action": "import", "file": "/somewhere/anna.lookalike-model"}
    exchange._import(view, "/somewhere/live.dfm", "f")
    assert asked(manager) == {"action": "import", "file": "/somewhere/live.dfm", "face_type": "f"}
    assert exchange._import_path(view, "  /models/film  ", "auto") == ""
    assert asked(manager) == {"action": "import", "file": "/models/film"}
    with pytest.raises(BadInputError, match="no path"):
        exchange._import_path(view, " ", "auto")
    view.local["train.pick"] = ""
    with pytest.raises(BadInputError, match="No model is chosen"):
        exchange._export_dfl(view)


@pytest.mark.parametrize(
    ("kind", "words"),
    [("model", "in the list of models"), ("dfm", "cannot be trained"), ("deepfacelab", "DeepFaceLab model is here as")],
)
def test_an_import_says_what_came_of_it(train, kind, words):
    tab, manager, view = train
    tab.care.exchange._import(view, "/somewhere/file", "auto")
    [record] = manager.jobs("film")
    manager.store("film").update(record.id, state=JobState.DONE, result={"model": "<ann>", "kind": kind})
    shown = tab.care.tick(view)[tab.care.said]
    assert words in shown
    assert "&lt;ann&gt;" in shown


def test_an_exported_model_can_be_downloaded(train):
    tab, manager, view = train
    tab.care._export(view)
    [record] = manager.jobs("film")
    file = manager.workspace.open("film").results_dir / "anna.lookalike-model"
    file.write_bytes(b"x" * 2000)
    result = {"model": "anna", "path": "results/anna.lookalike-model"}
    manager.store("film").update(record.id, state=JobState.DONE, result=result)
    shown = tab.care.tick(view)[tab.care.said]
    assert 'download="anna.lookalike-model"' in shown
    assert "2.0 kB" in shown


def test_a_dfm_file_is_a_job_and_says_how_well_it_agrees(train):
    tab, manager, view = train
    tab.care.exchange._export_dfm(view, True)
    assert asked(manager) == {"action": "dfm", "model": "anna", "fp16": True}
    [record] = manager.jobs("film")
    file = manager.workspace.open("film").results_dir / "anna_SAEHD_model.dfm"
    file.write_bytes(b"x" * 2000)
    result = {"model": "anna", "path": f"results/{file.name}", "max_difference": 1.6e-4, "fp16": True}
    manager.store("film").update(record.id, state=JobState.DONE, result=result)
    shown = tab.care.tick(view)[tab.care.said]
    assert "2.0 kB, half precision, differs from the model by at most 0.0160 %." in shown
    assert 'download="anna_SAEHD_model.dfm"' in shown


def test_back_up_now_is_the_trainings_while_it_runs(train):
    tab, manager, view = train
    tab.care._backup_now(view)
    assert asked(manager) == {"action": "backup", "model": "anna"}
    manager.stop("film", manager.jobs("film")[0].id)
    job = tab.page.submit(view, "train", SaehdSettings(model="anna"))
    store = manager.store("film")
    store.update(job, state=JobState.RUNNING, pid=os.getpid(), pid_started=start_time(os.getpid()))
    tab.care._backup_now(view)
    assert (store.path(job) / "backup").exists()


def test_backups_are_listed_and_going_back_asks_for_the_name(train):
    tab, manager, view = train
    tab.care.tick(view)
    folder = tab.care._model(view).backups_dir / "000000100-20260131-142500"
    folder.mkdir(parents=True)
    write_json(folder / "backup.json", {"version": 1, "iteration": 100, "time": 1e9, "bytes": 520_000_000})
    shown = tab.care.tick(view)
    assert "520 MB" in shown[tab.care.backups]
    assert shown[tab.care.going_back]["visible"] is True
    assert shown[tab.care.choice]["value"] == folder.name
    for action in (tab.care._restore, tab.care._delete_backup):
        with pytest.raises(BadInputError, match="typed name"):
            action(view, folder.name, "")
        with pytest.raises(BadInputError, match="No backup is chosen"):
            action(view, None, "anna")
    tab.care._restore(view, folder.name, "anna")
    assert asked(manager) == {"action": "restore", "model": "anna", "name": folder.name}


def test_a_backup_is_deleted_while_the_model_trains_but_not_under_a_restore(train):
    tab, manager, view = train
    folder = tab.care._model(view).backups_dir / "000000100-20260131-142500"
    folder.mkdir(parents=True)
    write_json(folder / "backup.json", {"version": 1, "iteration": 100, "time": 1e9, "bytes": 520_000_000})
    tab.care._restore(view, folder.name, "anna")
    with pytest.raises(BadInputError, match="has not ended"):
        tab.care._delete_backup(view, folder.name, "anna")
    manager.stop("film", manager.jobs("film")[0].id)
    tab.page.submit(view, "train", SaehdSettings(model="anna"))
    tab.care._delete_backup(view, folder.name, "anna")
    assert not folder.exists()
    assert tab.care.tick(view)[tab.care.going_back]["visible"] is False


def test_the_trash_is_emptied_by_typing_the_projects_name(train):
    tab, manager, view = train
    project = manager.workspace.open("film")
    assert tab.care.tick(view)[tab.care.trash]["visible"] is False
    tab.care._delete(view, "anna")
    shown = tab.care.tick(view)
    assert shown[tab.care.trash]["visible"] is True
    assert "anna (deleted 20" in shown[tab.care.trashed]
    with pytest.raises(BadInputError, match="Nothing was deleted"):
        tab.care._empty_trash(view, "anna")
    tab.care._empty_trash(view, "film")
    assert list((project.model_root / ".trash").iterdir()) == []
    assert tab.care.tick(view)[tab.care.back]["visible"] is False
