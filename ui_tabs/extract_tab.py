"""The Extract tab: frames from the clip, faces from the frames, for either side."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from backend.core.jobs import JobRequest
from backend.core.settings import ExtractFacesSettings, ExtractFramesSettings, Settings
from backend.environment import weights_folder
from backend.jobs.command import command_line
from backend.storage.faceset import FaceRecord
from backend.storage.workspace import Project, SideStatus
from ui_tabs.context import OPEN_STATES, PageContext, TabHandles, Updates, View
from ui_tabs.extract_report import counters_html, faceless_html, weights_html
from ui_tabs.form import SettingsForm
from ui_tabs.gallery import Gallery, Picture
from ui_tabs.job_panel import JobPanel, command_html
from ui_tabs.labels import SIDE_CHOICES, SIDES

PER_PAGE = 60
GALLERY_S = 6
"""While faces are being found the gallery is looked up this seldom, seconds."""
WEIGHTS_S = 15
"""So seldom the weights folder is looked up, seconds."""


class StageCard:
    """Form, Start button, command line and job panel of one stage of this tab."""

    def __init__(self, page: PageContext, stage: str, kind: type[Settings], words: tuple[str, str]) -> None:
        self.page = page
        self.stage = stage
        self.kind = kind
        with gr.Column(elem_classes="lk-card"):
            gr.HTML(f'<h2 class="lk-card-title">{words[0]}</h2>')
            self.hint = gr.HTML("", elem_id=f"{stage}-hint")
            self.form = SettingsForm(kind, stage, stage, exclude=("side",), choices={"device": page.device_choices()})
            self.start = gr.Button("Start", variant="primary", elem_id=f"{stage}-start")
            self.panel = JobPanel(page, stage, (stage,), words[1], same_side)
            with gr.Accordion("Command line of this run", open=False, elem_classes="lk-more"):
                self.command = gr.HTML("", elem_id=f"{stage}-command")
        inputs = {*self.form.inputs, page.view}
        self.form.wire(page, lambda view: {"side": side_of(view)}, None, (self.command, self.command_html))
        page.act(self.start.click, self._begin, inputs, [self.form.error])
        self.panel.attach_start(self.start, self._missing)

    @property
    def outputs(self) -> list[Any]:
        """Every component that tick() and fill() may update."""
        return [self.hint, *self.form.outputs, *self.panel.outputs, self.command]

    def fill(self, view: View) -> Updates:
        """The settings of the last run on this side."""
        found = self.page.last_settings(view, self.stage, self.kind, {"side": side_of(view)})
        settings = found or self.kind.model_validate({"side": side_of(view)})
        return {**self.form.updates(settings), self.command: self.command_html(view, settings)}

    def tick(self, view: View) -> Updates:
        """What changed."""
        return {**self.panel.tick(view), **self.form.offer(view, "device", self.page.device_choices())}

    def command_html(self, view: View, settings: Settings) -> str:
        """The command line that does the same."""
        line = command_line(self.stage, view.project or "PROJECT", settings, self.page.shown_root)
        return command_html(line)

    def _begin(self, values: Mapping[Any, Any]) -> Updates:
        view = values[self.page.view]
        self.panel.require_free(view)
        self.page.submit(view, self.stage, self.form.read(values, side=side_of(view)))
        return {self.form.error: ""}

    def _missing(self, view: View) -> str:
        project = self.page.project(view)
        if project is None:
            return ""
        side = getattr(project.status(), side_of(view))
        word = SIDES[side_of(view)].lower()
        if self.stage == "extract-frames":
            return "" if side.video else f"The {word} clip is missing. Bring it in on the Project tab."
        return "" if side.frames else f"There are no {word} frames yet. Extract the frames first."


class ExtractTab:
    """Widgets and handlers of the tab."""

    def __init__(self, page: PageContext) -> None:
        self.page = page
        with page.tab("extract") as self.tab:
            self.side = gr.Radio(
                list(SIDE_CHOICES), value="src", show_label=False, container=False, elem_id="extract-side"
            )
            with gr.Row(elem_classes="lk-split"):
                with gr.Column(scale=2, min_width=320):
                    words = ("Frames from the clip", "Progress appears here once frames are being written.")
                    self.frames = StageCard(page, "extract-frames", ExtractFramesSettings, words)
                    words = ("Faces from the frames", "Progress appears here once faces are being found.")
                    self.faces = StageCard(page, "extract-faces", ExtractFacesSettings, words)
                with gr.Column(scale=3, min_width=320, elem_classes="lk-card"):
                    self._build_result()
        page.act(self.side.input, self._choose, [page.view, self.side], self._forms())
        page.act(self.marks.input, self._toggle, [page.view, self.marks], None)

    def _build_result(self) -> None:
        self.counters = gr.HTML("", elem_id="extract-counters")
        self.marks = gr.Checkbox(label="Show landmarks", value=True, elem_id="extract-marks", container=False)
        empty = "The aligned faces appear here once they were extracted."
        self.gallery = Gallery(self.page, "extract", PER_PAGE, empty)
        with gr.Accordion("Frames without a face", open=False, elem_classes="lk-more"):
            self.faceless = gr.HTML("", elem_id="extract-faceless")

    @property
    def outputs(self) -> list[Any]:
        """Every component that tick() and fill() may update."""
        return [self.side, self.marks, self.counters, self.faceless, *self._forms(), *self.gallery.outputs]

    def tick(self, view: View) -> Updates:
        """What changed."""
        shown = {**self.frames.tick(view), **self.faces.tick(view), **self._tick_faces(view)}
        if view.changed("extract.hint-beat", int(time.time() / WEIGHTS_S)):
            weights = weights_html(weights_folder() or self.page.manager.weights_dir)
            if view.changed("extract.hint", weights):
                shown[self.faces.hint] = weights
        return shown

    def fill(self, view: View) -> Updates:
        """The choices of the tab and the settings of the last runs."""
        forms = {**self.frames.fill(view), **self.faces.fill(view)}
        return {self.side: side_of(view), self.marks: show_marks(view), **forms}

    def _tick_faces(self, view: View) -> Updates:
        project = self.page.project(view)
        side = project.side(side_of(view)) if project else None
        busy = any(job.status.state in OPEN_STATES for job in self.page.jobs(view, ("extract-faces",)))
        news = int(time.time() / GALLERY_S) if busy else _status(project, view)
        choices = (view.project, side_of(view), self.gallery.at_page(view), show_marks(view))
        if not view.changed("extract.beat", (choices, news)):
            return {}
        records = side.faceset().records() if side else []
        status = _status(project, view)
        shown = self.gallery.tick(view, project, pictures(records), show_marks(view))
        shown[self.counters] = counters_html(status, records)
        shown[self.faceless] = faceless_html(status, side.frames_without_face() if side and records else ())
        return shown

    def _forms(self) -> list[Any]:
        return [*self.frames.outputs, *self.faces.outputs]

    def _choose(self, view: View, value: str) -> Updates:
        view.local["extract.side"] = value
        self.gallery.first_page(view)
        return {**self.frames.fill(view), **self.faces.fill(view)}

    def _toggle(self, view: View, value: bool) -> None:
        view.local["extract.marks"] = value


def build_extract_tab(page: PageContext) -> TabHandles:
    """Make the tab."""
    made = ExtractTab(page)
    return TabHandles("extract", made.tab, made.outputs, made.tick, made.fill)


def side_of(view: View) -> str:
    """The chosen side."""
    return str(view.local.get("extract.side", "src"))


def same_side(view: View, request: JobRequest) -> bool:
    """Whether a job belongs to the chosen side."""
    return request.settings.get("side", "src") == side_of(view)


def show_marks(view: View) -> bool:
    """Whether landmarks are drawn."""
    return bool(view.local.get("extract.marks", True))


def pictures(records: Sequence[FaceRecord]) -> list[Picture]:
    """The faces by file name."""
    ordered = sorted(records, key=lambda record: record.path.name)
    return [Picture(r.path.name, r.path, r.path.stem, r.face.landmarks) for r in ordered]


def _status(project: Project | None, view: View) -> SideStatus | None:
    return getattr(project.status(), side_of(view)) if project else None
