"""The Train tab: choose or make a model, start and stop its training, and watch it learn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from backend.core.errors import BadInputError, LookalikeError
from backend.core.jobs import JobRequest
from backend.core.settings import TRAIN_SETTINGS, Settings, TrainSettings
from backend.jobs.command import command_line
from backend.storage.model_folder import ModelFolder, ModelInfo
from ui_tabs.context import OPEN_STATES, PageContext, TabHandles, Updates, View
from ui_tabs.family_form import FROZEN_REASON
from ui_tabs.job_panel import JobPanel, command_html
from ui_tabs.labels import label_of
from ui_tabs.train_forms import TrainForms
from ui_tabs.train_live import LiveSettings
from ui_tabs.train_models import ModelCare
from ui_tabs.train_remarks import encoder_missing
from ui_tabs.train_report import ModelReport
from ui_tabs.train_view import TrainView
from ui_tabs.train_words import model_card

NEW = ""
MERGES_ONLY = "This model is a DFM file: it merges and cannot be trained."


class TrainTab:
    """Left: model, settings, start and stop, care of the model. Right: what it has learned, and how good it is."""

    def __init__(self, page: PageContext) -> None:
        self.page = page
        with page.tab("train") as self.tab, gr.Row(elem_classes="lk-split"):
            with gr.Column(scale=2, min_width=330, elem_classes="lk-card"):
                self._build_left()
            with gr.Column(scale=3, min_width=330):
                self.result = TrainView(page, self.shown_model, self.panel.record)
                self.report = ModelReport(page, self.shown_model, self._searched_model)
        self._wire()

    def _build_left(self) -> None:
        page = self.page
        self.pick = gr.Dropdown(
            [("New model", NEW)],
            value=NEW,
            label="Model",
            info="Make a new one, or go on with one that exists.",
            elem_id="train-pick",
            filterable=False,
        )
        self.forms = TrainForms(page, self._picked)
        with gr.Row(elem_classes="lk-buttons"):
            self.start = gr.Button("Start", variant="primary", elem_id="train-start")
            self.live = LiveSettings(page, self._record)
            self.save = gr.Button("Save now", elem_id="train-save", visible=False)
        self.live.note.render()
        self.describe = gr.Button("Describe this network", size="sm", elem_id="train-describe", elem_classes="lk-quiet")
        self.panel = JobPanel(
            page, "train", ("train",), "Progress appears here once a training was started. Stopping saves first."
        )
        with gr.Accordion("Command line of this run", open=False, elem_classes="lk-more"):
            self.command = gr.HTML("", elem_id="train-command")
        self.care = ModelCare(page, self._picked, self._record)

    @property
    def handles(self) -> TabHandles:
        """What the page needs of this tab."""
        own = [self.pick, self.forms.card, self.save, self.command]
        groups = (part.outputs for part in (self.forms, self.live, self.panel, self.care, self.result, self.report))
        outputs = [*own, *(component for group in groups for component in group)]
        return TabHandles("train", self.tab, outputs, self.tick, self.fill)

    def tick(self, view: View) -> Updates:
        """What changed: job, buttons, model list, curve, previews, reports."""
        shown = self.panel.tick(view)
        running = self.live.running(view) is not None
        if view.changed("train.save", running):
            shown[self.save] = gr.update(visible=running)
        shown.update(self._tick_models(view))
        for part in (self.forms.offer, self.live.tick, self.care.tick, self.result.tick, self.report.tick):
            shown.update(part(view))
        return shown

    def fill(self, view: View) -> Updates:
        """Form and choices of the open project: the model of the newest training, else a new one."""
        record = self.panel.record(view)
        names = self._models(view)
        wanted = str(record.request.settings.get("model", NEW)) if record else NEW
        view.local["train.pick"] = wanted if wanted in names else NEW
        shown = {**self._pick_updates(view), **self.result.fill(view), **self.care.fill(view)}
        if self._picked(view) or record is None:
            return shown
        try:
            asked = _parsed(self.live.told(record))
        except LookalikeError:
            return shown
        return {**shown, **self.forms.show(view, asked, "", NEW)}

    def shown_model(self, view: View) -> ModelFolder | None:
        """The model on the right: the one that trains, else the chosen one."""
        project = self.page.project(view)
        if project is None:
            return None
        record = self.panel.record(view)
        busy = record is not None and not record.status.state.final
        name = str(record.request.settings.get("model", "")) if record and busy else self._picked(view)
        return ModelFolder(project.model_dir(name)) if name else None

    def _searched_model(self, view: View) -> ModelFolder | None:
        """The model whose learning rate was looked for: the shown one, else one that was only tried."""
        shown, record, project = self.shown_model(view), self.panel.record(view), self.page.project(view)
        if shown is not None or record is None or project is None:
            return shown
        name = str(record.request.settings.get("model", ""))
        return ModelFolder(project.model_dir(name)) if name else None

    def _wire(self) -> None:
        page = self.page
        everything, form = {*self.forms.inputs, page.view}, self.forms.form
        self.panel.attach_start(self.start, self._missing)
        self.panel.tell_apart(self._other_model)
        form.show_also(self.live.outputs, self._checked)
        form.wire(page, baseline=self._baseline, command=(self.command, self._command_html), fault=self._fault)
        self.forms.wire()
        page.act(self.start.click, self._begin, everything, form.error)
        page.act(self.live.button.click, self._apply, everything, form.error)
        page.act(self.save.click, self._save_now, page.view, None)
        picking = [self.pick, self.forms.card, *self.forms.outputs]
        page.act(self.pick.input, self._choose, [page.view, self.pick], picking)
        page.act(self.describe.click, self._describe, everything, form.error)
        self.care.when_moved(self._moved, picking)

    def _record(self, view: View) -> Any:
        return self.panel.record(view)

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
        """What the form shows: a new model's defaults; else the settings of the training that runs, or ran last."""
        info, record = self._info(view), self.panel.record(view)
        if record is not None and record.status.state in OPEN_STATES:
            settings = self.live.told(record)
            if self._picked(view) and settings.get("model") == self._picked(view):
                known = info.settings if info else {}
                return _parsed({**known, **settings}).resolved(), FROZEN_REASON
        if info is None:
            return self.forms.defaults(view), ""
        if info.merges_only:
            return self.forms.defaults(view).model_copy(update={"model": self._picked(view)}), MERGES_ONLY
        return info.train_settings(), FROZEN_REASON

    def _choices(self, view: View) -> list[tuple[str, str]]:
        return [("New model", NEW), *((name, name) for name in self._models(view))]

    def _pick_updates(self, view: View) -> Updates:
        picked, choices = self._picked(view), self._choices(view)
        view.changed("train.models", tuple(choices))
        try:
            shown = self.forms.show(view, *self._baseline(view), picked)
        except LookalikeError as error:
            gr.Warning(str(error), duration=12)
            shown = {}
        return {
            self.pick: gr.update(choices=choices, value=picked),
            self.forms.card: self._card_html(view),
            **shown,
        }

    def _tick_models(self, view: View) -> Updates:
        choices = self._choices(view)
        names = [name for _, name in choices]
        record = self.panel.record(view)
        trained = str(record.request.settings.get("model", NEW)) if record else NEW
        if not self._picked(view) and trained in names[1:] and view.local.pop("train.began", None) == trained:
            view.local["train.pick"] = trained
            return self._pick_updates(view)
        if self._picked(view) not in names:
            view.local["train.pick"] = NEW
            return self._pick_updates(view)
        shown: Updates = {}
        if view.changed("train.models", tuple(choices)):
            shown[self.pick] = gr.update(choices=choices, value=self._picked(view))
        card = self._card_html(view)
        if view.changed("train.card", card):
            shown[self.forms.card] = card
        return shown

    def _card_html(self, view: View) -> str:
        project, name = self.page.project(view), self._picked(view)
        return model_card(self.page, ModelFolder(project.model_dir(name))) if project and name else ""

    def _choose(self, view: View, name: str | None) -> Updates:
        view.local.pop("train.began", None)  # the model that began is not chosen over this choice
        view.local["train.pick"] = name or NEW
        return self._pick_updates(view)

    def _moved(self, view: View) -> Updates:
        """Another model was chosen, or the chosen one has another name."""
        return self._pick_updates(view)

    # -- jobs

    def _other_model(self, view: View, request: JobRequest) -> str:
        name = str(request.settings.get("model", ""))
        return "" if name == self._picked(view) else name

    def _missing(self, view: View) -> str:
        project = self.page.project(view)
        if project is None:
            return "No project is open."
        info = self._info(view)
        if info is not None and info.merges_only:
            return MERGES_ONLY
        checked = view.local.get("train.checked")
        if isinstance(checked, TrainSettings) and (checked.synthetic or checked.pretraining):
            return ""
        sides = {"src": "source", "dst": "destination"}
        lacking = [word for side, word in sides.items() if getattr(project.status(), side).faces == 0]
        return f"No faces of the {' and the '.join(lacking)} yet. Find them in the Extract tab." if lacking else ""

    def _checked(self, view: View, settings: Settings) -> Updates:
        assert isinstance(settings, TrainSettings)
        return self.live.checked(view, settings) if settings.model_class == self.forms.chosen(view) else {}

    def _fault(self, view: View, settings: Settings) -> str:
        reason = encoder_missing(settings)
        if reason and not self._picked(view):
            return f"{label_of('train', 'enc_architecture')}: {reason}"
        info = self._info(view)
        if info is not None and info.merges_only:
            return str(info.no_training())
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
        settings = self.forms.read(values)
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
        return {self.forms.form.error: ""}

    def _apply(self, values: Mapping[Any, Any]) -> Updates:
        view: View = values[self.page.view]
        self.live.apply(view, self.forms.read(values))
        return {self.forms.form.error: ""}

    def _describe(self, values: Mapping[Any, Any]) -> Updates:
        view: View = values[self.page.view]
        self.report.describe(view, self.forms.read(values))
        return {self.forms.form.error: ""}

    def _save_now(self, view: View) -> None:
        record = self.live.running(view)
        if record is not None:
            self.page.manager.request(view.project, record.id, "save")

    def _command_html(self, view: View, settings: Settings) -> str:
        return command_html(command_line("train", view.project, settings, self.page.shown_root))


def _parsed(settings: Mapping[str, Any]) -> TrainSettings:
    """Settings of a training, by its family of models. BadInputError when they cannot be read."""
    try:
        return TRAIN_SETTINGS[str(settings.get("model_class", ""))].model_validate(settings)
    except (KeyError, ValueError) as error:
        raise BadInputError("The settings of this training cannot be read.", str(error)) from error


def build_train_tab(page: PageContext) -> TabHandles:
    """Make the tab."""
    return TrainTab(page).handles
