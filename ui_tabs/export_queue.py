"""The merges and exports of the project that run or wait, below the form: the rows of the Queue tab."""

from __future__ import annotations

from typing import Any

import gradio as gr

from backend.core.jobs import JobRequest, JobState
from backend.core.settings.export import result_name
from backend.jobs.store import JobRecord
from ui_tabs.context import OPEN_STATES, PageContext, Updates, View
from ui_tabs.job_panel import empty_html
from ui_tabs.queue_moves import job_place, move, waiting_note
from ui_tabs.queue_rows import ROW_SCRIPT, Act, Row, rows_html
from ui_tabs.queue_tab import hold_html, waiting_acts

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
            move(self.page, view, str(data.get("act", "")), str(data.get("job", "")))

        self.page.act(self.rows.select, act, self.page.view, None)

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
                note = waiting_note(self.page, job, ahead, held)
                rows.append(Row(job, self._place(job), note, waiting_acts(own, job)))
        hold = hold_html(held, bool(rows))
        if not rows:
            return hold + empty_html(NOTHING)
        return f'{hold}{rows_html(rows, "")}<p class="lk-note">{OPEN_QUEUE}</p>'

    def _place(self, job: JobRecord) -> str:
        return ", ".join(filter(None, (target_name(job.request), job_place(self.page, job))))


def target_name(request: JobRequest) -> str:
    """The file that an export makes, by its settings; "" for a merge."""
    name, container = request.settings.get("name"), request.settings.get("container", "mp4")
    return result_name(str(name), str(container)) if request.stage in ("export", "render") and name else ""
