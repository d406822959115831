"""The Export tab: format, the two ways to export, the queue, the results and the marks a file carries."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

import gradio as gr

from backend.core.errors import BadInputError
from backend.core.settings import ExportSettings, RenderSettings, Settings
from backend.storage.project import Project
from backend.storage.results import delete_result
from ui_tabs.context import OPEN_STATES, PageContext, TabHandles, Updates, View, joined
from ui_tabs.export_abilities import AbilityTests, Signers
from ui_tabs.export_estimate import ClipTables, estimate, estimate_html, range_fault
from ui_tabs.export_form import ExportForm, Said, paths
from ui_tabs.export_formats import CARDS_SCRIPT, card_of, card_values, cards_html, chosen_card, codec_of, put_right
from ui_tabs.export_queue import ExportQueue, target_name
from ui_tabs.export_runs import ExportRuns, name_note
from ui_tabs.export_verify import VerifyPanel
from ui_tabs.job_panel import JobPanel, why_html
from ui_tabs.result_cards import RESULT_FRAME, RESULT_SCRIPT, ResultCards

STAGES = ("export", "render")
SETTINGS = "export.settings"
RAW = "export.raw"
FAULTY = "export.faulty"


class ExportTab:
    """Left: cards, form, the two Start buttons and the queue. Right: results and what marks a file carries."""

    def __init__(self, page: PageContext) -> None:
        self.page = page
        self.results_of = ResultCards(page)
        self.tables, self.tests, self.signers, self.runs = ClipTables(), AbilityTests(), Signers(), ExportRuns(page)
        with page.tab("export") as self.tab:
            self.cards = gr.HTML(cards_html("mp4"), elem_id="export-cards", js_on_load=CARDS_SCRIPT)
            with gr.Row(elem_classes="lk-split"):
                with gr.Column(scale=2, min_width=320):
                    self._lay_out_form()
                with gr.Column(scale=3, min_width=320):
                    self._lay_out_results()
        self._wire()

    def _lay_out_form(self) -> None:
        with gr.Column(elem_classes="lk-card"):
            gr.HTML('<h2 class="lk-card-title">Settings</h2>')
            self.form = ExportForm()
            self.estimate = gr.HTML("", elem_id="export-estimate")
            with gr.Column(elem_classes="lk-start"):
                self.start = gr.Button("Export merged frames", variant="primary", elem_id="export-start")
                self.merged = gr.HTML("", elem_id="export-merged")
            with gr.Column(elem_classes="lk-start"):
                self.render = gr.Button("Merge and export", variant="primary", elem_id="export-render")
                self.plan = gr.HTML("", elem_id="export-plan")
                self.keep = gr.Checkbox(
                    label="Keep the merged frames too", value=False, elem_id="export-keep-frames", container=False
                )
            self.panel = JobPanel(self.page, "export", STAGES, "Progress of the export appears here.")
            self.panel.tell_apart(lambda view, request: target_name(request))
            with gr.Accordion("Command lines of these runs", open=False, elem_classes="lk-more"):
                self.command = gr.HTML("", elem_id="export-command")
        with gr.Column(elem_classes="lk-card"):
            gr.HTML('<h2 class="lk-card-title">Queue</h2>')
            self.queue = ExportQueue(self.page)
        with gr.Column(elem_classes="lk-card"):
            gr.HTML('<h2 class="lk-card-title">Verify the marks of a file</h2>')
            self.verify = VerifyPanel(self.page)

    def _lay_out_results(self) -> None:
        with gr.Column(elem_classes="lk-card"):
            gr.HTML('<h2 class="lk-card-title">Results</h2>')
            self.results = gr.HTML(RESULT_FRAME, elem_id="export-results", js_on_load=RESULT_SCRIPT)
            self.data = gr.HTML("", elem_id="export-results-data")

    @property
    def handles(self) -> TabHandles:
        """What the page needs of this tab."""
        own = [*self._shaped, self.merged, self.plan, self.start, self.render, self.data, self.queue.rows]
        parts = [*own, *self.form.outputs, *self.panel.outputs, *self.verify.outputs]
        return TabHandles("export", self.tab, parts, self.tick, self.fill)

    @property
    def _shaped(self) -> list[Any]:
        """What follows the form."""
        return [self.cards, self.estimate, self.command]

    # -- what is shown

    def tick(self, view: View) -> Updates:
        """What changed: jobs, what can be started, what the form comes to, results, verified marks."""
        project = self.page.project(view)
        shown = {**self.panel.tick(view), **self.queue.tick(view), **self.verify.tick(view)}
        shown |= self._tick_starts(view, project)
        shown = joined(shown, self._tick_form(view, project))
        stamp = self.results_of.stamp(project)
        if view.changed("export.results", stamp):
            shown[self.data] = self.results_of.data(project)
            view.seen["export.results"] = self.results_of.stamp(project)
        return shown

    def fill(self, view: View) -> Updates:
        """Settings of the newest export, else the defaults."""
        last = self.runs.last(view) or ExportSettings()
        view.local[SETTINGS] = last
        view.local[RAW] = last.model_dump()
        view.seen.pop("export.form", None)
        return {**self.form.updates(last), **self._shape(view)}

    def _tick_starts(self, view: View, project: Project | None) -> Updates:
        """The two buttons, each with what it would take, or why it cannot start."""
        nobody = self.page.consent_missing(view)
        export, render = self.runs.export_state(view, project), self.runs.render_state(view, project)
        shown: Updates = {}
        for key, button, line, state in (
            ("export", self.start, self.merged, export),
            ("render", self.render, self.plan, render),
        ):
            reason = nobody or state.reason
            if view.changed(f"export.start.{key}", (reason, state.note)):
                note = f'<p class="lk-note">{html.escape(state.note)}</p>' if state.note else ""
                shown[button] = gr.update(interactive=not reason)
                shown[line] = why_html(reason) or note
        return shown

    def _tick_form(self, view: View, project: Project | None) -> Updates:
        """Lines of the form, estimate, command lines: as far as clip, plan, results or tests have changed them."""
        raw = view.local.get(RAW) or ExportSettings().model_dump()
        able = self.tests.get(codec_of(raw))
        table = self.tables.get(project) if project else None
        said = self._said(view)
        shown: Updates = {}
        if view.changed("export.able", (able.credentials, able.broken, raw.get("encoder"))):
            shown |= self.form.able(able, str(raw.get("encoder")))
        if view.changed("export.form", (id(table), said, raw, self._settings(view), view.local.get(FAULTY))):
            shown |= {**self.form.say(raw, said), **self._shape(view)}
        command = self.runs.commands_html(view, self._settings(view))
        if view.changed("export.command", command):
            shown[self.command] = command
        return shown

    def _shape(self, view: View) -> Updates:
        """Cards and estimate for what the form holds."""
        project = self.page.project(view)
        table = self.tables.get(project) if project else None
        raw = view.local.get(RAW) or {}
        settings = view.local.get(SETTINGS)
        words = ""
        if project and table and settings and not view.local.get(FAULTY) and not range_fault(table, settings):
            words = estimate_html(estimate(table, settings, project.results_dir))
        return {
            self.cards: cards_html(chosen_card(raw, table.video.height if table else 0)),
            self.estimate: words,
        }

    def _said(self, view: View) -> Said:
        settings = self._settings(view)
        project = self.page.project(view)
        signer, fault = self.signers.look(settings)
        return Said(name_note(project, settings), fault or signer, bool(fault))

    # -- what is done

    def _wire(self) -> None:
        page, form = self.page, self.form
        form.wire(page, fault=self._fault)
        seen = {*form.inputs, page.view}
        changes = [widget.change for widget in form.widgets.values()]
        following = [*form.outputs, *self._shaped]
        page.on(changes, self._follow, seen, following, trigger_mode="always_last", concurrency_limit=None)
        page.act([self.start.click], self._export, seen, [form.error])
        page.act([self.render.click], self._render, {*seen, self.keep}, [form.error])
        self.queue.wire()
        self.verify.wire()

        def choose(values: Mapping[Any, Any], event: gr.EventData) -> Updates:
            return self._choose(values[page.view], form.raw(values), str(_data(event).get("card", "")))

        def act(view: View, event: gr.EventData) -> None:
            self._act(view, str(_data(event).get("act", "")), str(_data(event).get("name", "")))

        page.on(self.cards.select, choose, seen, following)
        page.act(self.results.select, act, page.view, None)

    def _follow(self, values: Mapping[Any, Any]) -> Updates:
        """The form changed: fields come and go, choices fit, lines and estimate say what it comes to."""
        view: View = values[self.page.view]
        raw = view.local[RAW] = self.form.raw(values)
        self._take(view, {**raw, **paths(raw)})
        return joined(self.form.shape(raw), self._tick_form(view, self.page.project(view)))

    def _take(self, view: View, given: Mapping[str, Any]) -> None:
        """Note the settings of the form; contradictions are only noted as such."""
        try:
            view.local[SETTINGS] = ExportSettings.model_validate(given)
            view.local[FAULTY] = False
        except ValueError:
            view.local[FAULTY] = True

    def _choose(self, view: View, raw: Mapping[str, Any], key: str) -> Updates:
        """Fill the form as a card says."""
        card = card_of(key)
        if card is None:
            return {}
        project = self.page.project(view)
        table = self.tables.get(project) if project else None
        values = card_values(card, table.video.height if table else 0)
        view.local[RAW] = {**raw, **values, **put_right({**raw, **values})}
        self._take(view, {**view.local[RAW], **paths(view.local[RAW])})
        shown = joined(self.form.shape(view.local[RAW]), self.form.fill_in(values))
        return {**shown, **self._shape(view), self.form.error: ""}

    def _act(self, view: View, act: str, name: str) -> None:
        if act == "verify":
            self.verify.result(view, name)
        elif act == "delete":
            view.seen.pop("export.results", None)
            project = self.page.need_project(view)
            self.results_of.files.forget(project, project.results_dir / name)
            delete_result(project, name)

    def _settings(self, view: View) -> ExportSettings:
        kept = view.local.get(SETTINGS)
        return kept if isinstance(kept, ExportSettings) else ExportSettings()

    def _fault(self, view: View, settings: Settings) -> str:
        """What speaks against settings that are fine in themselves; a certificate is judged below its field."""
        assert isinstance(settings, ExportSettings)
        project = self.page.project(view)
        return range_fault(self.tables.get(project), settings) if project else ""

    def _checked(self, values: Mapping[Any, Any]) -> ExportSettings:
        settings = self.form.read(values)
        fault = self._fault(values[self.page.view], settings) or self.signers.look(settings)[1]
        if fault:
            raise BadInputError(fault)
        return settings

    def _export(self, values: Mapping[Any, Any]) -> Updates:
        self._submit(values[self.page.view], "export", self._checked(values))
        return {self.form.error: ""}

    def _render(self, values: Mapping[Any, Any]) -> Updates:
        view: View = values[self.page.view]
        settings = self.runs.render_settings(view, self._checked(values), bool(values[self.keep]))
        self._submit(view, "render", settings)
        return {self.form.error: ""}

    def _submit(self, view: View, stage: str, settings: ExportSettings | RenderSettings) -> None:
        for record in self.page.jobs(view, (stage,)):
            if record.status.state in OPEN_STATES and record.request.settings == settings.model_dump(mode="json"):
                raise BadInputError(
                    "The same export is waiting or running already.", "Change its name or its settings for another one."
                )
        self.page.submit(view, stage, settings)


def _data(event: gr.EventData) -> Mapping[str, Any]:
    return getattr(event, "_data", None) or {}


def build_export_tab(page: PageContext) -> TabHandles:
    """Make the tab."""
    return ExportTab(page).handles
