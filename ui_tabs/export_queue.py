"""The merges and exports of the project that run or wait, below the form: the rows of the Queue tab."""

from __future__ import annotations

from typing import Any

import gradio as gr

from backend.core.jobs import JobRequest, JobState
from backend.devices import BEST, resolve_device
from backend.jobs.store import JobRecord
from ui_tabs.context import OPEN_STATES, PageContext, Updates, View
from ui_tabs.job_panel import empty_html
from ui_tabs.job_words import places_word, why_it_waits
from ui_tabs.queue_rows import ROW_SCRIPT, Act, Row, rows_html
from ui_tabs.queue_tab import HELD, hold_html, waiting_acts

STAGES = ("merge", "export", "render")
NOTHING = "Merges and exports that run or wait are listed here. Further ones can be started meanwhile."
OPEN_QUEUE = '<button type="button" class="lk-link" data-goto="queue">Open the queue</button>'
SCRIPT = f"{ROW_SCRIPT}\nwindow.lookalike.exportRows(element);"


class ExportQueue:
    """Place it inside a layout, then wire() it.

    Args:
        page: the page's context.

    Attributes:
        rows: the list.
    """

    def __init__(self, page: PageContext) -> None:
        self.page = page
        self.rows = gr.HTML(empty_html(NOTHING), elem_id="export-queue", js_on_load=SCRIPT)

    def tick(self, view: View) -> Updates:
        """The list, when it changed."""
        content = self.html(view)
        return {self.rows: content} if view.changed("export.queue", content) else {}

    def wire(self) -> None:
        """Make the buttons work."""

        def act(view: View, event: gr.EventData) -> None:
            data: dict[str, Any] = getattr(event, "_data", None) or {}
            self.act(view, str(data.get("act", "")), str(data.get("job", "")))

        self.page.act(self.rows.select, act, self.page.view, None)

    def act(self, view: View, name: str, job: str) -> None:
        """Do what a button of the list says."""
        manager, project = self.page.manager, self.page.need_project(view)
        if name == "show":
            view.local["queue.job"] = job
        elif name in ("stop", "cancel"):
            manager.stop(project, job)
        elif name in ("up", "down"):
            manager.reorder(project, job, -1 if name == "up" else 1)
        elif name == "next":
            manager.run_next(project, job)
        elif name in ("hold", "release"):
            manager.hold(project, name == "hold")

    def html(self, view: View) -> str:
        """The list: what runs, then what waits, in its order."""
        if not view.project:
            return empty_html(NOTHING)
        manager = self.page.manager
        running, queued = manager.running(), manager.queued()
        own = [job for job in queued if job.request.project == view.project]
        held = manager.held(view.project)
        rows = [
            Row(job, self._place(job), acts=(Act("stop", "Stop", job.status.state is JobState.RUNNING),))
            for job in self.page.jobs(view, STAGES)
            if job.status.state in OPEN_STATES and job.status.state is not JobState.QUEUED
        ]
        for job in own:
            if job.request.stage in STAGES:
                ahead = [*running, *queued[: queued.index(job)]]
                rows.append(Row(job, self._place(job), self._note(job, ahead, held), waiting_acts(own, job)))
        hold = hold_html(held, bool(rows))
        if not rows:
            return hold + empty_html(NOTHING)
        return f'{hold}{rows_html(rows, "")}<p class="lk-note">{OPEN_QUEUE}</p>'

    def _note(self, job: JobRecord, ahead: list[JobRecord], held: bool) -> str:
        if held and not job.request.foreground:
            return HELD
        return why_it_waits(job, ahead, self._best(), self.page.manager.devices())

    def _place(self, job: JobRecord) -> str:
        names = (target_name(job.request), places_word(job, self._best(), self.page.manager.devices()))
        return ", ".join(filter(None, names))

    def _best(self) -> str | None:
        devices = self.page.manager.devices()
        return resolve_device(BEST, devices).name if devices else None


def target_name(request: JobRequest) -> str:
    """The file that an export makes, by its settings; "" for a merge."""
    name, container = request.settings.get("name"), request.settings.get("container", "mp4")
    if request.stage not in ("export", "render") or not name:
        return ""
    return str(name) if container == "png" else f"{name}.{container}"
