"""The order of a faceset: the methods in groups, what each one does, the job, and what came of it."""

from __future__ import annotations

import html
import typing
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import gradio as gr

from backend.core.errors import BadInputError
from backend.core.jobs import JobState
from backend.core.settings import Settings, SortSettings
from backend.jobs.command import command_line
from backend.jobs.store import JobRecord
from backend.storage.face_trash import TrashBatch
from backend.storage.faceset import Faceset
from backend.storage.workspace import SideFiles
from ui_tabs.context import PageContext, Updates, View, has_images
from ui_tabs.form import SettingsForm
from ui_tabs.job_panel import JobPanel, command_html, on_side
from ui_tabs.labels import SIDES, choice_label

GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Alike": ("hist", "hist-dissim", "absdiff", "absdiff-dissim"),
        "Sharpness": ("blur", "motion-blur"),
        "Pose": ("yaw", "pitch"),
        "Size": ("rect-size",),
        "Light": ("brightness", "hue", "black"),
        "Origin": ("name", "person", "mask"),
        "Choose": ("best", "best-by-size", "match-poses", "duplicates", "outliers", "one-face"),
    }
)
"""Title -> sort methods. The last group also leaves faces out."""

NOTES: Mapping[str, str] = MappingProxyType(
    {
        "hist": "Faces of like colours end up beside each other. Good for finding other people and bad light.",
        "hist-dissim": "The faces whose brightness is spread most unlike that of all others come first.",
        "absdiff": "Each face is followed by the one that differs least from it, pixel by pixel.",
        "absdiff-dissim": "Each face is followed by the one that differs most from it.",
        "blur": "The blurry ones gather at the end, to be selected with \u201ceverything after\u201d.",
        "motion-blur": "Faces smeared by movement gather at the end.",
        "yaw": "From faces that look to the left of the picture to those that look to the right.",
        "pitch": "From faces that look up to those that look down.",
        "rect-size": "Faces that were small in their frame gather at the end.",
        "brightness": "The dark ones gather at the end.",
        "hue": "By the mean hue of the picture.",
        "black": "Faces that reach over the edge of the frame gather at the end.",
        "name": "As in the clip.",
        "person": "Person after person, the one with the most faces first.",
        "mask": "Faces whose mask leaves much out gather at the end.",
        "best": "Keeps a number of sharp faces, spread evenly over all head turns and unlike each other.",
        "best-by-size": "The same, with the size in the frame in place of the sharpness. Much faster.",
        "match-poses": "Keeps the faces whose poses are those of the other side.",
        "duplicates": "Of faces that are nearly the same picture only the sharpest one stays.",
        "outliers": "Leaves out faces whose landmarks cannot be right, such as brows below the eyes.",
        "one-face": "Leaves out all faces of frames that show several.",
    }
)
"""Sort method -> what it is good for."""

_TARGET = frozenset({"best", "best-by-size", "match-poses"})


def choosing(by: str) -> bool:
    """Whether a method also leaves faces out."""
    return by in GROUPS["Choose"]


