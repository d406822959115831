"""Settings model <-> widgets: one generator for every tab.

A field becomes a slider, number, switch, choice, list or text by its type and range; its label, group and order come
from labels.py, its help sentence, unit, range and default from the settings model itself. What speaks against a value
is said at its field: form_faults.py.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from pydantic import ValidationError

from backend.core.errors import LookalikeError
from backend.core.settings import Settings, is_fixed, is_frozen, is_hidden
from ui_tabs.context import PageContext, Updates, View
from ui_tabs.form_faults import FieldsError, error_html, faults_html, faults_of, sentences
from ui_tabs.form_file import Fitted, fit, read_settings
from ui_tabs.form_widgets import Choices, full_label, help_sentence, make_widget, plain, shown_value
from ui_tabs.labels import MAIN, group_id, group_of, layout

__all__ = ["Choices", "SettingsForm", "error_html", "full_label", "help_sentence", "make_widget", "sentences"]


class SettingsForm:
    """Widgets of one settings model. Made inside a gradio layout; put ``error`` and the Start button below it.

    Args:
        kind: the settings class.
        stage: key of the words in labels.py.
        key: prefix of all elem_ids: ``<key>-<field>``, ``<key>-error``, ``<key>-reset``.
        exclude: fields that have no widget because the tab supplies them (for example the side). Hidden fields and
            those with only one allowed value have none either.
        choices: (label, value) pairs for text fields that are better chosen than typed; other text stays possible.

    Attributes:
        widgets: field name -> component.
        inputs: all widgets as a set; a handler with these inputs gets a dict for read().
        error: where contradictions are shown; note: why some fields are grey; said: what came of saving and loading;
            reset, save, load: the buttons below the fields, wired by wire().
    """

    def __init__(
        self,
        kind: type[Settings],
        stage: str,
        key: str,
        exclude: Collection[str] = (),
        choices: Mapping[str, Choices] | None = None,
    ) -> None:
        self.kind = kind
        self.stage = stage
        self.key = key
        self.widgets: dict[str, Any] = {}
        self.groups: dict[str, Any] = {}
        self._also: list[tuple[Sequence[Any], Callable[[View, Settings], Updates]]] = []
        self._fault: Callable[[View, Settings], str] = lambda view, settings: ""
        given = choices or {}
        with gr.Column(elem_id=f"{key}-form", elem_classes="lk-form"):
            self.note = gr.HTML("", elem_id=f"{key}-note")
            for group, members in layout(stage, self._names(exclude)):
                if group == MAIN:
                    self._add(members, given)
                else:
                    name = group_id(key, group)
                    with gr.Accordion(group, open=False, elem_id=name, elem_classes="lk-more") as self.groups[group]:
                        self._add(members, given)
            self.error = gr.HTML("", elem_id=f"{key}-error", elem_classes="lk-form-error")
            self._add_buttons()
        self.inputs: set[Any] = set(self.widgets.values())

    @property
    def outputs(self) -> list[Any]:
        """Every component that updates() may change."""
        return [*self.widgets.values(), self.note, self.error, self.said]

    def _names(self, exclude: Collection[str]) -> list[str]:
        """The fields with a widget."""
        return fields_of(self.kind, exclude)

    def _add(self, names: Sequence[str], choices: Mapping[str, Choices]) -> None:
        for name in names:
            facts = self.kind.model_fields[name]
            self.widgets[name] = make_widget(self.stage, name, facts, f"{self.key}-{name}", choices.get(name))

    def _add_buttons(self) -> None:
        def look(name: str) -> dict[str, Any]:
            return {"size": "sm", "elem_id": f"{self.key}-{name}", "elem_classes": "lk-quiet"}

        with gr.Row(elem_classes="lk-buttons"):
            self.reset = gr.Button("Reset to defaults", **look("reset"))
            self.save = gr.Button("Save settings", **look("save-settings"))
            self.load = gr.UploadButton("Load settings", file_types=[".json", ".yaml", ".yml"], **look("load-settings"))
        self.said = gr.HTML("", elem_id=f"{self.key}-file-said")

    def read(self, values: Mapping[Any, Any], **fixed: Any) -> Settings:
        """Settings from the values of a handler with set inputs.

        Args:
            values: component -> value.
            fixed: values of the excluded fields.

        Raises:
            BadInputError: one sentence per contradiction, each beginning with the label of its field.
        """
        return self._read(self.kind, {**self.given(self.kind, self.widgets, values), **fixed})

    def given(self, kind: type[Settings], widgets: Mapping[str, Any], values: Mapping[Any, Any]) -> dict[str, Any]:
        """Field -> value as the widgets have it, not checked."""
        return {n: plain(kind.model_fields[n], values[widget]) for n, widget in widgets.items() if widget in values}

    def _read(self, kind: type[Settings], data: Mapping[str, Any]) -> Settings:
        try:
            return kind.model_validate(dict(data))
        except ValidationError as error:
            raise FieldsError(faults_of(self.stage, error, kind.model_fields)) from error

    def spot(self, name: str) -> tuple[str, str]:
        """(elem_id of a field, elem_id of its closed group); "" where there is none."""
        widget = self.widgets.get(name)
        return (str(widget.elem_id), group_id(self.key, group_of(self.stage, name))) if widget else ("", "")

    def updates(self, settings: Settings, frozen: str = "") -> Updates:
        """Updates that show the given settings.

        Args:
            frozen: why fields that cannot change after a model was created are grey; "" leaves all of them open.
        """
        note = f'<p class="lk-note">{html.escape(frozen)}</p>' if frozen else ""
        shown: Updates = {self.error: "", self.said: "", self.note: note}
        for name, widget in self.widgets.items():
            grey = bool(frozen) and is_frozen(self.kind.model_fields[name])
            shown[widget] = gr.update(value=shown_value(getattr(settings, name)), interactive=not grey)
        return shown

    def restored(self, view: View, settings: Settings, frozen: str) -> Updates:
        """What Reset shows; see updates()."""
        return self.updates(settings, frozen)

    @property
    def told_beside(self) -> list[Any]:
        """What beside() may change."""
        return []

    def beside(self, values: Mapping[Any, Any]) -> Updates:
        """What else changes with the values, also where they contradict each other."""
        return {}

    def offer(self, view: View, name: str, choices: Choices) -> Updates:
        """Put other choices into a field made with ``choices``, when they changed; the chosen value stays."""
        if name not in self.widgets or not view.changed(f"{self.key}.{name}.choices", tuple(choices)):
            return {}
        return {self.widgets[name]: gr.update(choices=list(choices))}

    def defaults(self) -> Settings:
        """The settings as they are when nothing is chosen."""
        return self.kind()

    def show_also(self, components: Sequence[Any], what: Callable[[View, Settings], Updates]) -> None:
        """Also update components while values change, by settings without contradiction. Before wire()."""
        self._also.append((components, what))

    def wire(
        self,
        page: PageContext,
        fixed: Callable[[View], dict[str, Any]] = lambda view: {},
        baseline: Callable[[View], tuple[Settings, str]] | None = None,
        command: tuple[Any, Callable[[View, Settings], str]] | None = None,
        fault: Callable[[View, Settings], str] = lambda view, settings: "",
    ) -> None:
        """Make the buttons work, and show contradictions (and the command line) while values change.

        Args:
            fixed: values of the excluded fields.
            baseline: what Reset goes back to, and the frozen reason; the defaults when None.
            command: a component and what to show in it for settings without contradiction.
            fault: what speaks against settings that are fine in themselves; "" when nothing does.
        """
        if command is not None:
            line, words = command
            self.show_also([line], lambda view, settings: {line: words(view, settings)})

        self._fault = fault

        def base(view: View) -> tuple[Settings, str]:
            return baseline(view) if baseline else (self.defaults(), "")

        def restore(view: View) -> Updates:
            return self.restored(view, *base(view))

        def check(values: Mapping[Any, Any]) -> Updates:
            view = values[page.view]
            return {**self.beside(values), **self._judged(view, lambda: self.read(values, **fixed(view)))}

        def save(values: Mapping[Any, Any]) -> Updates:
            given = fixed(values[page.view])
            return {self.error: "", self.said: self._saved(page, values[page.view], self.read(values, **given))}

        def take(values: Mapping[Any, Any]) -> Updates:
            return self._loaded(values, bool(base(values[page.view])[1]))

        page.on(self.reset.click, restore, page.view, self.outputs)
        page.on(self.save.click, save, {*self.inputs, page.view}, [self.error, self.said])
        page.on(self.load.upload, take, {*self.inputs, page.view, self.load}, self.outputs)
        self._watch(page, check)

    def _judged(self, view: View, read: Callable[[], Settings]) -> Updates:
        """What speaks against the settings, at the form and beside the fields; else what goes along with them."""
        try:
            settings = read()
        except FieldsError as error:
            return {self.error: faults_html(error.faults, self.spot)}
        except LookalikeError as error:
            return {self.error: error_html(str(error))}
        shown: Updates = {self.error: error_html(self._fault(view, settings))}
        for _, what in self._also:
            shown.update(what(view, settings))
        return shown

    def _watch(self, page: PageContext, check: Callable[[Mapping[Any, Any]], Updates]) -> None:
        """Check the values while they change."""
        outputs = [
            self.error,
            *self.told_beside,
            *(component for components, _ in self._also for component in components),
        ]
        changes = [widget.change for widget in self.widgets.values()]
        page.on(changes, check, {*self.inputs, page.view}, outputs, trigger_mode="always_last")

    def _saved(self, page: PageContext, view: View, settings: Settings) -> str:
        parts = [getattr(settings, name, "") for name in ("side", "model_class")]
        path = page.save_settings(view, "-".join([self.stage, *(str(part) for part in parts if part)]), settings)
        place = html.escape(path.relative_to(page.workspace.root).as_posix())
        url = html.escape(page.file_url(path))
        link = f'<a class="lk-link" href="{url}" download="{html.escape(path.name)}">Download</a>'
        return f'<p class="lk-note">Saved as {place}; the command line reads it with --config. {link}</p>'

    def _loaded(self, values: Mapping[Any, Any], frozen: bool) -> Updates:
        """Put a file's settings into the fields. BadInputError when it cannot be used."""
        found = self.taken(self.kind, values, self.given(self.kind, self.widgets, values), frozen)
        filled: Updates = {self.widgets[name]: gr.update(value=shown_value(v)) for name, v in found.values.items()}
        return {**filled, **self.loaded_words(found)}

    def taken(self, kind: type[Settings], values: Mapping[Any, Any], shown: Mapping[str, Any], frozen: bool) -> Fitted:
        """What of the uploaded file goes into the fields; the file is removed."""
        file = Path(values[self.load])
        try:
            return fit(kind, self.stage, read_settings(file, self.stage), shown, frozen)
        finally:
            file.unlink(missing_ok=True)

    def loaded_words(self, found: Fitted) -> Updates:
        """What was loaded, below the buttons."""
        return {self.said: f'<p class="lk-note">{html.escape(found.said)}</p>'}


def fields_of(kind: type[Settings], exclude: Collection[str] = ()) -> list[str]:
    """Settings with something to choose: neither hidden, nor with one allowed value."""
    return [
        name
        for name, facts in kind.model_fields.items()
        if name not in exclude and not is_fixed(facts) and not is_hidden(facts)
    ]
