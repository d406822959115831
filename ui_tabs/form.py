"""Settings model <-> widgets: one generator for every tab.

A field becomes a slider, number, switch, choice or text by its type and range; its label, group and order come from
labels.py, its help sentence, unit, range and default from the settings model itself.
"""

from __future__ import annotations

import html
import re
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from backend.core.errors import BadInputError, LookalikeError
from backend.core.settings import Settings, bounds_of, is_fixed, is_frozen, is_hidden, unit_of
from backend.core.settings.faults import figure, reason
from ui_tabs.context import PageContext, Updates, View
from ui_tabs.form_file import fit, read_settings
from ui_tabs.labels import MAIN, choice_label, label_of, layout

Choices = Sequence[tuple[str, Any]]

SLIDER_STEPS = 1100
"""A range with more steps than this is typed as a number instead."""

_BOUNDS = re.compile(r"\s*\[[^\]]*\]$")


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
        self._also: list[tuple[Sequence[Any], Callable[[View, Settings], Updates]]] = []
        given = choices or {}
        names = [
            n
            for n, facts in kind.model_fields.items()
            if n not in exclude and not is_fixed(facts) and not is_hidden(facts)
        ]
        with gr.Column(elem_id=f"{key}-form", elem_classes="lk-form"):
            self.note = gr.HTML("", elem_id=f"{key}-note")
            for group, members in layout(stage, names):
                if group == MAIN:
                    self._add(members, given)
                else:
                    with gr.Accordion(group, open=False, elem_classes="lk-more"):
                        self._add(members, given)
            self.error = gr.HTML("", elem_id=f"{key}-error", elem_classes="lk-form-error")
            self._add_buttons()
        self.inputs: set[Any] = set(self.widgets.values())

    @property
    def outputs(self) -> list[Any]:
        """Every component that updates() may change."""
        return [*self.widgets.values(), self.note, self.error, self.said]

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
        data = {
            name: _plain(self.kind.model_fields[name], values[widget])
            for name, widget in self.widgets.items()
            if widget in values
        }
        try:
            return self.kind.model_validate({**data, **fixed})
        except ValidationError as error:
            raise BadInputError(" ".join(sentences(self.stage, error))) from error

    def updates(self, settings: Settings, frozen: str = "") -> Updates:
        """Updates that show the given settings.

        Args:
            frozen: why fields that cannot change after a model was created are grey; "" leaves all of them open.
        """
        note = f'<p class="lk-note">{html.escape(frozen)}</p>' if frozen else ""
        shown: Updates = {self.error: "", self.said: "", self.note: note}
        for name, widget in self.widgets.items():
            grey = bool(frozen) and is_frozen(self.kind.model_fields[name])
            shown[widget] = gr.update(value=getattr(settings, name), interactive=not grey)
        return shown

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

        def base(view: View) -> tuple[Settings, str]:
            return baseline(view) if baseline else (self.defaults(), "")

        def restore(view: View) -> Updates:
            return self.updates(*base(view))

        def check(values: Mapping[Any, Any]) -> Updates:
            view = values[page.view]
            try:
                settings = self.read(values, **fixed(view))
            except LookalikeError as error:
                return {self.error: error_html(str(error))}
            shown: Updates = {self.error: error_html(fault(view, settings))}
            for _, what in self._also:
                shown.update(what(view, settings))
            return shown

        def save(values: Mapping[Any, Any]) -> Updates:
            given = fixed(values[page.view])
            return {self.error: "", self.said: self._saved(page, values[page.view], self.read(values, **given))}

        def take(values: Mapping[Any, Any]) -> Updates:
            return self._loaded(values, bool(base(values[page.view])[1]))

        page.on(self.reset.click, restore, page.view, self.outputs)
        page.on(self.save.click, save, {*self.inputs, page.view}, [self.error, self.said])
        page.on(self.load.upload, take, {*self.inputs, page.view, self.load}, self.outputs)
        self._watch(page, check)

    def _watch(self, page: PageContext, check: Callable[[Mapping[Any, Any]], Updates]) -> None:
        """Check the values while they change."""
        outputs = [self.error, *(component for components, _ in self._also for component in components)]
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
        file = Path(values[self.load])
        shown = {name: _plain(self.kind.model_fields[name], values[w]) for name, w in self.widgets.items()}
        try:
            found = fit(self.kind, self.stage, read_settings(file, self.stage), shown, frozen)
        finally:
            file.unlink(missing_ok=True)
        filled: Updates = {self.widgets[name]: gr.update(value=value) for name, value in found.values.items()}
        return {**filled, self.said: f'<p class="lk-note">{html.escape(found.said)}</p>'}


