"""One face large: what is laid over it, everything that is known of it, and the way to its frame."""

from __future__ import annotations

import functools
import html
import json
import math
from collections.abc import Callable
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image, UnidentifiedImageError

from backend.core.errors import BadInputError
from backend.core.faces import FILLED, MANUAL, Face
from backend.storage.image import list_images
from backend.storage.workspace import SideFiles
from ui_tabs.context import PageContext, Updates, View
from ui_tabs.face_layers import layers_html, layers_of
from ui_tabs.labels import choice_label
from ui_tabs.sort_shelf import Shelf

OPEN_FACE, FRAME = "sort.inspect", "sort.inspect-frame"
LAYERS_SCRIPT = "window.lookalike.layers(element);"
OPEN_EXTRACT = "() => window.lookalike.openFrame()"

_ORIGINS = {"": "found by the networks", FILLED: "filled from neighbouring frames", MANUAL: "placed by hand"}


class Inspector:
    """The panel of one face; closed until open() names one. Place it inside a layout.

    Args:
        page: the page's context.
        side_of: the side that is looked at.
        remove: moves one face to the trash.
        names: the names that are shown at the moment, in order; previous and next walk along them.
    """

    def __init__(
        self,
        page: PageContext,
        side_of: Callable[[View], str],
        remove: Callable[[View, str], None],
        names: Callable[[View], list[str]],
    ) -> None:
        self.page = page
        self._side_of = side_of
        self._remove_face = remove
        self._names = names
        with gr.Column(elem_id="sort-inspect", elem_classes="lk-card lk-inspect", visible=False) as self.panel:
            self.body = gr.HTML("", elem_id="sort-inspect-face", js_on_load=LAYERS_SCRIPT)
            with gr.Row(elem_classes="lk-buttons"):
                self.prev = gr.Button("Previous", size="sm", elem_id="sort-inspect-prev")
                self.next = gr.Button("Next", size="sm", elem_id="sort-inspect-next")
                self.close = gr.Button("Close", size="sm", elem_id="sort-inspect-close")
            with gr.Row(elem_classes="lk-buttons"):
                self.remove = gr.Button("Move to trash", size="sm", elem_id="sort-inspect-remove")
                self.frame = gr.Button("Show its frame", size="sm", elem_id="sort-inspect-frame")
            self.facts = gr.HTML("", elem_id="sort-inspect-facts")
        page.act(self.prev.click, functools.partial(self._step, by=-1), page.view, None)
        page.act(self.next.click, functools.partial(self._step, by=+1), page.view, None)
        page.act(self.close.click, lambda view: self.open(view, ""), page.view, None)
        page.act(self.remove.click, self._remove, page.view, None)
        page.act(self.frame.click, self._to_frame, page.view, None).success(None, js=OPEN_EXTRACT)

    @property
    def outputs(self) -> list[Any]:
        """Every component that tick() may update."""
        return [self.panel, self.body, self.facts, self.prev, self.next]

    def open(self, view: View, name: str) -> None:
        """Show a face; "" closes the panel."""
        view.local[OPEN_FACE] = name

    def opened(self, view: View) -> str:
        """File name of the face that is shown, "" when the panel is closed."""
        return str(view.local.get(OPEN_FACE, ""))

    def tick(self, view: View, side: SideFiles, shelf: Shelf) -> Updates:
        """The face, when it or its place changed."""
        name = self.opened(view)
        place = shelf.place.get(name)
        if place is None:
            view.local[OPEN_FACE] = ""
            return {self.panel: gr.update(visible=False)} if view.changed("sort.inspect", None) else {}
        names = self._names(view)
        at = names.index(name) if name in names else -1
        if not view.changed("sort.inspect", (side.name, shelf.stamp, name, at, len(names))):
            return {}
        record = shelf.records[place]
        size = _size(record)
        view.local[FRAME] = record.face.source_filename
        title = f"{at + 1:,} of {len(names):,}" if at >= 0 else "not among the faces shown"
        return {
            self.panel: gr.update(visible=True),
            self.body: face_html(self.page.file_url(record.path), name, record.face, size, title),
            self.facts: facts_html(shelf, place, size),
            self.prev: gr.update(interactive=at > 0),
            self.next: gr.update(interactive=0 <= at < len(names) - 1),
        }

    # -- what is done

    def _step(self, view: View, by: int) -> None:
        names, name = self._names(view), self.opened(view)
        if name in names:
            at = names.index(name) + by
            self.open(view, names[min(max(0, at), len(names) - 1)])

    def _remove(self, view: View) -> None:
        """The next face takes the place of the removed one."""
        names, name = self._names(view), self.opened(view)
        at = names.index(name) if name in names else -1
        follower = names[at + 1] if 0 <= at < len(names) - 1 else (names[at - 1] if at > 0 else "")
        self._remove_face(view, name)
        self.open(view, follower)

    def _to_frame(self, view: View) -> None:
        side = self.page.need_project(view).side(self._side_of(view))
        name = str(view.local.get(FRAME, ""))
        stem = name.rpartition(".")[0] or name
        frame = next((path.name for path in list_images(side.frames_dir) if path.stem == stem), None)
        if frame is None:
            raise BadInputError(f"The frame {name} is not there.", "Extract the frames of this side again to see it.")
        view.local.update({"extract.side": side.name, "extract.part": "fix", "fix.frame": frame})


