"""Pages of thumbnails, with landmarks drawn over them and, where wanted, a selection of several."""

from __future__ import annotations

import functools
import hashlib
import html
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image, UnidentifiedImageError

from backend.core.errors import LookalikeError
from backend.storage.atomic import read_json, write_json
from backend.storage.workspace import Project
from ui_tabs.context import PageContext, Updates, View
from ui_tabs.job_panel import empty_html

THUMBNAIL_PX = 144

PICK_SCRIPT = "window.lookalike.gallery(element, trigger, '{key}', {keyboard});"
"""See gallery.js. "select" tells the selection of the visible page, "submit" an action."""

AT_SCRIPT = """
element.addEventListener('change', (event) => {
  if (event.target.value) trigger('submit', {page: Number(event.target.value) - 1});
});
"""

PAGE_CHOICES = (("60 a page", 60), ("100 a page", 100), ("200 a page", 200))
SIZE_CHOICES = (("small", "s"), ("medium", "m"), ("large", "l"))
LARGE_PX = 240
LOOKS_NAME = "gallery.json"

Act = Callable[[View, str], None]
"""What a key or a double click does: the view, and the file name of the face with the focus ("" when there is none)."""

_CHAINS = (
    (0, 17, False), (17, 22, False), (22, 27, False), (27, 31, False), (31, 36, False),
    (36, 42, True), (42, 48, True), (48, 60, True), (60, 68, True),
)  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """One picture of a gallery.

    Attributes:
        name: unique name, the file name.
        path: the image file.
        caption: short text below it.
        landmarks: (68, 2) in pixels of the image, or None.
    """

    name: str
    path: Path
    caption: str
    landmarks: Any = None


