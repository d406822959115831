"""What every tab is given: the manager, the workspace, the state of one browser tab, and how to wire an event."""

from __future__ import annotations

import contextlib
import functools
import html
import inspect
import json
import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr

from backend.core.errors import BadInputError, LookalikeError
from backend.core.jobs import Event, JobState
from backend.core.settings import Settings
from backend.jobs.manager import JobManager
from backend.jobs.store import JobRecord
from backend.storage.atomic import read_json, write_json
from backend.storage.image import is_image_name
from backend.storage.workspace import Project, Workspace
from ui_tabs.labels import SIDES
from ui_tabs.steps import TITLES

Updates = dict[Any, Any]
"""Component -> new value or update; only what changed."""

OPEN_STATES = frozenset({JobState.QUEUED, JobState.RUNNING, JobState.STOPPING})


@dataclass
class View:
    """What one browser tab looks at. Kept in a gr.State and changed in place; everything else lies on disk.

    Attributes:
        project: name of the open project, "" when there is none.
        tab: name of the visible tab.
        seen: fingerprint of what each component shows, so that a tick sends only what changed.
        local: small choices of the tabs (side, page of a gallery, selection), by "<tab>.<name>".
        waiting: what is new and has not been sent yet, by tab.
        beats: how often something was new.
        filling: when all forms were asked for that are still on their way to the browser (monotonic), else 0.
    """

    project: str = ""
    tab: str = "project"
    seen: dict[str, Any] = field(default_factory=dict)
    local: dict[str, Any] = field(default_factory=dict)
    waiting: dict[str, Updates] = field(default_factory=dict)
    beats: int = 0
    filling: float = 0.0

    def changed(self, key: str, fingerprint: Any) -> bool:
        """Whether this differs from the last fingerprint noted under the key; notes the new one."""
        if key in self.seen and self.seen[key] == fingerprint:
            return False
        self.seen[key] = fingerprint
        return True

    def open(self, project: str) -> None:
        """Look at another project: nothing shown so far counts any more."""
        self.project = project
        self.seen.clear()
        self.local.clear()
        self.waiting.clear()


@dataclass
class TabHandles:
    """What a tab hands to the page.

    Attributes:
        name: short name, a key of steps.TITLES.
        tab: what ``page.tab(name)`` gave.
        outputs: every component that ``tick`` and ``fill`` may update.
        tick: View -> what changed; called every 1.5 s while the tab is visible, and after every action. Fast.
        fill: View -> values of forms and choices; called when the page loads and when the project changes.
    """

    name: str
    tab: Any
    outputs: Sequence[Any]
    tick: Callable[[View], Updates]
    fill: Callable[[View], Updates]


@dataclass
class Feed:
    """What a job reported so far.

    Attributes:
        latest: newest event of each kind.
        milestones: all milestones and warnings, oldest first.
    """

    latest: dict[str, Event] = field(default_factory=dict)
    milestones: list[Event] = field(default_factory=list)
    offset: int = 0


