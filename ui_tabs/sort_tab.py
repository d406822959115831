"""The Sort tab: the faceset in its current order, a selection, the trash, and the order itself."""

from __future__ import annotations

import html
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import gradio as gr

from backend.core.errors import BadInputError
from backend.core.jobs import JobRequest
from backend.core.settings import Settings, SortSettings
from backend.jobs.command import command_line
from backend.storage.faceset import FaceRecord, Faceset
from backend.storage.workspace import Project
from ui_tabs.context import OPEN_STATES, PageContext, TabHandles, Updates, View
from ui_tabs.form import SettingsForm
from ui_tabs.gallery import Gallery, Picture
from ui_tabs.job_panel import JobPanel, command_html
from ui_tabs.labels import SIDE_CHOICES, SIDES, choice_label

PER_PAGE = 100


class SortTab:
    """Widgets and handlers of the tab."""

    def __init__(self, page: PageContext) -> None:
        self.page = page
        with page.tab("sort") as self.tab:
            self.side = gr.Radio(
                list(SIDE_CHOICES), value="src", show_label=False, container=False, elem_id="sort-side"
            )
            with gr.Row(elem_classes="lk-split"):
                with gr.Column(scale=2, min_width=320):
                    self._build_settings()
                    self._build_trash()
                with gr.Column(scale=5, min_width=320, elem_classes="lk-card"):
                    self._build_faces()
        self._wire()

    @property
    def outputs(self) -> list[Any]:
        """Every component that tick() and fill() may update."""
        parts = [*self.form.outputs, *self.panel.outputs, *self.faces.outputs, *self.trash.outputs]
        return [self.side, self.head, self.picked, self.command, self.trash_head, *self.selection_buttons, *parts]

    def _build_settings(self) -> None:
        with gr.Column(elem_classes="lk-card"):
            gr.HTML('<h2 class="lk-card-title">Order</h2>')
            self.form = SettingsForm(SortSettings, "sort", "sort", exclude=("side", "apply"))
            with gr.Row(elem_classes="lk-buttons"):
                self.start = gr.Button("Sort", variant="primary", elem_id="sort-start")
            words = "Sorting shows its progress here. It changes the order only; no file is touched."
            self.panel = JobPanel(self.page, "sort", ("sort",), words, same_side)
            with gr.Accordion(
                "Rename files to this order", open=False, elem_classes="lk-more", elem_id="sort-apply-fold"
            ):
                gr.HTML(
                    '<p class="lk-note">File browsers then show the same order. The frame of each face stays known.</p>'
                )
                self.sure = gr.Checkbox(label="Yes, rename the files", elem_id="sort-apply-sure", container=False)
                self.apply = gr.Button("Apply order", size="sm", elem_id="sort-apply")
            with gr.Accordion("Command line of this run", open=False, elem_classes="lk-more"):
                self.command = gr.HTML("", elem_id="sort-command")

    def _build_trash(self) -> None:
        with gr.Accordion("Trash", open=False, elem_classes="lk-card", elem_id="sort-trash-fold"):
            self.trash_head = gr.HTML("", elem_id="sort-trash-head")
            with gr.Row(elem_classes="lk-buttons"):
                self.undo = gr.Button("Undo last removal", size="sm", elem_id="sort-undo")
                self.restore = gr.Button("Restore selected", size="sm", elem_id="sort-restore")
                self.restore_all = gr.Button("Restore all", size="sm", elem_id="sort-restore-all")
            empty = "Faces you move to the trash appear here and can be restored."
            self.trash = Gallery(self.page, "sort-trash", PER_PAGE, empty, pick=True)

    def _build_faces(self) -> None:
        self.head = gr.HTML("", elem_id="sort-head")
        with gr.Row(elem_classes="lk-buttons lk-selection"):
            self.picked = gr.HTML(picked_html(0), elem_id="sort-picked")
            self.remove = gr.Button("Move to trash", size="sm", elem_id="sort-remove")
            self.keep = gr.Button("Keep only these", size="sm", elem_id="sort-keep")
            self.invert = gr.Button("Invert", size="sm", elem_id="sort-invert")
            self.clear = gr.Button("Clear", size="sm", elem_id="sort-clear")
            self.whole_page = gr.Button("Select page", size="sm", elem_id="sort-page-all")
        empty = (
            "The faces appear here in their order once they were extracted. Click to select, shift-click for a range."
        )
        self.faces = Gallery(self.page, "sort", PER_PAGE, empty, pick=True)
        self.selection_buttons = [self.remove, self.keep, self.clear]

    def _wire(self) -> None:
        page, view = self.page, self.page.view
        self.form.wire(page, lambda view: {"side": side_of(view)}, None, (self.command, self._command))
        self.panel.attach_start(self.start, self._missing)
        self.faces.wire_pick(self._show_selection, [self.picked, *self.selection_buttons])
        self.trash.wire_pick(lambda view: {}, [self.picked])
        page.act(self.start.click, self._begin, {*self.form.inputs, view}, [self.form.error])
        page.act(self.side.input, self._choose, [view, self.side], self.form.outputs)
        page.act(self.apply.click, self._apply, [view, self.sure], self.sure)
        actions = (
            (self.remove, self._remove),
            (self.keep, self._keep),
            (self.invert, self._invert),
            (self.clear, lambda view: self.faces.select(view, ())),
            (self.whole_page, self._select_page),
            (self.undo, self._undo),
            (self.restore, self._restore),
            (self.restore_all, self._restore_all),
        )
        for button, action in actions:
            page.act(button.click, action, view, None)

    # -- what is shown

    def tick(self, view: View) -> Updates:
        """What changed."""
        project = self.page.project(view)
        shown = {**self.panel.tick(view), **self._show_selection(view)}
        if project is None:
            return {**shown, **self.faces.tick(view, None, ()), **self.trash.tick(view, None, ())}
        if not view.changed("sort.beat", self._stamp(view, project)):
            return shown
        faceset = project.side(side_of(view)).faceset()
        records = faceset.records()
        damaged = faceset.damaged()
        gone = sorted(faceset.trashed())
        if view.changed("sort.head", (side_of(view), len(records), len(damaged), faceset.order_by)):
            shown[self.head] = head_html(side_of(view), len(records), faceset.order_by, damaged)
        if view.changed("sort.trash-head", len(gone)):
            shown[self.trash_head] = f'<p class="lk-note">{len(gone):,} in the trash of this side.</p>' if gone else ""
        in_trash = [Picture(name, project.side(side_of(view)).trash_dir / name, name) for name in gone]
        shown.update(self.faces.tick(view, project, pictures(records, faceset.order_by)))
        shown.update(self.trash.tick(view, project, in_trash))
        return shown

    def _stamp(self, view: View, project: Project) -> tuple[Any, ...]:
        side = project.side(side_of(view))
        folders = tuple(
            folder.stat().st_mtime_ns if folder.is_dir() else 0 for folder in (side.aligned_dir, side.trash_dir)
        )
        choices = tuple((gallery.at_page(view), gallery.selected(view)) for gallery in (self.faces, self.trash))
        return (view.project, side.name, folders, choices)

    def fill(self, view: View) -> Updates:
        """The settings of the last run on the chosen side."""
        match = {"side": side_of(view)}
        settings = self.page.last_settings(view, "sort", SortSettings, match) or SortSettings(side=side_of(view))  # type: ignore[arg-type]
        return {self.side: side_of(view), **self.form.updates(settings), self.command: self._command(view, settings)}

    def _show_selection(self, view: View) -> Updates:
        number = len(self.faces.selected(view))
        if not view.changed("sort.picked", number):
            return {}
        buttons = {button: gr.update(interactive=number > 0) for button in self.selection_buttons}
        return {self.picked: picked_html(number), **buttons}

    def _command(self, view: View, settings: Settings) -> str:
        line = command_line("sort", view.project or "PROJECT", settings, self.page.shown_root)
        return command_html(line)

    def _missing(self, view: View) -> str:
        project = self.page.project(view)
        if project is None or getattr(project.status(), side_of(view)).faces:
            return ""
        return f"There are no {SIDES[side_of(view)].lower()} faces yet. Extract them first."

    # -- what is done

    def _begin(self, values: Mapping[Any, Any]) -> Updates:
        view = values[self.page.view]
        self.panel.require_free(view)
        self.page.submit(view, "sort", self.form.read(values, side=side_of(view)))
        self.faces.first_page(view)
        return {self.form.error: ""}

    def _choose(self, view: View, side: str) -> Updates:
        view.local["sort.side"] = side
        for gallery in (self.faces, self.trash):
            gallery.select(view, ())
            gallery.first_page(view)
        shown = self.fill(view)
        return {component: shown[component] for component in self.form.outputs if component in shown}

    def _apply(self, view: View, sure: bool) -> bool:
        if not sure:
            raise BadInputError("Nothing was renamed.", "Tick the box above the button first.")
        renamed = self._free_faceset(view).apply_order()
        self.faces.select(view, ())
        gr.Info(f"{renamed:,} files renamed.", duration=6)
        return False

    def _remove(self, view: View) -> None:
        self._trash(view, self.faces.selected(view))

    def _keep(self, view: View) -> None:
        self._trash(view, set(self._names(view)) - self.faces.selected(view))

    def _trash(self, view: View, names: Collection[str]) -> None:
        wanted = [name for name in self._names(view) if name in names]
        if wanted:
            self._free_faceset(view).trash(wanted)
            gr.Info(f"{len(wanted):,} moved to the trash. Undo is in the trash drawer.", duration=6)
        self.faces.select(view, ())

    def _invert(self, view: View) -> None:
        self.faces.select(view, set(self._names(view)) - self.faces.selected(view))

    def _select_page(self, view: View) -> None:
        self.faces.select(view, self.faces.selected(view) | set(self.faces.shown(view)))

    def _undo(self, view: View) -> None:
        back = self._free_faceset(view).undo()
        gr.Info(f"{len(back):,} restored." if back else "There is nothing to undo.", duration=6)

    def _restore(self, view: View) -> None:
        names = sorted(self.trash.selected(view))
        if not names:
            raise BadInputError("No face in the trash is selected.", "Click the ones to restore.")
        self._free_faceset(view).restore(names)
        self.trash.select(view, ())

    def _restore_all(self, view: View) -> None:
        faceset = self._free_faceset(view)
        faceset.restore(sorted(faceset.trashed()))
        self.trash.select(view, ())

    def _names(self, view: View) -> list[str]:
        return [record.path.name for record in self._faceset(view).records()]

    def _faceset(self, view: View) -> Faceset:
        return self.page.need_project(view).side(side_of(view)).faceset()

    def _free_faceset(self, view: View) -> Faceset:
        for job in self.page.jobs(view, ("extract-faces", "sort")):
            if job.status.state in OPEN_STATES and same_side(view, job.request):
                raise BadInputError("A job is changing these faces.", "Wait for it or stop it, then try again.")
        return self._faceset(view)


