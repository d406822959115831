"""The settings of training: the family of models, its presets, and the form that shows the family's fields."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr

from backend.core.encoders import ENCODERS, why_missing
from backend.core.settings import TRAIN_SETTINGS, Settings, TrainSettings
from ui_tabs.context import PageContext, Updates, View
from ui_tabs.family_form import FIRST, FamilyForm
from ui_tabs.labels import choice_label
from ui_tabs.labels_train import FAMILY_WORDS
from ui_tabs.train_presets import KEPT, PresetPanel


class TrainForms:
    """What a training is set by.

    Args:
        page: the page's context.
        picked: name of the chosen model, "" for a new one.

    Attributes:
        family: the choice for a new model, with a line about it below.
        presets: named settings of the family.
        card: the chosen model.
        form: the fields.
    """

    def __init__(self, page: PageContext, picked: Callable[[View], str]) -> None:
        self.page = page
        self.family = gr.Dropdown(
            [(choice_label("model_class", name), name) for name in TRAIN_SETTINGS],
            value=FIRST,
            label="Model family",
            elem_id="train-family",
            filterable=False,
        )
        self.about = gr.HTML(_about_html(FIRST), elem_id="train-family-about")
        self.presets = PresetPanel(page, picked)
        self.card = gr.HTML("", elem_id="train-card")
        choices = {
            "device": page.training_devices(),
            "pretrain_faces": [],
            "load_weights": [],
            "enc_architecture": encoder_choices(),
        }
        self.form = FamilyForm(page, choices)
        self.presets.build(self.form)

    @property
    def inputs(self) -> set[Any]:
        """The widgets of the form."""
        return self.form.inputs

    @property
    def outputs(self) -> list[Any]:
        """Every component that show() and offer() may change."""
        return [self.family, self.about, *self.presets.outputs, *self.form.outputs]

    def chosen(self, view: View) -> str:
        """The family whose fields are visible."""
        return self.form.chosen(view)

    def wire(self) -> None:
        """Make the choices and the presets work. After the form is wired."""
        inputs = {*self.inputs, self.family, self.page.view}
        self.page.act(self.family.input, self._switched, inputs, self.outputs)
        self.presets.wire()
        self.form.wire_plots()

    def read(self, values: Mapping[Any, Any]) -> TrainSettings:
        """Settings of the visible family; see SettingsForm.read."""
        settings = self.form.read(values)
        assert isinstance(settings, TrainSettings)
        return settings

    def defaults(self, view: View) -> Settings:
        """Defaults of the visible family."""
        return TRAIN_SETTINGS[self.chosen(view)]()

    def show(self, view: View, settings: Settings, frozen: str, model: str) -> Updates:
        """Show the fields of these settings, filled with them.

        Args:
            frozen: why the fields that cannot change are grey; "" for a new model.
            model: name of the existing model, "" for a new one.
        """
        assert isinstance(settings, TrainSettings)
        return self._shown(view, settings.model_class, dict(settings), frozen, model)

    def switch(self, view: View, family: str, typed: Mapping[str, Any]) -> Updates:
        """Show another family for a new model. What was typed before for it comes back; name and device stay.

        Args:
            typed: what the fields of the family before show.
        """
        if family == self.chosen(view):
            return {}  # Gradio tells of one choice twice, the second time with the fields of the family before
        kept = view.local.setdefault("train.typed", {})
        kept[self.chosen(view)] = dict(typed)
        before = kept.get(family) or dict(TRAIN_SETTINGS[family]())
        stays = {name: typed[name] for name in KEPT if name in typed}
        return self._shown(view, family, {**before, **stays}, "", "")

    def offer(self, view: View) -> Updates:
        """Devices, facesets, models and presets to choose from, when they changed."""
        project = self.page.project(view)
        models = [(name, name) for name in project.trainable_models()] if project else []
        return {
            **self.form.offer(view, "device", self.page.training_devices()),
            **self.form.offer(view, "pretrain_faces", self.page.facesets(view)),
            **self.form.offer(view, "load_weights", [("none", ""), *models]),
            **self.presets.tick(view),
        }

    def _switched(self, values: Mapping[Any, Any]) -> Any:
        view = values[self.page.view]
        return self.switch(view, str(values[self.family]), self.form.data(values)) or gr.skip()

    def _shown(self, view: View, family: str, data: Mapping[str, Any], frozen: str, model: str) -> Updates:
        view.local["train.family"] = family
        view.local.pop("train.checked", None)
        return {
            self.family: gr.update(value=family, visible=not model),
            self.about: gr.update(value=_about_html(family), visible=not model),
            **self.presets.show(view, family, bool(model)),
            **self.form.show(view, family, data, frozen),
        }


def encoder_choices() -> list[tuple[str, str]]:
    """(words, name) of the encoders of the model builder; those that cannot be had here say so."""
    found = []
    for name, facts in ENCODERS.items():
        lacks = ", not installed" if why_missing(name) else ""
        found.append((f"{name}, made for {facts.default_px} px{lacks}", name))
    return found


def _about_html(family: str) -> str:
    return f'<p class="lk-note">{html.escape(FAMILY_WORDS.get(family, ""))}</p>'
