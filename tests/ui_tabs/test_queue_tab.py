"""The Queue tab without a browser: words for jobs, rows, buttons, and what pressing them does."""

from __future__ import annotations

import time
from pathlib import Path

import gradio as gr
import pytest

from backend.core.errors import BadInputError
from backend.core.jobs import JobRequest, JobState, JobStatus
from backend.core.settings import ExportSettings, MergeSettings, SaehdSettings, SortSettings, SummarySettings
from backend.devices import Device
from backend.jobs.events import EventWriter
from backend.jobs.manager import JobManager
from backend.jobs.store import JobRecord, JobStore
from backend.storage.workspace import Project, Workspace
from ui_tabs.context import PageContext, View
from ui_tabs.job_words import (
    again_sentence,
    again_word,
    foreign_jobs,
    job_title,
    lane_word,
    settings_of,
    settings_rows,
    went_on_as,
    why_it_waits,
)
from ui_tabs.queue_rows import Act, Row, detail_html, rows_html, times_of
from ui_tabs.queue_tab import LOG_LINES, QueueTab, waiting_acts
from ui_tabs.result_words import result_words

GPU = Device(name="cuda:0", label="Big GPU", kind="cuda")


def job(stage: str = "train", state: JobState = JobState.QUEUED, **facts: object) -> JobRecord:
    given = {"id": "20250101-120000-train-0000", "project": "film", "lane": "cpu", "settings": {}, **facts}
    status = {name: given.pop(name) for name in list(given) if name in JobStatus.model_fields}
    request = JobRequest(stage=stage, created=1000.0, **given)  # type: ignore[arg-type]
    return JobRecord(request, JobStatus(state=state, **status), Path("nowhere"))  # type: ignore[arg-type]


