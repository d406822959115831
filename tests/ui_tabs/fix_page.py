"""A page with nothing but the frame viewer, over one project: for tests, and to be served by hand.

``python -m tests.ui_tabs.fix_page WORKSPACE PORT [SIDE]`` serves it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from backend.environment import prepare_page_environment


def build(root: Path, side: str = "dst"):
    """(gr.Blocks, FixView, its PageContext) of the first project of a workspace."""
    prepare_page_environment(root / ".cache")
    import gradio as gr

    from backend.jobs.manager import JobManager
    from backend.storage.workspace import Workspace
    from ui_tabs.context import PageContext, View
    from ui_tabs.fix_view import FixView

    workspace = Workspace(root)
    with gr.Blocks() as demo:
        page = PageContext(JobManager(workspace), workspace)
        viewer = FixView(page, lambda view: side)

        def look(view: View):
            if not view.project:
                view.open(page.last_opened())
            return viewer.tick(view) or gr.skip()

        gr.Timer(1.0).tick(look, page.view, viewer.outputs, show_progress="hidden", concurrency_limit=None)
        demo.load(look, page.view, viewer.outputs)
    return demo, viewer, page


def main() -> None:
    """Serve the page until interrupted."""
    from ui_tabs.theme import launch_looks

    root = Path(sys.argv[1]).resolve()
    demo, viewer, _ = build(root, *sys.argv[3:4])
    try:
        demo.launch(server_port=int(sys.argv[2]), allowed_paths=[str(root)], quiet=True, **launch_looks())
    finally:
        viewer.fixer.close()


if __name__ == "__main__":
    main()
