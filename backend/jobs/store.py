"""The jobs of one project on disk: one folder per job.

jobs/<id>/request.json   what to do; never changes
          state.json     how it stands; replaced atomically, under state.lock
          events.jsonl   what the worker reported
          log.txt        everything the worker printed
          previews/      pictures the worker made
          stop, save     wishes to the running worker; empty files, further ones named in manager.REQUESTS
          changes.json   settings to change while it runs; gone once the worker has taken them
jobs/hold                empty file: no further job of the project starts; see JobStore.hold
"""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from backend.core.errors import BadInputError, LookalikeError
from backend.core.jobs import Event, JobRequest, JobState, JobStatus
from backend.core.settings import Settings
from backend.core.settings.faults import reason
from backend.jobs.events import json_safe, read_events, read_milestones
from backend.jobs.lock import locked
from backend.storage.atomic import read_json, write_json
from backend.storage.workspace import Project

_ID = re.compile(r"\d{8}-\d{6}-[a-z-]{1,32}-[0-9a-f]{4}")
STOP_FILE = "stop"
"""Empty file in a job's folder: the wish that it saves and ends."""

CHANGES_FILE = "changes.json"
"""Settings in a job's folder that the running worker is asked to take over."""

HOLD_FILE = "hold"
"""Empty file in the jobs folder: what waits goes on waiting."""

_LOG_BLOCK = 64 << 10

Stamp = tuple[int, int]


@dataclass(frozen=True)
class JobRecord:
    """One job as a reader sees it."""

    request: JobRequest
    status: JobStatus
    path: Path

    @property
    def id(self) -> str:
        """Id of the job, the name of its folder."""
        return self.request.id


class JobStore:
    """Jobs of one project. Cheap to make; keep one to profit from its cache.

    Args:
        project: its ``jobs_dir`` holds the job folders.
    """

    def __init__(self, project: Project) -> None:
        self.project = project
        self._cache: dict[str, tuple[Stamp, JobRecord]] = {}

    def create(
        self,
        stage: str,
        settings: Settings,
        *,
        lane: str = "io",
        foreground: bool = False,
        retry_of: str = "",
    ) -> str:
        """Write a new queued job and return its id. The folder appears complete or not at all."""
        now = time.time()
        jobs_dir = self.project.jobs_dir
        jobs_dir.mkdir(parents=True, exist_ok=True)
        job_id = _new_id(stage, now)
        while (jobs_dir / job_id).exists():
            job_id = _new_id(stage, now)
        request = JobRequest(
            id=job_id,
            project=self.project.name,
            stage=stage,
            settings=json_safe(settings),
            lane=lane,
            created=now,
            foreground=foreground,
            retry_of=retry_of,
        )
        unfinished = jobs_dir / f".{job_id}"
        (unfinished / "previews").mkdir(parents=True)
        write_json(unfinished / "request.json", request.model_dump(mode="json"))
        write_json(unfinished / "state.json", JobStatus(order=now).model_dump(mode="json"))
        unfinished.replace(jobs_dir / job_id)
        return job_id

    def path(self, job_id: str) -> Path:
        """Folder of a job. BadInputError when there is none or the id is not one of ours."""
        folder = self.project.jobs_dir / job_id
        if not _ID.fullmatch(job_id) or not folder.is_dir():
            raise BadInputError(f"There is no job '{job_id}' in the project '{self.project.name}'.")
        return folder

    def request(self, job_id: str) -> JobRequest:
        """What the job was asked to do. BadInputError when the file is damaged."""
        return read_request(self.path(job_id))

    def status(self, job_id: str) -> JobStatus:
        """How the job stands. BadInputError when the file is damaged."""
        return read_status(self.path(job_id))

    def record(self, job_id: str) -> JobRecord:
        """Request and status of one job; a damaged job is shown as failed with the reason."""
        return self._read(self.path(job_id))

    def list(self) -> list[JobRecord]:
        """All jobs, newest first. Only what changed since the last call is read again."""
        found: dict[str, tuple[Stamp, JobRecord]] = {}
        for folder in self._folders():
            known = self._cache.get(folder.name)
            if known and known[1].status.state.final:
                found[folder.name] = known
                continue
            stamp = _stamp(folder / "state.json")
            found[folder.name] = known if known and known[0] == stamp else (stamp, self._read(folder))
        self._cache = found
        return sorted((record for _, record in found.values()), key=lambda r: (r.request.created, r.id), reverse=True)

    def update(self, job_id: str, *, expect: Collection[JobState] | None = None, **changes: Any) -> JobStatus:
        """Change fields of state.json atomically and return the new status.

        Args:
            expect: change nothing unless the job is in one of these states.
            changes: fields of JobStatus.
        """
        return update_status(self.path(job_id), expect=expect, **changes)

    @property
    def held(self) -> bool:
        """Whether the project's queue is held: running jobs go on to their end, no other one starts."""
        return (self.project.jobs_dir / HOLD_FILE).exists()

    def hold(self, on: bool) -> None:
        """Hold the project's queue or let it go on; it stays so over a restart."""
        self.project.jobs_dir.mkdir(parents=True, exist_ok=True)
        file = self.project.jobs_dir / HOLD_FILE
        file.touch() if on else file.unlink(missing_ok=True)

    def events(self, job_id: str, after_offset: int = 0) -> tuple[list[Event], int]:
        """Events after an offset and the offset for the next call, see events.read_events."""
        return read_events(self.path(job_id) / "events.jsonl", after_offset)

    def log_tail(self, job_id: str, lines: int = 40) -> str:
        """The last lines of log.txt; empty when nothing was printed yet."""
        return tail(self.path(job_id) / "log.txt", lines)

    def _folders(self) -> list[Path]:
        try:
            with os.scandir(self.project.jobs_dir) as entries:
                return [Path(entry.path) for entry in entries if _ID.fullmatch(entry.name) and entry.is_dir()]
        except FileNotFoundError:
            return []

    def _read(self, folder: Path) -> JobRecord:
        try:
            request = read_request(folder).model_copy(update={"id": folder.name, "project": self.project.name})
            return JobRecord(request, read_status(folder), folder)
        except LookalikeError as error:
            request = JobRequest(
                id=folder.name,
                project=self.project.name,
                stage=folder.name[16:-5],
                settings={},
                created=time.mktime(time.strptime(folder.name[:15], "%Y%m%d-%H%M%S")),
            )
            return JobRecord(request, JobStatus(state=JobState.FAILED, error=str(error)), folder)


