"""The Train tab: choose or make a model, start and stop its training, and watch it learn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from backend.core.errors import BadInputError
from backend.core.jobs import JobState
from backend.core.settings import SaehdSettings, Settings, TrainSettings
from backend.jobs.command import command_line
from backend.jobs.store import JobRecord
from backend.storage.model_folder import ModelFolder, ModelInfo
from ui_tabs.context import PageContext, TabHandles, Updates, View
from ui_tabs.form import SettingsForm
from ui_tabs.job_panel import JobPanel, command_html
from ui_tabs.train_view import TrainView, model_card

NEW = ""
DEFAULT_PRESET = "Default"
FROZEN_REASON = "Grey settings were fixed when this model was created. For others, make a new model."


class TrainTab:
    """Left: model, settings, start and stop. Right: what the model has learned so far, see TrainView."""

    def __init__(self, page: PageContext) -> None:
        self.page = page
        with page.tab("train") as self.tab, gr.Row(elem_classes="lk-split"):
            with gr.Column(scale=2, min_width=330, elem_classes="lk-card"):
                self.pick = gr.Dropdown(
                    [("New model", NEW)],
                    value=NEW,
                    label="Model",
                    info="Make a new one, or go on with one that exists.",
                    elem_id="train-pick",
                    filterable=False,
                )
                self.preset = gr.Dropdown(
                    [DEFAULT_PRESET, *SaehdSettings.PRESETS],
                    value=DEFAULT_PRESET,
                    label="Preset",
                    info="Fills the settings below.",
                    elem_id="train-preset",
                    filterable=False,
                )
                self.card = gr.HTML("", elem_id="train-card")
                self.form = SettingsForm(
                    SaehdSettings, "train", "train", exclude=("model_class",), choices={"device": page.device_choices()}
                )
                with gr.Row(elem_classes="lk-buttons"):
                    self.start = gr.Button("Start", variant="primary", elem_id="train-start")
                    self.save = gr.Button("Save now", elem_id="train-save", visible=False)
                self.panel = JobPanel(
                    page,
                    "train",
                    ("train",),
                    "Progress appears here once a training was started. Stopping saves first.",
                )
                with gr.Accordion("Command line of this run", open=False, elem_classes="lk-more"):
                    self.command = gr.HTML("", elem_id="train-command")
            with gr.Column(scale=3, min_width=330):
                self.result = TrainView(page, self.shown_model, self.panel.record)
        self._wire()

    @property
    def handles(self) -> TabHandles:
        """What the page needs of this tab."""
        outputs = [
            self.pick,
            self.preset,
            self.card,
            self.save,
            self.command,
            *self.form.outputs,
            *self.panel.outputs,
            *self.result.outputs,
        ]
        return TabHandles("train", self.tab, outputs, self.tick, self.fill)

    def tick(self, view: View) -> Updates:
        """What changed: job, buttons, model list, curve, previews."""
        shown = self.panel.tick(view)
        record = self.panel.record(view)
        running = record is not None and record.status.state is JobState.RUNNING
        if view.changed("train.save", running):
            shown[self.save] = gr.update(visible=running)
        shown.update(self._tick_models(view))
        shown.update(self.form.offer(view, "device", self.page.device_choices()))
        return {**shown, **self.result.tick(view)}

    def fill(self, view: View) -> Updates:
        """Form and choices of the open project: the model of the newest training, else a new one."""
        record = self.panel.record(view)
        names = self._models(view)
        wanted = str(record.request.settings.get("model", NEW)) if record else NEW
        view.local["train.pick"] = wanted if wanted in names else NEW
        shown = {**self._pick_updates(view), **self.result.fill(view)}
        asked = self.page.last_settings(view, "train", SaehdSettings, {"model": wanted})
        return shown if asked is None or self._picked(view) else {**shown, **self.form.updates(asked)}

    def shown_model(self, view: View) -> ModelFolder | None:
        """The model on the right: the one that trains, else the chosen one."""
        project = self.page.project(view)
        if project is None:
            return None
        record = self.panel.record(view)
        busy = record is not None and not record.status.state.final
        name = str(record.request.settings.get("model", "")) if record and busy else self._picked(view)
        return ModelFolder(project.model_dir(name)) if name else None

    def _wire(self) -> None:
        page = self.page
        self.panel.attach_start(self.start, self._missing)
        self.form.wire(
            page,
            fixed=lambda view: {"model_class": "saehd"},
            baseline=self._baseline,
            command=(self.command, self._command_html),
            fault=self._fault,
        )
        page.act(self.start.click, self._begin, {*self.form.inputs, page.view}, [self.form.error])
        page.act(self.save.click, self._save_now, page.view, None)
        page.act(self.pick.input, self._choose, [page.view, self.pick], self._picking)
        page.act(self.preset.input, self._apply_preset, self.preset, self.form.outputs)

    @property
    def _picking(self) -> list[Any]:
        return [self.pick, self.preset, self.card, *self.form.outputs]

    # -- models

    def _models(self, view: View) -> list[str]:
        project = self.page.project(view)
        return project.models() if project else []

    def _picked(self, view: View) -> str:
        return str(view.local.get("train.pick", NEW))

    def _info(self, view: View) -> ModelInfo | None:
        project, name = self.page.project(view), self._picked(view)
        return ModelFolder(project.model_dir(name)).info() if project and name else None

    def _baseline(self, view: View) -> tuple[Settings, str]:
        info = self._info(view)
        return (self.form.defaults(), "") if info is None else (info.train_settings(), FROZEN_REASON)

    def _pick_updates(self, view: View) -> Updates:
        names, picked = self._models(view), self._picked(view)
        view.changed("train.models", tuple(names))
        choices = [("New model", NEW), *((name, name) for name in names)]
        return {
            self.pick: gr.update(choices=choices, value=picked),
            self.preset: gr.update(visible=not picked, value=DEFAULT_PRESET),
            self.card: self._card_html(view),
            **self.form.updates(*self._baseline(view)),
        }

    def _tick_models(self, view: View) -> Updates:
        names = self._models(view)
        record = self.panel.record(view)
        trained = str(record.request.settings.get("model", NEW)) if record else NEW
        if not self._picked(view) and trained in names and view.local.pop("train.began", None) == trained:
            view.local["train.pick"] = trained
            return self._pick_updates(view)
        shown: Updates = {}
        if view.changed("train.models", tuple(names)):
            choices = [("New model", NEW), *((name, name) for name in names)]
            shown[self.pick] = gr.update(choices=choices, value=self._picked(view))
        card = self._card_html(view)
        if view.changed("train.card", card):
            shown[self.card] = card
        return shown

    def _card_html(self, view: View) -> str:
        project, name = self.page.project(view), self._picked(view)
        return model_card(self.page, ModelFolder(project.model_dir(name))) if project and name else ""

    def _choose(self, view: View, name: str | None) -> Updates:
        view.local["train.pick"] = name or NEW
        return self._pick_updates(view)

    def _apply_preset(self, preset: str) -> Updates:
        values: Mapping[str, Any] = SaehdSettings.PRESETS.get(preset, {})
        shown = self.form.updates(SaehdSettings.model_validate(dict(values)))
        kept = [self.form.widgets[name] for name in ("model", "device") if name not in values]
        return {component: update for component, update in shown.items() if component not in kept}

    # -- jobs

    def _missing(self, view: View) -> str:
        project = self.page.project(view)
        if project is None:
            return "No project is open."
        sides = {"src": "source", "dst": "destination"}
        lacking = [word for side, word in sides.items() if getattr(project.status(), side).faces == 0]
        return f"No faces of the {' and the '.join(lacking)} yet. Find them in the Extract tab." if lacking else ""

    def _fault(self, view: View, settings: Settings) -> str:
        info = self._info(view)
        target = settings.target_iterations if isinstance(settings, TrainSettings) else 0
        if info is None or not 0 < target <= info.iteration:
            return ""
        return (
            f"Target iterations: the model has reached {info.iteration:,} already. "
            "Set a higher target, or 0 to train until stopped."
        )

    def _begin(self, values: Mapping[Any, Any]) -> Updates:
        view: View = values[self.page.view]
        self.panel.require_free(view)
        settings = self.form.read(values, model_class="saehd")
        assert isinstance(settings, TrainSettings)
        fault = self._fault(view, settings)
        if fault:
            raise BadInputError(fault)
        if not self._picked(view):
            if settings.model in self._models(view):
                raise BadInputError(
                    f"A model named '{settings.model}' exists already.",
                    "Choose it in the list above to go on with it, or give the new one another name.",
                )
            view.local["train.began"] = settings.model
        self.page.submit(view, "train", settings)
        return {self.form.error: ""}

    def _save_now(self, view: View) -> None:
        record: JobRecord | None = self.panel.record(view)
        if record is not None:
            self.page.manager.request(view.project, record.id, "save")

    def _command_html(self, view: View, settings: Settings) -> str:
        return command_html(command_line("train", view.project, settings, self.page.shown_root))


def build_train_tab(page: PageContext) -> TabHandles:
    """Make the tab."""
    return TrainTab(page).handles
