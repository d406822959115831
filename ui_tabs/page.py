"""The whole page: header, step bar, seven tabs, and the one timer that keeps them true."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from backend.core.errors import LookalikeError
from backend.jobs.manager import JobManager
from backend.storage.workspace import Workspace
from ui_tabs.context import PageContext, TabHandles, Updates, View
from ui_tabs.export_tab import build_export_tab
from ui_tabs.extract_tab import build_extract_tab
from ui_tabs.form import error_html
from ui_tabs.header import Header, build_header
from ui_tabs.merge_tab import build_merge_tab
from ui_tabs.project_tab import build_project_tab
from ui_tabs.queue_tab import build_queue_tab
from ui_tabs.sort_tab import build_sort_tab
from ui_tabs.train_tab import build_train_tab

TICK_S = 1.5
FILLED_WITHIN_S = 10.0
"""A browser that has not said for so long that the forms are there went away meanwhile."""

BUILDERS = (
    build_project_tab,
    build_extract_tab,
    build_sort_tab,
    build_train_tab,
    build_merge_tab,
    build_export_tab,
    build_queue_tab,
)


def build_page(manager: JobManager, workspace: Workspace, root_path: str = "") -> gr.Blocks:
    """Build the page; launching it is the caller's.

    Args:
        root_path: prefix under which a proxy shows the page.
    """
    with gr.Blocks(title="Lookalike", analytics_enabled=False, delete_cache=(3600, 24 * 3600)) as demo:
        page = PageContext(manager, workspace, root_path)
        header = build_header(page)
        with gr.Tabs(selected="project", elem_id="tabs", overflow_behavior="wrap"):
            tabs = [build(page) for build in BUILDERS]
        _wire(demo, page, header, tabs)
    return demo


class _Dispatcher:
    """Asks the header and the visible tab what changed. Nothing of a user is kept here, only in the View.

    Gradio spends a third of a millisecond on every component that an event may change, changed or not. So the timer
    only changes a pulse, one per tab, and the pulse sends for what is new in the header and that tab.
    """

    def __init__(self, page: PageContext, header: Header, tabs: Sequence[TabHandles]) -> None:
        self.page = page
        self.header = header
        self.tabs = {tab.name: tab for tab in tabs}
        self.outputs = _unique([*header.outputs, *(component for tab in tabs for component in tab.outputs)])
        self.pulses = {tab.name: gr.State(0) for tab in tabs}
        self._lock = threading.Lock()

    def outputs_of(self, name: str) -> list[Any]:
        """What may change while a tab is visible."""
        return _unique([*self.header.outputs, *self.tabs[name].outputs])

    def look(self, view: View) -> Any:
        """Beat the pulse of the visible tab when something is new since the last look."""
        name = view.tab  # read once: another event may change it meanwhile
        shown = self._changes(view, name)
        with self._lock:
            view.waiting[name] = _all_of(view.waiting.get(name, {}), shown)
            if not view.waiting[name] or _on_its_way(view):
                return gr.skip()
            view.beats += 1
            return {self.pulses[name]: view.beats}

    def deliver(self, name: str, view: View) -> Any:
        """What is new in the header and a tab."""
        with self._lock:
            if _on_its_way(view):
                return gr.skip()
            return view.waiting.pop(name, None) or gr.skip()

    def fill(self, view: View) -> Any:
        """All forms as they are on disk, and what changed. Nothing else is sent until filled(): it would overtake."""
        view.filling = time.monotonic()
        shown: Updates = {}
        for name, tab in self.tabs.items():
            shown.update(self._told(view, (name, "fill"), tab.fill))
        shown = {**shown, **self._changes(view, view.tab)}
        with self._lock:
            for part in view.waiting.values():
                shown = _all_of(part, shown)
            view.waiting.clear()
        return shown or gr.skip()

    def filled(self, view: View) -> Any:
        """The browser shows what fill() gave: what became new meanwhile may follow."""
        view.filling = 0.0
        return self.look(view)

    def load(self, view: View, request: gr.Request) -> Any:
        """The page was opened: the project named in the address, else the last one."""
        wanted = str(request.query_params.get("project", ""))
        view.open(wanted if wanted in self.page.workspace.projects() else self.page.last_opened())
        view.tab = "project"
        return self.fill(view)

    def switch(self, view: View, name: str | None) -> Any:
        """Another project was chosen."""
        if name and name != view.project:
            self.page.workspace.open(name)
            self.page.remember(name)
            view.open(name)
        return self.fill(view)

    def _changes(self, view: View, name: str) -> Updates:
        return {**self.header.tick(view), **self._told(view, (name, "tick"), self.tabs[name].tick)}

    def _told(self, view: View, where: tuple[str, str], part: Callable[[View], Updates]) -> Updates:
        """What a part of a tab shows; when it fails, the reason as the tab's notice until it works again."""
        shown: Updates = {}
        reason = ""
        try:
            shown = part(view)
        except (LookalikeError, OSError) as error:
            reason = str(error)
        key = "error." + ".".join(where)
        if view.seen.get(key, "") != reason:
            view.seen[key] = reason
            shown[self.page.notices[where[0]]] = error_html(reason)
            if not reason:
                view.seen.pop(f"notice.{where[0]}", None)
        return shown


def _on_its_way(view: View) -> bool:
    """Whether all forms were asked for and the browser does not show them yet."""
    return bool(view.filling) and time.monotonic() - view.filling < FILLED_WITHIN_S


def _wire(demo: gr.Blocks, page: PageContext, header: Header, tabs: Sequence[TabHandles]) -> None:
    ask = _Dispatcher(page, header, tabs)
    always = {"concurrency_limit": None, **page.quiet}
    pulses = list(ask.pulses.values())
    timer = gr.Timer(TICK_S)
    timer.tick(ask.look, page.view, pulses, **always)
    loaded = demo.load(ask.load, page.view, ask.outputs, **always)
    loaded.then(ask.filled, page.view, pulses, **always)
    chosen = page.on(header.project.input, ask.switch, [page.view, header.project], ask.outputs, concurrency_limit=None)
    chosen.then(ask.filled, page.view, pulses, **always)
    for tab in tabs:
        tab.tab.select(_selector(tab.name, ask.look), page.view, pulses, **always)
        pulse, shown = ask.pulses[tab.name], ask.outputs_of(tab.name)
        pulse.change(_deliverer(ask, tab.name), page.view, shown, trigger_mode="multiple", **always)
    for event in page.refreshing:
        event.then(ask.look, page.view, pulses, **always)
    for event in page.refilling:
        shown = event.then(ask.fill, page.view, ask.outputs, **always)
        shown.then(ask.filled, page.view, pulses, **always)


def _selector(name: str, look: Callable[[View], Any]) -> Callable[[View], Any]:
    def select(view: View) -> Any:
        view.tab = name
        return look(view)

    return select


def _deliverer(ask: _Dispatcher, name: str) -> Callable[[View], Any]:
    def deliver(view: View) -> Any:
        return ask.deliver(name, view)

    return deliver


def _all_of(before: Updates, now: Updates) -> Updates:
    """What to show for two answers, one after the other."""
    return {**before, **{part: _and_then(before[part], new) if part in before else new for part, new in now.items()}}


def _and_then(before: Any, now: Any) -> Any:
    """Two things to show one after the other, as one."""
    if not _is_update(now):
        return now
    return {**(before if _is_update(before) else gr.update(value=before)), **now}


def _is_update(shown: Any) -> bool:
    return isinstance(shown, dict) and shown.get("__type__") == "update"


def _unique(components: Sequence[Any]) -> list[Any]:
    return list({component._id: component for component in components}.values())
