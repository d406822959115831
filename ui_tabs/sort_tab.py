"""The Sort tab: the faces of one side in their order, filters, a selection, persons, the trash and the inspector."""

from __future__ import annotations

import functools
import html
import time
from collections.abc import Collection, Sequence
from typing import Any, Final

import gradio as gr

from backend.core.errors import BadInputError
from backend.jobs.scheduler import writes
from backend.storage.faceset import Faceset
from backend.storage.workspace import Project
from ui_tabs.context import OPEN_STATES, PageContext, TabHandles, Updates, View
from ui_tabs.faceset_tools import FacesetTools
from ui_tabs.gallery import Gallery
from ui_tabs.inspector import Inspector
from ui_tabs.job_panel import empty_html
from ui_tabs.labels import SIDE_CHOICES, SIDES, choice_label
from ui_tabs.sort_filters import FilterPanel, filter_line, filter_of
from ui_tabs.sort_order import OrderCard
from ui_tabs.sort_persons import PersonsCard
from ui_tabs.sort_shelf import About, Shelf, ShelfPictures, Shelves, folder_stamp, make_shelf
from ui_tabs.trash_drawer import TrashDrawer

NO_FACES: Final = make_shelf((), About())
"""In place of faces that are being read for the first time."""
PER_PAGE = 100
BUSY_S = 6
"""While a job changes the faces they are looked up this seldom, seconds."""

EMPTY = "The faces appear here in their order once they were extracted. Click to select, shift-click for a range."
KEYS_HTML = (
    '<p class="lk-note lk-keys">Drag over faces to select a rectangle, shift-click for a range, double click to look '
    "at one. <kbd>arrows</kbd> move, with <kbd>shift</kbd> they select, <kbd>space</kbd> selects, <kbd>ctrl</kbd> "
    "<kbd>A</kbd> the page, <kbd>E</kbd> everything after, <kbd>B</kbd> everything before, <kbd>I</kbd> inverts, "
    "<kbd>esc</kbd> clears, <kbd>enter</kbd> looks at one, <kbd>del</kbd> moves to the trash, <kbd>ctrl</kbd> "
    "<kbd>Z</kbd> brings back, <kbd>page up</kbd> and <kbd>page down</kbd> turn pages.</p>"
)


