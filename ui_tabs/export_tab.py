"""The Export tab: the merged frames as one video, its marks, and a player for what was made."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

import gradio as gr

from backend.core.errors import BadInputError
from backend.core.jobs import JobState
from backend.core.settings import ExportSettings, Settings
from backend.jobs.command import command_line
from backend.storage.results import delete_result
from ui_tabs.context import OPEN_STATES, PageContext, TabHandles, Updates, View
from ui_tabs.form import SettingsForm
from ui_tabs.job_panel import JobPanel, command_html, empty_html
from ui_tabs.merge_view import merged_note
from ui_tabs.result_cards import NOTHING_YET, RESULT_SCRIPT, ResultCards

FORMAT_CARD = (
    '<h2 class="lk-card-title">MP4 for sharing</h2>'
    '<p class="lk-note">H.264 video that plays everywhere, with the timing and the sound of the destination clip.</p>'
)


class ExportTab:
    """Left: the format, its settings and the running export. Right: the results, drawn anew only when they change."""

    def __init__(self, page: PageContext) -> None:
        self.page = page
        self.cards = ResultCards(page)
        with page.tab("export") as self.tab, gr.Row(elem_classes="lk-split"):
            with gr.Column(scale=2, min_width=320, elem_classes="lk-card"):
                gr.HTML(FORMAT_CARD)
                self.merged = gr.HTML("", elem_id="export-merged")
                self.form = SettingsForm(ExportSettings, "export", "export")
                self.name_note = gr.HTML("", elem_id="export-name-note")
                self.start = gr.Button("Export", variant="primary", elem_id="export-start")
                self.panel = JobPanel(
                    page, "export", ("export",), "Progress appears here. Exports started meanwhile wait in the queue."
                )
                self.waiting = gr.HTML("", elem_id="export-waiting")
                with gr.Accordion("Command line of this run", open=False, elem_classes="lk-more"):
                    self.command = gr.HTML("", elem_id="export-command")
            with gr.Column(scale=3, min_width=320, elem_classes="lk-card"):
                gr.HTML('<h2 class="lk-card-title">Results</h2>')
                self.results = gr.HTML(empty_html(NOTHING_YET), elem_id="export-results", js_on_load=RESULT_SCRIPT)
        self._wire()

    @property
    def handles(self) -> TabHandles:
        """What the page needs of this tab."""
        own = [self.merged, self.name_note, self.waiting, self.command, self.results]
        return TabHandles("export", self.tab, [*own, *self.form.outputs, *self.panel.outputs], self.tick, self.fill)

    def tick(self, view: View) -> Updates:
        """What changed: job, merged frames, results, the command line."""
        project = self.page.project(view)
        settings = self._settings(view)
        shown = self.panel.tick(view)
        contents = {
            self.merged: ("merged", merged_note(project) if project else ""),
            self.waiting: ("waiting", waiting_html(self._waiting(view))),
            self.name_note: (
                "name",
                name_note_html(project is not None and self._exists(view, settings), settings.name),
            ),
            self.command: ("command", self._command_html(view, settings) if project else ""),
        }
        for component, (key, content) in contents.items():
            if view.changed(f"export.{key}", content):
                shown[component] = content
        if view.changed("export.results", self.cards.stamp(project)):
            shown[self.results] = self.cards.html(project)
        return shown

    def fill(self, view: View) -> Updates:
        """Settings of the newest export, else the defaults."""
        last = self.page.last_settings(view, "export", ExportSettings, {}) or self.form.defaults()
        view.local["export.settings"] = last
        return self.form.updates(last)

    def _wire(self) -> None:
        page = self.page
        self.panel.attach_start(self.start, self._missing, queues=True)
        self.form.wire(page, command=(self.command, self._noted))
        page.act(self.start.click, self._begin, {*self.form.inputs, page.view}, [self.form.error])

        def delete(view: View, event: gr.EventData) -> None:
            data: dict[str, Any] = getattr(event, "_data", None) or {}
            view.seen.pop("export.results", None)
            delete_result(page.need_project(view), str(data.get("name", "")))

        page.act(self.results.select, delete, page.view, None)

    def _settings(self, view: View) -> ExportSettings:
        kept = view.local.get("export.settings")
        return kept if isinstance(kept, ExportSettings) else ExportSettings()

    def _noted(self, view: View, settings: Settings) -> str:
        view.local["export.settings"] = settings
        command = self._command_html(view, settings)
        view.seen["export.command"] = command
        return command

    def _command_html(self, view: View, settings: Settings) -> str:
        if not view.project:
            return ""
        return command_html(command_line("export", view.project, settings, self.page.shown_root))

    def _exists(self, view: View, settings: ExportSettings) -> bool:
        return (self.page.need_project(view).results_dir / f"{settings.name}.mp4").exists()

    def _waiting(self, view: View) -> int:
        """Exports that wait besides the one that is shown."""
        shown = self.panel.record(view)
        queued = [r for r in self.page.jobs(view, ("export",)) if r.status.state is JobState.QUEUED]
        return len([r for r in queued if shown is None or r.id != shown.id])

    def _missing(self, view: View) -> str:
        project = self.page.project(view)
        if project is None:
            return "No project is open."
        merging = any(r.status.state in OPEN_STATES for r in self.page.jobs(view, ("merge",)))
        if project.status().merged == 0 and not merging:
            return "There are no merged frames yet. Make them in the Merge tab."
        return ""

    def _begin(self, values: Mapping[Any, Any]) -> Updates:
        view: View = values[self.page.view]
        settings = self.form.read(values)
        assert isinstance(settings, ExportSettings)
        for record in self.page.jobs(view, ("export",)):
            if record.status.state in OPEN_STATES and record.request.settings == settings.model_dump(mode="json"):
                raise BadInputError(
                    "The same export is waiting or running already.", "Change its name or its settings for another one."
                )
        self.page.submit(view, "export", settings)
        return {self.form.error: ""}


def waiting_html(count: int) -> str:
    """How many exports wait behind the one that is shown; "" when none."""
    if not count:
        return ""
    words = "1 more export waits." if count == 1 else f"{count:,} more exports wait."
    link = '<button type="button" class="lk-link" data-goto="queue">Open the queue</button>'
    return f'<p class="lk-note">{words} {link}</p>'


def name_note_html(exists: bool, name: str) -> str:
    """That a result of this name is there already; "" when there is none."""
    if not exists:
        return ""
    words = f"There is a result named {name}.mp4 already. It stays; the new one gets a number behind its name."
    return f'<p class="lk-note">{html.escape(words)}</p>'


def build_export_tab(page: PageContext) -> TabHandles:
    """Make the tab."""
    return ExportTab(page).handles
