"""Persons of a faceset: telling them apart, and keeping only one of them."""

from __future__ import annotations

import html
from collections.abc import Callable, Collection, Mapping
from typing import Any

import gradio as gr

from backend.core.errors import BadInputError
from backend.core.jobs import JobState
from backend.core.settings import PersonsSettings
from ui_tabs.context import PageContext, Updates, View
from ui_tabs.form import SettingsForm
from ui_tabs.job_panel import JobPanel, on_side

MOST_EXAMPLES = 200


class PersonsCard:
    """The closed group "Persons". Place it inside a layout.

    Args:
        page: the page's context.
        side_of: the side that is looked at.
        selected: file names of the selected faces, the examples of the person to keep.
        changed: called after a job was started.
    """

    def __init__(
        self,
        page: PageContext,
        side_of: Callable[[View], str],
        selected: Callable[[View], Collection[str]],
        changed: Callable[[View], None],
    ) -> None:
        self.page = page
        self._side_of = side_of
        self._selected = selected
        self._changed = changed
        with gr.Accordion("Persons", open=False, elem_classes="lk-card", elem_id="sort-persons-fold"):
            self.form = SettingsForm(PersonsSettings, "persons", "persons", ("side", "examples"))
            with gr.Row(elem_classes="lk-buttons"):
                self.start = gr.Button("Tell persons apart", variant="primary", elem_id="persons-start")
                self.keep = gr.Button("Keep only this person", elem_id="persons-keep", interactive=False)
            self.hint = gr.HTML(hint_html(0), elem_id="persons-hint")
            words = "Progress appears here. The persons are then offered as a filter above the faces."
            self.panel = JobPanel(page, "persons", ("persons",), words, on_side(side_of))
            self.said = gr.HTML("", elem_id="persons-said")
        side = side_of
        self.form.wire(page, lambda view: {"side": side(view)})
        self.panel.attach_start(self.start, self._missing)
        inputs = {*self.form.inputs, page.view}
        page.act(self.start.click, self._begin, inputs, [self.form.error])
        page.act(self.keep.click, self._keep, inputs, [self.form.error])

    @property
    def outputs(self) -> list[Any]:
        """Every component that tick() and fill() may update."""
        return [*self.form.outputs, *self.panel.outputs, self.keep, self.hint, self.said]

    def fill(self, view: View) -> Updates:
        """The settings of the last run on the chosen side."""
        side = self._side_of(view)
        fresh = PersonsSettings.model_validate({"side": side})
        return self.form.updates(self.page.last_settings(view, "persons", PersonsSettings, {"side": side}) or fresh)

    def tick(self, view: View) -> Updates:
        """What changed."""
        shown = self.panel.tick(view)
        record = self.panel.record(view)
        done = record is not None and record.status.state is JobState.DONE
        if view.changed("persons.said", record.id if record and done else ""):
            words = result_words(record.status.result) if record and done else ""
            shown[self.said] = f'<p class="lk-note">{html.escape(words)}</p>' if words else ""
        return {**shown, **self.show_selection(view)}

    def show_selection(self, view: View) -> Updates:
        """How many examples there are."""
        number = len(self._selected(view))
        if not view.changed("sort.persons-examples", number):
            return {}
        return {self.keep: gr.update(interactive=number > 0), self.hint: hint_html(number)}

    def _missing(self, view: View) -> str:
        return self.page.faces_missing(view, self._side_of(view))

    def _begin(self, values: Mapping[Any, Any]) -> Updates:
        return self._submit(values, "")

    def _keep(self, values: Mapping[Any, Any]) -> Updates:
        return self._submit(values, examples_text(self._selected(values[self.page.view])))

    def _submit(self, values: Mapping[Any, Any], examples: str) -> Updates:
        view = values[self.page.view]
        self.panel.require_free(view)
        settings = self.form.read(values, side=self._side_of(view), examples=examples)
        self.page.submit(view, "persons", settings)
        self._changed(view)
        return {self.form.error: ""}


def examples_text(names: Collection[str]) -> str:
    """The selected faces as the setting has them. BadInputError when there are none, or their names hold commas."""
    chosen = sorted(names)[:MOST_EXAMPLES]
    if not chosen:
        raise BadInputError("No face is selected.", "Select some faces of the person to keep.")
    if any("," in name for name in chosen):
        raise BadInputError("A selected file has a comma in its name.", "Select other faces of this person.")
    return ", ".join(chosen)


def result_words(result: Mapping[str, Any]) -> str:
    """What came of telling persons apart: how many there are, how that was done, and what went to the trash."""
    persons, faces, gone = (int(result.get(key) or 0) for key in ("persons", "faces", "trashed"))
    said = f"{persons:,} {'person' if persons == 1 else 'persons'} in {faces:,} faces."
    if gone:
        said += f" Kept {int(result.get('kept') or 0):,}, {gone:,} faces of others moved to the trash; undo is there."
    reason = str(result.get("reason") or "")
    return f"{said} {reason}".strip()


def hint_html(number: int) -> str:
    """What "Keep only this person" will do."""
    if not number:
        words = "To keep one person only, select some of its faces first."
    else:
        words = f"{number:,} selected faces are the examples. Faces of other people then go to the trash."
    return f'<p class="lk-note">{words}</p>'