class TestWords:
    """What is said about a job."""

    def test_titles(self) -> None:
        assert job_title(job("train", settings={"model": "anna"})) == "Train anna"
        assert job_title(job("extract-faces", settings={"side": "src"})) == "Faces from frames, source"
        assert job_title(job("export", settings={"name": "web"})) == "Export web"
        assert job_title(job("summary", settings={"train": {"model": "anna"}})) == "Describe network of anna"
        assert job_title(job("model", settings={"action": "copy", "model": "anna"})) == "Copy model anna"
        assert job_title(job("model", settings={"action": "import", "model": "model"})) == "Import a model file"

    def test_lanes(self) -> None:
        assert [lane_word(lane, [GPU]) for lane in ("io", "cpu", "best", "cuda:0", "xpu:1")] == [
            "",
            "CPU",
            "best device",
            "Big GPU (cuda:0)",
            "xpu:1",
        ]

    def test_why_a_job_waits(self) -> None:
        train = job("train", settings={"model": "anna", "target_iterations": 5})
        merge = job("merge", settings={"model": "anna"}, id="b")
        other = job("train", JobState.RUNNING, settings={"model": "otto"}, project="beta", lane="cuda:0")
        best = job("train", lane="best")
        assert why_it_waits(merge, [train], "cpu", None) == "Waits for Train anna, which it depends on."
        assert why_it_waits(best, [], None, None) == "Waits until the devices are listed."
        assert why_it_waits(best, [], "cpu", None) == "Starts next."
        assert "Big GPU (cuda:0), which Train otto of beta is using" in why_it_waits(best, [other], "cuda:0", [GPU])
        ahead = job("sort", lane="cpu", settings={"side": "src"}, id="c")
        assert why_it_waits(train, [ahead], "cpu", None).startswith(("Comes after", "Waits for Sort"))
        exports = [job("export", lane="io", id=name, settings={"name": name}) for name in "ab"]
        assert "one at a time" in why_it_waits(exports[1], exports[:1], "cpu", None)
        assert why_it_waits(job(foreground=True), [], "cpu", None) == "A command line is starting it."

    def test_jobs_of_other_projects_are_named_when_they_hold_what_is_wanted(self) -> None:
        facts = {"settings": {"model": "otto"}, "project": "beta", "done": 10, "total": 100, "rate": 1.0}
        other = job("train", JobState.RUNNING, **facts)
        assert foreign_jobs([job()], [other], "cpu", None) == [
            "CPU is taken by Train otto of the project beta, 1 min 30 s left."
        ]
        assert foreign_jobs([job(lane="io")], [other], "cpu", None) == []
        assert foreign_jobs([], [other], "cpu", None) == []
        assert foreign_jobs([job()], [job(state=JobState.RUNNING)], "cpu", None) == []

    def test_what_again_does(self) -> None:
        ran = {"started": 5.0, "finished": 9.0}
        assert again_word(job(state=JobState.INTERRUPTED, **ran)) == "Resume"
        assert again_word(job(state=JobState.STOPPED)) == "Run again"
        assert again_word(job(state=JobState.FAILED, **ran)) == "Try again"
        assert again_word(job("create", JobState.DONE, **ran)) == "" and again_word(job()) == ""
        assert "iteration 11,800" in again_sentence(job(state=JobState.INTERRUPTED, **ran), 11800)
        assert "last save of the model" in again_sentence(job(state=JobState.STOPPED, **ran))
        assert "from the beginning" in again_sentence(job("merge", JobState.INTERRUPTED, **ran))
        assert again_sentence(job(state=JobState.DONE, **ran)) == ""

    def test_a_later_job_is_found(self) -> None:
        first, second = job(id="a"), job(id="b", retry_of="a")
        assert went_on_as(first, [second, first]) is second and went_on_as(second, [second, first]) is None

    @pytest.mark.parametrize(
        ("stage", "result", "words"),
        [
            (
                "train",
                {"iteration": 1200, "src_loss": 0.5, "dst_loss": 0.25},
                "iteration 1,200, loss 0.5000 src, 0.2500 dst",
            ),
            (
                "train",
                {"iteration": 3, "src_loss": None, "ssim_src": 0.97, "ssim_dst": 0.94},
                "iteration 3, SSIM 0.970 src, 0.940 dst",
            ),
            (
                "merge",
                {"merged": 46, "passed_through": 2, "iteration": 9},
                "46 frames merged, 2 passed through without a face, model at iteration 9",
            ),
            ("sort", {"faces": 94, "by": "blur", "renamed": 3}, "94 faces, sharpest first, files renamed"),
            (
                "extract-faces",
                {"faces": 1, "frames": 2, "without_face": ["a"], "detector": "mtcnn", "landmarker": "points5"},
                "1 face in 2 frames, 1 without a face (mtcnn and points5)",
            ),
            ("extract-frames", {"frames": 48, "seconds": 2.0}, "48 frames, 2.0 s of the clip"),
            (
                "edit-clip",
                {"frames": 9, "seconds": 1.5, "starts_at_s": 2.0, "width": 64, "height": 48},
                "64 x 48, 1.50 s from 2.00 s on",
            ),
            ("edit-clip", {"restored": "data_src.mp4"}, "data_src.mp4 is back"),
            (
                "denoise-frames",
                {"frames": 9, "noise_before": 4.21, "noise_after": 0.98},
                "9 frames, noise 4.2 before, 1.0 after",
            ),
            (
                "persons",
                {"persons": 2, "faces": 30, "trashed": 4},
                "2 persons in 30 faces, 4 faces of others to the trash",
            ),
            ("gray-faces", {"converted": 3, "unchanged": 1, "left": 0}, "3 faces turned gray, 1 were gray already"),
            (
                "export",
                {"video": "results/a.mp4", "frames": 48, "seconds": 2.0, "audio": "copied", "mark": True},
                "results/a.mp4, 48 frames, 2.0 s, with sound, marked as AI-manipulated",
            ),
            ("export", {"something": 1234, "odd_name": "x"}, "something 1,234, odd name x"),
            ("create", {"src": {"width": 4, "height": 2, "frames": 1}}, "source 4 x 2, 1 frame"),
            ("sample", {"frames": 96, "seconds": 4.0}, "two clips of 4.0 s, 96 frames each"),
        ],
    )
    def test_results(self, stage: str, result: dict[str, object], words: str) -> None:
        assert result_words(job(stage, JobState.DONE, result=result)) == words

    def test_settings_are_a_table_in_which_defaults_are_known(self) -> None:
        settings = SaehdSettings(model="anna", learning_rate=5e-5, batch_size=6)
        rows = {label: (text, default) for label, text, default in settings_rows("train", settings)}
        assert rows["Batch size"] == ("6", False) and rows["Masked training"] == ("on", True)
        assert rows["Learning rate"][0] == "0.00005" and rows["Resolution"][0].endswith(" px")
        assert settings_of(job("train", settings={"what": 1})) is None
        asked = SummarySettings(model="anna", train={"batch_size": 6, "use_fp16": True})
        assert ("Training settings", "2", False) in settings_rows("summary", asked)
        assert settings_of(job("unknown-stage")) is None


