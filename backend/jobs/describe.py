"""The summary on the command line: describes a network that need not exist, without a project and without faces."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from backend.core.errors import LookalikeError
from backend.core.jobs import JobState, JobStatus
from backend.core.settings import Settings, SummarySettings
from backend.jobs.arguments import parse_description
from backend.storage.workspace import Project, Workspace

RunStage = Callable[[Workspace, Project, str, Settings], JobStatus]


def run_describe(argv: Sequence[str], run_stage: RunStage) -> int:
    """Describe the network that the flags of ``train`` would make; with --project and --model one that exists.

    Args:
        argv: the words behind ``summary``.
        run_stage: runs one job and returns how it ended.

    Raises:
        LookalikeError: the flags cannot be used, or the description failed.
    """
    asked = parse_description(argv)
    settings = SummarySettings(train=asked.settings.model_dump(mode="json"))
    with _place(asked.project, asked.workspace) as (workspace, project):
        status = run_stage(workspace, project, "summary", settings)
        if status.state is not JobState.DONE:
            raise LookalikeError(status.error or f"The description ended as {status.state.value}.")
        text = (project.path / str(status.result["text"])).read_text(encoding="utf-8")
    sys.stdout.write(text)
    return 0


@contextmanager
def _place(project: str, root: Path) -> Iterator[tuple[Workspace, Project]]:
    """The named project, or one that is gone afterwards."""
    if project:
        workspace = Workspace(root)
        yield workspace, workspace.open(project)
        return
    with tempfile.TemporaryDirectory(prefix="lookalike-summary-") as folder:
        workspace = Workspace(Path(folder))
        yield workspace, workspace.create("summary", "")
