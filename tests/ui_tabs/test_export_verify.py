"""Verifying files from the page: results, uploads that are removed once read, and what the report shows."""

from __future__ import annotations

from pathlib import Path

import gradio as gr
import pytest

from backend.core.errors import BadInputError
from backend.core.jobs import JobState
from backend.core.settings import VerifySettings
from backend.jobs.manager import JobManager
from backend.jobs.store import JobStore
from backend.pipeline import verify
from backend.storage.project import Project
from backend.storage.workspace import Workspace
from tests.pipeline.stage_bench import bench
from tests.storage.marked_files import make_file
from ui_tabs.context import PageContext, View
from ui_tabs.export_verify import VerifyPanel, report_html, report_rows
from ui_tabs.result_words import result_words


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Workspace(tmp_path / "workspace").create("film", "Drawn people agreed.")


@pytest.fixture
def panel(project: Project) -> VerifyPanel:
    workspace = Workspace(project.path.parent)
    page = PageContext(JobManager(workspace), workspace)
    with gr.Blocks():
        page.view = gr.State(View())
        return VerifyPanel(page)


@pytest.fixture
def view(panel: VerifyPanel) -> View:
    return View(project="film", tab="export")


def uploads(project: Project) -> list[Path]:
    return sorted(path for path in (project.jobs_dir / ".cache" / "verify").rglob("*") if path.is_file())


def test_an_upload_lies_in_the_project_until_it_was_read(
    panel: VerifyPanel, view: View, project: Project, tmp_path: Path
) -> None:
    sent, sidecar = make_file(tmp_path, "gif"), tmp_path / "other.json"
    sidecar.write_text("{}")
    panel.uploaded(view, [sidecar, sent])
    assert not sent.exists() and not sidecar.exists()
    assert [path.name for path in uploads(project)] == ["film.gif", "film.json"]
    panel.tick(view)
    assert len(uploads(project)) == 2
    (record,) = panel.page.jobs(view, ("verify",))
    assert Path(str(record.request.settings["file"])) == uploads(project)[0].resolve()
    JobStore(project).update(record.id, state=JobState.STOPPED)
    panel.tick(view)
    assert uploads(project) == [] and not (project.jobs_dir / ".cache" / "verify").exists()


def test_only_one_file_at_a_time_is_taken_and_nothing_stays(
    panel: VerifyPanel, view: View, project: Project, tmp_path: Path
) -> None:
    for names in (("a.gif", "b.gif"), ("a.json",), ()):
        files = [tmp_path / name for name in names]
        for file in files:
            file.write_bytes(b"GIF89a")
        with pytest.raises(BadInputError, match="Choose one"):
            panel.uploaded(view, files)
        assert not any(file.exists() for file in files)
    assert uploads(project) == [] and panel.page.jobs(view, ("verify",)) == []


def test_an_upload_without_a_job_leaves_nothing(
    panel: VerifyPanel, view: View, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> str:
        raise BadInputError("No.")

    monkeypatch.setattr(panel.page, "submit", refuse)
    with pytest.raises(BadInputError, match="No"):
        panel.uploaded(view, [make_file(tmp_path, "gif")])
    assert uploads(project) == []


def test_results_are_verified_by_name_and_folders_by_their_first_picture(
    panel: VerifyPanel, view: View, project: Project
) -> None:
    make_file(project.results_dir, "gif")
    folder = project.results_dir / "pictures"
    folder.mkdir()
    make_file(folder, "png")
    panel.result(view, "film.gif")
    panel.result(view, "pictures")
    asked = [Path(str(r.request.settings["file"])) for r in panel.page.jobs(view, ("verify",))]
    assert {path.relative_to(project.results_dir.resolve()).as_posix() for path in asked} == {
        "film.gif",
        "pictures/film.png",
    }
    for name in ("../film.gif", "gone.mp4", ""):
        with pytest.raises(BadInputError):
            panel.result(view, name)


def test_the_report_says_what_was_found_where(tmp_path: Path, project: Project) -> None:
    (tmp_path / "bench").mkdir()
    _, ctx, _ = bench(tmp_path / "bench")
    found = verify.run(VerifySettings(file=make_file(tmp_path, "mp4")), ctx)
    rows = dict(report_rows(found))
    assert rows["Metadata"].startswith("AI-manipulated: ") and rows["Sidecar"] == "none"
    assert rows["Digital source type"] == "compositeWithTrainedAlgorithmicMedia"
    assert "look at the picture" in rows["Visible label"] and rows["SHA-256"] == found["sha256"]
    store = JobStore(project)
    job = store.create("verify", VerifySettings(file=Path("/x/film <1>.mp4")))
    assert "waiting" in report_html(store.record(job))
    store.update(job, state=JobState.FAILED, error="It <fails>.")
    assert 'class="lk-error">It &lt;fails&gt;.' in report_html(store.record(job))
    store.update(job, state=JobState.DONE, error="", result=found)
    shown = report_html(store.record(job))
    assert 'data-marked="true"' in shown and "film &lt;1&gt;.mp4" in shown and "<1>" not in shown
    assert result_words(store.record(job)).startswith("film.mp4: AI-manipulated")


def test_the_report_of_signatures_and_sidecars() -> None:
    sidecar = {"name": "a.json", "matches": False, "model": "anna", "iteration": 1200, "label": "made up"}
    told = {"state": "invalid", "changed": True, "signer": "Anna", "issuer": "Anna", "algorithm": "Es256"}
    rows = dict(report_rows({"credentials": told, "sidecar": sidecar, "tags": {"a": "b"}, "bytes": 12}))
    assert rows["Content credentials"] == "not valid, the file was changed since"
    assert rows["Signed by"] == "Anna, Es256"
    assert rows["Sidecar"] == "a.json, checksum differs" and "iteration 1,200" in rows["It says"]
    assert rows["Visible label"] == '"made up", by its sidecar' and rows["Metadata"] == "no mark among 1 tags"
    assert rows["File"] == "UNKNOWN KIND, 12 B"