class SortTab:
    """Widgets and handlers of the tab."""

    def __init__(self, page: PageContext) -> None:
        self.page = page
        self.shelves = Shelves()
        with page.tab("sort") as self.tab:
            self.side = gr.Radio(
                list(SIDE_CHOICES), value="src", show_label=False, container=False, elem_id="sort-side"
            )
            with gr.Row(elem_classes="lk-split lk-sorting"):
                with gr.Column(scale=2, min_width=320, elem_classes="lk-sort-left"):
                    self.inspector = Inspector(page, side_of, self._remove_one, self._shown_names)
                    self.order = OrderCard(page, side_of, self._free_faceset, self._from_the_top)
                    self.persons = PersonsCard(page, side_of, self._selected, lambda view: None)
                    self.trash = TrashDrawer(page, self._free_faceset, lambda view: None)
                    title = "Faceset tools and statistics"
                    with gr.Accordion(title, open=False, elem_classes="lk-card", elem_id="sort-tools-fold"):
                        self.tools = FacesetTools(page, side_of)
                with gr.Column(scale=5, min_width=320, elem_classes="lk-card"):
                    self._build_faces()
        self._wire()

    @property
    def outputs(self) -> list[Any]:
        """Every component that tick() and fill() may update."""
        rooms = (self.order, self.persons, self.trash, self.tools, self.inspector, self.filters, self.faces)
        parts = [component for room in rooms for component in room.outputs]
        return [self.side, self.head, self.shown, self.clear_filters, self.picked, *self.buttons, *parts]

    def _build_faces(self) -> None:
        with gr.Row(elem_classes="lk-buttons"):
            self.head = gr.HTML("", elem_id="sort-head")
            self.shown = gr.HTML("", elem_id="sort-shown")
            self.clear_filters = gr.Button("Clear filters", size="sm", visible=False, elem_id="sort-filter-clear")
        self.filters = FilterPanel(self.page, side_of, self._from_the_top)
        with gr.Row(elem_classes="lk-buttons lk-selection"):
            self.picked = gr.HTML(picked_html(0, 0), elem_id="sort-picked")
            self.remove = gr.Button("Move to trash", size="sm", elem_id="sort-remove")
            self.keep = gr.Button("Keep only these", size="sm", elem_id="sort-keep")
            self.whole_page = gr.Button("Select page", size="sm", elem_id="sort-page-all")
            self.all = gr.Button("Select all shown", size="sm", elem_id="sort-all")
            self.before = gr.Button("Everything before", size="sm", elem_id="sort-before")
            self.after = gr.Button("Everything after", size="sm", elem_id="sort-after")
            self.invert = gr.Button("Invert", size="sm", elem_id="sort-invert")
            self.clear = gr.Button("Clear", size="sm", elem_id="sort-clear")
        self.faces = Gallery(self.page, "sort", PER_PAGE, EMPTY, pick=True, full=True)
        gr.HTML(KEYS_HTML, elem_id="sort-keys")
        self.buttons = [self.remove, self.keep, self.clear]

    def _wire(self) -> None:
        page, view = self.page, self.page.view
        about_selection = [self.picked, *self.buttons, self.persons.keep, self.persons.hint]
        self.faces.wire_pick(self._show_selection, about_selection)
        parts = [c for room in (self.order, self.persons, self.filters, self.tools) for c in room.outputs]
        page.act(self.side.input, self._choose, [view, self.side], list({c._id: c for c in parts}.values()))
        page.act(self.clear_filters.click, self.filters.clear, view, self.filters.outputs)
        for button, action in (
            (self.remove, self._remove),
            (self.keep, self._keep),
            (self.whole_page, self._select_page),
            (self.all, self._select_all),
            (self.before, functools.partial(self._select_from, after=False)),
            (self.after, functools.partial(self._select_from, after=True)),
            (self.invert, self._invert),
            (self.clear, self._clear),
        ):
            page.act(button.click, action, view, None)
        self.faces.wire_acts(
            {
                "open": self.inspector.open,
                "remove": self._remove,
                "undo": self.trash.take_back,
                "clear": self._clear,
                "invert": self._invert,
                "before": functools.partial(self._select_from, after=False),
                "after": functools.partial(self._select_from, after=True),
            }
        )

    # -- what is shown

    def tick(self, view: View) -> Updates:
        """What changed."""
        rooms = (self.order, self.persons, self.tools)
        shown = {component: update for room in rooms for component, update in room.tick(view).items()}
        shown.update(self._show_selection(view))
        project = self.page.project(view)
        if project is None:
            return {**shown, **self.faces.tick(view, None, ())}
        side = project.side(side_of(view))
        shown.update(self.trash.tick(view, side))
        if not view.changed("sort.beat", self._stamp(view, project)):
            return shown
        shelves = {name: self._read(view, name) or NO_FACES for name in SIDES}
        shelf = shelves[side_of(view)]
        if shelf is NO_FACES:
            return {**shown, self.head: empty_html("Reading the faces.")}
        places = filter_of(view).matches(shelf).nonzero()[0]
        shown.update(self._tick_head(view, shelf, len(places)))
        shown.update(self.filters.tick(view, project, shelves, side_of(view)))
        shown.update(self.inspector.tick(view, side, shelf))
        shown.update(self.faces.tick(view, project, ShelfPictures(shelf, places)))
        return {**shown, **self._show_selection(view)}

    def _tick_head(self, view: View, shelf: Shelf, number: int) -> Updates:
        active = filter_of(view).active
        shown: Updates = {}
        if view.changed("sort.head", (side_of(view), shelf.stamp)):
            shown[self.head] = head_html(side_of(view), len(shelf), shelf.order_by, shelf.damaged)
        if view.changed("sort.shown", (number, len(shelf), active)):
            shown[self.shown] = filter_line(number, len(shelf), active)
            shown[self.clear_filters] = gr.update(visible=active)
        return shown

    def _stamp(self, view: View, project: Project) -> tuple[Any, ...]:
        stamps = tuple(self._beat(view, name) or folder_stamp(project.side(name)) for name in SIDES)
        local = (self.faces.choices(view), filter_of(view), self.inspector.opened(view))
        return (view.project, side_of(view), stamps, local)

    def _beat(self, view: View, side: str) -> Any:
        """Changes only now and then while a job changes the faces of a side; None while none does."""
        return ("busy", int(time.time() / BUSY_S)) if self._busy(view, side) else None

    def _read(self, view: View, side: str) -> Shelf | None:
        """The faces of a side; as they were, or None before that, while they are read: the next tick looks again."""
        files = self.page.need_project(view).side(side)
        shelf = self.shelves.of(files, self._beat(view, side))
        if shelf is None:
            for key in ("sort.beat", "sort.head"):
                view.seen.pop(key, None)
        return shelf or self.shelves.last(files)

    def _shelf(self, view: View) -> Shelf:
        """The faces of the chosen side as they are now. BadInputError while they are read."""
        return self.shelves.need(self.page.need_project(view).side(side_of(view)))

    def fill(self, view: View) -> Updates:
        """The settings of the last runs on the chosen side, and the choices of this browser tab."""
        rooms = (self.order, self.persons, self.tools, self.filters, self.faces)
        filled = {component: update for room in rooms for component, update in room.fill(view).items()}
        return {self.side: side_of(view), **filled}

    def _show_selection(self, view: View) -> Updates:
        """How many are selected, and how many of these the filter hides."""
        selected = self._selected(view)
        hidden = len(selected - set(self._shown_names(view))) if selected and filter_of(view).active else 0
        if not view.changed("sort.picked", (len(selected), hidden)):
            return {}
        buttons = {button: gr.update(interactive=bool(selected)) for button in self.buttons}
        return {self.picked: picked_html(len(selected), hidden), **buttons, **self.persons.show_selection(view)}

    # -- what is done

    def _from_the_top(self, view: View) -> None:
        self.faces.first_page(view)

    def _choose(self, view: View, side: str) -> Updates:
        view.local["sort.side"] = side
        self.faces.select(view, ())
        self.faces.first_page(view)
        self.inspector.open(view, "")
        self.trash.other_side(view)
        return {
            **self.order.fill(view),
            **self.persons.fill(view),
            **self.tools.fill(view),
            **self.filters.other_side(view),
        }

    def _remove(self, view: View, at: str = "") -> None:
        """Move the selected faces to the trash; with none selected, the one that has the focus."""
        self._trash(view, self._selected(view) or {at} - {""}, "selected by hand")

    def _remove_one(self, view: View, name: str) -> None:
        self._trash(view, {name}, "removed in the inspector")

    def _keep(self, view: View) -> None:
        names = set(self._shelf(view).names)
        kept = self._selected(view) & names
        if not kept:
            raise BadInputError("None of the selected faces is there any more.", "Select the faces to keep.")
        self._trash(view, names - kept, "all but the selected ones")

    def _trash(self, view: View, names: Collection[str], reason: str) -> None:
        faceset, side = self._free_faceset(view), self.page.need_project(view).side(side_of(view))
        wanted = [name for name in self._shelf(view).names if name in names]
        if wanted:
            with self.shelves.taking(side, frozenset(wanted)):
                faceset.trash(wanted, reason)
            gr.Info(f"{len(wanted):,} moved to the trash. Ctrl+Z or the trash drawer brings them back.", duration=6)
        self.faces.select(view, self._selected(view) - set(names) if len(names) == 1 else ())

    def _invert(self, view: View, at: str = "") -> None:
        self.faces.select(view, set(self._shown_names(view)) - self._selected(view))

    def _clear(self, view: View, at: str = "") -> None:
        self.faces.select(view, ())

    def _select_page(self, view: View) -> None:
        self.faces.select(view, self._selected(view) | set(self.faces.shown(view)))

    def _select_all(self, view: View) -> None:
        self.faces.select(view, self._selected(view) | set(self._shown_names(view)))

    def _select_from(self, view: View, at: str = "", after: bool = True) -> None:
        """Select everything behind a face, on all pages, or everything before it; the face itself belongs to it."""
        names = self._shown_names(view)
        name = at or self.faces.at_face(view)
        if name not in names:
            raise BadInputError("No face is marked.", "Click the face where the selection begins.")
        place = names.index(name)
        self.faces.select(view, self._selected(view) | set(names[place:] if after else names[: place + 1]))

    def _selected(self, view: View) -> frozenset[str]:
        return self.faces.selected(view)

    def _shown_names(self, view: View) -> list[str]:
        """File names that pass the filter, in their order."""
        shelf = self._read(view, side_of(view)) or NO_FACES
        return [shelf.names[place] for place in filter_of(view).matches(shelf).nonzero()[0]]

    def _busy(self, view: View, side: str) -> bool:
        return any(
            job.status.state in OPEN_STATES and f"{side} faces" in writes(job.request) for job in self.page.jobs(view)
        )

    def _free_faceset(self, view: View) -> Faceset:
        if self._busy(view, side_of(view)):
            raise BadInputError("A job is changing these faces.", "Wait for it or stop it, then try again.")
        return self.page.need_project(view).side(side_of(view)).faceset()


def build_sort_tab(page: PageContext) -> TabHandles:
    """Make the tab."""
    made = SortTab(page)
    return TabHandles("sort", made.tab, made.outputs, made.tick, made.fill)


def side_of(view: View) -> str:
    """The chosen side."""
    return str(view.local.get("sort.side", "src"))


def picked_html(number: int, hidden: int) -> str:
    """How many are selected."""
    more = f", {hidden:,} of them hidden by the filter" if hidden else ""
    return f'<span class="lk-fact"><b>{number:,}</b> selected{more}</span>'


def head_html(side: str, faces: int, order_by: str, damaged: Sequence[tuple[str, str]]) -> str:
    """How many faces, in which order, and which files could not be read."""
    order = ", by file name" if order_by in ("", "name") else f", {choice_label('by', order_by)}"
    text = f'<p><span class="lk-side-{side}">{SIDES[side]}</span>: {faces:,} faces{order}</p>' if faces else ""
    if damaged:
        rows = "".join(f"<li>{html.escape(name)}: {html.escape(reason)}</li>" for name, reason in damaged[:50])
        text += f"<details><summary>{len(damaged):,} files could not be read</summary><ul>{rows}</ul></details>"
    return text