def read_request(job_dir: Path) -> JobRequest:
    """request.json of a job folder. BadInputError when it is missing or not a request."""
    try:
        return JobRequest.model_validate(read_json(job_dir / "request.json"))
    except (LookalikeError, ValidationError, ValueError, OSError) as error:
        raise BadInputError(f"request.json in {job_dir} cannot be used: {one_line(error)}") from error


def read_status(job_dir: Path) -> JobStatus:
    """state.json of a job folder. BadInputError when it is missing or damaged."""
    try:
        return JobStatus.model_validate(read_json(job_dir / "state.json"))
    except (LookalikeError, ValidationError, ValueError, OSError) as error:
        raise BadInputError(f"state.json in {job_dir} cannot be used: {one_line(error)}") from error


def update_status(job_dir: Path, *, expect: Collection[JobState] | None = None, **changes: Any) -> JobStatus:
    """Change fields of state.json under its lock; see JobStore.update."""
    with locked(job_dir / "state.lock"):
        status = read_status(job_dir)
        if expect is not None and status.state not in expect:
            return status
        status = JobStatus.model_validate({**status.model_dump(), **changes})
        write_json(job_dir / "state.json", status.model_dump(mode="json"), durable="state" in changes)
    return status


def add_changes(job_dir: Path, changes: Mapping[str, Any]) -> None:
    """Leave settings for the running worker; those it has not taken yet stay, newer values win."""
    with locked(job_dir / "state.lock"):
        write_json(job_dir / CHANGES_FILE, {**_read_changes(job_dir / CHANGES_FILE), **changes})


def take_changes(job_dir: Path) -> dict[str, Any]:
    """The settings left since the last call, {} when there are none; the file goes. Cheap enough for every step."""
    file = job_dir / CHANGES_FILE
    if not file.exists():
        return {}
    with locked(job_dir / "state.lock"):
        changes = _read_changes(file)
        file.unlink(missing_ok=True)
    return changes


def last_settings(job_dir: Path) -> dict[str, Any]:
    """Settings that a job reported after the user had changed some while it ran; {} when it never did."""
    told = (event.data.get("settings") for event in read_milestones(job_dir / "events.jsonl"))
    return next((found for found in reversed(list(told)) if isinstance(found, dict)), {})


def changes_left(job_dir: Path) -> dict[str, Any]:
    """Settings that were left for the worker and that it did not take; they stay."""
    return _read_changes(job_dir / CHANGES_FILE)


def tail(path: Path, lines: int) -> str:
    """The last lines of a text file, read from its end; empty when it does not exist."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _LOG_BLOCK))
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:]) if lines > 0 else ""


def last_words(job_dir: Path) -> str:
    """What to say about a worker that ended without a final state."""
    last = tail(job_dir / "log.txt", 1).strip()
    said = f" It last printed: {last[:200]}" if last else ""
    return f"The worker ended without finishing.{said} Resume starts it again; training goes on from its last save."


def one_line(error: Exception) -> str:
    """The message of an error on one line; for pydantic's, field and reason of every fault."""
    if isinstance(error, ValidationError):
        faults = [(".".join(str(part) for part in item["loc"]), reason(item)) for item in error.errors()]
        return "; ".join(f"{where}: {what}" if where else what for where, what in faults)
    return " ".join(str(error).split())


def _read_changes(file: Path) -> dict[str, Any]:
    try:
        found = read_json(file)
    except (OSError, LookalikeError):
        return {}
    return found if isinstance(found, dict) else {}


def _new_id(stage: str, now: float) -> str:
    within_second = int((now % 1) * 256)
    return f"{time.strftime('%Y%m%d-%H%M%S', time.localtime(now))}-{stage}-{within_second:02x}{secrets.token_hex(1)}"


def _stamp(path: Path) -> Stamp:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return (0, 0)
    return (stat.st_mtime_ns, stat.st_ino)
