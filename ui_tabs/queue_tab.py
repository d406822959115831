"""The Queue tab: all jobs of the project, running, waiting and finished, with log and settings of the chosen one."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import gradio as gr

from backend.core.errors import BadInputError
from backend.core.jobs import JobState
from backend.jobs.command import command_line
from backend.jobs.store import JobRecord
from ui_tabs.context import PageContext, TabHandles, Updates, View
from ui_tabs.job_panel import empty_html, log_html
from ui_tabs.job_words import (
    again_sentence,
    again_word,
    foreign_jobs,
    job_title,
    settings_of,
    went_on_as,
)
from ui_tabs.queue_moves import HELD, best_device, job_place, move, waiting_note
from ui_tabs.queue_rows import LOG_SCRIPT, ROW_SCRIPT, Act, Row, detail_html, rows_html
from ui_tabs.result_words import result_words

FINISHED_SHOWN = 20
LOG_LINES = 200
NO_RUNNING = "A running job shows its progress here. Start one in the tab of its step."
NO_WAITING = "Jobs wait here while the device they need, or what they build on, is busy."
NO_FINISHED = "Jobs that have ended are listed here with their result."
NO_CHOSEN = "Log, settings and command line of a job appear here. Press the name of one."


class QueueTab:
    """Left: three lists, each drawn anew only when it changed. Right: the chosen job."""

    def __init__(self, page: PageContext) -> None:
        self.page = page
        with page.tab("queue") as self.tab, gr.Row(elem_classes="lk-split"):
            with gr.Column(scale=3, min_width=320):
                self.running = _card("Running", NO_RUNNING, "queue-running")
                self.waiting = _card("Waiting", NO_WAITING, "queue-waiting")
                self.finished = _card("Finished", NO_FINISHED, "queue-finished")
            with gr.Column(scale=2, min_width=320, elem_classes="lk-card lk-aside"):
                gr.HTML('<h2 class="lk-card-title">Chosen job</h2>')
                self.detail = gr.HTML(empty_html(NO_CHOSEN), elem_id="queue-detail")
                self.log = gr.HTML("", elem_id="queue-log", js_on_load=LOG_SCRIPT)
        for rows in (self.running, self.waiting, self.finished):
            self._wire(rows)

    @property
    def handles(self) -> TabHandles:
        """What the page needs of this tab."""
        outputs = [self.running, self.waiting, self.finished, self.detail, self.log]
        return TabHandles("queue", self.tab, outputs, self.tick, lambda view: {})

    def tick(self, view: View) -> Updates:
        """What changed: the three lists, the chosen job, its log."""
        jobs = self.page.jobs(view)
        chosen = self._chosen(view, jobs)
        picked = chosen.id if chosen else ""
        shown: Updates = {}
        contents = {
            self.running: ("running", self._running_html(jobs, picked)),
            self.waiting: ("waiting", self._waiting_html(view, picked)),
            self.finished: ("finished", self._finished_html(view, jobs, picked)),
        }
        for component, (key, content) in contents.items():
            if view.changed(f"queue.{key}", content):
                shown[component] = content
        return {**shown, **self._tick_detail(view, chosen, jobs), **self._tick_log(view, chosen)}

    # -- what is shown

    def _chosen(self, view: View, jobs: Sequence[JobRecord]) -> JobRecord | None:
        wanted = view.local.get("queue.job", "")
        running = (job for job in jobs if job.status.state in (JobState.RUNNING, JobState.STOPPING))
        fitting = (job for job in jobs if job.id == wanted)
        return next(fitting, None) or next(running, None) or next(iter(jobs), None)

    def _running_html(self, jobs: Sequence[JobRecord], picked: str) -> str:
        rows = [
            Row(job, job_place(self.page, job), acts=(Act("stop", "Stop", job.status.state is JobState.RUNNING),))
            for job in reversed(jobs)
            if job.status.state in (JobState.RUNNING, JobState.STOPPING)
        ]
        return rows_html(rows, picked) if rows else empty_html(NO_RUNNING)

    def _waiting_html(self, view: View, picked: str) -> str:
        manager = self.page.manager
        running, queued = manager.running(), manager.queued()
        own = [job for job in queued if job.request.project == view.project]
        held = bool(view.project) and manager.held(view.project)
        if not own:
            return hold_html(held, bool(running)) + empty_html(NO_WAITING)
        rows = []
        for job in own:
            note = waiting_note(self.page, job, [*running, *queued[: queued.index(job)]], held)
            rows.append(Row(job, job_place(self.page, job), note, waiting_acts(own, job)))
        foreign = foreign_jobs(own, running, best_device(self.page), manager.devices())
        lines = "".join(f'<p class="lk-why">{html.escape(text)}</p>' for text in foreign)
        return f"{hold_html(held, True)}{lines}{rows_html(rows, picked)}"

    def _finished_html(self, view: View, jobs: Sequence[JobRecord], picked: str) -> str:
        ended = sorted((j for j in jobs if j.status.state.final), key=lambda job: job.status.finished, reverse=True)
        if not ended:
            return empty_html(NO_FINISHED)
        limit = int(view.local.get("queue.limit", FINISHED_SHOWN))
        rows = [Row(job, note=_ended_note(job, jobs), acts=_ended_acts(job, jobs)) for job in ended[:limit]]
        older = len(ended) - limit
        more = f'<button type="button" class="lk-act" data-act="more" data-job="">Show {older:,} older</button>'
        return rows_html(rows, picked) + (more if older > 0 else "")

    def _tick_detail(self, view: View, job: JobRecord | None, jobs: Sequence[JobRecord]) -> Updates:
        later = went_on_as(job, jobs) if job else None
        stamp = (
            (job.id, job.status.state, job.status.error, later and later.id, job_place(self.page, job)) if job else None
        )
        if not view.changed("queue.detail", stamp):
            return {}
        if job is None:
            return {self.detail: empty_html(NO_CHOSEN)}
        settings = settings_of(job)
        command = command_line(job.request.stage, view.project, settings, self.page.shown_root) if settings else ""
        after = f"A later job went on with it: {later.id}." if later else again_sentence(job, self._saved(job))
        row = Row(job, job_place(self.page, job), result_words(job) or job.status.message)
        if not job.status.state.final:
            row = Row(job, job_place(self.page, job))
        return {self.detail: detail_html(row, settings, command, after)}

    def _tick_log(self, view: View, job: JobRecord | None) -> Updates:
        try:
            stat = (job.path / "log.txt").stat() if job else None
        except FileNotFoundError:
            stat = None
        stamp = (job.id if job else "", stat and (stat.st_mtime_ns, stat.st_size))
        if not view.changed("queue.log", stamp):
            return {}
        if job is None:
            return {self.log: ""}
        text = self.page.manager.store(view.project).log_tail(job.id, LOG_LINES)
        title = f'<p class="lk-note">Log, the last {LOG_LINES} lines</p>' if text else ""
        return {self.log: title + log_html(text)}

    def _saved(self, job: JobRecord) -> int:
        if job.request.stage != "train" or not job.status.state.final:
            return 0
        saves = [
            event.data for event in self.page.feed(job).milestones if event.data.get("what") in ("saved", "resumed")
        ]
        return int(saves[-1].get("iteration") or 0) if saves else 0

    # -- what is done

    def _wire(self, rows: Any) -> None:
        def act(view: View, event: gr.EventData) -> None:
            data: dict[str, Any] = getattr(event, "_data", None) or {}
            self._act(view, str(data.get("act", "")), str(data.get("job", "")))

        self.page.act(rows.select, act, self.page.view, None)

    def _act(self, view: View, name: str, job: str) -> None:
        if name == "more":
            view.local["queue.limit"] = int(view.local.get("queue.limit", FINISHED_SHOWN)) + 5 * FINISHED_SHOWN
        elif name == "again":
            self._again(view, job)
        else:
            move(self.page, view, name, job)

    def _again(self, view: View, job: str) -> None:
        reason = self.page.consent_missing(view)
        if reason:
            raise BadInputError(reason)
        jobs = self.page.jobs(view)
        later = next((other for other in jobs if other.request.retry_of == job and not other.status.state.final), None)
        if later is not None:
            raise BadInputError(f"{job_title(later)} is waiting or running again already.")
        view.local["queue.job"] = self.page.manager.resume(view.project, job)


def waiting_acts(own: Sequence[JobRecord], job: JobRecord) -> tuple[Act, ...]:
    """Buttons of a waiting job: next, earlier, later, cancel. One that a command line starts is not moved."""
    cancel = Act("cancel", "Cancel")
    if job.request.foreground:
        return (cancel,)
    at = [record.id for record in own].index(job.id)
    first = Act("next", "Run next", at > 0)
    return first, Act("up", "Earlier", at > 0), Act("down", "Later", at < len(own) - 1), cancel


def hold_html(held: bool, busy: bool) -> str:
    """The button that holds the queue or lets it go on; "" when there is nothing to hold."""
    if held:
        button = '<button type="button" class="lk-act" data-act="release" data-job="">Go on</button>'
        return f'<p class="lk-why">{HELD} {button}</p>'
    if not busy:
        return ""
    return '<button type="button" class="lk-act" data-act="hold" data-job="">Stop after the running jobs</button>'


def _ended_note(job: JobRecord, jobs: Sequence[JobRecord]) -> str:
    if job.status.state is JobState.DONE:
        return result_words(job)
    if went_on_as(job, jobs):
        return "A later job went on with it."
    return "" if job.status.error else again_sentence(job) or job.status.message


def _ended_acts(job: JobRecord, jobs: Sequence[JobRecord]) -> tuple[Act, ...]:
    word = again_word(job)
    if not word or (job.status.state is not JobState.DONE and went_on_as(job, jobs)):
        return ()
    return (Act("again", word),)


def _card(title: str, empty: str, elem_id: str) -> Any:
    with gr.Column(elem_classes="lk-card"):
        gr.HTML(f'<h2 class="lk-card-title">{title}</h2>')
        return gr.HTML(empty_html(empty), elem_id=elem_id, js_on_load=ROW_SCRIPT)


def build_queue_tab(page: PageContext) -> TabHandles:
    """Make the tab."""
    return QueueTab(page).handles
