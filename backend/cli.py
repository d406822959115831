"""The command line: runs one stage as a job in the foreground. It imports no torch."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from backend.core.errors import BadInputError, LookalikeError
from backend.core.jobs import JobState, JobStatus
from backend.core.settings import STAGE_SETTINGS, CreateSettings, Settings
from backend.devices import list_devices
from backend.jobs.arguments import PROGRAM, Arguments, parse_arguments
from backend.jobs.bench import run_bench
from backend.jobs.demo import run_demo
from backend.jobs.describe import run_describe
from backend.jobs.foreground import ForegroundJob, ProgressLine
from backend.storage.weights import default_folder
from backend.storage.workspace import Project, Workspace

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130
LISTED = 10


def main(argv: Sequence[str]) -> int:
    """Run one command line and return the exit code: 0, 1 with one line on stderr, 130 after Ctrl-C."""
    stage = argv[0] if argv else "--help"
    try:
        if stage in ("-h", "--help"):
            sys.stdout.write(usage())
            return 0
        if stage in _COMMANDS:
            return _COMMANDS[stage](argv[1:])
        return _run(parse_arguments(stage, argv[1:]))
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except LookalikeError as error:
        return _fail(str(error))


def usage() -> str:
    """What the command line offers, without the stages' settings."""
    words = {name: (kind.__doc__ or "").split("\n", maxsplit=1)[0] for name, kind in STAGE_SETTINGS.items()}
    words["train"] = "Train a model on the faces of both sides."
    words["demo"] = "Make a sample project and walk the whole path to a video."
    words["bench"] = "Measure train steps, training samples and accelerators; with --faces the work on faces."
    words["devices"] = "List what can compute here, as JSON."
    lines = [f"usage: {PROGRAM} STAGE --project NAME [--workspace DIR] [--config FILE] [settings]", "", "stages:"]
    lines += [f"  {name:<15} {sentence}" for name, sentence in words.items()]
    lines += ["", f"{PROGRAM} STAGE --help shows every setting with its range.", ""]
    return "\n".join(lines)


def run_stage(workspace: Workspace, project: Project, stage: str, settings: Settings) -> JobStatus:
    """Run one stage as a job of this terminal and return how it ended. Ctrl-C asks it to save and stop.

    Raises:
        KeyboardInterrupt: after a job that was stopped by Ctrl-C has ended.
    """
    job = ForegroundJob(project, stage, settings, default_folder(workspace.root))
    show = ProgressLine(f"{stage} {getattr(settings, 'side', '')}".strip())
    try:
        return job.wait(show)
    except KeyboardInterrupt:
        job.stop()
        sys.stdout.write("\nStopping; what was made so far is being saved.\n")
        job.wait(show)
        raise


def result_lines(result: Mapping[str, Any]) -> list[str]:
    """A job's result as short lines; of long lists only the beginning, of tables every row on its own line."""
    lines: list[str] = []
    for name, value in result.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            lines += [f"{name}:", *(f"  {_row(row)}" for row in value)]
        elif value not in ([], {}, "", None):
            lines.append(f"{name}: {_words(value)}")
    return lines


def _row(row: Mapping[str, Any]) -> str:
    """One row of a table: its first entry, then the others that are there."""
    (_, title), *rest = row.items()
    return f"{title}: {', '.join(f'{name} {_words(value)}' for name, value in rest if value not in ('', None))}"


def _words(value: Any) -> str:
    if isinstance(value, list):
        more = f" and {len(value) - LISTED} more" if len(value) > LISTED else ""
        return ", ".join(_words(item) for item in value[:LISTED]) + more
    if isinstance(value, dict):
        return ", ".join(f"{name} {_words(item)}" for name, item in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _run(arguments: Arguments) -> int:
    workspace = Workspace(arguments.workspace)
    project = _project(workspace, arguments)
    try:
        status = run_stage(workspace, project, arguments.stage, arguments.settings)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    if status.state in (JobState.FAILED, JobState.INTERRUPTED):
        return _fail(status.error)
    for line in result_lines(status.result):
        sys.stdout.write(f"{line}\n")
    return 0


def _project(workspace: Workspace, arguments: Arguments) -> Project:
    """The project of a command line; the stages that begin a project create it."""
    if arguments.stage in ("create", "sample") and arguments.project not in workspace.projects():
        settings = arguments.settings
        stated = isinstance(settings, CreateSettings)
        if stated and not settings.consent.strip():
            raise BadInputError(
                "There is no consent statement.", "Say with --consent who agreed to this use of their face, and how."
            )
        return workspace.create(arguments.project, settings.consent if stated else "", settings.notes if stated else "")
    return workspace.open(arguments.project)


def _print_devices(argv: Sequence[str]) -> int:
    found = [device.model_dump() for device in list_devices()]
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    return 0


def _fail(sentence: str) -> int:
    sys.stderr.write(f"error: {' '.join(sentence.split())}\n")
    return EXIT_FAILED


_COMMANDS: Mapping[str, Callable[[Sequence[str]], int]] = MappingProxyType(
    {
        "devices": _print_devices,
        "demo": lambda argv: run_demo(argv, run_stage),
        "summary": lambda argv: run_describe(argv, run_stage),
        "bench": run_bench,
    }
)
"""What is more, or less, than a stage that runs as a job."""