class TestRows:
    """Markup."""

    def test_a_row_has_real_buttons_with_names(self) -> None:
        row = Row(
            job(settings={"model": "<x>"}),
            "CPU",
            "Starts next.",
            (Act("up", "Earlier", False), Act("cancel", "Cancel")),
        )
        shown = rows_html([row], row.record.id)
        assert "<x>" not in shown and 'aria-label="Cancel: Train &lt;x&gt;"' in shown
        assert shown.count('<button type="button"') == 3 and shown.count(" disabled>") == 1
        assert 'aria-pressed="true"' in shown and 'data-chosen="true"' in shown
        assert 'data-chosen="true"' not in rows_html([row], "another")

    def test_progress_and_errors(self) -> None:
        running = job(state=JobState.RUNNING, started=time.time() - 5, done=5, total=10, rate=1.0, unit="frames")
        shown = rows_html([Row(running)], "")
        assert 'aria-valuenow="50"' in shown and "5 s left" in shown
        failed = rows_html([Row(job(state=JobState.FAILED, error="No <disk>."))], "")
        assert "lk-row-failed" in failed and "No &lt;disk&gt;." in failed

    def test_times(self) -> None:
        assert times_of(job(state=JobState.DONE, started=100.0, finished=165.0))[0] == "1 min 5 s"
        assert len(times_of(job(state=JobState.STOPPED, finished=165.0))) == 1
        assert times_of(job())[0].startswith("asked for ")

    def test_detail_shows_settings_as_json_when_they_cannot_be_read(self) -> None:
        record = job(settings={"what": "<b>"}, foreground=True)
        shown = detail_html(Row(record, "CPU"), None, "", "Resume it.")
        assert "&lt;b&gt;" in shown and "cannot read" in shown and "the command line" in shown and "Resume it." in shown
        shown = detail_html(Row(job("sort")), SortSettings(side="dst"), "python -m backend sort", "")
        assert '<tr class=""><td>Side</td>' in shown and "lk-command" in shown

    def test_a_job_of_the_command_line_is_not_moved(self) -> None:
        first, second, third = (job(id=name) for name in "abc")
        assert waiting_acts([first, second], first) == (
            Act("next", "Run next", False),
            Act("up", "Earlier", False),
            Act("down", "Later"),
            Act("cancel", "Cancel"),
        )
        assert waiting_acts([first, third], third)[2].enabled is False
        assert waiting_acts([job(foreground=True)], job(foreground=True)) == (Act("cancel", "Cancel"),)


