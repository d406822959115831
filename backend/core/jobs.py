"""Jobs as data: the request, the state, and the events a worker appends."""

from __future__ import annotations

from enum import Enum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class JobState(str, Enum):
    """Life of a job. The last four are final."""

    QUEUED = "queued"
    RUNNING = "running"
    STOPPING = "stopping"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"

    @property
    def final(self) -> bool:
        """True when nothing will happen to the job any more."""
        return self in (JobState.DONE, JobState.FAILED, JobState.STOPPED, JobState.INTERRUPTED)


class JobRequest(BaseModel):
    """request.json: what to do. Never changes after it was written.

    Attributes:
        id: folder name of the job, sortable by time.
        stage: key of backend.core.settings.STAGE_SETTINGS.
        settings: the stage's settings as JSON.
        lane: what the job occupies: "io", "cpu" or an accelerator's name; one running job per lane.
        foreground: started by the command line; the scheduler of a page leaves it alone.
        retry_of: id of the job this one repeats or resumes.
    """

    model_config = ConfigDict(frozen=True)

    version: int = 1
    id: str
    project: str
    stage: str
    settings: dict[str, Any]
    lane: str = "io"
    created: float
    foreground: bool = False
    retry_of: str = ""


class JobStatus(BaseModel):
    """state.json: how the job stands. Written by temp + rename, by one writer at a time.

    Attributes:
        pid, pid_started: the worker and its start time (psutil create_time), to know it again after a restart.
        heartbeat: unix time of the worker's last sign of life.
        done, total, unit, rate, message: progress; total 0 when unknown.
        error, result: of a finished job.
        order: position among queued jobs, ascending.
    """

    model_config = ConfigDict(frozen=True)

    version: int = 1
    state: JobState = JobState.QUEUED
    pid: int = 0
    pid_started: float = 0.0
    started: float = 0.0
    finished: float = 0.0
    heartbeat: float = 0.0
    done: int = 0
    total: int = 0
    unit: str = ""
    rate: float = 0.0
    message: str = ""
    error: str = ""
    result: dict[str, Any] = Field(default_factory=dict)
    order: float = 0.0


EventKind = Literal["progress", "metric", "preview", "artifact", "log", "milestone", "finished"]


class Event(BaseModel):
    """One line of events.jsonl.

    ``data`` by kind:
        progress: done, total (0 unknown), unit, rate (per second), message.
        metric: iteration and named numbers: src_loss, dst_loss, step_s, images_per_s, loader_wait_s, memory_mb.
        preview: name, path (relative to the job folder), iteration.
        artifact: what, path.
        log: level (info, warning, error), message.
        milestone: what (saved, resumed, rolled back, ...), iteration, message.
        finished: state, error, result.
    """

    model_config = ConfigDict(frozen=True)

    seq: int
    time: float
    kind: EventKind
    data: dict[str, Any]
