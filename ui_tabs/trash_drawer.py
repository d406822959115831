"""The trash of one side: what was removed when and why, and the ways back; emptying it is the only way to delete."""

from __future__ import annotations

import contextlib
import html
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from backend.core.errors import BadInputError
from backend.storage.face_trash import TrashBatch
from backend.storage.faceset import Faceset
from backend.storage.workspace import SideFiles
from ui_tabs.context import PageContext, Updates, View
from ui_tabs.gallery import Gallery, Picture
from ui_tabs.header import size

PER_PAGE = 60
EMPTY = "Faces you move to the trash appear here and can be restored."
BATCHES_SHOWN = 40

BATCH_SCRIPT = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-act][data-batch]');
  if (button) trigger('select', {act: button.dataset.act, batch: button.dataset.batch});
});
"""


class TrashDrawer:
    """The closed group "Trash". Place it inside a layout.

    Args:
        page: the page's context.
        free_faceset: the faces of the chosen side; BadInputError while a job changes them.
        changed: called after faces came back.
    """

    def __init__(
        self, page: PageContext, free_faceset: Callable[[View], Faceset], changed: Callable[[View], None]
    ) -> None:
        self.page = page
        self._free_faceset = free_faceset
        self._changed = changed
        with gr.Accordion("Trash", open=False, elem_classes="lk-card", elem_id="sort-trash-fold"):
            self.head = gr.HTML("", elem_id="sort-trash-head")
            with gr.Row(elem_classes="lk-buttons"):
                self.undo = gr.Button("Undo last removal", size="sm", elem_id="sort-undo")
                self.restore = gr.Button("Restore selected", size="sm", elem_id="sort-restore")
                self.restore_all = gr.Button("Restore all", size="sm", elem_id="sort-restore-all")
            self.batches = gr.HTML("", elem_id="sort-batches", js_on_load=BATCH_SCRIPT)
            self.faces = Gallery(page, "sort-trash", PER_PAGE, EMPTY, pick=True)
            with gr.Accordion("Empty the trash", open=False, elem_id="sort-empty-fold", elem_classes="lk-more"):
                gr.HTML(
                    '<p class="lk-note">This deletes the faces in the trash of this side. There is no way back.</p>'
                )
                self.typed = gr.Textbox(
                    label="Type the project's name to delete them", max_lines=1, elem_id="sort-empty-word"
                )
                self.empty = gr.Button("Empty trash", variant="stop", size="sm", elem_id="sort-empty")
        self._wire()

    def _wire(self) -> None:
        page = self.page
        self.faces.wire_pick(lambda view: {}, [self.head])
        page.act(self.undo.click, self.take_back, page.view, None)
        page.act(self.restore.click, self._restore, page.view, None)
        page.act(self.restore_all.click, self._restore_all, page.view, None)
        page.act(self.batches.select, self._batch, page.view, None)
        page.act(self.empty.click, self._empty, [page.view, self.typed], self.typed)

    @property
    def outputs(self) -> list[Any]:
        """Every component that tick() may update."""
        return [self.head, self.batches, *self.faces.outputs]

    def tick(self, view: View, side: SideFiles) -> Updates:
        """What changed."""
        folder = side.trash_dir
        stamp = (side.name, folder.stat().st_mtime_ns if folder.is_dir() else 0)
        shown: Updates = {}
        if view.changed("sort.trash", (*stamp, self._chosen(view))):
            batches = side.faceset().trash_batches()
            names = sorted(side.faceset().trashed())
            if self._chosen(view) not in {batch.id for batch in batches}:
                view.local["sort.trash.batch"] = ""
            view.local["sort.trash.names"] = tuple(self._of_batch(view, batches) or names)
            shown[self.head] = head_html(side.name, len(names), bytes_in(folder, names))
            shown[self.batches] = batches_html(batches, self._chosen(view))
        names = view.local.get("sort.trash.names", ())
        pictures = [Picture(name, folder / name, Path(name).stem) for name in names]
        if view.changed("sort.trash-beat", (stamp, names, self.faces.choices(view))):
            shown.update(self.faces.tick(view, self.page.project(view), pictures))
        return shown

    def other_side(self, view: View) -> None:
        """The other side is looked at."""
        view.local["sort.trash.batch"] = ""
        self.faces.select(view, ())
        self.faces.first_page(view)

    def take_back(self, view: View, _: str = "") -> None:
        """Undo the last removal."""
        back = self._free_faceset(view).undo()
        self._changed(view)
        gr.Info(f"{len(back):,} faces are back." if back else "There is nothing to undo.", duration=6)

    def _chosen(self, view: View) -> str:
        return str(view.local.get("sort.trash.batch", ""))

    def _of_batch(self, view: View, batches: Sequence[TrashBatch]) -> tuple[str, ...]:
        return next((batch.names for batch in batches if batch.id == self._chosen(view)), ())

    def _batch(self, view: View, event: gr.EventData) -> None:
        """Show one batch only, or bring it back."""
        data: dict[str, Any] = getattr(event, "_data", None) or {}
        wanted = str(data.get("batch", ""))
        if data.get("act") == "show":
            view.local["sort.trash.batch"] = "" if wanted == self._chosen(view) else wanted
            self.faces.first_page(view)
            return
        faceset = self._free_faceset(view)
        found = next((batch for batch in faceset.trash_batches() if batch.id == wanted), None)
        if found is None:
            raise BadInputError("This removal has been taken back already.")
        self._back(view, faceset.restore(found.names))

    def _restore(self, view: View) -> None:
        names = sorted(self.faces.selected(view))
        if not names:
            raise BadInputError("No face in the trash is selected.", "Click the ones to restore.")
        self._back(view, self._free_faceset(view).restore(names))

    def _restore_all(self, view: View) -> None:
        faceset = self._free_faceset(view)
        self._back(view, faceset.restore(sorted(faceset.trashed())))

    def _back(self, view: View, names: Sequence[str]) -> None:
        self.faces.select(view, ())
        self._changed(view)
        gr.Info(f"{len(names):,} faces are back.", duration=6)

    def _empty(self, view: View, typed: str) -> str:
        if typed.strip() != view.project:
            raise BadInputError("Nothing was deleted: the typed name is not the project's.", f"Type {view.project}.")
        number = self._free_faceset(view).empty_trash()
        self.faces.select(view, ())
        gr.Info(f"{number:,} faces deleted.", duration=6)
        return ""


def head_html(side: str, number: int, used: int) -> str:
    """How many faces the trash of a side holds, and what they take on disk."""
    if not number:
        return ""
    return f'<p class="lk-note">{number:,} faces in the trash of this side, {size(used)}.</p>'


def batches_html(batches: Sequence[TrashBatch], chosen: str) -> str:
    """The removals, newest first: when, why, how many, and the way back."""
    rows = "".join(_batch_row(batch, batch.id == chosen) for batch in batches[:BATCHES_SHOWN])
    if not rows:
        return ""
    rest = len(batches) - BATCHES_SHOWN
    more = f'<p class="lk-note">and {rest:,} older removals</p>' if rest > 0 else ""
    return f'<div class="lk-scroll"><table class="lk-table lk-batches"><tbody>{rows}</tbody></table></div>{more}'


def _batch_row(batch: TrashBatch, chosen: bool) -> str:
    def act(name: str, words: str, state: str = "") -> str:
        key = html.escape(batch.id)
        return f'<button type="button" class="lk-act" data-act="{name}" data-batch="{key}"{state}>{words}</button>'

    reason = html.escape(batch.reason or "removed")
    acts = act("show", "Show", f' aria-pressed="{str(chosen).lower()}"') + act("restore", "Restore")
    return (
        f'<tr><td>{reason}<br><span class="lk-note">{when(batch.time)}</span></td>'
        f'<td class="lk-number">{len(batch.names):,}</td><td><div class="lk-acts">{acts}</div></td></tr>'
    )


def when(moment: float) -> str:
    """A moment in local time; "some time ago" when it was not noted."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment)) if moment > 0 else "some time ago"


def bytes_in(folder: Path, names: Sequence[str]) -> int:
    """Bytes of some files of a folder."""
    wanted = set(names)
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return sum(entry.stat().st_size for entry in entries if entry.name in wanted)
    return 0
