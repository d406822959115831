"""Which job may start: pure decisions about lanes and about what jobs of one project read and write."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from backend.core.jobs import JobRequest, JobState
from backend.devices import ALL, BEST, split_names
from backend.jobs.store import JobRecord

IO_LANE = "io"
CPU_LANE = "cpu"
LOOK_LANE = "look"
"""Short jobs that only read: they wait for no export."""

_READS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "extract-frames": ("{side} video",),
        "extract-faces": ("{side} frames",),
        "sort by match-poses": ("src faces", "dst faces"),
        "resize-faces": ("{side} frames",),
        "train": ("src faces", "dst faces"),
        "evaluate": ("src faces", "dst faces", "model {model}"),
        "merge": ("dst frames", "dst faces", "model {model}"),
        "render": ("dst video", "dst frames", "dst faces", "model {model}"),
        "export": ("dst video", "dst frames", "merged"),
    }
)
_WRITES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "create": ("src video", "dst video"),
        "sample": ("src video", "dst video"),
        "edit-clip": ("{side} video",),
        "extract-frames": ("{side} frames",),
        "denoise-frames": ("{side} frames",),
        "extract-faces": ("{side} faces",),
        "persons": ("{side} faces",),
        "sort": ("{side} faces",),
        "faceset": ("{side} faces",),
        "resize-faces": ("{side} faces",),
        "gray-faces": ("{side} faces",),
        "add-faces": ("{side} faces",),
        "train": ("model {model}",),
        "model": ("model {model}", "model {name}"),
        "merge": ("merged",),
        "export": ("result {name}",),
        "render": ("merged", "result {name}"),
    }
)
_COMPUTES = frozenset({"extract-faces", "train", "evaluate", "merge", "render"})


def lane_of(stage: str, settings: Mapping[str, Any], best_device: str = BEST) -> str:
    """What a job occupies: "io", "look", the name of its device, or several names with commas between them.

    Args:
        settings: the stage's settings as JSON.
        best_device: name of the device that "best" means here; "best" while that is not known yet.
    """
    if stage == "verify":
        return LOOK_LANE
    if stage not in _COMPUTES:
        return IO_LANE
    names = split_names(str(settings.get("device", BEST)))
    if best_device != BEST:
        names = [_definite(name, best_device) for name in names]
    return ",".join(dict.fromkeys(names)) or best_device


def places(lane: str, best_device: str | None) -> frozenset[str] | None:
    """The devices of a lane, one by one; None while it is not known which they are.

    Args:
        lane: see lane_of().
        best_device: what "best" means here, None while it is not known.
    """
    names = frozenset(split_names(lane))
    if best_device is None:
        return None if names & {BEST, ALL} else names
    return frozenset(_definite(name, best_device) for name in names)


def collide(one: frozenset[str], other: frozenset[str]) -> bool:
    """Whether two jobs would meet on a device. "all" stands for every accelerator."""
    either, none = one | other, {IO_LANE, CPU_LANE, LOOK_LANE}
    return bool(one & other) or (ALL in either and bool(one - none) and bool(other - none))


def reads(request: JobRequest) -> frozenset[str]:
    """What of its project a job needs, by name."""
    rules = request.settings.get("faces", ()) if request.stage in ("merge", "render") else ()
    return _named(_READS, request) | {f"model {rule['model']}" for rule in rules if rule.get("model")}


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
    """The queued jobs that may start now, in order; at most one per device.

    A job that waits for several devices is not overtaken by those that need only one of them.

    Args:
        records: all jobs of all projects that have not ended.
        best_device: what "best" means here, None while it is not known; jobs for it, or for all, then wait.
    """
    open_jobs = sorted(records, key=lambda record: (record.status.order, record.request.created))
    running = [r for r in open_jobs if r.status.state is not JobState.QUEUED]
    busy = [taken for r in running if (taken := places(r.request.lane, best_device)) is not None]
    waiting: list[JobRecord] = []
    chosen: list[JobRecord] = []
    for record in open_jobs:
        if record.status.state is not JobState.QUEUED or record.request.foreground:
            continue
        needed = places(record.request.lane, best_device)
        ahead: Sequence[JobRecord] = [*running, *chosen, *waiting]
        if needed is None or any(must_wait(record.request, other.request) for other in ahead):
            waiting.append(record)
        else:
            (waiting if any(collide(needed, taken) for taken in busy) else chosen).append(record)
            busy.append(needed)
    return chosen


def _definite(name: str, best_device: str) -> str:
    """A device's name with what "best" and "all" mean where they mean only one."""
    if name == BEST or (name == ALL and best_device == CPU_LANE):
        return best_device
    return name


def _named(table: Mapping[str, tuple[str, ...]], request: JobRequest) -> frozenset[str]:
    facts = {"side": "", "model": "", "name": "", **{key: str(value) for key, value in request.settings.items()}}
    rows = (request.stage, f"{request.stage} by {facts.get('by')}")
    return frozenset(name.format_map(facts) for row in rows for name in table.get(row, ()))
