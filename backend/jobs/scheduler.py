"""Which job may start: pure decisions about lanes and about what jobs of one project read and write."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from backend.core.jobs import JobRequest, JobState
from backend.jobs.store import JobRecord

IO_LANE = "io"
BEST = "best"

_READS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "extract-frames": ("{side} video",),
        "extract-faces": ("{side} frames",),
        "train": ("src faces", "dst faces"),
        "merge": ("dst frames", "dst faces", "model {model}"),
        "export": ("dst video", "dst frames", "merged"),
    }
)
_WRITES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "create": ("src video", "dst video"),
        "sample": ("src video", "dst video"),
        "extract-frames": ("{side} frames",),
        "extract-faces": ("{side} faces",),
        "sort": ("{side} faces",),
        "train": ("model {model}",),
        "merge": ("merged",),
        "export": ("result {name}",),
    }
)
_COMPUTES = frozenset({"extract-faces", "train", "merge"})


def lane_of(stage: str, settings: Mapping[str, Any], best_device: str = BEST) -> str:
    """What a job occupies: "io", or the name of its device.

    Args:
        settings: the stage's settings as JSON.
        best_device: name of the device that "best" means here; "best" while that is not known yet.
    """
    if stage not in _COMPUTES:
        return IO_LANE
    device = str(settings.get("device", BEST))
    return best_device if device == BEST else device


def reads(request: JobRequest) -> frozenset[str]:
    """What of its project a job needs, by name."""
    return _named(_READS, request)


def writes(request: JobRequest) -> frozenset[str]:
    """What of its project a job makes or changes, by name."""
    return _named(_WRITES, request)


def endless(request: JobRequest) -> bool:
    """Whether a job only ends by hand: training without a target. Nothing waits for such a job."""
    settings = request.settings
    return request.stage == "train" and not settings.get("target_iterations") and not settings.get("time_limit_min")


def must_wait(later: JobRequest, earlier: JobRequest) -> bool:
    """Whether a job has to wait until an earlier, unfinished one has ended."""
    if later.project != earlier.project or endless(earlier):
        return False
    made, changed = writes(earlier), writes(later)
    return bool(made & (changed | reads(later)) or reads(earlier) & changed)


def next_to_start(records: Iterable[JobRecord], best_device: str | None) -> list[JobRecord]:
    """The queued jobs that may start now, in order; at most one per lane.

    Args:
        records: all jobs of all projects that have not ended.
        best_device: what "best" means here, None while it is not known; jobs for it then wait.
    """
    open_jobs = sorted(records, key=lambda record: (record.status.order, record.request.created))
    running = [r for r in open_jobs if r.status.state is not JobState.QUEUED]
    busy = {_lane(record, best_device) for record in running}
    waiting: list[JobRecord] = []
    chosen: list[JobRecord] = []
    for record in open_jobs:
        if record.status.state is not JobState.QUEUED or record.request.foreground:
            continue
        lane = _lane(record, best_device)
        ahead: Sequence[JobRecord] = [*running, *chosen, *waiting]
        free = lane is not None and lane not in busy
        if free and not any(must_wait(record.request, other.request) for other in ahead):
            chosen.append(record)
            busy.add(lane)
        else:
            waiting.append(record)
    return chosen


def _lane(record: JobRecord, best_device: str | None) -> str | None:
    return best_device if record.request.lane == BEST else record.request.lane


def _named(table: Mapping[str, tuple[str, ...]], request: JobRequest) -> frozenset[str]:
    facts = {"side": "", "model": "", "name": "", **{key: str(value) for key, value in request.settings.items()}}
    return frozenset(name.format_map(facts) for name in table.get(request.stage, ()))
