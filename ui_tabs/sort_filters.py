"""The filters of the Sort tab: the map of head poses, persons, tracks, sharpness, masks and where a face comes from."""

from __future__ import annotations

import functools
import html
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import gradio as gr

from backend.core.settings import FacesetSettings
from backend.storage.workspace import Project
from ui_tabs.context import PageContext, Updates, View
from ui_tabs.gallery import thumbnail, thumbnail_folder
from ui_tabs.pose_map import NO_POSES, pose_map_html
from ui_tabs.sort_filter import ANY, BLUR_CHOICES, MASK_CHOICES, ORIGIN_CHOICES, FaceFilter, numbers_of
from ui_tabs.sort_shelf import Shelf

FILTER = "sort.filter"
CHIPS = 24
"""So many persons are offered; the others are too small to be looked at one by one."""
TRACKS = 300

POSES_SCRIPT = "window.lookalike.poseMap(element, trigger);"
CHIP_SCRIPT = """
element.addEventListener('click', (event) => {
  const chip = event.target.closest('[data-person]');
  if (!chip) return;
  chip.setAttribute('aria-pressed', chip.getAttribute('aria-pressed') === 'true' ? 'false' : 'true');
  const on = [...element.querySelectorAll('[data-person][aria-pressed=true]')];
  trigger('select', {persons: on.map((item) => item.dataset.person)});
});
"""


def filter_of(view: View) -> FaceFilter:
    """What is filtered in this browser tab."""
    return view.local.get(FILTER, FaceFilter())


