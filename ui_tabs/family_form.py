"""One form for all families of models: what they share is one widget, and each family shows the fields that it has.

A form for each family would make the page several times as heavy: see the docstring of FamilyForm.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import gradio as gr

from backend.core.filter_curve import guide_slope
from backend.core.settings import TRAIN_SETTINGS, PhazeASettings, Settings, TrainSettings, is_frozen
from ui_tabs.context import PageContext, Updates, View
from ui_tabs.filter_plot import DRAWN_BY, filter_plots
from ui_tabs.form import SettingsForm, fields_of
from ui_tabs.form_faults import remarks_html
from ui_tabs.form_widgets import Choices, full_label, make_widget, shown_value, widget_class, widget_words
from ui_tabs.labels import group_id, group_of, label_of
from ui_tabs.train_remarks import network_parts, part_choices, remarks_of

FIRST = next(iter(TRAIN_SETTINGS))
BUILDER = "phaze_a"
SLOPE = "dec_filter_slope"
PARTS = ("freeze_layers", "load_layers")
PLOTS = ("fc_filter_slope", "fc_gblock_filter_slope", SLOPE)
"""Fields with the plot of a filter curve below them."""
FROZEN_REASON = "Grey settings were fixed when this model was created. For others, make a new model."
SAID = ("label", "info")
"""Properties of a widget that families may have otherwise."""
GUIDE_SIGN = "Show the slope with the guide's sign"
GUIDE_HELP = "The guide counts the decoder's slope from fewest to most filters. Kept is the sign of the presets."


class FamilyForm(SettingsForm):
    """The settings of training, of the family that is chosen.

    Nine families have some 700 settings between them and 150 different ones. Gradio's time goes by the number of
    components: of the page's load, and of every event that reads or fills the form. So a setting has one widget, whose
    label and help are those of the family shown; families with another range or other choices have one of their own.
    Ids: ``train-<field>``, ``train-<family>-<field>`` for the latter.

    Args:
        page: the page's context.
        choices: see SettingsForm.

    Attributes:
        sign: whether the decoder's slope is shown with the guide's sign; plots: the filter curves, by field.
    """

    def __init__(self, page: PageContext, choices: Mapping[str, Choices]) -> None:
        self.page = page
        self.plots: dict[str, Any] = {}
        self._of: dict[str, dict[str, Any]] = {family: {} for family in TRAIN_SETTINGS}
        self._every: list[Any] = []
        self._words: dict[tuple[str, str], dict[str, Any]] = {}
        self._fields = {family: fields_of(kind) for family, kind in TRAIN_SETTINGS.items()}
        super().__init__(TRAIN_SETTINGS[FIRST], "train", "train", choices=choices)
        self.told = gr.HTML("", elem_id="train-told", elem_classes="lk-told")
        self.widgets = self._of[FIRST]
        self.inputs = set(self._every)

    def _names(self, exclude: Collection[str]) -> list[str]:
        return list(dict.fromkeys(name for names in self._fields.values() for name in names))

    def _add(self, names: Sequence[str], choices: Mapping[str, Choices]) -> None:
        for name in names:
            self._add_widgets(name, choices.get(name, [] if name in PARTS else None))
            if name == SLOPE:
                self.sign = gr.Checkbox(
                    False, label=GUIDE_SIGN, info=GUIDE_HELP, elem_id="train-guide-sign", interactive=True
                )
            if name in PLOTS:
                self.plots[name] = gr.HTML("", elem_id=f"train-{name}-plot")

    def _add_widgets(self, name: str, choices: Choices | None) -> None:
        """The widgets of a field, one for families with the same range and choices: Gradio refuses other values."""
        kinds: dict[Any, list[str]] = {}
        words = {f: self._words_of(f, name) for f, names in self._fields.items() if name in names}
        for family, given in words.items():
            facts = TRAIN_SETTINGS[family].model_fields[name]
            rest = {key: str(value) for key, value in given.items() if key not in SAID}
            kinds.setdefault((widget_class(facts, choices), *sorted(rest.items())), []).append(family)
        for nth, families in enumerate(kinds.values()):
            key = self.key if not nth else f"{self.key}-{families[0]}"
            facts = TRAIN_SETTINGS[families[0]].model_fields[name]
            widget = make_widget(self.stage, name, facts, f"{key}-{name}", choices)
            widget.visible = FIRST in families
            self._every.append(widget)
            for said in SAID:
                if len({words[family][said] for family in families}) > 1:
                    for family in families:
                        self._words.setdefault((family, name), {})[said] = words[family][said]
            self._of.update({f: {**self._of[f], name: widget} for f in families})

    def _words_of(self, family: str, name: str) -> dict[str, Any]:
        return widget_words(self.stage, name, TRAIN_SETTINGS[family].model_fields[name])

    # -- the family shown

    def chosen(self, view: View) -> str:
        """The family whose fields are visible."""
        name = str(view.local.get("train.family", FIRST))
        return name if name in self._of else FIRST

    def widgets_of(self, family: str) -> Mapping[str, Any]:
        """Field -> component of a family."""
        return self._of[family]

    @property
    def outputs(self) -> list[Any]:
        """Every component that updates() may change."""
        also = [component for components, _ in self._also for component in components]
        told = [self.note, self.error, self.said, self.told, *also]
        return [*self._every, *self.groups.values(), *self.plots.values(), *told]

    def read(self, values: Mapping[Any, Any], **fixed: Any) -> Settings:
        """Settings of the chosen family; see SettingsForm.read."""
        return self._read(TRAIN_SETTINGS[self.chosen(values[self.page.view])], {**self.data(values), **fixed})

    def data(self, values: Mapping[Any, Any]) -> dict[str, Any]:
        """Field -> value of the chosen family as the widgets have it, not checked; slopes with the presets' sign."""
        view = values[self.page.view]
        family = self.chosen(view)
        data = self.given(TRAIN_SETTINGS[family], self._of[family], values)
        if _guides(view) and isinstance(data.get(SLOPE), int | float):
            data[SLOPE] = guide_slope(data[SLOPE])
        return data

    def updates(self, settings: Settings, frozen: str = "") -> Updates:
        """Updates that show the fields of these settings' family, filled; the slope with the presets' sign."""
        assert isinstance(settings, TrainSettings)
        return self.filled(settings.model_class, dict(settings), frozen)

    def show(self, view: View, family: str, data: Mapping[str, Any], frozen: str = "") -> Updates:
        """Updates that show a family's fields with these values, and what follows from them.

        Filling the fields raises no event by which values are checked: one for every visible field would come at once.

        Args:
            data: field -> value, not necessarily right; the slope with the presets' sign.
            frozen: see filled().
        """
        view.local["train.family"] = family
        shown = self.filled(family, data, frozen)
        slope = self._of[family].get(SLOPE)
        if slope is not None and _guides(view) and isinstance(data.get(SLOPE), int | float):
            shown[slope]["value"] = guide_slope(data[SLOPE])
        view.changed("train.parts", network_parts(_lenient(TRAIN_SETTINGS[family], data)))
        view.changed("train.told", shown[self.told])
        own = self._of[family].values()
        view.local["train.values"] = {w.elem_id: shown[w]["value"] for w in own if "value" in shown[w]}
        return {**shown, **self._judged(view, lambda: self._read(TRAIN_SETTINGS[family], data))}

    def restored(self, view: View, settings: Settings, frozen: str) -> Updates:
        """See SettingsForm."""
        assert isinstance(settings, TrainSettings)
        return self.show(view, settings.model_class, dict(settings), frozen)

    def filled(self, family: str, data: Mapping[str, Any], frozen: str = "") -> Updates:
        """Updates that show a family's fields with these values.

        Args:
            data: field -> value, not necessarily right.
            frozen: why fields that cannot change after a model was created are grey; "" leaves all of them open.
        """
        kind, own = TRAIN_SETTINGS[family], self._of[family]
        note = f'<p class="lk-note">{html.escape(frozen)}</p>' if frozen else ""
        shown: Updates = {self.error: "", self.said: "", self.note: note}
        settings = _lenient(kind, data)
        shown.update({widget: gr.update(visible=False) for widget in set(self._every) - set(own.values())})
        for name, widget in own.items():
            grey = bool(frozen) and is_frozen(kind.model_fields[name])
            told = {"value": shown_value(data[name])} if name in data else {}
            shown[widget] = gr.update(visible=True, interactive=not grey, **told, **self._words.get((family, name), {}))
        present = {group_of(self.stage, name) for name in own}
        shown.update({fold: gr.update(visible=group in present) for group, fold in self.groups.items()})
        shown[self.told] = remarks_html(remarks_of(settings, bool(frozen)), self._spots(family))
        for name in PARTS:
            # before the value, which the browser otherwise looks up among the choices of the family before
            shown[own[name]] = {"choices": part_choices(settings, name), **shown[own[name]]}
        return {**shown, **self._plotted(family, settings)}

    def offer(self, view: View, name: str, choices: Choices) -> Updates:
        """Put other choices into a field made with ``choices``, when they changed; the chosen value stays."""
        if not view.changed(f"{self.key}.{name}.choices", tuple(choices)):
            return {}
        widgets = {own[name] for own in self._of.values() if name in own}
        return {widget: gr.update(choices=list(choices)) for widget in widgets}

    # -- what is said beside the fields

    @property
    def told_beside(self) -> list[Any]:
        """What beside() may change."""
        return [self.told, *self._parts()]

    def beside(self, values: Mapping[Any, Any]) -> Updates:
        """Remarks at the fields, and the parts that this network has to choose from."""
        view = values[self.page.view]
        family = self.chosen(view)
        settings = _lenient(TRAIN_SETTINGS[family], self.data(values))
        exists = bool(view.local.get("train.pick", ""))
        told = remarks_html(remarks_of(settings, exists), self._spots(family))
        shown: Updates = {self.told: told} if view.changed("train.told", told) else {}
        parts = network_parts(settings)
        if view.changed("train.parts", parts):
            own = self._of[family]
            shown.update({own[name]: gr.update(choices=part_choices(settings, name)) for name in PARTS})
        return shown

    def spot(self, name: str) -> tuple[str, str]:
        """See SettingsForm; of the first family that has the field."""
        return next((self._spots(f)(name) for f in self._of if name in self._of[f]), ("", ""))

    def _spots(self, family: str) -> Any:
        def spot(name: str) -> tuple[str, str]:
            widget = self._of[family].get(name)
            return (str(widget.elem_id), group_id(self.key, group_of(self.stage, name))) if widget else ("", "")

        return spot

    def _parts(self) -> list[Any]:
        return [self._of[FIRST][name] for name in PARTS]

    def _watch(self, page: PageContext, check: Callable[[Mapping[Any, Any]], Updates]) -> None:
        """Check the values while the user changes them.

        The browser sends those of one group. Gradio sees to each input of an event in a thread of its own, and the
        browser to each once more: with all fields the answer would take twice as long. The others are known here.
        """
        also = [component for components, _ in self._also for component in components]

        def checked(values: Mapping[Any, Any]) -> Updates:
            return check(self.known(values))

        for own in self._by_group(self._every):
            changes = [widget.input for widget in own]
            outputs = [self.error, *self.told_beside, *also]
            page.on(changes, checked, {*own, page.view}, outputs, trigger_mode="always_last")

    def known(self, values: Mapping[Any, Any]) -> dict[Any, Any]:
        """Component -> value of all fields: these, and what the others were filled with or changed to."""
        view = values[self.page.view]
        held = view.local.setdefault("train.values", {})
        held.update({widget.elem_id: value for widget, value in values.items() if widget in self.inputs})
        return {**values, **{widget: held[widget.elem_id] for widget in self.inputs if widget.elem_id in held}}

    def _by_group(self, widgets: Sequence[Any]) -> list[list[Any]]:
        """Widgets that lie in the same group."""
        groups: dict[str, list[Any]] = {}
        names = {widget: name for own in self._of.values() for name, widget in own.items()}
        for widget in widgets:
            groups.setdefault(group_of(self.stage, names[widget]), []).append(widget)
        return list(groups.values())

    # -- files

    def _loaded(self, values: Mapping[Any, Any], frozen: bool) -> Updates:
        view = values[self.page.view]
        data, family = self.data(values), self.chosen(view)
        found = self.taken(TRAIN_SETTINGS[family], values, data, frozen)
        exists = FROZEN_REASON if frozen else ""
        return {**self.show(view, family, {**data, **found.values}, exists), **self.loaded_words(found)}

    def defaults(self) -> Settings:
        """The defaults of the first family."""
        return TRAIN_SETTINGS[FIRST]()

    # -- filter curves

    def wire_plots(self) -> None:
        """Draw the filter curves while values change: by an event of their own, which waits for no other."""
        page, own = self.page, self._of[BUILDER]
        plots = list(self.plots.values())
        for drawn_by in self._by_group([own[name] for name in DRAWN_BY]):
            changes = [widget.input for widget in drawn_by]
            inputs = {*drawn_by, page.view}
            page.on(changes, self._drawn, inputs, plots, trigger_mode="always_last", queue=False)
        page.on(self.sign.input, self._turned, [page.view, self.sign, own[SLOPE]], own[SLOPE], queue=False)

    def _drawn(self, values: Mapping[Any, Any]) -> Any:
        family = self.chosen(values[self.page.view])
        return self._plotted(family, _lenient(PhazeASettings, self.data(self.known(values)))) or gr.skip()

    def _plotted(self, family: str, settings: Any) -> Updates:
        if family != BUILDER:
            return {}
        try:
            plots = filter_plots(settings)
        except (TypeError, ValueError, ArithmeticError, KeyError):
            return {}  # a field is empty or out of range, which is said there
        return {self.plots[name]: plot for name, plot in zip(PLOTS, plots, strict=True)}

    def _turned(self, view: View, guide: bool, slope: float) -> Any:
        """The slope with the other sign, and which sign it is at its label."""
        view.local["train.guide-sign"] = bool(guide)
        usual = full_label(self.stage, SLOPE, PhazeASettings.model_fields[SLOPE])
        guides = f"{label_of(self.stage, SLOPE)}, sign of the guide"
        turned = guide_slope(slope)
        view.local.setdefault("train.values", {})[self._of[BUILDER][SLOPE].elem_id] = turned
        return gr.update(value=turned, label=guides if guide else usual)


def _guides(view: View) -> bool:
    return bool(view.local.get("train.guide-sign"))


def _lenient(kind: type[TrainSettings], data: Mapping[str, Any]) -> Any:
    """Settings that are not checked, for what can be said about them all the same."""
    return kind.model_construct(**{name: value for name, value in data.items() if name in kind.model_fields})
