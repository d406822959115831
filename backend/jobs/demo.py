"""The demonstration: a sample project and the whole path to a video, each step a job of the command line."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from backend.core.errors import LookalikeError
from backend.core.jobs import JobState, JobStatus
from backend.core.settings import (
    ExportSettings,
    ExtractFacesSettings,
    ExtractFramesSettings,
    MergeSettings,
    SaehdSettings,
    SampleSettings,
    Settings,
    SortSettings,
)
from backend.jobs.arguments import DEFAULT_WORKSPACE, PROGRAM, parse_flags
from backend.jobs.foreground import duration_text
from backend.storage.workspace import Project, Workspace

PRESET = "First look (CPU)"
MODEL = "first-look"

RunStage = Callable[[Workspace, Project, str, Settings], JobStatus]


@dataclasses.dataclass(frozen=True)
class _Flags:
    project: Annotated[str, tyro.conf.arg(help="Name of the project.", metavar="NAME")] = "sample"
    workspace: Annotated[Path, tyro.conf.arg(help="Folder of all projects.", metavar="DIR")] = DEFAULT_WORKSPACE
    minutes: Annotated[float, tyro.conf.arg(help="How long to train. [0.05..1000 min]")] = 4.0


def run_demo(argv: Sequence[str], run_stage: RunStage) -> int:
    """Make the sample project and walk the whole path; ends with the path of the video and the SSIM reached.

    Args:
        argv: the words behind ``demo``.
        run_stage: runs one job and returns how it ended.

    Raises:
        LookalikeError: a step failed; the sentence says which and why.
    """
    flags = parse_flags(_Flags, argv, f"{PROGRAM} demo", "Make a sample project and walk the whole path to a video.")
    workspace = Workspace(flags.workspace)
    if flags.project in workspace.projects():
        project = workspace.open(flags.project)
    else:
        project = workspace.create(flags.project, "")  # the sample stage writes the statement
    begun = time.monotonic()
    results: dict[str, dict[str, Any]] = {}
    for stage, settings in demo_steps(flags.minutes):
        try:
            status = run_stage(workspace, project, stage, settings)
        except KeyboardInterrupt:
            return 130
        if status.state is not JobState.DONE:
            raise LookalikeError(f"The demo ended at {stage}: {status.error or status.state.value}")
        results[stage] = status.result
    for line in closing_lines(results, time.monotonic() - begun, project.path):
        sys.stdout.write(f"{line}\n")
    return 0


def demo_steps(minutes: float) -> Iterator[tuple[str, Settings]]:
    """The stages of the demo in order, with their settings.

    Args:
        minutes: how long to train.
    """
    yield "sample", SampleSettings()
    for side in ("src", "dst"):
        yield "extract-frames", ExtractFramesSettings(side=side)
        yield "extract-faces", ExtractFacesSettings(side=side, max_faces=1)
    yield "sort", SortSettings(side="src", by="yaw")
    preset = SaehdSettings.PRESETS[PRESET]
    yield "train", SaehdSettings.model_validate({**preset, "model": MODEL, "time_limit_min": minutes})
    yield "merge", MergeSettings(model=MODEL)
    yield "export", ExportSettings(name="sample")


def closing_lines(results: Mapping[str, Mapping[str, Any]], seconds: float, project_dir: Path) -> list[str]:
    """What the demo says at its end: time taken, iterations, SSIM reached, path of the video.

    Args:
        results: of each stage.
        seconds: time of the whole walk.
        project_dir: what the video's path is relative to.
    """
    train = results["train"]
    sides = [(side, train.get(f"ssim_{side}")) for side in ("src", "dst")]
    reached = ", ".join(f"{side}-{side} {ssim:.3f}" for side, ssim in sides if ssim is not None)
    return [
        f"time: {duration_text(seconds)}",
        f"iterations: {train.get('iteration', 0):,}",
        f"SSIM of held-out faces: {reached or 'not measured'}",
        f"video: {project_dir / str(results['export']['video'])}",
    ]