def face_html(url: str, name: str, face: Face, size: tuple[int, int], title: str) -> str:
    """The picture with its layers and the switches for them."""
    switches = "".join(
        f'<label><input type="checkbox" data-switch="{key}" checked> {words}</label>' for key, words in layers_of(face)
    )
    link, name = html.escape(url), html.escape(name)
    shape = f'style="aspect-ratio: {size[0]} / {size[1]}"'  # the picture comes later and must not move the rest
    return (
        f'<div class="lk-inspect-head"><b>{name}</b><span class="lk-note">{title}</span></div>'
        f'<div class="lk-face" {shape} data-full="{link}" title="{name}"><img src="{link}" alt="{name}">'
        f"{layers_html(face, size)}</div>"
        f'<div class="lk-switches">{switches}</div>'
    )


def facts_html(shelf: Shelf, place: int, size: tuple[int, int]) -> str:
    """The table of what is known of a face."""
    face = shelf.records[place].face
    left, top, right, bottom = (int(edge) for edge in face.source_rect)
    masks = [words for words, there in (("XSeg", shelf.xseg[place]), ("polygons", shelf.polygons[place])) if there]
    person = int(shelf.person[place])
    frame = face.source_filename + (f", {shelf.in_frame[place]} faces" if shelf.in_frame[place] > 1 else "")
    rows = (
        ("Frame", frame),
        ("In the frame", f"{right - left} x {bottom - top} px at {left}, {top}"),
        (
            "Face",
            f"{choice_label('face_type', face.face_type.letter) or face.face_type.value}, {size[0]} x {size[1]} px",
        ),
        ("Pose", pose_words(face)),
        ("Sharpness", sharpness_words(shelf, place)),
        ("Confidence", "" if face.score is None else f"{face.score:.2f}"),
        ("Track", "" if face.track is None else str(face.track)),
        ("Person", "" if person < 0 else shelf.person_words(person)),
        ("Mask", " and ".join(masks) or "none"),
        ("Brows raised", f"{face.eyebrows_expand_mod:g} x"),
        ("Landmarks", _ORIGINS.get(face.origin, face.origin) if face.origin or face.landmarker else ""),
        ("Found with", ", ".join(part for part in (face.detector, face.landmarker) if part) or "another program"),
    )
    listed = "".join(f"<dt>{term}</dt><dd>{html.escape(words)}</dd>" for term, words in rows if words)
    return f'<dl class="lk-face-facts">{listed}</dl>{_provenance_html(face)}'


def pose_words(face: Face) -> str:
    """Head pose in degrees and words; what measures it when it is not known."""
    if face.pose_rad is None:
        return "not measured yet; see Poses and filters"
    pitch, yaw, roll = (round(math.degrees(angle)) for angle in face.pose_rad)
    turned = f"{abs(yaw)}\u00b0 {'left' if yaw > 0 else 'right'}" if yaw else "straight"
    tilted = f"{abs(pitch)}\u00b0 {'up' if pitch > 0 else 'down'}" if pitch else "level"
    return f"nose {turned}, {tilted}, roll {roll:+d}\u00b0"


def sharpness_words(shelf: Shelf, place: int) -> str:
    """Sharpness, and how many of the side's faces are blurrier."""
    value = shelf.sharpness[place]
    if math.isnan(value):
        return ""
    known = shelf.sharpness[~np.isnan(shelf.sharpness)]
    return f"{value:,.0f}, sharper than {100 * (known < value).mean():.0f} % of this side"


def _provenance_html(face: Face) -> str:
    if not face.provenance:
        return ""
    text = html.escape(json.dumps(face.provenance, indent=1, ensure_ascii=False))
    return f'<details class="lk-details"><summary>Provenance</summary><pre class="lk-log">{text}</pre></details>'


def _size(record: Any) -> tuple[int, int]:
    """(width, height) of the picture, without decoding it; (1, 1) when it cannot be read."""
    try:
        with Image.open(record.path) as opened:
            return opened.size
    except (OSError, UnidentifiedImageError):
        return (1, 1)
