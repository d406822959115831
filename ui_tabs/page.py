"""The whole page: header, step bar, seven tabs, and the one timer that keeps them true."""

from __future__ import annotations

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


def _wire(demo: gr.Blocks, page: PageContext, header: Header, tabs: Sequence[TabHandles]) -> None:
    by_name = {tab.name: tab for tab in tabs}
    outputs = _unique([*header.outputs, *(component for tab in tabs for component in tab.outputs)])

    def changes(view: View) -> Updates:
        shown = header.tick(view)
        try:
            shown.update(by_name[view.tab].tick(view))
        except LookalikeError as error:
            if view.changed(f"error.{view.tab}", str(error)):
                shown[page.notices[view.tab]] = error_html(str(error))
        return shown

    def look(view: View) -> Any:
        return changes(view) or gr.skip()

    def fill(view: View) -> Any:
        shown: Updates = {}
        for tab in tabs:
            shown.update(tab.fill(view))
        return {**shown, **changes(view)} or gr.skip()

    def load(view: View, request: gr.Request) -> Any:
        wanted = str(request.query_params.get("project", ""))
        view.open(wanted if wanted in page.workspace.projects() else page.last_opened())
        view.tab = "project"
        return fill(view)

    def switch(view: View, name: str | None) -> Any:
        if name and name != view.project:
            page.workspace.open(name)
            page.remember(name)
            view.open(name)
        return fill(view)

    always = {"concurrency_limit": None, "show_progress": "hidden", "api_visibility": "private"}
    timer = gr.Timer(TICK_S)
    timer.tick(look, page.view, outputs, **always)
    demo.load(load, page.view, outputs, **always)
    page.on(header.project.input, switch, [page.view, header.project], outputs, concurrency_limit=None)
    for tab in tabs:
        tab.tab.select(_selector(tab.name, look), page.view, outputs, **always)
    for event in page.refreshing:
        event.then(look, page.view, outputs, **always)
    for event in page.refilling:
        event.then(fill, page.view, outputs, **always)


def _selector(name: str, look: Callable[[View], Any]) -> Callable[[View], Any]:
    def select(view: View) -> Any:
        view.tab = name
        return look(view)

    return select


def _unique(components: Sequence[Any]) -> list[Any]:
    return list({component._id: component for component in components}.values())
