"""The Extract tab: frames from the clip and faces from the frames, faces fixed by hand, and tools for the clip."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import gradio as gr

from backend.core.settings import ExtractFacesSettings, ExtractFramesSettings
from backend.environment import weights_folder
from backend.storage.faceset import FaceRecord
from backend.storage.workspace import Project, SideFiles, SideStatus
from ui_tabs.clip_cards import ClipCards
from ui_tabs.clip_tools import ClipTools
from ui_tabs.context import OPEN_STATES, PageContext, TabHandles, Updates, View
from ui_tabs.extract_foresee import ExtractForesight
from ui_tabs.extract_report import LINK_SCRIPT, LOW_SCORE, counters_html, find, lists_html, weights_html
from ui_tabs.fix_frames import FrameMap, map_stamp
from ui_tabs.fix_view import FixView
from ui_tabs.gallery import Gallery, Picture
from ui_tabs.job_panel import empty_html
from ui_tabs.labels import SIDE_CHOICES
from ui_tabs.side_stage import CardWords, StageCard, side_of

PARTS = (("Find faces", "find"), ("Fix by hand", "fix"), ("Clip tools", "clip"))
PER_PAGE = 60
GALLERY_S = 6
"""While faces are being found the gallery is looked up this seldom, seconds."""
WEIGHTS_S = 15
"""So seldom the weights folder is looked up, seconds."""


class ExtractTab:
    """Widgets and handlers of the tab."""

    def __init__(self, page: PageContext) -> None:
        self.page = page
        cards = ClipCards(page)
        self._foresight = ExtractForesight(page, cards, self._map_of)
        with page.tab("extract") as self.tab:
            with gr.Row(elem_classes="lk-buttons lk-switches"):
                look: dict[str, Any] = {"show_label": False, "container": False}
                self.side = gr.Radio(list(SIDE_CHOICES), value="src", elem_id="extract-side", **look)
                self.part = gr.Radio(list(PARTS), value="find", elem_id="extract-part", **look)
            self.rooms: dict[str, Any] = {}
            with gr.Row(elem_classes="lk-split") as self.rooms["find"]:
                self._build_find()
            with gr.Column(elem_classes="lk-card", visible=False) as self.rooms["fix"]:
                self.fix = FixView(page, side_of)
            with gr.Column(visible=False) as self.rooms["clip"]:
                self.clip = ClipTools(page, cards)
        page.act(self.side.input, self._choose, [page.view, self.side], self._side_outputs())
        page.act(self.part.input, self._turn_to, [page.view, self.part], list(self.rooms.values()))
        page.act(self.marks.input, self._toggle, [page.view, self.marks], None)
        for links in (self.counters, self.lists):
            page.act(links.select, self._follow, page.view, [self.part, *self.rooms.values()])

    def _build_find(self) -> None:
        with gr.Column(scale=2, min_width=320):
            words = CardWords("Frames from the clip", "Progress appears here once frames are being written.")
            kind: Any = ("extract-frames", ExtractFramesSettings)
            self.frames = StageCard(self.page, kind, words, self._foresight.frames)
            words = CardWords("Faces from the frames", "Progress appears here once faces are being found.")
            kind = ("extract-faces", ExtractFacesSettings)
            self.faces = StageCard(self.page, kind, words, self._foresight.faces)
        with gr.Column(scale=3, min_width=320, elem_classes="lk-card"):
            self.counters = gr.HTML("", elem_id="extract-counters", js_on_load=LINK_SCRIPT)
            self.marks = gr.Checkbox(label="Show landmarks", value=True, elem_id="extract-marks", container=False)
            empty = "The aligned faces appear here once they were extracted."
            self.gallery = Gallery(self.page, "extract", PER_PAGE, empty)
            with gr.Accordion("Frames that need a look", open=False, elem_classes="lk-more", elem_id="extract-look"):
                self.lists = gr.HTML("", elem_id="extract-lists", js_on_load=LINK_SCRIPT)

    @property
    def outputs(self) -> list[Any]:
        """Every component that tick() and fill() may update."""
        shown = [self.side, self.part, *self.rooms.values(), self.marks, self.counters, self.lists]
        return [*shown, *self._side_outputs(), *self.gallery.outputs, *self.fix.outputs]

    def tick(self, view: View) -> Updates:
        """What changed in the visible part."""
        shown, part = self._tick_choices(view), part_of(view)
        if part == "fix":
            return {**shown, **self.fix.tick(view)}
        if part == "clip":
            return {**shown, **self.clip.tick(view)}
        shown.update({**self.frames.tick(view), **self.faces.tick(view), **self._tick_faces(view)})
        if view.changed("extract.hint-beat", int(time.time() / WEIGHTS_S)):
            weights = weights_html(weights_folder() or self.page.manager.weights_dir)
            if view.changed("extract.hint", weights):
                shown[self.faces.hint] = weights
        return shown

    def fill(self, view: View) -> Updates:
        """The choices of the tab and the settings of the last runs."""
        view.seen["extract.choices"] = (side_of(view), part_of(view))
        shown = {self.side: side_of(view), self.part: part_of(view), self.marks: show_marks(view)}
        return {**shown, **self._rooms(view), **self._forms(view), **self.gallery.fill(view), **self.fix.fill(view)}

    def _tick_choices(self, view: View) -> Updates:
        """The side and the part, when another tab has turned to others."""
        chosen = (side_of(view), part_of(view))
        if not view.changed("extract.choices", chosen):
            return {}
        self.gallery.first_page(view)
        return {self.side: chosen[0], self.part: chosen[1], **self._rooms(view), **self._forms(view)}

    def _tick_faces(self, view: View) -> Updates:
        project = self.page.project(view)
        busy = any(job.status.state in OPEN_STATES for job in self.page.jobs(view, ("extract-faces",)))
        status = _status(project, view)
        side = project.side(side_of(view)) if project else None
        frames = self.fix.maps.get(side, busy) if side else None
        if side and frames is None:
            view.seen.pop("extract.beat", None)
            reading = empty_html("Reading the faces.")
            return {self.counters: reading} if view.changed("extract.counters", reading) else {}
        if side is None or status is None or project is None:
            news: Any = None
        else:
            news = int(time.time() / GALLERY_S) if busy else (status, map_stamp(side), side.faceset().persons_by)
        choices = (view.project, side_of(view), self.gallery.choices(view), show_marks(view))
        if not view.changed("extract.beat", (choices, news)):
            return {}
        found = find(side, status, frames) if side and status and frames else None
        shown = self.gallery.tick(view, project, pictures(found.records if found else ()), show_marks(view))
        for component, key, content in (
            (self.counters, "extract.counters", counters_html(found)),
            (self.lists, "extract.lists", lists_html(found)),
        ):
            if view.changed(key, content):
                shown[component] = content
        return shown

    def _map_of(self, side: SideFiles, busy: bool) -> FrameMap | None:
        return self.fix.maps.get(side, busy)

    def _side_outputs(self) -> list[Any]:
        return [*self.frames.outputs, *self.faces.outputs, *self.clip.outputs]

    def _forms(self, view: View) -> Updates:
        return {**self.frames.fill(view), **self.faces.fill(view), **self.clip.fill(view)}

    def _rooms(self, view: View) -> Updates:
        return {room: gr.update(visible=part_of(view) == name) for name, room in self.rooms.items()}

    def _choose(self, view: View, value: str) -> Updates:
        view.local["extract.side"] = value
        view.seen["extract.choices"] = (value, part_of(view))
        self.gallery.first_page(view)
        return self._forms(view)

    def _turn_to(self, view: View, value: str) -> Updates:
        view.local["extract.part"] = value
        view.seen["extract.choices"] = (side_of(view), value)
        return self._rooms(view)

    def _follow(self, view: View, event: gr.EventData) -> Updates:
        """Show a listed frame where it can be fixed."""
        asked: dict[str, str] = getattr(event, "_data", None) or {}
        view.local["fix.frame"] = str(asked.get("frame", ""))
        view.local["fix.kind"] = str(asked.get("kind", "none"))
        view.local["fix.threshold"] = LOW_SCORE
        view.local["extract.part"] = "fix"
        view.seen["extract.choices"] = (side_of(view), "fix")
        return {self.part: "fix", **self._rooms(view)}

    def _toggle(self, view: View, value: bool) -> None:
        view.local["extract.marks"] = value


def build_extract_tab(page: PageContext) -> TabHandles:
    """Make the tab."""
    made = ExtractTab(page)
    return TabHandles("extract", made.tab, made.outputs, made.tick, made.fill)


def part_of(view: View) -> str:
    """The chosen part of the tab: "find", "fix" or "clip"."""
    return str(view.local.get("extract.part", "find"))


def show_marks(view: View) -> bool:
    """Whether landmarks are drawn."""
    return bool(view.local.get("extract.marks", True))


def pictures(records: Sequence[FaceRecord]) -> list[Picture]:
    """The faces by file name."""
    ordered = sorted(records, key=lambda record: record.path.name)
    return [Picture(r.path.name, r.path, r.path.stem, r.face.landmarks) for r in ordered]


def _status(project: Project | None, view: View) -> SideStatus | None:
    return getattr(project.status(), side_of(view)) if project else None