class FilterPanel:
    """The closed group of filters. Place it inside a layout.

    Args:
        page: the page's context.
        side_of: the side that is looked at.
        changed: called after a filter changed.
    """

    def __init__(self, page: PageContext, side_of: Callable[[View], str], changed: Callable[[View], None]) -> None:
        self.page = page
        self._side_of = side_of
        self._changed = changed
        with gr.Accordion("Poses and filters", open=False, elem_id="sort-filters-fold", elem_classes="lk-more"):
            self.poses = gr.HTML(f'<p class="lk-empty">{NO_POSES}</p>', elem_id="sort-poses", js_on_load=POSES_SCRIPT)
            with gr.Row(elem_classes="lk-buttons"):
                self.measure = gr.Button("Measure poses", size="sm", visible=False, elem_id="sort-measure")
            self.people = gr.HTML("", elem_id="sort-people", js_on_load=CHIP_SCRIPT)
            with gr.Row(elem_classes="lk-filters"):
                self._build_choices()
        self._wire()

    def _build_choices(self) -> None:
        def choice(name: str, choices: Any, label: str) -> Any:
            return gr.Dropdown(
                list(choices), value=ANY, label=label, filterable=False, elem_id=f"sort-filter-{name}", min_width=150
            )

        self.blur = choice("blur", BLUR_CHOICES, "Sharpness")
        self.percent = gr.Slider(
            1, 50, value=10, step=1, label="Share, %", elem_id="sort-filter-percent", visible=False,
            buttons=[], min_width=150,
        )  # fmt: skip
        self.mask = choice("mask", MASK_CHOICES, "Mask")
        self.origin = choice("origin", ORIGIN_CHOICES, "Landmarks")
        self.score = gr.Slider(
            0, 1, value=1, step=0.01, label="Confidence at most", elem_id="sort-filter-score", buttons=[],
            min_width=150,
        )  # fmt: skip
        self.tracks = gr.Dropdown(
            [], value=[], label="Tracks", multiselect=True, elem_id="sort-filter-tracks", min_width=150
        )
        with gr.Column(min_width=150, elem_classes="lk-checks"):
            self.several = gr.Checkbox(
                label="Several faces in the frame", elem_id="sort-filter-several", container=False
            )
            self.unknown = gr.Checkbox(label="Pose never measured", elem_id="sort-filter-unknown", container=False)

    @property
    def _fields(self) -> dict[str, Any]:
        """Field of the filter -> its component."""
        return {
            "blur": self.blur,
            "percent": self.percent,
            "mask": self.mask,
            "origin": self.origin,
            "score": self.score,
            "several": self.several,
            "unknown_pose": self.unknown,
        }

    @property
    def outputs(self) -> list[Any]:
        """Every component that tick() and fill() may update."""
        return [self.poses, self.measure, self.people, self.tracks, *self._fields.values()]

    def _wire(self) -> None:
        page = self.page
        for name, component in self._fields.items():
            event = component.release if isinstance(component, gr.Slider) else component.input
            page.act(event, functools.partial(self._set, name=name), [page.view, component], self.percent)
        page.act(self.tracks.input, self._set_tracks, [page.view, self.tracks], None)
        page.act(self.measure.click, self._measure, page.view, None)
        page.act(self.poses.select, self._set_cells, page.view, None, trigger_mode="always_last")
        page.act(self.people.select, self._set_persons, page.view, None, trigger_mode="always_last")

    # -- what is shown

    def fill(self, view: View) -> Updates:
        """The filters as they are."""
        found = filter_of(view)
        shown: Updates = {component: getattr(found, name) for name, component in self._fields.items()}
        shown[self.percent] = gr.update(value=found.percent, visible=found.blur != ANY)
        shown[self.tracks] = gr.update(value=sorted(found.tracks))
        return shown

    def tick(self, view: View, project: Project, shelves: Mapping[str, Shelf], side: str) -> Updates:
        """What changed.

        Args:
            shelves: the faces of both sides; side: the one that is filtered.
        """
        found, shelf, shown = filter_of(view), shelves[side], Updates()
        if view.changed("sort.poses", (shelves["src"].stamp, shelves["dst"].stamp, found.cells)):
            shown[self.poses] = pose_map_html(shelves, found.cells)
        if view.changed("sort.measure", (side, shelf.unknown_poses)):
            shown[self.measure] = gr.update(visible=shelf.unknown_poses > 0)
        if view.changed("sort.people", (side, shelf.stamp, found.persons)):
            shown[self.people] = self._people_html(project, shelf, found.persons)
        if view.changed("sort.tracks", (side, shelf.stamp)):
            tracks = shelf.counts(shelf.track)[:TRACKS]
            choices = [(f"track {track}, {number:,} faces", track) for track, number in tracks]
            known = [track for track in sorted(found.tracks) if track in dict(tracks)]
            shown[self.tracks] = gr.update(choices=choices, value=known, interactive=bool(choices))
        return shown

    def _people_html(self, project: Project, shelf: Shelf, chosen: frozenset[int]) -> str:
        people = shelf.counts(shelf.person)
        if not people:
            return ""
        folder = thumbnail_folder(project)
        chips = "".join(
            self._chip(folder, shelf, person, number, person in chosen) for person, number in people[:CHIPS]
        )
        rest = sum(number for _, number in people[CHIPS:])
        more = f'<span class="lk-note">and {len(people) - CHIPS:,} more with {rest:,} faces</span>' if rest else ""
        return f'<div class="lk-people" role="group" aria-label="Persons">{chips}{more}</div>'

    def _chip(self, folder: Any, shelf: Shelf, person: int, number: int, chosen: bool) -> str:
        place = int((shelf.person == person).argmax())
        file = thumbnail(folder, shelf.records[place].path)
        image = f'<img src="{html.escape(self.page.file_url(file, 1))}" alt="">' if file else ""
        return (
            f'<button type="button" class="lk-person" data-person="{person}" aria-pressed="{str(chosen).lower()}">'
            f"{image}<span>{html.escape(shelf.person_words(person))}</span><b>{number:,}</b></button>"
        )

    # -- what is done

    def clear(self, view: View) -> Updates:
        """Show all faces again."""
        self._become(view, FaceFilter(percent=filter_of(view).percent))
        return self.fill(view)

    def other_side(self, view: View) -> Updates:
        """The other side is looked at: persons and tracks of this one mean nothing there."""
        view.local[FILTER] = replace(filter_of(view), persons=frozenset(), tracks=frozenset())
        return self.fill(view)

    def _measure(self, view: View) -> None:
        settings = FacesetSettings.model_validate({"side": self._side_of(view), "action": "measure"})
        self.page.submit(view, "faceset", settings)
        gr.Info("Measuring pose and sharpness. The header shows how far it is.", duration=6)

    def _become(self, view: View, wanted: FaceFilter) -> None:
        view.local[FILTER] = wanted
        self._changed(view)

    def _set(self, view: View, value: Any, name: str) -> Any:
        self._become(view, replace(filter_of(view), **{name: value}))
        return gr.update(visible=filter_of(view).blur != ANY)

    def _set_tracks(self, view: View, value: Any) -> None:
        self._become(view, replace(filter_of(view), tracks=numbers_of(value or ())))

    def _set_cells(self, view: View, event: gr.EventData) -> None:
        self._become(view, replace(filter_of(view), cells=_numbers(event, "cells")))

    def _set_persons(self, view: View, event: gr.EventData) -> None:
        self._become(view, replace(filter_of(view), persons=_numbers(event, "persons")))


def _numbers(event: gr.EventData, name: str) -> frozenset[int]:
    data: dict[str, Any] = getattr(event, "_data", None) or {}
    return numbers_of(data.get(name, ()))


def filter_line(shown: int, faces: int, active: bool) -> str:
    """ "312 of 1,240 shown"; "" while nothing is filtered."""
    return f'<span class="lk-fact lk-filtered"><b>{shown:,}</b> of {faces:,} shown</span>' if active else ""
