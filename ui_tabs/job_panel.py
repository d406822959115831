"""State, progress, log and stop of the jobs of one stage: the same panel in every tab, read from disk."""

from __future__ import annotations

import html
import time
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from backend.core.errors import BadInputError, LookalikeError
from backend.core.jobs import JobRequest, JobState
from backend.jobs.store import JobRecord
from ui_tabs.context import OPEN_STATES, PageContext, Updates, View

Match = Callable[[View, JobRequest], bool]

STATE_WORDS = {
    JobState.QUEUED: "waiting",
    JobState.RUNNING: "running",
    JobState.STOPPING: "stopping",
    JobState.DONE: "done",
    JobState.FAILED: "failed",
    JobState.STOPPED: "stopped",
    JobState.INTERRUPTED: "interrupted",
}
RESUMABLE = frozenset({JobState.FAILED, JobState.STOPPED, JobState.INTERRUPTED})
LOG_LINES = 60
HELD_NOTE = (
    '<p class="lk-why">The queue is held: nothing new starts. '
    '<button type="button" class="lk-link" data-goto="queue">Open the queue</button></p>'
)


def on_side(side_of: Callable[[View], str]) -> Callable[[View, JobRequest], bool]:
    """Whether a job belongs to the side that is chosen, as a JobPanel asks it."""
    return lambda view, request: request.settings.get("side", "src") == side_of(view)


class JobPanel:
    """The newest job of some stages of the open project.

    Args:
        page: the page's context.
        key: prefix of the elem_ids: ``<key>-job``, ``<key>-stop``, ``<key>-again``, ``<key>-log``, ``<key>-why``.
        stages: whose jobs are shown.
        empty: what will appear here and how, shown while there is no job.
        match: narrows the jobs, for example to the chosen side.

    Attributes:
        box, stop, again, log, why: the components; ``why`` tells why the Start button is disabled.
    """

    def __init__(
        self, page: PageContext, key: str, stages: Sequence[str], empty: str, match: Match = lambda view, request: True
    ) -> None:
        self.page = page
        self.key = key
        self._stages = tuple(stages)
        self._empty = empty
        self._match = match
        self._start: tuple[Any, Callable[[View], str]] | None = None
        self._queues = False
        self._about: Callable[[View, JobRequest], str] = lambda view, request: ""
        with gr.Column(elem_classes="lk-panel"):
            self.why = gr.HTML("", elem_id=f"{key}-why")
            self.box = gr.HTML(empty_html(empty), elem_id=f"{key}-job")
            with gr.Row(elem_classes="lk-buttons"):
                self.stop = gr.Button("Stop", elem_id=f"{key}-stop", variant="stop", size="sm", visible=False)
                self.again = gr.Button("Try again", elem_id=f"{key}-again", size="sm", visible=False)
            with gr.Accordion("Log", open=False, elem_id=f"{key}-log-fold", elem_classes="lk-more"):
                self.log = gr.HTML(log_html(""), elem_id=f"{key}-log")
        page.act(self.stop.click, self._stop, page.view, None)
        page.act(self.again.click, self._again, page.view, None)

    @property
    def outputs(self) -> list[Any]:
        """Every component that tick() may update."""
        start = [self._start[0]] if self._start else []
        return [self.why, self.box, self.stop, self.again, self.log, *start]

    def attach_start(self, button: Any, missing: Callable[[View], str], queues: bool = False) -> None:
        """Disable a Start button while a job of this panel waits or runs, or something is missing.

        Args:
            missing: why nothing can start, "" when it can; consent and an open project are checked before it.
            queues: jobs may be started while others wait or run; they queue behind them.
        """
        self._start = (button, missing)
        self._queues = queues

    def tell_apart(self, about: Callable[[View, JobRequest], str]) -> None:
        """Say what the job works on where that is not what the rest of the tab shows; "" when it is."""
        self._about = about

    def record(self, view: View) -> JobRecord | None:
        """The job that is shown: the newest one that runs or waits, else the newest."""
        found = [r for r in self.page.jobs(view, self._stages) if self._match(view, r.request)]
        open_ones = [r for r in found if r.status.state in OPEN_STATES]
        running = [r for r in open_ones if r.status.state is not JobState.QUEUED]
        return next(iter([*running, *open_ones, *found]), None)

    def require_free(self, view: View) -> None:
        """BadInputError when a job of this panel waits or runs already: a second press, or another browser tab."""
        record = self.record(view)
        if record is not None and record.status.state in OPEN_STATES:
            raise BadInputError("This is waiting or running already.", "Stop it first to start it with other settings.")

    def tick(self, view: View) -> Updates:
        """What changed since the last tick of this browser tab."""
        record = self.record(view)
        state = record.status.state if record else None
        shown: Updates = {}
        content = self._content(view, record) if record else empty_html(self._empty)
        if view.changed(f"{self.key}.box", content):
            shown[self.box] = content
        if view.changed(f"{self.key}.buttons", state):
            shown[self.stop] = gr.update(visible=state in OPEN_STATES, interactive=state is not JobState.STOPPING)
            word = "Resume" if state in (JobState.INTERRUPTED, JobState.STOPPED) else "Try again"
            shown[self.again] = gr.update(visible=state in RESUMABLE, value=word)
        return {**shown, **self._tick_log(view, record), **self._tick_start(view, state)}

    def _content(self, view: View, record: JobRecord) -> str:
        shown = job_html(record, self._about(view, record.request))
        held = record.status.state is JobState.QUEUED and self.page.manager.held(view.project)
        return f"{shown}{HELD_NOTE}" if held else shown

    def _tick_log(self, view: View, record: JobRecord | None) -> Updates:
        try:
            stat = (record.path / "log.txt").stat() if record else None
        except FileNotFoundError:
            stat = None
        stamp = (record.id, stat.st_mtime_ns, stat.st_size) if record and stat else (record.id if record else "",)
        if not view.changed(f"{self.key}.log", stamp):
            return {}
        text = self.page.manager.store(view.project).log_tail(record.id, LOG_LINES) if record else ""
        return {self.log: log_html(text)}

    def _tick_start(self, view: View, state: JobState | None) -> Updates:
        if self._start is None:
            return {}
        button, missing = self._start
        busy = state in OPEN_STATES and not self._queues
        reason = "" if busy else (self.page.consent_missing(view) or missing(view))
        if not view.changed(f"{self.key}.start", (busy, reason)):
            return {}
        return {button: gr.update(interactive=not busy and not reason), self.why: why_html(reason)}

    def _stop(self, view: View) -> None:
        record = self.record(view)
        if record:
            self.page.manager.stop(view.project, record.id)

    def _again(self, view: View) -> None:
        record = self.record(view)
        if record:
            reason = self.page.consent_missing(view)
            if reason:
                raise LookalikeError(reason)
            self.page.manager.resume(view.project, record.id)


