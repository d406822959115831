"""Flags -> workspace -> job manager -> page."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from backend.environment import prepare_page_environment, set_weights_folder
from ui_tabs.serve import say, serve, why_not_listen


def build(workspace_dir: Path, root_path: str = "") -> tuple[Any, Any]:
    """The page of a workspace (gr.Blocks) and its job manager; neither is started yet."""
    prepare_page_environment(workspace_dir.resolve() / ".cache")
    from backend.jobs.manager import JobManager
    from backend.storage.workspace import Workspace
    from ui_tabs.page import build_page

    workspace = Workspace(workspace_dir.resolve())
    manager = JobManager(workspace)
    return build_page(manager, workspace, root_path), manager


def read_flags(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="webui.py", description="Lookalike, a workbench for face replacement.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=7860, metavar="NUMBER", help="port to listen on")
    parser.add_argument("--share", action="store_true", help="ask Gradio for a public address")
    parser.add_argument("--auth", metavar="USER:PASSWORD", default="", help="name and password asked from visitors")
    parser.add_argument("--workspace", type=Path, default=Path("workspace"), help="folder of all projects")
    parser.add_argument("--weights-dir", type=Path, help="folder of downloaded weights")
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser")
    parser.add_argument("--root-path", default="", help="path under which a proxy shows the page, e.g. /lookalike")
    flags = parser.parse_args(arguments)
    if flags.auth and not all(flags.auth.partition(":")):
        parser.error("--auth needs a name and a password with a colon between them")
    if not 1 <= flags.port <= 65535:
        parser.error("--port has to be a number from 1 to 65535")
    return flags


def why_no_workspace(folder: Path) -> str:
    """Why a folder cannot hold projects; "" when it can. Makes it when it is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return f"The workspace {folder} cannot be made: {error.strerror}. Name another folder with --workspace."
    return ""


def main(arguments: list[str] | None = None) -> int:
    """Start the page and serve it until interrupted; the exit status."""
    flags = read_flags(arguments)
    reason = why_not_listen(flags.host, flags.port) or why_no_workspace(flags.workspace)
    if reason:
        say(reason)
        return 1
    if flags.weights_dir:
        set_weights_folder(flags.weights_dir.resolve())
    page, manager = build(flags.workspace, flags.root_path)
    manager.start()
    serve(page, flags)
    return 0


if __name__ == "__main__":
    sys.exit(main())