class PageContext:
    """Everything the tabs share. One per server; holds no state of a user.

    Args:
        manager: the jobs.
        workspace: the projects.
        root_path: prefix under which a proxy shows the page.
    """

    def __init__(self, manager: JobManager, workspace: Workspace, root_path: str = "") -> None:
        self.manager = manager
        self.workspace = workspace
        self._root_path = root_path.rstrip("/")
        self.view = gr.State(View())
        self.notices: dict[str, Any] = {}
        self.refreshing: list[Any] = []
        self.refilling: list[Any] = []
        self._feeds: dict[Path, Feed] = {}
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def tab(self, name: str) -> Iterator[Any]:
        """The layout of one tab (id ``name``, elem_id ``tab-<name>``), beginning with the line of what is missing."""
        with gr.Tab(TITLES[name], id=name, elem_id=f"tab-{name}") as tab:
            self.notices[name] = gr.HTML("", elem_id=f"{name}-notice")
            yield tab

    @property
    def quiet(self) -> dict[str, Any]:
        """Options of an event that shows no progress.

        At every step of every event the browser looks up each component that any event ever had to show progress on,
        hidden or not: seconds of work with all outputs of this page, none with the one state that is named here.
        """
        return {"api_visibility": "private", "show_progress": "hidden", "show_progress_on": self.view}

    @property
    def shown_root(self) -> Path | None:
        """The workspace as a command line has to name it; None where it is the default one."""
        root = self.workspace.root.resolve()
        return None if root == Path("workspace").resolve() else root

    # -- what is open

    def project(self, view: View) -> Project | None:
        """The open project, None when none is open or it has gone."""
        try:
            return self.workspace.open(view.project) if view.project else None
        except LookalikeError:
            return None

    def need_project(self, view: View) -> Project:
        """The open project. BadInputError when there is none."""
        project = self.project(view)
        if project is None:
            raise BadInputError("No project is open.", "Create or open one in the Project tab.")
        return project

    def remember(self, name: str) -> None:
        """Note the project that opens when the page is loaded next."""
        write_json(self.workspace.root / ".lookalike.json", {"last_project": name})

    def last_opened(self) -> str:
        """The project opened last, else the first one, else ""."""
        names = self.workspace.projects()
        try:
            name = str(read_json(self.workspace.root / ".lookalike.json").get("last_project", ""))
        except (LookalikeError, OSError, ValueError, AttributeError):
            name = ""
        return name if name in names else (names[0] if names else "")

    # -- jobs

    def jobs(self, view: View, stages: Collection[str] = ()) -> list[JobRecord]:
        """Jobs of the open project, newest first; of some stages when given."""
        project = self.project(view)
        if project is None:
            return []
        return [r for r in self.manager.jobs(project) if not stages or r.request.stage in stages]

    def submit(self, view: View, stage: str, settings: Settings) -> str:
        """Queue a job of the open project and return its id. LookalikeError with the reason when it cannot start."""
        project = self.need_project(view)
        reason = self.consent_missing(view)
        if reason:
            raise BadInputError(reason)
        return self.manager.submit(project, stage, settings)

    def consent_missing(self, view: View) -> str:
        """Why no job may start yet: the project has no consent statement; else ""."""
        project = self.project(view)
        if project is None:
            return "No project is open. Create or open one in the Project tab."
        if not project.consent.strip():
            return "This project has no consent statement yet. Write it in the Project tab."
        return ""

    def faces_missing(self, view: View, side: str) -> str:
        """Why nothing can be done with the faces of a side: there are none; else ""."""
        project = self.project(view)
        if project is None or has_images(project.side(side).aligned_dir):
            return ""
        return f"There are no {SIDES[side].lower()} faces yet. Extract them first."

    def last_settings(self, view: View, stage: str, kind: type[Settings], match: Mapping[str, Any]) -> Settings | None:
        """Settings of the newest job of a stage whose settings have the given values; None when there is none."""
        for record in self.jobs(view, (stage,)):
            given = record.request.settings
            if all(given.get(name) == value for name, value in match.items()):
                try:
                    return kind.model_validate(given)
                except ValueError:
                    continue
        return None

    def feed(self, record: JobRecord) -> Feed:
        """What the job reported; only what is new is read from disk. Shared by all browser tabs."""
        with self._lock:
            feed = self._feeds.setdefault(record.path, Feed())
            events, feed.offset = self.manager.store(record.request.project).events(record.id, feed.offset)
            for event in events:
                feed.latest[event.kind] = event
                if event.kind == "milestone" or (event.kind == "log" and event.data.get("level") != "info"):
                    feed.milestones.append(event)
            return feed

    def device_choices(self) -> list[tuple[str, str]]:
        """(label, value) of the devices that can be chosen; only best and cpu while they are being listed."""
        devices = self.manager.devices() or []
        named = [
            (f"{device.label} ({device.name}){', unverified' if device.unverified else ''}", device.name)
            for device in devices
            if device.name != "cpu"
        ]
        return [("best", "best"), *named, ("CPU", "cpu")]

    def training_devices(self) -> list[tuple[str, str]]:
        """Like device_choices(), and all accelerators together where there are several."""
        first, *rest = self.device_choices()
        several = [name for _, name in rest if name != "cpu"]
        together = [(f"all together ({', '.join(several)})", "all")] if len(several) > 1 else []
        return [first, *together, *rest]

    def facesets(self, view: View) -> list[tuple[str, str]]:
        """(name, folder) of the facesets of the other projects."""
        found = []
        for name in self.workspace.projects():
            if name == view.project:
                continue
            for side, word in (("src", "source"), ("dst", "destination")):
                folder = self.workspace.open(name).side(side).aligned_dir
                if has_images(folder):
                    found.append((f"{name}, {word} faces", str(folder)))
        return found

    def result_file(self, view: View, record: JobRecord, keys: Collection[str]) -> Path | None:
        """The file a finished job made, named by one of these keys of its result; None when it has gone."""
        project = self.project(view)
        for key in keys:
            named = record.status.result.get(key)
            if project is not None and isinstance(named, str) and named:
                path = project.path / named
                return path if path.is_file() else None
        return None

    def save_settings(self, view: View, name: str, settings: Settings) -> Path:
        """Keep settings as a JSON file in the project, for ``--config`` of the command line."""
        path = self.need_project(view).path / "settings" / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        write_json(path, json.loads(settings.model_dump_json()))
        return path

    # -- files and events

    def file_url(self, path: Path, version: Any = None) -> str:
        """URL of a file of the workspace; without a version its modification time keeps old pictures away."""
        version = path.stat().st_mtime_ns if version is None else version
        return f"{self._root_path}/gradio_api/file={quote(path.as_posix())}?v={version}"

    def on(self, trigger: Any, fn: Callable[..., Any], inputs: Any, outputs: Any, **options: Any) -> Any:
        """Wire an event: not part of the API, no progress overlay, expected errors as a message for the user.

        Args:
            trigger: an event of a component (``button.click``), or a list of them.
            options: for the event listener, for example ``trigger_mode`` or ``show_progress="minimal"``.
        """
        options = {**self.quiet, **options} if options.get("show_progress", "hidden") == "hidden" else options
        options.setdefault("api_visibility", "private")
        wrapped = guarded(fn)
        if isinstance(trigger, list):
            return gr.on(trigger, wrapped, inputs, outputs, **options)
        return trigger(wrapped, inputs, outputs, **options)

    def act(self, trigger: Any, fn: Callable[..., Any], inputs: Any, outputs: Any, **options: Any) -> Any:
        """Like on(), and afterwards everything visible is looked up again. For actions that change files or jobs."""
        event = self.on(trigger, fn, inputs, outputs, **options)
        self.refreshing.append(event)
        return event

    def act_and_refill(self, trigger: Any, fn: Callable[..., Any], inputs: Any, outputs: Any, **options: Any) -> Any:
        """Like act(), and all forms are filled anew: for actions after which another project is open."""
        event = self.on(trigger, fn, inputs, outputs, **options)
        self.refilling.append(event)
        return event


def joined(shown: Updates, more: Updates) -> Updates:
    """Both; what two updates of one component say counts together."""
    together = {
        part: {**shown[part], **new} if isinstance(shown.get(part), dict) and isinstance(new, dict) else new
        for part, new in more.items()
    }
    return {**shown, **together}


def has_images(folder: Path) -> bool:
    """Whether there is a picture in a folder; looks no further than the first one."""
    try:
        with os.scandir(folder) as entries:
            return any(is_image_name(entry.name) for entry in entries)
    except OSError:
        return False


def guarded(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Show an expected error as a message instead of a failure with a traceback."""

    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return fn(*args, **kwargs)
        except (LookalikeError, OSError) as error:
            raise gr.Error(
                html.escape(str(error), quote=False), duration=12, title="This did not work", print_exception=False
            ) from error

    wrapper.__signature__ = inspect.signature(fn)  # type: ignore[attr-defined]
    return wrapper