class TestTab:
    """The tab object, ticked by hand over jobs on disk."""

    @pytest.fixture
    def workspace(self, tmp_path: Path) -> Workspace:
        return Workspace(tmp_path / "workspace")

    @pytest.fixture
    def project(self, workspace: Workspace) -> Project:
        return workspace.create("film", "Drawn people agreed.")

    @pytest.fixture
    def store(self, project: Project) -> JobStore:
        return JobStore(project)

    @pytest.fixture
    def tab(self, workspace: Workspace) -> QueueTab:
        with gr.Blocks():
            page = PageContext(JobManager(workspace), workspace)
            return QueueTab(page)

    @pytest.fixture
    def view(self, project: Project) -> View:
        return View(project=project.name, tab="queue")

    def ended(self, store: JobStore, state: JobState, **facts: object) -> str:
        made = store.create("train", SaehdSettings(model="anna"), lane="cpu")
        store.update(made, state=state, started=1.0, finished=2.0, **facts)
        return made

    def test_empty_lists_say_what_will_appear(self, tab: QueueTab, view: View) -> None:
        shown = tab.tick(view)
        assert all('class="lk-empty"' in shown[part] for part in (tab.running, tab.waiting, tab.finished, tab.detail))
        assert tab.tick(view) == {}

    def test_only_what_changed_is_sent(self, tab: QueueTab, view: View, store: JobStore) -> None:
        running = store.create("export", ExportSettings())
        store.update(running, state=JobState.RUNNING, started=time.time(), total=10)
        self.ended(store, JobState.DONE, result={"iteration": 5})
        shown = tab.tick(view)
        assert "Export result" in shown[tab.running] and "iteration 5" in shown[tab.finished]
        assert "python -m backend export --project film" in shown[tab.detail]
        store.update(running, done=3)
        assert set(tab.tick(view)) == {tab.running}
        (store.path(running) / "log.txt").write_text("\n".join(f"line {n}" for n in range(300)))
        log = tab.tick(view)[tab.log]
        assert "line 299" in log and f"line {300 - LOG_LINES}\n" in log and f"line {299 - LOG_LINES}\n" not in log

    def test_waiting_jobs_are_moved_and_cancelled(self, tab: QueueTab, view: View, store: JobStore) -> None:
        first = store.create("export", ExportSettings(name="first"))
        second = store.create("export", ExportSettings(name="second"))
        tab._act(view, "up", second)
        html = tab.tick(view)[tab.waiting]
        assert html.index("Export second") < html.index("Export first")
        tab._act(view, "cancel", second)
        shown = tab.tick(view)
        assert "Export second" not in shown[tab.waiting] and "Cancelled." in shown[tab.finished]
        assert store.status(first).state is JobState.QUEUED

    def test_the_last_can_run_next(self, tab: QueueTab, view: View, store: JobStore) -> None:
        for name in ("first", "second", "third"):
            job = store.create("export", ExportSettings(name=name))
        tab._act(view, "next", job)
        html = tab.tick(view)[tab.waiting]
        assert html.index("Export third") < html.index("Export first") < html.index("Export second")

    def test_the_queue_is_held_and_goes_on(self, tab: QueueTab, view: View, store: JobStore) -> None:
        assert "Stop after" not in tab.tick(view)[tab.waiting]
        store.create("export", ExportSettings())
        assert "Stop after the running jobs" in tab.tick(view)[tab.waiting]
        tab._act(view, "hold", "")
        html = tab.tick(view)[tab.waiting]
        assert html.count("The queue is held") == 2 and "Go on" in html
        tab._act(view, "release", "")
        assert "held" not in tab.tick(view)[tab.waiting]

    def test_an_interrupted_training_says_where_it_goes_on_and_resumes_once(
        self, tab: QueueTab, view: View, store: JobStore
    ) -> None:
        lost = self.ended(store, JobState.INTERRUPTED, error="The worker ended without finishing.")
        events = EventWriter(store.path(lost) / "events.jsonl")
        events("milestone", {"what": "saved", "message": "Saved.", "iteration": 11800})
        events.close()
        shown = tab.tick(view)
        assert "Resume: Train anna" in shown[tab.finished]
        assert "goes on from the last save, at iteration 11,800" in shown[tab.detail]
        tab._act(view, "again", lost)
        later = view.local["queue.job"]
        assert later != lost and store.request(later).retry_of == lost
        shown = tab.tick(view)
        assert "A later job went on with it." in shown[tab.finished] and 'data-act="again"' not in shown[tab.finished]
        with pytest.raises(BadInputError, match="already"):
            tab._act(view, "again", lost)

    def test_nothing_runs_again_without_consent(self, tab: QueueTab, view: View, store: JobStore) -> None:
        failed = self.ended(store, JobState.FAILED)
        store.project.set_consent("")
        with pytest.raises(BadInputError, match="consent"):
            tab._act(view, "again", failed)

    def test_stop_leaves_the_wish_for_the_worker(self, tab: QueueTab, view: View, store: JobStore) -> None:
        running = store.create("export", ExportSettings())
        store.update(running, state=JobState.RUNNING, started=1.0)
        tab._act(view, "stop", running)
        assert (store.path(running) / "stop").exists()
        assert " disabled>Stop" in tab.tick(view)[tab.running]

    def test_jobs_of_other_projects_on_the_same_device_are_named(
        self, tab: QueueTab, view: View, store: JobStore, workspace: Workspace
    ) -> None:
        other = JobStore(workspace.create("beta", "Drawn people agreed."))
        taken = other.create("train", SaehdSettings(model="otto"), lane="cpu")
        other.update(taken, state=JobState.RUNNING, started=1.0)
        store.create("merge", MergeSettings(model="anna"), lane="cpu")
        shown = tab.tick(view)
        assert "CPU is taken by Train otto of the project beta." in shown[tab.waiting]
        assert "otto" not in shown[tab.running]

    def test_a_long_list_is_cut_until_asked_for(self, tab: QueueTab, view: View, store: JobStore) -> None:
        for _ in range(25):
            self.ended(store, JobState.DONE)
        shown = tab.tick(view)[tab.finished]
        assert shown.count('<li class="lk-row"') == 20 and "Show 5 older" in shown
        tab._act(view, "more", "")
        assert tab.tick(view)[tab.finished].count('<li class="lk-row"') == 25