def make_widget(stage: str, name: str, facts: FieldInfo, elem_id: str, choices: Choices | None = None) -> Any:
    """The widget of one field, by its type and range."""
    common = {
        "label": full_label(stage, name, facts),
        "info": help_sentence(facts),
        "value": facts.get_default(),
        "elem_id": elem_id,
        "interactive": True,
    }
    kind = facts.annotation
    if typing.get_origin(kind) is typing.Literal:
        options = [(choice_label(name, value), value) for value in typing.get_args(kind)]
        if len(options) <= 3:
            return gr.Radio(options, **common)
        return gr.Dropdown(options, filterable=False, **common)
    if kind is bool:
        return gr.Checkbox(**common)
    if kind in (int, float):
        return _number(kind is int, facts, common)
    if choices is not None:
        return gr.Dropdown(list(choices), allow_custom_value=True, **common)
    return gr.Textbox(max_lines=1, **common)


def full_label(stage: str, name: str, facts: FieldInfo) -> str:
    """Label with unit and default: "Image size, px (default 512)"."""
    unit = unit_of(facts)
    default = facts.get_default()
    if isinstance(default, bool):
        shown = "on" if default else "off"
    elif isinstance(default, float):
        shown = f"{default:g}"
    elif isinstance(default, int) and default >= 10_000:
        shown = f"{default:,}"
    else:
        shown = choice_label(name, default)
    suffix = f" (default {shown})" if default not in ("", None) else ""
    return f"{label_of(stage, name)}{', ' + unit if unit else ''}{suffix}"


def help_sentence(facts: FieldInfo) -> str:
    """The help sentence with the range in words."""
    sentence = _BOUNDS.sub("", facts.description or "")
    low, high, step = bounds_of(facts)
    if low is None or high is None:
        return sentence
    steps = f", in steps of {step:g}" if step else ""
    return f"{sentence} {figure(low)} to {figure(high)}{steps}."


def sentences(stage: str, error: ValidationError) -> list[str]:
    """What is wrong, one sentence per fault, each with the label of its field."""
    found = []
    for fault in error.errors():
        where = label_of(stage, str(fault["loc"][0])) + ": " if fault["loc"] else ""
        found.append(where + _reason(fault))
    return found


def error_html(text: str) -> str:
    """A contradiction as shown at a form."""
    return f'<p class="lk-error" role="alert">{html.escape(text)}</p>' if text else ""


def _reason(fault: Mapping[str, Any]) -> str:
    text = reason(fault)
    return (text[:1].upper() + text[1:] if fault["type"] == "value_error" else text) + "."


def _number(whole: bool, facts: FieldInfo, common: dict[str, Any]) -> Any:
    low, high, step = bounds_of(facts)
    if low is not None and high is not None:
        grain = step or (1 if whole else 0.01)
        if (high - low) / grain <= SLIDER_STEPS and (whole or (high - low <= 1 and high >= 0.1)):
            return gr.Slider(low, high, step=grain, buttons=[], **common)
    return gr.Number(precision=0 if whole else None, step=step or (1 if whole else 0.000001), **common)


def _plain(facts: FieldInfo, value: Any) -> Any:
    if facts.annotation is int and isinstance(value, float) and value.is_integer():
        return int(value)
    return value.strip() if isinstance(value, str) else value
