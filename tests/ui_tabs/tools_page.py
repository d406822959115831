"""The tools for facesets alone on a page, with a project whose sides hold a few faces."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from backend.jobs.manager import JobManager
from backend.storage.workspace import Workspace
from ui_tabs.context import PageContext, View
from ui_tabs.faceset_tools import FacesetTools


def side_of(view: View) -> str:
    """The side as the Sort tab keeps it."""
    return str(view.local.get("sort.side", "src"))


def make_tools(folder: Path) -> tuple[FacesetTools, Workspace]:
    """(tools, workspace) with the empty project "film" in it."""
    workspace = Workspace(folder / "workspace")
    workspace.create("film", "Drawn people agreed.")
    with gr.Blocks():
        page = PageContext(JobManager(workspace), workspace)
        tools = FacesetTools(page, side_of)
    return tools, workspace
