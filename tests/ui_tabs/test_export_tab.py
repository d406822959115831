"""The Export tab without a browser: result cards, marks, notes, what Start asks for, deleting a result."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import gradio as gr
import numpy as np
import pytest

from backend.core.errors import BadInputError
from backend.core.frames import VideoInfo
from backend.core.jobs import JobState
from backend.core.provenance import Provenance
from backend.core.settings import ExportSettings, MergeSettings
from backend.jobs.manager import JobManager
from backend.jobs.store import JobStore
from backend.storage.atomic import write_json
from backend.storage.image import write_image
from backend.storage.results import delete_result, read_sidecar, sidecar_path
from backend.storage.video_mark import TAGS, append_xmp
from backend.storage.video_writer import Picture, VideoWriter, frame_clock
from backend.storage.workspace import Project, Workspace
from ui_tabs.context import PageContext, View
from ui_tabs.export_tab import ExportTab, name_note_html, waiting_html
from ui_tabs.result_cards import Result, ResultCards, card_html, facts_of, marks_html, provenance_rows

FRAMES = 6


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def project(workspace: Workspace) -> Project:
    return workspace.create("film", "Drawn people agreed.")


@pytest.fixture
def page(workspace: Workspace) -> PageContext:
    return PageContext(JobManager(workspace), workspace)


def make_result(project: Project, name: str, mark: bool = True, sidecar: bool = True) -> Path:
    path = project.results_dir / f"{name}.mp4"
    clock = frame_clock([i / 24 for i in range(FRAMES)], FRAMES / 24, Fraction(24))
    with VideoWriter(path, Picture(64, 48), clock, None, TAGS if mark else None) as writer:
        for number in range(FRAMES):
            writer.write(np.full((48, 64, 3), number * 20, np.uint8))
    if mark:
        append_xmp(path)
    if sidecar:
        facts = Provenance(project=project.name, consent=project.consent, model="anna", iteration=1200)
        write_json(sidecar_path(path), {**facts.model_dump(mode="json"), "mark": mark})
    return path


def a_result(**changes: object) -> Result:
    info = VideoInfo(path=Path("a.mp4"), width=64, height=48, fps=Fraction(24), frame_count=6, duration_s=0.25)
    facts: dict[str, object] = {
        "path": Path("a <b>.mp4"),
        "url": "/file=a?v=1",
        "sidecar_url": "/file=a.json?v=1",
        "info": info,
        "marked": True,
        "sidecar": {"model": "anna", "iteration": 1200},
        "bytes": 2_500_000,
        "modified": 0.0,
    }
    return Result(**{**facts, **changes})  # type: ignore[arg-type]


def test_a_card_escapes_names_and_says_what_the_file_is() -> None:
    card = card_html(a_result(), preload=True)
    assert "a &lt;b&gt;.mp4" in card and "a <b>" not in card
    assert '<video controls playsinline preload="metadata" width="64" height="48" src="/file=a?v=1"' in card
    assert 'download="a &lt;b&gt;.mp4"' in card
    assert facts_of(a_result())[:5] == ["0.2 s", "6 frames", "64 x 48 px", "no sound", "2.5 MB"]
    assert 'preload="none"' in card_html(a_result(), preload=False)


def test_deleting_needs_a_second_button_that_is_hidden_first() -> None:
    card = card_html(a_result(), preload=True)
    before, _, after = card.partition('<span class="lk-sure" hidden>')
    assert 'data-act="ask"' in before and 'data-act="delete"' not in before
    assert 'data-act="delete"' in after and 'data-act="keep"' in after


def test_marks_are_told_from_the_file_and_its_sidecar() -> None:
    assert "marked as AI-manipulated" in marks_html(a_result())
    bare = marks_html(a_result(marked=False, sidecar={}))
    assert "no AI mark in the file" in bare and "no sidecar" in bare and "<details" not in bare
    rows = dict(provenance_rows({"model": "anna", "model_class": "saehd", "iteration": 41200, "mark": False}))
    assert rows == {"Model": "anna (saehd)", "Iteration": "41,200", "AI mark": "left out of the file by choice"}


def test_a_file_that_is_no_video_is_shown_with_the_reason(page: PageContext, project: Project) -> None:
    (project.results_dir / "broken.mp4").write_bytes(b"")
    shown = ResultCards(page).html(project)
    assert "<video" not in shown and 'class="lk-error"' in shown


def test_results_are_read_from_the_files_newest_first(page: PageContext, project: Project) -> None:
    cards = ResultCards(page)
    assert "appears here" in cards.html(project) and "appears here" in cards.html(None)
    empty = cards.stamp(project)
    make_result(project, "plain", mark=False, sidecar=False)
    make_result(project, "marked")
    assert cards.stamp(project) != empty
    shown = cards.html(project)
    assert shown.index("marked.mp4") < shown.index("plain.mp4")
    assert shown.count("marked as AI-manipulated") == 1 and shown.count("no AI mark in the file") == 1
    assert "Drawn people agreed." in shown and f"{FRAMES} frames" in shown
    assert cards.stamp(project) == cards.stamp(project)


def test_deleting_a_result_takes_its_sidecar_and_nothing_else(project: Project) -> None:
    first, second = make_result(project, "first"), make_result(project, "second")
    delete_result(project, "first.mp4")
    assert not first.exists() and not sidecar_path(first).exists()
    assert second.exists() and read_sidecar(second)["model"] == "anna"
    for name in ("first.mp4", "../second.mp4", "second.json", ""):
        with pytest.raises(BadInputError):
            delete_result(project, name)


def test_a_damaged_sidecar_counts_as_none(project: Project) -> None:
    path = make_result(project, "film", sidecar=False)
    assert read_sidecar(path) == {}
    sidecar_path(path).write_text("[1, 2")
    assert read_sidecar(path) == {}


def test_notes() -> None:
    assert (
        waiting_html(0) == ""
        and "1 more export waits." in waiting_html(1)
        and "3 more exports wait." in waiting_html(3)
    )
    assert name_note_html(False, "a") == "" and "a&lt;.mp4 already" in name_note_html(True, "a<")


class TestTab:
    """The tab object, ticked by hand."""

    @pytest.fixture
    def tab(self, page: PageContext) -> ExportTab:
        with gr.Blocks():
            page.view = gr.State(View())
            return ExportTab(page)

    @pytest.fixture
    def view(self, tab: ExportTab, project: Project) -> View:
        view = View(project=project.name, tab="export")
        tab.fill(view)
        return view

    @staticmethod
    def values(tab: ExportTab, view: View, **changes: object) -> dict[object, object]:
        given = {**ExportSettings().model_dump(), **changes}
        return {**{widget: given[name] for name, widget in tab.form.widgets.items()}, tab.page.view: view}

    @staticmethod
    def merge_some(project: Project) -> None:
        project.merged_dir.mkdir(parents=True, exist_ok=True)
        write_image(project.merged_dir / "00001.png", np.zeros((8, 8, 3), np.uint8))

    def test_needs_merged_frames_or_a_merge_on_its_way(self, tab: ExportTab, view: View, project: Project) -> None:
        assert "no merged frames" in tab._missing(view)
        JobStore(project).create("merge", MergeSettings(model="anna"), lane="cpu")
        assert tab._missing(view) == ""

    def test_exports_queue_but_the_same_one_only_once(self, tab: ExportTab, view: View, project: Project) -> None:
        self.merge_some(project)
        tab._begin(self.values(tab, view))
        shown = tab.tick(view)
        assert shown[tab.start]["interactive"] is True
        tab._begin(self.values(tab, view, name="other"))
        assert "1 more export waits." in tab.tick(view)[tab.waiting]
        with pytest.raises(BadInputError, match="waiting or running already"):
            tab._begin(self.values(tab, view))
        with pytest.raises(BadInputError):
            tab._begin(self.values(tab, view, name="a/b"))
        assert len(tab.page.jobs(view, ("export",))) == 2

    def test_the_player_is_drawn_only_when_the_results_change(
        self, tab: ExportTab, view: View, project: Project
    ) -> None:
        make_result(project, "film")
        assert "<video" in tab.tick(view)[tab.results]
        store = JobStore(project)
        job = store.create("export", ExportSettings(name="next"))
        store.update(job, state=JobState.RUNNING, done=1, total=9)
        assert tab.results not in tab.tick(view)
        make_result(project, "next")
        assert tab.results in tab.tick(view)

    def test_tells_that_a_name_is_taken_and_how_to_repeat_the_run(
        self, tab: ExportTab, view: View, project: Project
    ) -> None:
        shown = tab.tick(view)
        assert shown[tab.name_note] == "" and "export --project film" in shown[tab.command]
        make_result(project, "result")
        assert "result.mp4 already" in tab.tick(view)[tab.name_note]
        assert "--crf 30" in tab._noted(view, ExportSettings(name="web", crf=30))
        shown = tab.tick(view)
        assert shown[tab.name_note] == "" and tab.command not in shown

    def test_the_form_shows_the_settings_of_the_newest_export(
        self, tab: ExportTab, view: View, project: Project
    ) -> None:
        JobStore(project).create("export", ExportSettings(name="web", crf=30))
        assert tab.fill(view)[tab.form.widgets["crf"]]["value"] == 30


def test_file_urls_carry_the_version(page: PageContext, project: Project) -> None:
    path = make_result(project, "film")
    result = ResultCards(page)._result(path)
    assert result.url.endswith(f"film.mp4?v={path.stat().st_mtime_ns}")
    assert isinstance(result.info, VideoInfo)