class OrderCard:
    """Form, Start button and job of the sorting, and the button that renames the files.

    Args:
        page: the page's context.
        side_of: the side that is looked at.
        free_faceset: its faces; BadInputError while a job changes them.
        changed: called after the order was asked for or applied, or faces came back.
    """

    def __init__(
        self,
        page: PageContext,
        side_of: Callable[[View], str],
        free_faceset: Callable[[View], Faceset],
        changed: Callable[[View], None],
    ) -> None:
        self.page = page
        self._side_of = side_of
        self._free_faceset = free_faceset
        self._changed = changed
        with gr.Column(elem_classes="lk-card", elem_id="sort-order"):
            gr.HTML('<h2 class="lk-card-title">Order</h2>')
            self.form = SettingsForm(SortSettings, "sort", "sort", exclude=("side", "apply"))
            self.form.widgets["by"].choices = grouped_choices()
            self.about = gr.HTML("", elem_id="sort-about")
            with gr.Row(elem_classes="lk-buttons"):
                self.start = gr.Button("Sort", variant="primary", elem_id="sort-start")
            words = "Sorting shows its progress here. The files keep their names."
            self.panel = JobPanel(page, "sort", ("sort",), words, on_side(side_of))
            self.said = gr.HTML("", elem_id="sort-said")
            self.undo = gr.Button("Bring them back", size="sm", visible=False, elem_id="sort-said-undo")
            self._build_apply()
            with gr.Accordion("Command line of this run", open=False, elem_classes="lk-more"):
                self.command = gr.HTML("", elem_id="sort-command")
        self._wire()

    def _build_apply(self) -> None:
        title = "Rename files to this order"
        with gr.Accordion(title, open=False, elem_classes="lk-more", elem_id="sort-apply-fold"):
            note = "File browsers then show the same order. The frame of each face stays known."
            gr.HTML(f'<p class="lk-note">{note}</p>')
            self.sure = gr.Checkbox(label="Yes, rename the files", elem_id="sort-apply-sure", container=False)
            self.apply = gr.Button("Apply order", size="sm", elem_id="sort-apply")

    def _wire(self) -> None:
        page = self.page
        options = [self.about, *(self.form.widgets[name] for name in ("target", "likeness", "trash"))]
        self.form.show_also(options, lambda view, settings: self._relevant(settings))
        side = self._side_of
        self.form.wire(page, lambda view: {"side": side(view)}, None, (self.command, self._command), self._fault)
        self.panel.attach_start(self.start, self._missing)
        page.act(self.start.click, self._begin, {*self.form.inputs, page.view}, [self.form.error])
        page.act(self.apply.click, self._apply, [page.view, self.sure], self.sure)
        page.act(self.undo.click, self._undo, page.view, None)

    @property
    def outputs(self) -> list[Any]:
        """Every component that tick() and fill() may update."""
        return [*self.form.outputs, *self.panel.outputs, self.about, self.command, self.said, self.undo]

    def fill(self, view: View) -> Updates:
        """The settings of the last run on the chosen side."""
        side = self._side_of(view)
        fresh = SortSettings.model_validate({"side": side})
        settings = self.page.last_settings(view, "sort", SortSettings, {"side": side}) or fresh
        shown = {**self.form.updates(settings), self.command: self._command(view, settings)}
        for component, update in self._relevant(settings).items():
            given = shown.get(component)
            shown[component] = {**given, **update} if isinstance(given, dict) and isinstance(update, dict) else update
        return shown

    def tick(self, view: View) -> Updates:
        """What changed."""
        record = self.panel.record(view)
        done = record is not None and record.status.state is JobState.DONE
        project = self.page.project(view)
        shown = self.panel.tick(view)
        side = project.side(self._side_of(view)) if project else None
        stamp = (record.id if record and done else "", _trash_stamp(side))
        if view.changed("sort.said", stamp):
            undoable = bool(record and done and side and can_undo(record, side))
            words = result_words(record.status.result, self._side_of(view)) if record and done else ""
            if record and side and record.status.result.get("trashed") and not undoable:
                words += (
                    " The trash changed since." if _batch_of(record, side) else " They are not in the trash any more."
                )
            shown[self.said] = f'<p class="lk-note">{html.escape(words)}</p>' if words else ""
            shown[self.undo] = gr.update(visible=undoable)
        return shown

    def _relevant(self, settings: Settings) -> Updates:
        by = str(getattr(settings, "by", ""))
        shown = {
            "target": by in _TARGET,
            "likeness": by == "duplicates",
            "trash": choosing(by),
        }
        found: Updates = {self.form.widgets[name]: gr.update(visible=on) for name, on in shown.items()}
        found[self.about] = f'<p class="lk-note">{NOTES.get(by, "")}</p>'
        return found

    def _command(self, view: View, settings: Settings) -> str:
        line = command_line("sort", view.project or "PROJECT", settings, self.page.shown_root)
        return command_html(line)

    def _missing(self, view: View) -> str:
        return self.page.faces_missing(view, self._side_of(view))

    def _fault(self, view: View, settings: Settings) -> str:
        """What the chosen method lacks."""
        project, by = self.page.project(view), getattr(settings, "by", "")
        if project is None:
            return ""
        if by == "person" and not project.side(self._side_of(view)).faceset().persons_by:
            return "Nobody told the persons of this side apart yet. Do that first, below."
        other = "dst" if self._side_of(view) == "src" else "src"
        if by == "match-poses" and not has_images(project.side(other).aligned_dir):
            return f"There are no {SIDES[other].lower()} faces to match. Extract them first."
        return ""

    # -- what is done

    def _begin(self, values: Mapping[Any, Any]) -> Updates:
        view = values[self.page.view]
        self.panel.require_free(view)
        settings = self.form.read(values, side=self._side_of(view))
        fault = self._fault(view, settings)
        if fault:
            raise BadInputError(fault)
        self.page.submit(view, "sort", settings)
        self._changed(view)
        return {self.form.error: ""}

    def _apply(self, view: View, sure: bool) -> bool:
        if not sure:
            raise BadInputError("Nothing was renamed.", "Tick the box above the button first.")
        renamed = self._free_faceset(view).apply_order()
        self._changed(view)
        gr.Info(f"{renamed:,} files renamed.", duration=6)
        return False

    def _undo(self, view: View) -> None:
        back = self._free_faceset(view).undo()
        self._changed(view)
        gr.Info(f"{len(back):,} faces are back, behind the others.", duration=6)