def job_html(record: JobRecord, about: str = "") -> str:
    """State, what it is about, progress, rate, elapsed, time left, last message and error of a job."""
    status = record.status
    named = f'<b class="lk-fact">{html.escape(about)}</b>' if about else ""
    parts = [f'<div class="lk-job-line">{chip(status.state)}{named}{_facts(record)}</div>', _bar(record)]
    if status.error:
        parts.append(f'<p class="lk-error" role="alert">{html.escape(status.error)}</p>')
    elif status.message and not (status.state.final and status.started):
        parts.append(f'<p class="lk-message">{html.escape(status.message)}</p>')
    return f'<div class="lk-job" data-state="{status.state.value}">{"".join(parts)}</div>'


def chip(state: JobState) -> str:
    """The state as a coloured word."""
    return f'<span class="lk-chip lk-{state.value}">{STATE_WORDS[state]}</span>'


def empty_html(text: str) -> str:
    """What will appear in an empty area, and how."""
    return f'<p class="lk-empty">{html.escape(text)}</p>'


def why_html(reason: str) -> str:
    """Why a Start button is disabled."""
    return f'<p class="lk-why">{html.escape(reason)}</p>' if reason else ""


def command_html(text: str) -> str:
    """A command line to copy."""
    return f'<div class="lk-command" tabindex="0">{html.escape(text)}</div>'


def log_html(text: str) -> str:
    """The end of a log."""
    if not text:
        return empty_html("What the job prints appears here once it runs.")
    return f'<pre class="lk-log" tabindex="0" aria-label="Log">{html.escape(text)}</pre>'


def duration(seconds: float) -> str:
    """A length of time for people: "45 s", "3 min 5 s", "2 h 10 min"."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes < 10 else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def time_left(record: JobRecord) -> float | None:
    """Seconds a running job still needs, None when that is not known."""
    status = record.status
    if status.state is not JobState.RUNNING or not status.total or status.rate <= 0:
        return None
    return (status.total - status.done) / status.rate


def _facts(record: JobRecord) -> str:
    status = record.status
    facts = []
    if status.done or status.total:
        total = f" of {status.total:,}" if status.total else ""
        facts.append(f"{status.done:,}{total} {status.unit}".strip())
    if status.rate > 0 and status.state is JobState.RUNNING:
        unit = status.unit or "steps"
        slow = status.rate < 0.95
        facts.append(f"{1 / status.rate:.2f} s each" if slow else f"{status.rate:,.1f} {unit}/s")
    if status.started:
        facts.append(duration((status.finished or time.time()) - status.started))
    left = time_left(record)
    if left is not None:
        facts.append(f"{duration(left)} left")
    if status.state.final and status.finished:
        facts.append(time.strftime("%Y-%m-%d %H:%M", time.localtime(status.finished)))
    return "".join(f'<span class="lk-fact">{html.escape(fact)}</span>' for fact in facts)


def _bar(record: JobRecord) -> str:
    status = record.status
    if status.state not in OPEN_STATES:
        return ""
    if not status.total:
        return '<div class="lk-bar lk-bar-open"><div></div></div>' if status.state is JobState.RUNNING else ""
    percent = min(100.0, 100.0 * status.done / status.total)
    return (
        f'<div class="lk-bar" role="progressbar" aria-valuemin="0" aria-valuemax="100" aria-valuenow="{percent:.0f}">'
        f'<div style="width:{percent:.1f}%"></div></div>'
    )
