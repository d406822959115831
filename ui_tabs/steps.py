"""The path from clips to a film: for each step what is there, what is missing, and which tab supplies it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from backend.core.jobs import JobState
from backend.jobs.store import JobRecord
from backend.storage.workspace import Project, ProjectStatus

Mark = Literal["done", "ready", "running", "missing", "failed"]

TITLES: Mapping[str, str] = MappingProxyType(
    {
        "project": "1 Project",
        "extract": "2 Extract",
        "sort": "3 Sort",
        "train": "4 Train",
        "merge": "5 Merge",
        "export": "6 Export",
        "queue": "Queue",
    }
)
"""Name of a tab -> its title, in the order of the page."""

STAGES_OF_TAB: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "project": ("create", "sample"),
        "extract": ("edit-clip", "extract-frames", "denoise-frames", "extract-faces"),
        "sort": ("persons", "sort", "faceset", "resize-faces", "gray-faces", "add-faces"),
        "train": ("train",),
        "merge": ("merge",),
        "export": ("export", "render"),
    }
)


@dataclass(frozen=True)
class Step:
    """How one step stands.

    Attributes:
        name: the tab.
        mark: done, ready, running, missing or failed (its newest job failed).
        there: what is there, in words.
        missing: what is missing before the step can start, one sentence; "" when nothing is.
        goto: the tab that supplies it, "" when nothing is missing.
    """

    name: str
    mark: Mark
    there: str
    missing: str = ""
    goto: str = ""


def tab_of_stage(stage: str) -> str:
    """The tab in which the jobs of a stage are started."""
    return next((tab for tab, stages in STAGES_OF_TAB.items() if stage in stages), "queue")


def steps(status: ProjectStatus | None, consent: str, jobs: Sequence[JobRecord]) -> list[Step]:
    """The six steps of a project, in order.

    Args:
        status: what lies in the project's folders; None when no project is open.
        consent: its consent statement.
        jobs: all its jobs, newest first.
    """
    if status is None:
        gap = "No project is open. Create or open one first."
        return [Step(name, "missing", "", gap, "project") for name in TITLES if name != "queue"]
    found = [
        _project(status, consent),
        _extract(status),
        _sort(status),
        _train(status),
        _merge(status),
        _export(status),
    ]
    return [_with_jobs(step, jobs) for step in found]


def merge_missing(project: Project | None) -> str:
    """What is missing before a project can be merged, in a sentence; "" when nothing is."""
    if project is None:
        return "No project is open."
    if not project.models():
        return "There is no trained model yet. Make one in the Train tab."
    dst = project.status().dst
    if not dst.faces or not (dst.frames or (dst.video and project.side("dst").frame_table_path.exists())):
        return "The frames and faces of the destination are missing. Make them in the Extract tab."
    return ""


def _project(status: ProjectStatus, consent: str) -> Step:
    gaps = [] if consent.strip() else ["a consent statement"]
    gaps += [
        f"the {word} clip" for word, side in (("source", status.src), ("destination", status.dst)) if not side.video
    ]
    clips = 2 - sum(not side.video for side in (status.src, status.dst))
    there = f"{count(clips, 'clip')}{', consent statement' if consent.strip() else ''}"
    missing = f"Missing: {' and '.join(gaps)}." if gaps else ""
    return Step("project", "ready" if gaps else "done", there, missing, "project" if gaps else "")


def _extract(status: ProjectStatus) -> Step:
    sides = (status.src, status.dst)
    there = "; ".join(
        f"{name}: {count(side.frames, 'frame')}, {count(side.faces, 'face')}"
        for name, side in zip(("source", "destination"), sides, strict=True)
    )
    if all(side.faces for side in sides):
        return Step("extract", "done", there)
    if any(side.video or side.frames for side in sides):
        return Step("extract", "ready", there)
    return Step("extract", "missing", there, "Neither clip is here yet.", "project")


def _sort(status: ProjectStatus) -> Step:
    there = f"source: {count(status.src.faces, 'face')}, {status.src.trashed:,} in the trash; "
    there += f"destination: {count(status.dst.faces, 'face')}, {status.dst.trashed:,} in the trash"
    if status.src.faces or status.dst.faces:
        return Step("sort", "ready", there)
    return Step("sort", "missing", there, "There are no faces to sort yet.", "extract")


def _train(status: ProjectStatus) -> Step:
    models = ", ".join(f"{m.name} ({m.iteration:,} iterations)" for m in status.models) or "no model"
    gaps = [word for word, side in (("source", status.src), ("destination", status.dst)) if not side.faces]
    if gaps:
        return Step("train", "missing", models, f"The {' and the '.join(gaps)} faces are missing.", "extract")
    return Step("train", "done" if any(m.iteration for m in status.models) else "ready", models)


def _merge(status: ProjectStatus) -> Step:
    there = count(status.merged, "merged frame")
    if not any(m.iteration for m in status.models):
        return Step("merge", "missing", there, "There is no trained model yet.", "train")
    if not status.dst.frames or not status.dst.faces:
        return Step("merge", "missing", there, "The frames and faces of the destination are missing.", "extract")
    if 0 < status.merged < status.dst.frames:
        there = f"{status.merged:,} of {count(status.dst.frames, 'frame')} merged"
    return Step("merge", "done" if status.merged >= status.dst.frames else "ready", there)


def _export(status: ProjectStatus) -> Step:
    there = count(status.results, "result")
    if not status.merged and not status.results and _merge(status).mark == "missing":
        return Step("export", "missing", there, "There are no merged frames yet.", "merge")
    return Step("export", "done" if status.results else "ready", there)


def _with_jobs(step: Step, jobs: Sequence[JobRecord]) -> Step:
    own = [job for job in jobs if job.request.stage in STAGES_OF_TAB[step.name]]
    mark = step.mark
    if _any_in(own, (JobState.RUNNING, JobState.STOPPING)):
        mark = "running"
    elif own and own[0].status.state in (JobState.FAILED, JobState.INTERRUPTED):
        mark = "failed"
    elif step.name == "sort" and mark == "ready" and _any_in(own, (JobState.DONE,)):
        mark = "done"
    return Step(step.name, mark, step.there, step.missing, step.goto)


def _any_in(jobs: Sequence[JobRecord], states: Collection[JobState]) -> bool:
    return any(job.status.state in states for job in jobs)


def count(number: int, word: str) -> str:
    """ "1 face", "1,204 faces"."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"