def grouped_choices() -> list[tuple[str, str]]:
    """(label, method) of all sort methods, group by group."""
    known = typing.get_args(SortSettings.model_fields["by"].annotation)
    return [
        (f"{title}: {choice_label('by', method)}", method)
        for title, methods in GROUPS.items()
        for method in methods
        if method in known
    ]


def result_words(result: Mapping[str, Any], side: str) -> str:
    """What came of a sorting: "Kept 1,812 source faces, 640 moved to the trash (nearly the same as a sharper face)."

    Args:
        result: of the stage.
    """
    faces, out, renamed, damaged = (int(result.get(key) or 0) for key in ("faces", "left_out", "renamed", "damaged"))
    word = SIDES[side].lower()
    said = f"{faces:,} {word} faces in their new order."
    if out:
        reasons = result.get("reasons") or {}
        why = ", ".join(f"{reason} {count:,}" if len(reasons) > 1 else str(reason) for reason, count in reasons.items())
        kept = faces if result.get("trashed") else faces - out
        left = f"{out:,} {'moved to the trash' if result.get('trashed') else 'put last'}"
        said = f"Kept {kept:,} {word} faces, {left}{f' ({why})' if why else ''}."
    if result.get("missing_poses"):
        said += f" {int(result['missing_poses']):,} poses of the other side are missing here."
    if renamed:
        said += f" {renamed:,} files renamed."
    if damaged:
        said += f" {damaged:,} files could not be read and stay last; the log names them."
    return said


def can_undo(record: JobRecord, side: SideFiles) -> bool:
    """Whether the last removal in the trash is that of this job."""
    if not record.status.result.get("trashed"):
        return False
    found, batches = _batch_of(record, side), side.faceset().trash_batches()
    return found is not None and found.id == batches[0].id


def _batch_of(record: JobRecord, side: SideFiles) -> TrashBatch | None:
    """What this job moved to the trash, while it is there."""
    began, ended = record.status.started - 2, record.status.finished + 2
    return next((batch for batch in side.faceset().trash_batches() if began <= batch.time <= ended), None)


def _trash_stamp(side: SideFiles | None) -> int:
    return side.trash_dir.stat().st_mtime_ns if side and side.trash_dir.is_dir() else 0
