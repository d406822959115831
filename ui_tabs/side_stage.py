"""A stage that works on one side, as a card: form, Start button, command line, job panel."""

from __future__ import annotations

import html
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from backend.core.jobs import JobState
from backend.core.settings import Settings
from backend.jobs.command import command_line
from ui_tabs.context import OPEN_STATES, PageContext, Updates, View
from ui_tabs.form import SettingsForm
from ui_tabs.job_panel import JobPanel, command_html, on_side


@dataclass(frozen=True)
class Prospect:
    """What starting with the present settings would do.

    Attributes:
        said: markup shown above the Start button, "" for nothing.
        reason: why it cannot start, "" when it can.
    """

    said: str = ""
    reason: str = ""


Foresee = Callable[[View, Settings], Prospect]


@dataclass(frozen=True)
class CardWords:
    """Title of a card, what appears where no job was yet, and the words on its Start button."""

    title: str
    empty: str
    start: str = "Start"


class StageCard:
    """Form, Start button, command line and job panel of one stage. Place it inside a layout.

    Args:
        page: the page's context.
        stage, kind: the stage and its settings.
        words: see CardWords.
        foresee: what starting would do; asked on every tick, so it has to be quick.
        exclude: fields without a widget; they keep their defaults.
        forget: fields that a later visit does not show as the last run had them.

    Attributes:
        hint: markup below the title, for the tab; more: a row behind the Start button, for further buttons.
    """

    def __init__(
        self,
        page: PageContext,
        stage: tuple[str, type[Settings]],
        words: CardWords,
        foresee: Foresee,
        exclude: Collection[str] = (),
        forget: Collection[str] = (),
    ) -> None:
        self.page = page
        self.stage, self.kind = stage
        self._foresee = foresee
        self._forget = (*exclude, *forget)
        self._forgets = bool(forget)
        key = self.stage
        with gr.Column(elem_classes="lk-card"):
            gr.HTML(f'<h2 class="lk-card-title">{html.escape(words.title)}</h2>')
            self.hint = gr.HTML("", elem_id=f"{key}-hint")
            choices = {"device": page.device_choices()}
            self.form = SettingsForm(self.kind, key, key, exclude=("side", *exclude), choices=choices)
            self.said = gr.HTML("", elem_id=f"{key}-said")
            with gr.Row(elem_classes="lk-buttons") as self.more:
                self.start = gr.Button(words.start, variant="primary", elem_id=f"{key}-start")
            self.panel = JobPanel(page, key, (key,), words.empty, on_side(side_of))
            with gr.Accordion("Command line of this run", open=False, elem_classes="lk-more"):
                self.command = gr.HTML("", elem_id=f"{key}-command")
        self.form.show_also([self.command, self.said], self._changed)
        self.form.wire(page, lambda view: {"side": side_of(view)})
        page.act(self.start.click, self._begin, {*self.form.inputs, page.view}, [self.form.error])
        self.panel.attach_start(self.start, lambda view: self._prospect(view).reason)

    @property
    def outputs(self) -> list[Any]:
        """Every component that tick() and fill() may update."""
        return [self.hint, self.said, *self.form.outputs, *self.panel.outputs, self.command]

    def fill(self, view: View) -> Updates:
        """The settings of the last run on this side."""
        found = self.page.last_settings(view, self.stage, self.kind, {"side": side_of(view)})
        kept = found.model_dump(exclude=set(self._forget)) if found else {}
        settings = self.kind.model_validate({**kept, "side": side_of(view)})
        return {**self.form.updates(settings), **self._changed(view, settings)}

    def tick(self, view: View) -> Updates:
        """What changed."""
        shown = {**self._after(view), **self.panel.tick(view)}
        shown.update(self.form.offer(view, "device", self.page.device_choices()))
        said = self._prospect(view).said
        if view.changed(f"{self.stage}.said", said):
            shown[self.said] = said
        return shown

    def submit(self, view: View, **fixed: Any) -> None:
        """Start the stage with its defaults and the given values, for further buttons. Refused while one runs."""
        self.panel.require_free(view)
        settings = self.kind.model_validate({"side": side_of(view), **fixed})
        self.page.submit(view, self.stage, settings)

    def _after(self, view: View) -> Updates:
        """The form anew when a job ended that this browser tab saw running, without what means nothing afterwards."""
        record = self.panel.record(view)
        state = (record.id, record.status.state) if record else None
        before = view.seen.get(f"{self.stage}.ran")
        if not view.changed(f"{self.stage}.ran", state) or before is None or state is None or not self._forgets:
            return {}
        over = before[1] in OPEN_STATES and state == (before[0], JobState.DONE)
        return self.fill(view) if over else {}

    def _changed(self, view: View, settings: Settings) -> Updates:
        """Remember what the form shows, and what depends on it."""
        view.local[f"{self.stage}.settings"] = settings
        line = command_line(self.stage, view.project or "PROJECT", settings, self.page.shown_root)
        said = self._prospect(view).said
        view.seen[f"{self.stage}.said"] = said
        return {self.command: command_html(line), self.said: said}

    def _prospect(self, view: View) -> Prospect:
        settings = view.local.get(f"{self.stage}.settings")
        if settings is None or self.page.project(view) is None:
            return Prospect()
        return self._foresee(view, settings)

    def _begin(self, values: Mapping[Any, Any]) -> Updates:
        view = values[self.page.view]
        self.panel.require_free(view)
        self.page.submit(view, self.stage, self.form.read(values, side=side_of(view)))
        return {self.form.error: ""}


def side_of(view: View) -> str:
    """The side chosen in the Extract tab."""
    return str(view.local.get("extract.side", "src"))
