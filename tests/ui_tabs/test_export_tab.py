"""The Export tab without a browser: what can be started, what the form follows, the queue, results, deleting."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import gradio as gr
import numpy as np
import pytest

from backend.core.errors import BadInputError
from backend.core.frames import FrameRef, FrameTable, VideoInfo
from backend.core.jobs import JobState
from backend.core.provenance import Provenance
from backend.core.settings import ExportSettings, MergeKey, MergeSettings, RenderSettings
from backend.jobs.manager import JobManager
from backend.jobs.store import JobStore
from backend.storage.atomic import write_json
from backend.storage.frame_table import save_frame_table
from backend.storage.image import write_image
from backend.storage.merge_plan import save_plan
from backend.storage.results import delete_result, read_sidecar, sidecar_path
from backend.storage.video_mark import TAGS, append_xmp
from backend.storage.video_writer import Picture, VideoWriter, frame_clock
from backend.storage.workspace import Project, Workspace
from tests.ui_tabs.train_page import make_model
from ui_tabs.context import PageContext, View
from ui_tabs.export_abilities import AbilityTests
from ui_tabs.export_form import Abilities
from ui_tabs.export_queue import target_name
from ui_tabs.export_runs import name_note
from ui_tabs.export_tab import ExportTab
from ui_tabs.queue_moves import move

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


@pytest.fixture
def tab(page: PageContext) -> ExportTab:
    with gr.Blocks():
        page.view = gr.State(View())
        made = ExportTab(page)
    made.tests = AbilityTests(lambda hardware, codec: "no such card", lambda: "")
    return made


@pytest.fixture
def view(tab: ExportTab, project: Project) -> View:
    view = View(project=project.name, tab="export")
    tab.fill(view)
    return view


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


def values(tab: ExportTab, view: View, **changes: object) -> dict[object, object]:
    given = {**ExportSettings().model_dump(), **changes}
    found = {widget: given[name] for name, widget in tab.form.widgets.items()}
    return {**found, tab.page.view: view, tab.keep: bool(changes.get("keep_frames", False))}


def merge_some(project: Project) -> None:
    project.merged_dir.mkdir(parents=True, exist_ok=True)
    write_image(project.merged_dir / "00001.png", np.zeros((8, 8, 3), np.uint8))


def make_clip(project: Project) -> None:
    """Frames with their table, and a face file by name, so that merging could start."""
    side = project.side("dst")
    side.frames_dir.mkdir(parents=True, exist_ok=True)
    info = VideoInfo(path=Path("a.mp4"), width=64, height=48, fps=Fraction(24), frame_count=FRAMES, duration_s=0.25)
    refs = tuple(FrameRef(file=f"{n:05}.png", index=n - 1, time_s=(n - 1) / 24) for n in range(1, FRAMES + 1))
    for ref in refs:
        write_image(side.frames_dir / ref.file, np.zeros((48, 64, 3), np.uint8))
    save_frame_table(side, FrameTable(video=info, frames=refs, end_s=FRAMES / 24))
    side.aligned_dir.mkdir(parents=True, exist_ok=True)
    write_image(side.aligned_dir / "00001_0.jpg", np.zeros((8, 8, 3), np.uint8))


# -- what can be started


def test_merged_frames_or_a_merge_on_its_way_are_needed(tab: ExportTab, view: View, project: Project) -> None:
    shown = tab.tick(view)
    assert shown[tab.start]["interactive"] is False and "no merged frames" in shown[tab.merged]
    assert shown[tab.render]["interactive"] is False and "no trained model" in shown[tab.plan]
    JobStore(project).create("merge", MergeSettings(model="anna"), lane="cpu")
    shown = tab.tick(view)
    assert shown[tab.start]["interactive"] is True and "being merged" in shown[tab.merged]


def test_merged_frames_that_are_missing_are_counted(tab: ExportTab, view: View, project: Project) -> None:
    make_clip(project)
    merge_some(project)
    said = tab.tick(view)[tab.merged]
    assert "1 of 6 frames are merged." in said and "5 are missing." in said


def test_exports_queue_but_the_same_one_only_once(tab: ExportTab, view: View, project: Project) -> None:
    merge_some(project)
    tab._export(values(tab, view))
    assert tab.tick(view)[tab.start]["interactive"] is True
    tab._export(values(tab, view, name="other"))
    with pytest.raises(BadInputError, match="waiting or running already"):
        tab._export(values(tab, view))
    with pytest.raises(BadInputError):
        tab._export(values(tab, view, name="a/b"))
    assert len(tab.page.jobs(view, ("export",))) == 2


def test_merge_and_export_freezes_the_plan_with_the_range_of_the_form(
    tab: ExportTab, view: View, project: Project
) -> None:
    make_clip(project)
    make_model(project, "anna", 1200)
    plan = MergeSettings(model="anna", blur_mask=7, last_frame=2, keys=(MergeKey(frame=3),))
    save_plan(project, plan)
    said = tab.tick(view)[tab.plan]
    assert "model anna at iteration 1,200, 1 key frame." in said
    tab._render(values(tab, view, name="both", first_frame=2, last_frame=5, keep_frames=True))
    save_plan(project, plan.model_copy(update={"blur_mask": 90}))
    (record,) = tab.page.jobs(view, ("render",))
    asked = RenderSettings.model_validate(record.request.settings)
    assert (asked.blur_mask, asked.model, len(asked.keys), asked.keep_frames) == (7, "anna", 1, True)
    assert (asked.name, asked.first_frame, asked.last_frame) == ("both", 2, 5)
    shown = tab.tick(view)[tab.command]
    assert "render --project film" in shown and "--config" in shown and "merge_plan.json" in shown
    assert tab.fill(view)[tab.form.widgets["name"]]["value"] == "both"


def test_a_plan_that_cannot_be_read_stops_merge_and_export(tab: ExportTab, view: View, project: Project) -> None:
    make_clip(project)
    make_model(project, "anna", 1200)
    write_json(project.path / "merge_plan.json", {"blur_mask": "much"})
    assert "merge_plan.json does not fit" in tab.tick(view)[tab.plan]
    with pytest.raises(BadInputError, match="does not fit"):
        tab._render(values(tab, view))


def test_a_range_beyond_the_clip_and_a_wrong_certificate_are_refused(
    tab: ExportTab, view: View, project: Project, tmp_path: Path
) -> None:
    make_clip(project)
    merge_some(project)
    assert tab._fault(view, ExportSettings(last_frame=7)).startswith("Last frame: ")
    with pytest.raises(BadInputError, match="only 6 frames"):
        tab._export(values(tab, view, last_frame=7))
    wrong = {"sign": True, "certificate": str(tmp_path / "none.pem"), "private_key": str(tmp_path / "none.pem")}
    shown = tab._follow(values(tab, view, **wrong))
    assert 'class="lk-error"' in shown[tab.form.notes["private_key"]]
    with pytest.raises(BadInputError):
        tab._export(values(tab, view, **wrong))
    with pytest.raises(BadInputError, match="needs a certificate"):
        tab._export(values(tab, view, sign=True, certificate="", private_key=" "))
    assert tab.page.jobs(view, ("export",)) == []


# -- what the form follows


def test_a_card_fills_the_form_and_is_marked_as_long_as_it_fits(tab: ExportTab, view: View, project: Project) -> None:
    make_clip(project)
    shown = tab._choose(view, ExportSettings(name="mine").model_dump(), "mov-alpha")
    widgets = tab.form.widgets
    assert shown[widgets["codec"]]["value"] == "prores4444" and widgets["name"] not in shown
    assert 'data-card="mov-alpha" aria-pressed="true"' in shown[tab.cards]
    assert "6 frames (1 to 6)" in shown[tab.estimate]
    kept = {"container": "mov", "content": "alpha", "codec": "prores4444"}
    shown = tab._follow(values(tab, view, **kept, crf=30))
    assert 'aria-pressed="true"' not in shown[tab.cards] and shown[widgets["crf"]]["visible"] is False
    assert tab._choose(view, {}, "nothing") == {}


def test_another_kind_of_file_brings_its_codecs(tab: ExportTab, view: View) -> None:
    shown = tab._follow(values(tab, view, container="gif", codec="h265", rate="bitrate"))
    codec = shown[tab.form.widgets["codec"]]
    assert codec["value"] == "auto" and [value for _, value in codec["choices"]] == ["auto"]
    assert codec["visible"] is False and shown[tab.form.widgets["rate"]]["value"] == "quality"


def test_contradictions_take_the_estimate_away(tab: ExportTab, view: View, project: Project) -> None:
    make_clip(project)
    assert "6 frames" in tab._follow(values(tab, view, crf=20))[tab.estimate]
    assert tab._follow(values(tab, view, first_frame=5, last_frame=4))[tab.estimate] == ""
    assert tab._settings(view).crf == 20
    assert "2 frames (3 to 4)" in tab._follow(values(tab, view, first_frame=3, last_frame=4))[tab.estimate]


def test_what_this_computer_cannot_do_is_greyed_with_the_reason(tab: ExportTab) -> None:
    shown = tab.form.able(Abilities({"nvenc": "no card", "amf": "no card"}, "Install it with: pip"), "software")
    sign = shown[tab.form.widgets["sign"]]
    assert sign["interactive"] is False and "pip" in shown[tab.form.notes["sign"]]
    offered = [value for _, value in shown[tab.form.widgets["encoder"]]["choices"]]
    assert offered == ["software", "auto", "qsv", "videotoolbox"]
    assert "NVENC, AMF. no card." in shown[tab.form.notes["encoder"]]
    assert "interactive" not in tab.form.updates(ExportSettings())[tab.form.widgets["sign"]]


def test_paths_go_into_the_form_as_text_and_come_back_absolute(tab: ExportTab, view: View) -> None:
    settings = ExportSettings(sign=True, certificate=Path("/a/chain.pem"), private_key=Path("/a/key.pem"))
    shown = tab.form.updates(settings)
    assert shown[tab.form.widgets["certificate"]]["value"] == "/a/chain.pem"
    read = tab.form.read(values(tab, view, sign=True, certificate=" ~/chain.pem ", private_key="key.pem"))
    assert read.certificate == Path.home() / "chain.pem" and read.private_key == Path.cwd() / "key.pem"
    assert tab.form.read(values(tab, view, certificate="", private_key=None)).certificate is None


def test_the_form_shows_the_settings_of_the_newest_export(tab: ExportTab, view: View, project: Project) -> None:
    JobStore(project).create("export", ExportSettings(name="web", crf=30))
    assert tab.fill(view)[tab.form.widgets["crf"]]["value"] == 30


def test_tells_that_a_name_is_taken_and_how_to_repeat_the_run(tab: ExportTab, view: View, project: Project) -> None:
    shown = tab.tick(view)
    assert shown[tab.form.notes["name"]] == "" and "export --project film" in shown[tab.command]
    make_result(project, "result")
    assert "result.mp4 already" in tab.tick(view)[tab.form.notes["name"]]
    shown = tab._follow(values(tab, view, name="web", crf=30))
    assert "--crf 30" in shown[tab.command] and shown[tab.form.notes["name"]] == ""
    assert tab.command not in tab.tick(view)
    assert name_note(project, ExportSettings(container="png")) == "" == name_note(None, ExportSettings())


# -- the queue


def test_the_queue_lists_merges_and_exports_in_their_order(tab: ExportTab, view: View, project: Project) -> None:
    store = JobStore(project)
    first = store.create("export", ExportSettings(name="one"), lane="io")
    second = store.create("export", ExportSettings(name="two", container="png"), lane="io")
    shown = tab.queue.html(view)
    assert shown.index("one.mp4") < shown.index("two") and "Stop after the running jobs" in shown
    move(tab.page, view, "next", second)
    shown = tab.queue.html(view)
    assert shown.index(f'data-row="{second}"') < shown.index(f'data-row="{first}"')
    move(tab.page, view, "down", second)
    assert [job.id for job in tab.page.manager.queued()] == [first, second]
    move(tab.page, view, "hold", "")
    assert tab.page.manager.held("film") and "The queue is held" in tab.queue.html(view)
    move(tab.page, view, "release", "")
    move(tab.page, view, "cancel", first)
    assert store.status(first).state is JobState.STOPPED and first not in tab.queue.html(view)
    move(tab.page, view, "show", second)
    assert view.local["queue.job"] == second
    assert target_name(store.record(second).request) == "two"


def test_other_stages_are_left_to_the_queue_tab(tab: ExportTab, view: View, project: Project) -> None:
    JobStore(project).create("extract-frames", ExportSettings(), lane="io")
    assert "listed here" in tab.queue.html(view) and "listed here" in tab.queue.html(View())


# -- results


def test_results_are_sent_only_when_they_change(tab: ExportTab, view: View, project: Project) -> None:
    make_result(project, "film")
    assert "<video" in json.loads(_told(tab.tick(view)[tab.data]))["cards"][0]["player"]
    store = JobStore(project)
    job = store.create("export", ExportSettings(name="next"))
    store.update(job, state=JobState.RUNNING, done=1, total=9)
    assert tab.data not in tab.tick(view)
    make_result(project, "next")
    assert tab.data in tab.tick(view)


def test_deleting_and_verifying_from_a_card(tab: ExportTab, view: View, project: Project) -> None:
    make_result(project, "film")
    tab.tick(view)
    tab._act(view, "verify", "film.mp4")
    assert len(tab.page.jobs(view, ("verify",))) == 1
    tab._act(view, "delete", "film.mp4")
    assert project.results() == [] and tab.data in tab.tick(view)


def test_deleting_a_result_takes_its_sidecar_and_nothing_else(project: Project) -> None:
    first, second = make_result(project, "first"), make_result(project, "second")
    delete_result(project, "first.mp4")
    assert not first.exists() and not sidecar_path(first).exists()
    assert second.exists() and read_sidecar(second)["model"] == "anna"
    for name in ("first.mp4", "../second.mp4", "second.json", ""):
        with pytest.raises(BadInputError):
            delete_result(project, name)


def _told(data: str) -> str:
    import html

    return html.unescape(data.removeprefix("<div hidden>").removesuffix("</div>"))
