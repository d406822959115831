"""The Merge tab: tune one frame with the loaded model, then merge all as a job."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import gradio as gr

from backend.core.errors import LookalikeError
from backend.core.settings import MergeSettings, Settings
from backend.jobs.command import command_line
from backend.jobs.warm import WarmPreview
from backend.storage.model_folder import ModelFolder
from backend.storage.workspace import Project
from ui_tabs.context import PageContext, TabHandles, Updates, View
from ui_tabs.form import SettingsForm, error_html
from ui_tabs.job_panel import JobPanel, command_html, empty_html
from ui_tabs.merge_view import VIEWS, frame_strip, merged_note, picture_html

FRAME_SCRIPT = """
element.addEventListener('click', (event) => {
  const tile = event.target.closest('[data-frame]');
  if (tile) trigger('select', {frame: Number(tile.dataset.frame)});
});
"""
NOTHING_YET = "The chosen frame before and after the swap appears here once there is a trained model."
RANGE_FIELDS = frozenset({"first_frame", "last_frame"})
"""Fields that do not change how one frame looks."""


class MergeTab:
    """Left: settings and the job that merges all. Right: one frame, rendered by the process that keeps the model."""

    def __init__(self, page: PageContext) -> None:
        self.page = page
        self.warm = WarmPreview(page.workspace, page.manager.weights_dir)
        with page.tab("merge") as self.tab, gr.Row(elem_classes="lk-split"):
            with gr.Column(scale=2, min_width=330, elem_classes="lk-card"):
                self.form = SettingsForm(
                    MergeSettings, "merge", "merge", choices={"model": [], "device": page.device_choices()}
                )
                self.start = gr.Button("Merge all frames", variant="primary", elem_id="merge-start")
                self.panel = JobPanel(page, "merge", ("merge",), "Progress appears here when all frames are merged.")
                self.note = gr.HTML("", elem_id="merge-made")
                with gr.Accordion("Command line of this run", open=False, elem_classes="lk-more"):
                    self.command = gr.HTML("", elem_id="merge-command")
            with gr.Column(scale=5, min_width=330, elem_classes="lk-card"):
                self.views = gr.Radio(list(VIEWS), value=VIEWS[0], label="View", elem_id="merge-view")
                self.picture = gr.HTML(empty_html(NOTHING_YET), elem_id="merge-picture")
                self.said = gr.HTML("", elem_id="merge-said")
                self.frame = gr.Slider(1, 2, value=1, step=1, label="Frame", elem_id="merge-frame", buttons=[])
                self.strip = gr.HTML("", elem_id="merge-strip", js_on_load=FRAME_SCRIPT)
        self._wire()

    @property
    def handles(self) -> TabHandles:
        """What the page needs of this tab."""
        own = [self.note, self.command, self.views, self.frame, self.strip, *self._rendered]
        return TabHandles("merge", self.tab, [*own, *self.form.outputs, *self.panel.outputs], self.tick, self.fill)

    def tick(self, view: View) -> Updates:
        """What changed: job, models, strip of frames, what is merged."""
        shown = self.panel.tick(view)
        project = self.page.project(view)
        shown.update(self.form.offer(view, "device", self.page.device_choices()))
        if project is None:
            return shown
        shown.update(self.form.offer(view, "model", [(name, name) for name in project.models()]))
        note = merged_note(project)
        if view.changed("merge.note", note):
            shown[self.note] = note
        return {**shown, **self._tick_frames(view, project)}

    def fill(self, view: View) -> Updates:
        """Settings of the newest merge, else the defaults with the newest model."""
        project = self.page.project(view)
        names = project.models() if project else []
        last = self.page.last_settings(view, "merge", MergeSettings, {})
        settings = last if isinstance(last, MergeSettings) else MergeSettings()
        if settings.model not in names and names:
            settings = settings.model_copy(update={"model": names[-1]})
        view.local["merge.settings"] = settings
        updates = self.form.updates(settings)
        updates[self.form.widgets["model"]] = gr.update(choices=names, value=settings.model if names else "")
        morph = self.form.widgets["morph_factor"]
        updates[morph] = {**updates[morph], **self._morph(view, settings)[morph]}
        return {**updates, self.picture: empty_html(NOTHING_YET), self.said: "", self.views: VIEWS[0]}

    @property
    def _rendered(self) -> list[Any]:
        return [self.picture, self.said]

    def _wire(self) -> None:
        page = self.page
        self.panel.attach_start(self.start, self._missing)
        self.form.show_also([self.form.widgets["morph_factor"]], self._morph)
        self.form.wire(page, baseline=self._baseline, command=(self.command, self._command_html))
        page.act(self.start.click, self._begin, {*self.form.inputs, page.view}, [self.form.error])
        page.on(self.views.input, self._choose_view, [page.view, self.views], self._rendered)
        queue = {"concurrency_id": "warm-preview", "concurrency_limit": 1, "trigger_mode": "always_last"}
        seen = {*self.form.inputs, page.view, self.frame}
        looks = [widget.change for name, widget in self.form.widgets.items() if name not in RANGE_FIELDS]
        page.on([*looks, self.frame.change], self._render, seen, self._rendered, show_progress="minimal", **queue)
        page.on(self.tab.select, self._render, seen, self._rendered, show_progress="minimal", **queue)
        page.on(self.strip.select, _clicked_frame, None, self.frame)

    def _morph(self, view: View, settings: Settings) -> Updates:
        """The morph factor, only for a model that can morph."""
        project, name = self.page.project(view), str(getattr(settings, "model", ""))
        info = ModelFolder(project.model_dir(name)).info() if project and name in project.models() else None
        return {self.form.widgets["morph_factor"]: gr.update(visible=info is not None and info.model_class == "amp")}

    # -- one frame

    def _render(self, values: Mapping[Any, Any]) -> Updates:
        view: View = values[self.page.view]
        project = self.page.project(view)
        reason = self._missing(view)
        if project is None or reason:
            return {self.picture: empty_html(reason or NOTHING_YET), self.said: ""}
        began = time.monotonic()
        try:
            settings = self.form.read(values)
            assert isinstance(settings, MergeSettings)
            frame = min(int(values[self.frame]), project.status().dst.frames)
            images = self.warm.render(project, settings, frame - 1)
        except LookalikeError as error:
            return {self.said: error_html(str(error))}
        view.local["merge.images"] = images
        words = f"Frame {frame:,}, rendered in {time.monotonic() - began:.2f} s."
        return {self.picture: self._picture(view), self.said: f'<p class="lk-note">{words}</p>'}

    def _choose_view(self, view: View, name: str) -> Updates:
        view.local["merge.view"] = name
        return {self.picture: self._picture(view)} if "merge.images" in view.local else {self.said: ""}

    def _picture(self, view: View) -> str:
        images = view.local["merge.images"]
        urls = [self.page.file_url(path, 1) for path in (images.before, images.after, images.mask)]
        return picture_html(str(view.local.get("merge.view", VIEWS[0])), *urls)

    def _tick_frames(self, view: View, project: Project) -> Updates:
        count = project.status().dst.frames
        first: dict[str, Any] = {} if "merge.frames" in view.seen else {"value": 1}
        if not view.changed("merge.frames", count):
            return {}
        shown: Updates = {self.frame: gr.update(maximum=max(2, count), interactive=count > 1, **first)}
        shown[self.strip] = frame_strip(self.page, project) if count else ""
        return shown

    # -- jobs

    def _missing(self, view: View) -> str:
        project = self.page.project(view)
        if project is None:
            return "No project is open."
        if not project.models():
            return "There is no trained model yet. Make one in the Train tab."
        status = project.status()
        if not status.dst.frames or not status.dst.faces:
            return "The frames and faces of the destination are missing. Make them in the Extract tab."
        return ""

    def _begin(self, values: Mapping[Any, Any]) -> Updates:
        self.panel.require_free(values[self.page.view])
        self.page.submit(values[self.page.view], "merge", self.form.read(values))
        return {self.form.error: ""}

    def _baseline(self, view: View) -> tuple[Settings, str]:
        chosen = view.local.get("merge.settings")
        model = chosen.model if isinstance(chosen, MergeSettings) else "model"
        return MergeSettings(model=model), ""

    def _command_html(self, view: View, settings: Settings) -> str:
        return command_html(command_line("merge", view.project, settings, self.page.shown_root))


def _clicked_frame(event: gr.EventData) -> Any:
    data: dict[str, Any] = getattr(event, "_data", None) or {}
    return int(data["frame"]) if "frame" in data else gr.skip()


def build_merge_tab(page: PageContext) -> TabHandles:
    """Make the tab."""
    return MergeTab(page).handles
