from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from backend.core.errors import BadInputError, StopRequested
from backend.core.settings import ModelFileSettings
from backend.pipeline.stages import load_stage
from backend.storage.model_backups import list_backups
from backend.storage.model_file import SUFFIX
from backend.storage.model_folder import ModelFolder
from tests.pipeline.stage_bench import bench, stop_after
from tests.storage.models import content, make_model, train_to


def test_copy_export_import(tmp_path: Path) -> None:
    project, ctx, reports = bench(tmp_path)
    run = load_stage("model")
    source = make_model(project, "anna", 2, 4)
    assert run(ModelFileSettings(action="copy", model="anna"), ctx)["model"] == "anna-2"
    assert content(project.model_dir("anna-2")) == content(source.path)
    first = run(ModelFileSettings(action="export", model="anna"), ctx)
    second = run(ModelFileSettings(action="export", model="anna"), ctx)
    assert (first["path"], second["path"]) == (f"results/anna-4{SUFFIX}", f"results/anna-4-2{SUFFIX}")
    assert first["bytes"] == (project.path / first["path"]).stat().st_size
    assert {path.name for path in project.results_dir.iterdir()} == {f"anna-4{SUFFIX}", f"anna-4-2{SUFFIX}"}
    assert reports.of("artifact")[0] == {"what": "model", "path": f"results/anna-4{SUFFIX}"}
    assert not [p for p in project.results_dir.iterdir() if p.name.startswith(".")]
    file = str(project.path / first["path"])
    result = run(ModelFileSettings(action="import", file=file, name="bert"), ctx)
    assert (result["model"], result["iteration"]) == ("bert", 4)
    assert project.models() == ["anna", "anna-2", "bert"]
    last = reports.of("progress")[-1]
    assert (last["unit"], last["done"]) == ("MB", last["total"])


def test_backup_and_restore(tmp_path: Path) -> None:
    project, ctx, reports = bench(tmp_path)
    run = load_stage("model")
    folder = make_model(project, "anna", 2)
    backup = run(ModelFileSettings(action="backup", model="anna"), ctx)
    train_to(folder, 4)
    result = run(ModelFileSettings(action="restore", model="anna", name=backup["backup"]), ctx)
    assert (result["iteration"], len(folder.losses)) == (2, 2)
    assert [kept.name for kept in list_backups(folder)] == [result["kept"], backup["backup"]]
    assert [event["what"] for event in reports.of("milestone")] == ["backup", "restored"]


@pytest.mark.parametrize("action", ["copy", "export", "import", "backup", "restore"])
def test_a_stop_leaves_models_and_results_as_they_were(tmp_path: Path, action: str) -> None:
    project, ctx, _ = bench(tmp_path)
    run = load_stage("model")
    folder = make_model(project, "anna", 2)
    backup = run(ModelFileSettings(action="backup", model="anna"), ctx)["backup"]
    file = str(project.path / run(ModelFileSettings(action="export", model="anna"), ctx)["path"])
    train_to(folder, 4)
    before = content(project.path)
    name = {"restore": backup, "copy": "bert", "import": "bert"}.get(action, "")
    for calls in (0, 2):
        _, stopping, _ = bench(tmp_path, stop_after(calls))
        with pytest.raises(StopRequested):
            run(ModelFileSettings(action=action, model="anna", name=name, file=file), stopping)
        assert content(project.path) == before
        assert folder.owner() is None


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    project, ctx, _ = bench(tmp_path)
    run = load_stage("model")
    make_model(project, "anna", 2)
    for settings, words in (
        (ModelFileSettings(action="export", model="nobody"), "no model 'nobody'"),
        (ModelFileSettings(action="copy", model="anna", name="anna"), "already"),
        (ModelFileSettings(action="restore", model="anna", name="none"), "no backup 'none'"),
        (ModelFileSettings(action="import", file=str(tmp_path / "none")), "There is no file"),
    ):
        with pytest.raises(BadInputError, match=words):
            run(settings, ctx)
    assert ModelFolder(project.model_dir("anna")).owner() is None
    for wrong in ({"action": "import"}, {"action": "restore", "model": "anna"}, {"action": "export"}):
        with pytest.raises(ValidationError):
            ModelFileSettings(**wrong)
