"""Tools for a whole faceset: a chooser, what each tool does, its settings, its job, and how to take it back."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import gradio as gr

from backend.core.errors import BadInputError
from backend.core.jobs import JobState
from backend.core.settings import (
    AddFacesSettings,
    FacesetSettings,
    GrayFacesSettings,
    ResizeFacesSettings,
    Settings,
)
from backend.jobs.command import command_line
from backend.jobs.scheduler import writes
from backend.jobs.store import JobRecord
from backend.storage.face_index import stamps
from backend.storage.tool_undo import UNDO_FILE, can_undo, take_back
from backend.storage.workspace import SideFiles
from ui_tabs.context import OPEN_STATES, PageContext, Updates, View
from ui_tabs.faceset_facts import FactsView
from ui_tabs.form import SettingsForm
from ui_tabs.job_panel import JobPanel, command_html, on_side
from ui_tabs.job_words import job_title
from ui_tabs.labels import SIDES
from ui_tabs.tool_words import told_html

FACTS = "facts"
STAGES = ("add-faces", "resize-faces", "gray-faces", "faceset")
FEW_LOOSE = 50
"""With fewer loose faces than this beside a pack that holds far more, unpacking is offered."""


@dataclass(frozen=True)
class Tool:
    """One tool of the chooser.

    Attributes:
        title: in the chooser.
        does: what it does and how it can be taken back.
        stage, kind: whose job it is.
        fields: settings with a widget.
        fixed: settings that make it this tool.
    """

    title: str
    does: str
    stage: str
    kind: type[Settings] = FacesetSettings
    fields: tuple[str, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)


def _action(title: str, does: str, action: str, *fields: str) -> Tool:
    return Tool(title, does, "faceset", FacesetSettings, fields, MappingProxyType({"action": action}))


TOOLS: Mapping[str, Tool] = MappingProxyType(
    {
        "add": Tool(
            "Add faces",
            "Copies the faces of another folder, a faceset.pak, the other side or another project into this set, with "
            "their data and persons. Faces that are here already are skipped. Can be taken back.",
            "add-faces",
            AddFacesSettings,
            ("folder",),
        ),
        "resize": Tool(
            "Size and face type",
            "Makes all faces anew at another size or face type; landmarks, masks and polygons follow. Faces are cut "
            "from their frames where these are here, else from the faces as they are. The old ones go to the trash; "
            "can be taken back.",
            "resize-faces",
            ResizeFacesSettings,
            ("image_size", "face_type", "jpeg_quality"),
        ),
        "gray": Tool(
            "Turn gray",
            "Makes all faces one-channel JPEG files with their data, for grayscale models. The old ones go to the "
            "trash; can be taken back.",
            "gray-faces",
            GrayFacesSettings,
            ("jpeg_quality",),
        ),
        "measure": _action(
            "Measure pose and sharpness",
            "Notes both in faces of other programs that lack them, for filters, sorting and statistics. The pictures "
            "stay byte for byte.",
            "measure",
        ),
        "names": _action(
            "Original file names",
            "Names the faces after their frames again: 00001_0.jpg, 00001_1.jpg and so on. The order stays. Can be "
            "taken back.",
            "original-names",
        ),
        "masks": _action(
            "Export masks",
            "Writes one PNG per face into aligned_masks beside the faces: the applied mask, else the polygons, else "
            "the hull of the landmarks. The faces stay as they are; the folder is made anew each time.",
            "export-masks",
        ),
        "debug": _action(
            "Landmarks debug images",
            "Draws the landmarks on copies of the faces in aligned_landmarks beside them. The faces stay as they are; "
            "the folder is made anew each time.",
            "debug-images",
        ),
        "pack": _action(
            "Pack",
            "Writes all faces into one faceset.pak, as DeepFaceLab reads it. Can be taken back.",
            "pack",
            "keep_files",
        ),
        "unpack": _action(
            "Unpack",
            "Makes loose files of the faceset.pak in the folder of the faces; the pack goes to the trash. Can be taken "
            "back.",
            "unpack",
        ),
        "save": _action(
            "Save metadata",
            "Writes the data of all faces into DeepFaceLab's meta.dat beside them, before you edit the pictures in "
            "another program. The faces stay as they are.",
            "save-metadata",
        ),
        "restore": _action(
            "Restore metadata",
            "Puts face data back into files that lost it: from meta.dat when it is there, which it then removes, and "
            "from this program's own notes. Data of now is replaced by that of meta.dat. The faces as they were go to "
            "the trash; can be taken back.",
            "restore-metadata",
        ),
        "png": _action(
            "PNG faces to JPEG",
            "Turns PNG faces of old facesets into JPEG files with their data. The PNG files go to the trash; can be "
            "taken back.",
            "png-to-jpg",
            "jpeg_quality",
        ),
    }
)
"""Key -> tool, in the order of the chooser."""


class FacesetTools:
    """The tools and the statistics of one side's faces. Place it inside a layout.

    Args:
        side_of: the side a view looks at.
    """

    def __init__(self, page: PageContext, side_of: Callable[[View], str]) -> None:
        self.page = page
        self._side_of = side_of
        self.forms: dict[str, SettingsForm] = {}
        self.parts: dict[str, Any] = {}
        with gr.Column(elem_classes="lk-plain", elem_id="tools"):
            self._build_hint()
            choices = [("Statistics", FACTS), *((tool.title, key) for key, tool in TOOLS.items())]
            label = "Statistics, or a tool"
            self.tool = gr.Dropdown(choices, value=None, label=label, filterable=False, elem_id="tools-tool")
            with gr.Column(visible=False, elem_classes="lk-plain") as self.facts_part:
                self.facts = FactsView(page, side_of)
            for key, tool in TOOLS.items():
                self._build_tool(key, tool)
            with gr.Column(visible=False, elem_classes="lk-plain") as self.run_part:
                self._build_run()
        self._wire()

    def _build_hint(self) -> None:
        with gr.Row(visible=False, elem_classes="lk-buttons lk-tools-hint") as self.hint:
            self.hint_words = gr.HTML("", elem_id="tools-hint")
            self.unpack = gr.Button("Unpack it", size="sm", elem_id="tools-unpack")

    def _build_tool(self, key: str, tool: Tool) -> None:
        with gr.Column(visible=False, elem_classes="lk-plain", elem_id=f"tools-part-{key}") as part:
            gr.HTML(f'<p class="lk-note">{html.escape(tool.does)}</p>')
            if tool.fields:
                left_out = [name for name in tool.kind.model_fields if name not in tool.fields]
                self.forms[key] = SettingsForm(tool.kind, tool.stage, f"tools-{key}", left_out, {"folder": []})
        self.parts[key] = part

    def _build_run(self) -> None:
        with gr.Row(elem_classes="lk-buttons"):
            self.start = gr.Button("Start", variant="primary", elem_id="tools-start")
            self.undo = gr.Button("Take the last one back", size="sm", visible=False, elem_id="tools-undo")
        self.panel = JobPanel(
            self.page, "tools", STAGES, "What a tool does shows its progress here.", on_side(self._side_of)
        )
        self.panel.tell_apart(lambda view, request: self._title(view))
        self.said = gr.HTML("", elem_id="tools-said")
        with gr.Accordion("Command line of this run", open=False, elem_classes="lk-more"):
            self.command = gr.HTML("", elem_id="tools-command")

    def _wire(self) -> None:
        page = self.page
        for key, form in self.forms.items():
            form.show_also([self.command], self._noting(key))
            form.wire(page, self._fixing(key))
        every = {widget for form in self.forms.values() for widget in form.inputs}
        errors = [form.error for form in self.forms.values()]
        page.act(self.tool.input, self._choose, [page.view, self.tool], self._shown)
        page.act(self.start.click, self._begin, {*every, page.view}, errors)
        page.act(self.unpack.click, self._unpack, page.view, [self.tool, *self._shown])
        page.act(self.undo.click, self._take_back, page.view, None)
        self.panel.attach_start(self.start, self._missing)

    @property
    def _shown(self) -> list[Any]:
        return [self.facts_part, self.run_part, *self.parts.values()]

    @property
    def outputs(self) -> list[Any]:
        """Every component that tick() and fill() may update."""
        forms = [component for form in self.forms.values() for component in form.outputs]
        own = [self.hint, self.hint_words, self.undo, self.said, self.command, self.tool]
        return [*own, *self._shown, *self.facts.outputs, *self.panel.outputs, *forms]

    # -- what is shown

    def fill(self, view: View) -> Updates:
        """The settings of the last runs on this side, and the chosen tool."""
        shown: Updates = {self.tool: self._chosen(view) or None, **self._visible(view)}
        for key, form in self.forms.items():
            settings = self._last(view, key)
            view.local[f"tools.settings.{key}"] = settings
            shown.update(form.updates(settings))
        return shown

    def tick(self, view: View) -> Updates:
        """What changed."""
        key, side = self._chosen(view), self._side(view)
        shown = {**self.panel.tick(view), **self._tick_hint(view, side)}
        if key == "add" and side is not None:
            shown.update(self.forms["add"].offer(view, "folder", self._sources(view)))
        if key not in TOOLS:
            return {**shown, **(self.facts.tick(view) if key == FACTS else {})}
        line = self._command(view, key)
        if view.changed("tools.command", line):
            shown[self.command] = line
        record = self.panel.record(view)
        told = told_html(record, self.page.feed(record).milestones) if record else ""
        if view.changed("tools.said", told):
            shown[self.said] = told
        if view.changed("tools.undo", self._undo_stamp(record, side)):
            undoable = bool(side and record and record.status.state is JobState.DONE and can_undo(record.path, side))
            shown[self.undo] = gr.update(visible=undoable)
        return shown

    def _tick_hint(self, view: View, side: SideFiles | None) -> Updates:
        pack = side.faceset().pack_file if side else None
        loose = self._loose(view) if pack else 0
        offered = pack is not None and loose < FEW_LOOSE and _bytes(pack.parent) < pack.stat().st_size / 2
        if not view.changed("tools.hint", (offered, loose)):
            return {}
        few = f"and only {loose:,} loose faces" if loose else "and no loose faces"
        words = f'<p class="lk-note">This folder holds a faceset.pak {few}. Training and sorting need loose ones.</p>'
        return {self.hint: gr.update(visible=offered), self.hint_words: words if offered else ""}

    def _loose(self, view: View) -> int:
        """Number of loose faces of the side."""
        return getattr(self.page.need_project(view).status(), self._side_of(view)).faces

    def _visible(self, view: View) -> Updates:
        chosen = self._chosen(view)
        parts = {part: gr.update(visible=key == chosen) for key, part in self.parts.items()}
        facts, tool = chosen == FACTS, chosen in TOOLS
        return {self.facts_part: gr.update(visible=facts), self.run_part: gr.update(visible=tool), **parts}

    def _command(self, view: View, key: str) -> str:
        settings = self._settings(view, key)
        tool = TOOLS[key]
        return command_html(command_line(tool.stage, view.project or "PROJECT", settings, self.page.shown_root))

    def _missing(self, view: View) -> str:
        side, key = self._side(view), self._chosen(view)
        if side is None or key not in TOOLS:
            return ""
        word = SIDES[side.name].lower()
        if key == "unpack":
            return "" if side.faceset().pack_file else f"There is no faceset.pak in {side.aligned_dir}."
        if key == "add" or self._loose(view):
            return ""
        return f"There are no {word} faces yet. Extract or add some first."

    # -- what is done

    def _choose(self, view: View, key: str) -> Updates:
        view.local["tools.tool"] = key
        return self._visible(view)

    def _begin(self, values: Mapping[Any, Any]) -> Updates:
        view = values[self.page.view]
        key = self._chosen(view)
        self.panel.require_free(view)
        settings = self._settings(view, key)
        if key in self.forms:
            settings = self.forms[key].read(values, **self._fixing(key)(view))
        if isinstance(settings, AddFacesSettings) and not Path(settings.folder.strip() or "?").expanduser().exists():
            raise BadInputError("There is no such folder.", "Choose a faceset, or type the path of a folder or pack.")
        self.page.submit(view, TOOLS[key].stage, settings)
        return {form.error: "" for form in self.forms.values()}

    def _unpack(self, view: View) -> Updates:
        self.panel.require_free(view)
        self.page.submit(view, "faceset", self._settings(view, "unpack"))
        return {self.tool: "unpack", **self._choose(view, "unpack")}

    def _take_back(self, view: View) -> None:
        side, record = self._side(view), self.panel.record(view)
        if side is None or record is None:
            raise BadInputError("There is nothing to take back.")
        for job in self.page.jobs(view):
            if job.status.state in OPEN_STATES and f"{side.name} faces" in writes(job.request):
                raise BadInputError("A job is changing these faces.", "Wait for it or stop it, then try again.")
        gr.Info(take_back(record.path, side), duration=8)

    # -- inside

    def _chosen(self, view: View) -> str:
        """Key of the chosen tool, FACTS, or "" while nothing was chosen: large sets are not counted unasked."""
        return str(view.local.get("tools.tool", ""))

    def _side(self, view: View) -> SideFiles | None:
        project = self.page.project(view)
        return None if project is None else project.side(self._side_of(view))

    def _fixing(self, key: str) -> Callable[[View], dict[str, Any]]:
        return lambda view: {"side": self._side_of(view), **TOOLS[key].fixed}

    def _noting(self, key: str) -> Callable[[View, Settings], Updates]:
        def note(view: View, settings: Settings) -> Updates:
            view.local[f"tools.settings.{key}"] = settings
            line = self._command(view, key)
            view.seen["tools.command"] = line
            return {self.command: line}

        return note

    def _settings(self, view: View, key: str) -> Settings:
        """What the tool's form showed last, for the side of now."""
        shown = view.local.get(f"tools.settings.{key}")
        data = shown.model_dump() if isinstance(shown, Settings) else {}
        return TOOLS[key].kind.model_validate({**data, **self._fixing(key)(view)})

    def _last(self, view: View, key: str) -> Settings:
        tool, given = TOOLS[key], self._fixing(key)(view)
        found = self.page.last_settings(view, tool.stage, tool.kind, given)
        return found or tool.kind.model_validate(given)

    def _sources(self, view: View) -> list[tuple[str, str]]:
        """The other side and the facesets of other projects."""
        other = "dst" if self._side_of(view) == "src" else "src"
        project = self.page.need_project(view)
        faces = getattr(project.status(), other).faces
        own = [(f"{SIDES[other]} faces of this project", str(project.side(other).aligned_dir))] if faces else []
        return [*own, *self.page.facesets(view)]

    def _title(self, view: View) -> str:
        """What the job in the panel is; it may be another tool than the chosen one."""
        record = self.panel.record(view)
        return job_title(record) if record else ""

    @staticmethod
    def _undo_stamp(record: JobRecord | None, side: SideFiles | None) -> tuple[object, ...]:
        """Changes when what a job did may have become, or no longer be, something to take back."""
        if record is None or side is None:
            return ()
        trash = side.trash_dir.stat().st_mtime_ns if side.trash_dir.is_dir() else 0
        return record.id, record.status.state, trash, (record.path / UNDO_FILE).exists()


def _bytes(folder: Path) -> int:
    """Bytes of the loose faces in a folder."""
    return sum(stamp[0] for stamp in stamps(folder).values())