class Gallery:
    """A page of thumbnails with buttons to turn the page. Place it inside a layout.

    Args:
        page: the page's context.
        key: prefix of the elem_ids: ``<key>-grid``, ``<key>-prev``, ``<key>-next``, ``<key>-at``.
        per_page: thumbnails on a page.
        empty: what will appear here and how.
        pick: clicking selects; otherwise it opens the picture large.
        full: with the keyboard, and with choices of how many thumbnails a page has and how large they are
            (``<key>-per``, ``<key>-size``); they are kept in the project.
    """

    def __init__(
        self, page: PageContext, key: str, per_page: int, empty: str, pick: bool = False, full: bool = False
    ) -> None:
        self.page = page
        self.key = key
        self._per_page = per_page
        self._empty = empty
        self.pick = pick
        self._pool = ThreadPoolExecutor(4, thread_name_prefix=f"thumbnails-{key}")
        self._acts: dict[str, Act] = {}
        script = PICK_SCRIPT.format(key=key, keyboard=str(full).lower()) if pick else None
        with gr.Column(elem_classes="lk-gallery-box"):
            self.grid = gr.HTML(empty_html(empty), elem_id=f"{key}-grid", elem_classes="lk-gallery", js_on_load=script)
            with gr.Row(elem_classes="lk-buttons lk-pager"):
                self.prev = gr.Button("Previous", size="sm", elem_id=f"{key}-prev", interactive=False)
                self.at = gr.HTML("", elem_id=f"{key}-at", js_on_load=AT_SCRIPT)
                self.next = gr.Button("Next", size="sm", elem_id=f"{key}-next", interactive=False)
                self._looks = self._build_looks() if full else []
        page.act(self.prev.click, lambda view: self.turn(view, -1), page.view, None)
        page.act(self.next.click, lambda view: self.turn(view, +1), page.view, None)
        page.act(self.at.submit, self._go, page.view, None)

    def _build_looks(self) -> list[Any]:
        def choice(name: str, choices: Any, value: Any, label: str) -> Any:
            made = gr.Dropdown(
                list(choices), value=value, label=label, show_label=False, container=False, filterable=False,
                elem_id=f"{self.key}-{name}", elem_classes="lk-look",
            )  # fmt: skip
            set_look = functools.partial(self._set_look, name=name)
            self.page.act(made.input, set_look, [self.page.view, made], None)
            return made

        return [
            choice("per", PAGE_CHOICES, self._per_page, "Faces on a page"),
            choice("size", SIZE_CHOICES, "m", "Size of the faces"),
        ]

    @property
    def outputs(self) -> list[Any]:
        """Every component that tick() and fill() may update."""
        return [self.prev, self.at, self.next, self.grid, *self._looks]

    def wire_pick(self, after: Callable[[View], Updates], outputs: Sequence[Any]) -> None:
        """Keep the selection, and show what depends on it."""

        def picked(view: View, event: gr.EventData) -> Any:
            self._take(view, event)
            return after(view) or gr.skip()

        self.page.on(self.grid.select, picked, self.page.view, list(outputs), trigger_mode="always_last")

    def wire_acts(self, acts: Mapping[str, Act]) -> None:
        """What the keys and a double click do: "open", "remove", "undo", "clear", "invert", "after", "before"."""
        self._acts = dict(acts)

        def run(view: View, event: gr.EventData) -> None:
            data = self._take(view, event)
            act = str(data.get("act", ""))
            if act in ("next", "prev"):
                self.turn(view, 1 if act == "next" else -1)
            elif act in self._acts:
                self._acts[act](view, self.at_face(view))

        self.page.act(self.grid.submit, run, self.page.view, None, trigger_mode="multiple")

    def _take(self, view: View, event: gr.EventData) -> dict[str, Any]:
        """Note what the browser shows as selected; what it sent."""
        data: dict[str, Any] = getattr(event, "_data", None) or {}
        kept = self.selected(view) - set(data.get("shown", ()))
        self.select(view, kept | set(data.get("names", ())))
        view.seen[f"{self.key}.selected"] = self.selected(view)
        view.local[f"{self.key}.at"] = str(data.get("at", ""))
        return data

    # -- choices of one browser tab

    def selected(self, view: View) -> frozenset[str]:
        """Names that are selected, on any page."""
        return view.local.get(f"{self.key}.selected", frozenset())

    def select(self, view: View, names: Collection[str]) -> None:
        """Select exactly these names."""
        view.local[f"{self.key}.selected"] = frozenset(names)

    def shown(self, view: View) -> list[str]:
        """Names on the visible page."""
        return list(view.local.get(f"{self.key}.shown", ()))

    def at_face(self, view: View) -> str:
        """Name of the face that was clicked or reached with the keyboard last, "" when there is none."""
        return str(view.local.get(f"{self.key}.at", ""))

    def turn(self, view: View, step: int) -> None:
        """Turn the page; tick() keeps it in range."""
        view.local[f"{self.key}.page"] = self.at_page(view) + step

    def at_page(self, view: View) -> int:
        """Number of the visible page, from 0."""
        return int(view.local.get(f"{self.key}.page", 0))

    def first_page(self, view: View) -> None:
        """Go back to the first page."""
        view.local[f"{self.key}.page"] = 0

    def show_place(self, view: View, place: int) -> None:
        """Turn to the page that shows the picture at a position."""
        view.local[f"{self.key}.page"] = max(0, place) // self.per_page(view)

    def per_page(self, view: View) -> int:
        """Thumbnails on a page."""
        return int(view.local.get(f"{self.key}.per", self._per_page))

    def choices(self, view: View) -> tuple[Any, ...]:
        """What the grid depends on besides the pictures, and what the browser shows as selected: a fingerprint."""
        pressed = view.seen.get(f"{self.key}.selected")
        return (self.at_page(view), self.per_page(view), self._size(view), self.selected(view), pressed)

    def _size(self, view: View) -> str:
        return str(view.local.get(f"{self.key}.size", "m"))

    def _go(self, view: View, event: gr.EventData) -> None:
        data: dict[str, Any] = getattr(event, "_data", None) or {}
        view.local[f"{self.key}.page"] = int(data.get("page", 0))
        view.seen.pop(f"{self.key}.pages", None)

    def _set_look(self, view: View, value: Any, name: str) -> None:
        first = self.at_page(view) * self.per_page(view)
        view.local[f"{self.key}.{name}"] = value
        self.show_place(view, first)
        project = self.page.project(view)
        if project is not None:
            path = project.path / "settings" / LOOKS_NAME
            path.parent.mkdir(exist_ok=True)
            write_json(path, {**_stored_looks(path), f"{self.key}.{name}": value})

    # -- what is shown

    def fill(self, view: View) -> Updates:
        """How many thumbnails, and how large, as the project has it."""
        project = self.page.project(view)
        stored = _stored_looks(project.path / "settings" / LOOKS_NAME) if project else {}
        if stored.get(f"{self.key}.per") in (60, 100, 200):
            view.local[f"{self.key}.per"] = stored[f"{self.key}.per"]
        if stored.get(f"{self.key}.size") in ("s", "m", "l"):
            view.local[f"{self.key}.size"] = stored[f"{self.key}.size"]
        return dict(zip(self._looks, (self.per_page(view), self._size(view)), strict=False))

    def tick(self, view: View, project: Project | None, pictures: Sequence[Picture], marks: bool = False) -> Updates:
        """The visible page, when it changed.

        Args:
            pictures: all pictures in order; only those of the visible page are looked at.
            marks: draw the landmarks.
        """
        per_page = self.per_page(view)
        pages = max(1, -(-len(pictures) // per_page))
        at = min(max(0, self.at_page(view)), pages - 1)
        view.local[f"{self.key}.page"] = at
        part = list(pictures[at * per_page : (at + 1) * per_page]) if project else []
        view.local[f"{self.key}.shown"] = tuple(picture.name for picture in part)
        shown: Updates = {}
        if view.changed(f"{self.key}.pages", (at, pages)):
            shown[self.prev] = gr.update(interactive=at > 0, visible=pages > 1)
            shown[self.next] = gr.update(interactive=at < pages - 1, visible=pages > 1)
            shown[self.at] = at_html(at, pages)
        stamp = (marks, self._size(view), tuple((p.path, modified(p.path), p.caption) for p in part))
        new_page = view.changed(f"{self.key}.grid", stamp)
        new_marks = self.pick and view.changed(f"{self.key}.selected", self.selected(view))
        if new_page or new_marks:
            view.local[f"{self.key}.draws"] = view.local.get(f"{self.key}.draws", 0) + 1
            shown[self.grid] = self._html(view, project, part, marks) if part and project else empty_html(self._empty)
        return shown

    def _html(self, view: View, project: Project, part: Sequence[Picture], marks: bool) -> str:
        size = self._size(view)
        side = LARGE_PX if size == "l" else THUMBNAIL_PX
        folder = thumbnail_folder(project)
        files = list(self._pool.map(lambda picture: thumbnail(folder, picture.path, side), part))
        selected = self.selected(view)
        tiles = [
            self._tile(picture, file, picture.name in selected, marks)
            for picture, file in zip(part, files, strict=True)
        ]
        if self.pick:
            tiles[0] = tiles[0].replace('tabindex="-1"', 'tabindex="0"', 1)
        draw = view.local[f"{self.key}.draws"]
        return f'<div class="lk-grid lk-tiles-{size}" data-draw="{draw}">{"".join(tiles)}</div>'

    def _tile(self, picture: Picture, file: Path | None, selected: bool, marks: bool) -> str:
        name = html.escape(picture.name)
        if file is None:
            image = '<span class="lk-broken">cannot be read</span>'
        else:
            url = html.escape(self.page.file_url(file, 1))
            image = f'<img src="{url}" alt="" loading="lazy" draggable="false" width="144" height="144">'
            image += landmark_svg(picture) if marks else ""
        action = f'aria-pressed="{str(selected).lower()}" data-name="{name}" tabindex="-1"'
        if not self.pick:
            action = f'data-full="{html.escape(self.page.file_url(picture.path))}"' if file else ""
        caption = f'<span class="lk-caption">{html.escape(picture.caption)}</span>'
        return f'<button type="button" class="lk-tile" {action} title="{name}">{image}{caption}</button>'


def at_html(at: int, pages: int) -> str:
    """Number of the visible page, to be typed over; "" when there is only one."""
    if pages < 2:
        return ""
    field = f'<input type="number" min="1" max="{pages}" value="{at + 1}" aria-label="Page">'
    return f'<span class="lk-fact lk-at">page {field} of {pages:,}</span>'


def thumbnail_folder(project: Project) -> Path:
    """Where the thumbnails of a project lie; it is made when it is not there."""
    folder = project.jobs_dir / ".cache" / "thumbs"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _stored_looks(path: Path) -> dict[str, Any]:
    try:
        stored = read_json(path)
        return dict(stored) if isinstance(stored, dict) else {}
    except (OSError, LookalikeError, ValueError):
        return {}


def thumbnail(folder: Path, image: Path, side: int = THUMBNAIL_PX) -> Path | None:
    """A small JPEG of an image, made once per version of the file; None when the image cannot be read.

    Args:
        folder: existing folder of the thumbnails.
        side: longest side in pixels.
    """
    name = hashlib.sha1(f"{image}|{modified(image)}|{side}".encode(), usedforsecurity=False).hexdigest()
    target = folder / f"{name}.jpg"
    if target.exists():
        return target
    try:
        with Image.open(image) as opened:
            opened.draft("RGB", (side, side))
            small = opened.convert("RGB")
        small.thumbnail((side, side))
        unfinished = target.with_suffix(".part")
        small.save(unfinished, "JPEG", quality=82)
        unfinished.replace(target)
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError):
        return None
    return target


def landmark_svg(picture: Picture) -> str:
    """The 68 points as lines over a thumbnail; "" when there are none."""
    if picture.landmarks is None:
        return ""
    try:
        with Image.open(picture.path) as opened:
            width, height = opened.size
    except (OSError, UnidentifiedImageError):
        return ""
    path = landmark_path(picture.landmarks)
    return f'<svg viewBox="0 0 {width} {height}" aria-hidden="true"><path d="{path}"/></svg>'


def landmark_path(landmarks: Any) -> str:
    """SVG path through (68, 2) points: jaw, brows, nose, eyes and lips."""
    points = [f"{x:.0f} {y:.0f}" for x, y in landmarks]
    return "".join(f"M{'L'.join(points[a:b])}{'Z' if closed else ''}" for a, b, closed in _CHAINS)


def modified(path: Path) -> int:
    """Modification time of a file in ns, 0 when it is not there."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
