"""The summary on the command line: describes a network that need not exist, without a project and without faces."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from backend.core.errors import BadInputError, LookalikeError
from backend.core.jobs import JobState, JobStatus
from backend.core.settings import Settings, SummarySettings, TrainSettings
from backend.jobs.arguments import early, parse_description
from backend.storage.model_folder import ModelFolder
from backend.storage.workspace import Project, Workspace

RunStage = Callable[[Workspace, Project, str, Settings], JobStatus]


def run_describe(argv: Sequence[str], run_stage: RunStage) -> int:
    """Describe the network that the flags of ``train`` would make; with --project and --model one that exists.

    A model that is not there yet is described as training would begin it, which is said first.

    Args:
        argv: the words behind ``summary``.
        run_stage: runs one job and returns how it ended.

    Raises:
        LookalikeError: the flags cannot be used or contradict the model, it only merges, or the description failed.
    """
    asked = parse_description(argv)
    settings = SummarySettings(train=asked.settings.model_dump(mode="json"))
    with _place(asked.project, asked.workspace) as (workspace, project):
        note = _note(project, early(argv, "model"), asked.settings) if asked.project else ""
        status = run_stage(workspace, project, "summary", settings)
        if status.state is not JobState.DONE:
            raise LookalikeError(status.error or f"The description ended as {status.state.value}.")
        text = (project.path / str(status.result["text"])).read_text(encoding="utf-8")
    sys.stdout.write(note + text)
    return 0


def _note(project: Project, model: str, asked: Settings) -> str:
    """A sentence where the named model is not there yet.

    Raises:
        BadInputError: it is of another family, or only merges.
        DamagedFileError: its settings do not fit this version.
    """
    info = ModelFolder(project.model_dir(model)).info() if model else None
    if info is None:
        missing = f"The project '{project.name}' has no model '{model}' yet; training would begin it like this.\n\n"
        return missing if model else ""
    stored = info.train_settings().model_class
    if isinstance(asked, TrainSettings) and asked.model_class != stored:
        raise BadInputError(
            f"The model '{model}' is of the family {stored}, and {asked.model_class} was asked for.",
            "Leave out --model to describe a new network, or the family and its preset to describe this one.",
        )
    return ""


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
