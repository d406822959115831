"""Pages of thumbnails, with landmarks drawn over them and, where wanted, a selection of several."""

from __future__ import annotations

import hashlib
import html
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image, UnidentifiedImageError

from backend.storage.workspace import Project
from ui_tabs.context import PageContext, Updates, View
from ui_tabs.job_panel import empty_html

THUMBNAIL_PX = 144

PICK_SCRIPT = """
let last = null, timer = null;
const tiles = () => [...element.querySelectorAll('[data-name]')];
const press = (tile, on) => tile.setAttribute('aria-pressed', on ? 'true' : 'false');
const isOn = (tile) => tile.getAttribute('aria-pressed') === 'true';
element.addEventListener('click', (event) => {
  const tile = event.target.closest('[data-name]');
  if (!tile) return;
  const all = tiles(), at = all.indexOf(tile), on = !isOn(tile);
  if (event.shiftKey && last !== null && last < all.length) {
    for (let i = Math.min(last, at); i <= Math.max(last, at); i++) press(all[i], on);
  } else {
    press(tile, on);
  }
  last = at;
  clearTimeout(timer);
  timer = setTimeout(() => {
    const now = tiles();
    trigger('select', {shown: now.map((t) => t.dataset.name), names: now.filter(isOn).map((t) => t.dataset.name)});
  }, 120);
});
"""

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
        on_pick: called after the selection changed; gives further updates.
    """

    def __init__(self, page: PageContext, key: str, per_page: int, empty: str, pick: bool = False) -> None:
        self.page = page
        self.key = key
        self.per_page = per_page
        self._empty = empty
        self.pick = pick
        self._pool = ThreadPoolExecutor(4, thread_name_prefix=f"thumbnails-{key}")
        with gr.Row(elem_classes="lk-buttons lk-pager"):
            self.prev = gr.Button("Previous", size="sm", elem_id=f"{key}-prev", interactive=False)
            self.at = gr.HTML("", elem_id=f"{key}-at")
            self.next = gr.Button("Next", size="sm", elem_id=f"{key}-next", interactive=False)
        self.grid = gr.HTML(empty_html(empty), elem_id=f"{key}-grid", js_on_load=PICK_SCRIPT if pick else None)
        page.act(self.prev.click, lambda view: self.turn(view, -1), page.view, None)
        page.act(self.next.click, lambda view: self.turn(view, +1), page.view, None)

    @property
    def outputs(self) -> list[Any]:
        """Every component that tick() may update."""
        return [self.prev, self.at, self.next, self.grid]

    def wire_pick(self, after: Callable[[View], Updates], outputs: Sequence[Any]) -> None:
        """Keep the selection, and show what depends on it."""

        def picked(view: View, event: gr.EventData) -> Any:
            data: dict[str, list[str]] = getattr(event, "_data", None) or {}
            kept = self.selected(view) - set(data.get("shown", ()))
            self.select(view, kept | set(data.get("names", ())))
            view.seen[f"{self.key}.selected"] = frozenset(self.selected(view))
            return after(view) or gr.skip()

        self.page.on(self.grid.select, picked, self.page.view, list(outputs), trigger_mode="always_last")

    def selected(self, view: View) -> set[str]:
        """Names that are selected, on any page."""
        return set(view.local.get(f"{self.key}.selected", ()))

    def select(self, view: View, names: Collection[str]) -> None:
        """Select exactly these names."""
        view.local[f"{self.key}.selected"] = frozenset(names)

    def shown(self, view: View) -> list[str]:
        """Names on the visible page."""
        return list(view.local.get(f"{self.key}.shown", ()))

    def turn(self, view: View, step: int) -> None:
        """Turn the page; tick() keeps it in range."""
        view.local[f"{self.key}.page"] = self.at_page(view) + step

    def at_page(self, view: View) -> int:
        """Number of the visible page, from 0."""
        return int(view.local.get(f"{self.key}.page", 0))

    def first_page(self, view: View) -> None:
        """Go back to the first page."""
        view.local[f"{self.key}.page"] = 0

    def tick(self, view: View, project: Project | None, pictures: Sequence[Picture], marks: bool = False) -> Updates:
        """The visible page, when it changed.

        Args:
            pictures: all pictures in order.
            marks: draw the landmarks.
        """
        pages = max(1, -(-len(pictures) // self.per_page))
        at = min(max(0, self.at_page(view)), pages - 1)
        view.local[f"{self.key}.page"] = at
        part = pictures[at * self.per_page : (at + 1) * self.per_page] if project else []
        view.local[f"{self.key}.shown"] = tuple(picture.name for picture in part)
        shown: Updates = {}
        if view.changed(f"{self.key}.pages", (at, pages, len(pictures))):
            shown[self.prev] = gr.update(interactive=at > 0, visible=pages > 1)
            shown[self.next] = gr.update(interactive=at < pages - 1, visible=pages > 1)
            shown[self.at] = f'<span class="lk-fact">page {at + 1} of {pages}</span>' if pages > 1 else ""
        stamp = (marks, tuple((picture.path, modified(picture.path), picture.caption) for picture in part))
        new_page = view.changed(f"{self.key}.grid", stamp)
        new_marks = self.pick and view.changed(f"{self.key}.selected", frozenset(self.selected(view)))
        if new_page or new_marks:
            view.local[f"{self.key}.draws"] = view.local.get(f"{self.key}.draws", 0) + 1
            shown[self.grid] = self._html(view, project, part, marks) if part and project else empty_html(self._empty)
        return shown

    def _html(self, view: View, project: Project, part: Sequence[Picture], marks: bool) -> str:
        folder = project.jobs_dir / ".cache" / "thumbs"
        folder.mkdir(parents=True, exist_ok=True)
        files = list(self._pool.map(lambda picture: thumbnail(folder, picture.path), part))
        selected = self.selected(view)
        tiles = [
            self._tile(picture, file, picture.name in selected, marks)
            for picture, file in zip(part, files, strict=True)
        ]
        return f'<div class="lk-grid" data-draw="{view.local[f"{self.key}.draws"]}">{"".join(tiles)}</div>'

    def _tile(self, picture: Picture, file: Path | None, selected: bool, marks: bool) -> str:
        name = html.escape(picture.name)
        if file is None:
            image = '<span class="lk-broken">cannot be read</span>'
        else:
            image = f'<img src="{self.page.file_url(file, 1)}" alt="" loading="lazy" width="144" height="144">'
            image += landmark_svg(picture) if marks else ""
        action = f'aria-pressed="{str(selected).lower()}" data-name="{name}"'
        if not self.pick:
            action = f'data-full="{self.page.file_url(picture.path)}"' if file else ""
        caption = f'<span class="lk-caption">{html.escape(picture.caption)}</span>'
        return f'<button type="button" class="lk-tile" {action} title="{name}">{image}{caption}</button>'


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
    points = [f"{x:.0f} {y:.0f}" for x, y in picture.landmarks]
    lines = "".join(f"M{'L'.join(points[a:b])}{'Z' if closed else ''}" for a, b, closed in _CHAINS)
    return f'<svg viewBox="0 0 {width} {height}" aria-hidden="true"><path d="{lines}"/></svg>'


def modified(path: Path) -> int:
    """Modification time of a file in ns, 0 when it is not there."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
