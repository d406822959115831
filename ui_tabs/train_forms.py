"""The settings of training: one form for each family of models, of which only the chosen one is visible."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from backend.core.settings import TRAIN_SETTINGS, Settings, TrainSettings
from ui_tabs.context import PageContext, Updates, View
from ui_tabs.form import SettingsForm
from ui_tabs.labels import choice_label

FIRST = next(iter(TRAIN_SETTINGS))
DEFAULT_PRESET = "Default"
KEPT_BY_PRESETS = ("model", "device")


class TrainForms:
    """One SettingsForm per family of models. Ids: ``train-<field>`` of the first, ``train-<family>-<field>`` of others.

    Args:
        page: the page's context.

    Attributes:
        family, preset: the choices for a new model; made by choose(), above the forms.
        forms: name of a family -> its form.
        boxes: name of a family -> the column that is shown or hidden.
    """

    def __init__(self, page: PageContext) -> None:
        self.page = page
        self.forms: dict[str, SettingsForm] = {}
        self.boxes: dict[str, Any] = {}
        self.family = gr.Dropdown(
            [(choice_label("model_class", name), name) for name in TRAIN_SETTINGS],
            value=FIRST,
            label="Model family",
            info="SAEHD has all options; Quick96 has its settings fixed; AMP can morph between both faces.",
            elem_id="train-family",
            filterable=False,
        )
        self.preset = gr.Dropdown(
            preset_names(FIRST),
            value=DEFAULT_PRESET,
            label="Preset",
            info="Fills the settings below.",
            elem_id="train-preset",
            filterable=False,
        )
        self.card = gr.HTML("", elem_id="train-card")
        for name, kind in TRAIN_SETTINGS.items():
            with gr.Column(visible=name == FIRST, elem_id=f"train-box-{name}", elem_classes="lk-plain") as box:
                key = "train" if name == FIRST else f"train-{name}"
                choices = {"device": page.training_devices(), "pretrain_faces": []}
                self.forms[name] = SettingsForm(kind, "train", key, choices=choices)
            self.boxes[name] = box

    @property
    def inputs(self) -> set[Any]:
        """The widgets of all forms."""
        return {widget for form in self.forms.values() for widget in form.inputs}

    @property
    def outputs(self) -> list[Any]:
        """Every component that updates() and offer() may change."""
        inside = [component for form in self.forms.values() for component in form.outputs]
        return [self.family, self.preset, *self.boxes.values(), *inside]

    def of(self, view: View) -> SettingsForm:
        """The visible form."""
        return self.forms[self.chosen(view)]

    def chosen(self, view: View) -> str:
        """The family whose form is visible."""
        name = str(view.local.get("train.family", FIRST))
        return name if name in self.forms else FIRST

    def read(self, view: View, values: Mapping[Any, Any]) -> TrainSettings:
        """Settings of the visible form; see SettingsForm.read."""
        settings = self.of(view).read(values)
        assert isinstance(settings, TrainSettings)
        return settings

    def show(self, view: View, settings: Settings, frozen: str, model: str) -> Updates:
        """Show the form of these settings, filled with them.

        Args:
            frozen: why the fields that cannot change are grey; "" for a new model.
            model: name of the existing model, "" for a new one.
        """
        assert isinstance(settings, TrainSettings)
        view.local["train.family"] = settings.model_class
        view.local.pop("train.checked", None)
        view.local.setdefault("train.filled", {})[settings.model_class] = model
        return {**self._visible(view, not model), **self.of(view).updates(settings, frozen)}

    def switch(self, view: View, family: str) -> Updates:
        """Show another family for a new model. What was typed into its form before stays."""
        view.local["train.family"] = family
        view.local.pop("train.checked", None)
        filled = view.local.setdefault("train.filled", {})
        if filled.get(family, ""):
            return self.show(view, self.of(view).defaults(), "", "")
        filled[family] = ""
        return self._visible(view, True)

    def apply_preset(self, view: View, preset: str) -> Updates:
        """Fill the visible form with a preset; name and device stay as they are."""
        form = self.of(view)
        values = presets(self.chosen(view)).get(preset, {})
        shown = form.updates(form.kind.model_validate(dict(values)))
        kept = [form.widgets[name] for name in KEPT_BY_PRESETS if name not in values]
        return {component: update for component, update in shown.items() if component not in kept}

    def offer(self, view: View) -> Updates:
        """Devices and facesets to choose from, when they changed."""
        form = self.of(view)
        shown = form.offer(view, "device", self.page.training_devices())
        if "pretrain_faces" in form.widgets:
            shown.update(form.offer(view, "pretrain_faces", self.page.facesets(view)))
        return shown

    def _visible(self, view: View, new: bool) -> Updates:
        chosen = self.chosen(view)
        names = preset_names(chosen)
        shown: Updates = {box: gr.update(visible=name == chosen) for name, box in self.boxes.items()}
        shown[self.family] = gr.update(value=chosen, visible=new)
        shown[self.preset] = gr.update(choices=names, value=DEFAULT_PRESET, visible=new and len(names) > 1)
        return shown


def presets(family: str) -> Mapping[str, Mapping[str, Any]]:
    """Presets of a family: name -> settings that differ from the defaults."""
    found: Mapping[str, Mapping[str, Any]] = getattr(TRAIN_SETTINGS[family], "PRESETS", {})
    return found


def preset_names(family: str) -> list[str]:
    """Presets to choose from, the defaults first."""
    return [DEFAULT_PRESET, *presets(family)]