def build_sort_tab(page: PageContext) -> TabHandles:
    """Make the tab."""
    made = SortTab(page)
    return TabHandles("sort", made.tab, made.outputs, made.tick, made.fill)


def side_of(view: View) -> str:
    """The chosen side."""
    return str(view.local.get("sort.side", "src"))


def same_side(view: View, request: JobRequest) -> bool:
    """Whether a job belongs to the chosen side."""
    return request.settings.get("side", "src") == side_of(view)


def pictures(records: Sequence[FaceRecord], order_by: str) -> list[Picture]:
    """The faces in their order; the caption tells what they are ordered by where that is a number."""
    return [Picture(record.path.name, record.path, _caption(record, order_by)) for record in records]


def picked_html(number: int) -> str:
    """How many are selected."""
    return f'<span class="lk-fact"><b>{number:,}</b> selected</span>'


def head_html(side: str, faces: int, order_by: str, damaged: Sequence[tuple[str, str]]) -> str:
    """How many faces, in which order, and which files could not be read."""
    order = f", {choice_label('by', order_by)}" if order_by else ", by file name"
    text = f'<p><span class="lk-side-{side}">{SIDES[side]}</span>: {faces:,} faces{order}</p>' if faces else ""
    if damaged:
        rows = "".join(f"<li>{html.escape(name)}: {html.escape(reason)}</li>" for name, reason in damaged[:50])
        text += f"<details><summary>{len(damaged):,} files could not be read</summary><ul>{rows}</ul></details>"
    return text


def _caption(record: FaceRecord, order_by: str) -> str:
    pose = record.face.pose_rad
    if order_by in ("yaw", "pitch") and pose is not None:
        return f"{order_by} {round(57.2958 * pose[1 if order_by == 'yaw' else 0]):+d}\u00b0"
    if order_by == "blur" and record.face.sharpness is not None:
        return f"sharpness {record.face.sharpness:.0f}"
    return record.path.stem
