"""Starts, stops and watches the jobs of a workspace. All truth is on disk, so that any number of managers may look.

Only the manager that holds the workspace's scheduler lock starts jobs and tidies up; the others read and ask.
"""

from __future__ import annotations

import logging
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from backend.core.errors import BadInputError, LookalikeError
from backend.core.jobs import JobState
from backend.core.settings import Settings, is_live, settings_class
from backend.devices import Device, list_devices, resolve_device
from backend.jobs.events import json_safe
from backend.jobs.launch import Launch, is_alive, launch_worker, mark_started, terminate
from backend.jobs.lock import FileLock
from backend.jobs.scheduler import BEST, lane_of, next_to_start, places
from backend.jobs.store import (
    STOP_FILE,
    JobRecord,
    JobStore,
    add_changes,
    changes_left,
    last_settings,
    last_words,
    one_line,
    update_status,
)
from backend.storage.atomic import require_free_disk
from backend.storage.weights import default_folder
from backend.storage.workspace import Project, Workspace

REQUESTS = frozenset({"save", "backup"})

_LOG = logging.getLogger(__name__)
_ACTIVE = frozenset({JobState.RUNNING, JobState.STOPPING})
_STARTING_S = 60.0


@dataclass(frozen=True)
class Patience:
    """Times of the manager, seconds.

    Attributes:
        tick: between two looks at the workspace.
        stop: from the wish to stop to SIGTERM.
        kill: from the wish to stop to SIGKILL.
        devices: how long listing the devices may take.
    """

    tick: float = 0.5
    stop: float = 60.0
    kill: float = 120.0
    devices: float = 20.0


class JobManager:
    """Jobs of all projects of a workspace. Constructing it starts nothing; see start().

    Args:
        workspace: whose jobs.
        weights_dir: folder of downloaded weights; ``<workspace>/weights`` when None.
        patience: waiting times.
        launch: starts the worker of a job folder.
    """

    def __init__(
        self,
        workspace: Workspace,
        weights_dir: Path | None = None,
        patience: Patience = Patience(),
        launch: Launch = launch_worker,
    ) -> None:
        self.workspace = workspace
        self.weights_dir = weights_dir or default_folder(workspace.root)
        self._patience = patience
        self._launch = launch
        self._lock = FileLock(workspace.root / ".scheduler.lock")
        self._stores: dict[str, JobStore] = {}
        self._children: list[subprocess.Popen[bytes]] = []
        self._devices: list[Device] | None = None
        self._devices_asked: threading.Thread | None = None
        self._guard = threading.RLock()
        self._quit = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to schedule in a daemon thread, and ask for the devices in another."""
        self.refresh_devices()
        if self._thread is None:
            self._quit.clear()
            self._thread = threading.Thread(target=self._run, name="job-manager", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop scheduling. Running jobs go on and are found again by the next manager."""
        self._quit.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._lock.release()

    @property
    def scheduling(self) -> bool:
        """Whether this manager is the one that starts jobs in this workspace."""
        return self._lock.held

    def devices(self) -> list[Device] | None:
        """The devices found so far, None while they are being listed. Never waits."""
        return self._devices

    def refresh_devices(self) -> None:
        """List the devices again in the background."""
        if self._devices_asked is None or not self._devices_asked.is_alive():
            self._devices_asked = threading.Thread(target=self._list_devices, name="devices", daemon=True)
            self._devices_asked.start()

    def store(self, project: Project | str) -> JobStore:
        """The jobs of one project on disk."""
        name = project if isinstance(project, str) else project.name
        with self._guard:
            if name not in self._stores:
                self._stores[name] = JobStore(self.workspace.open(name))
            return self._stores[name]

    def submit(self, project: Project | str, stage: str, settings: Settings, retry_of: str = "") -> str:
        """Queue a job and return its id.

        Raises:
            DiskFullError: less than 1 GiB is free.
            BadInputError: the project does not exist or the settings are another stage's.
        """
        store = self.store(project)
        if not isinstance(settings, settings_class(stage, str(getattr(settings, "model_class", "saehd")))):
            raise BadInputError(f"{type(settings).__name__} are not the settings of the stage '{stage}'.")
        require_free_disk(store.project.path)
        lane = lane_of(stage, settings.model_dump(mode="json"), self._best_device() or BEST)
        return store.create(stage, settings, lane=lane, retry_of=retry_of)

    def stop(self, project: Project | str, job_id: str) -> None:
        """Ask a job to save and end; a queued one is cancelled. Returns at once."""
        store = self.store(project)
        status = store.update(
            job_id, expect={JobState.QUEUED}, state=JobState.STOPPED, finished=time.time(), message="Cancelled."
        )
        if status.state in _ACTIVE:
            (store.path(job_id) / STOP_FILE).touch()
            store.update(job_id, expect={JobState.RUNNING}, state=JobState.STOPPING)

    def retry(self, project: Project | str, job_id: str) -> str:
        """Queue an ended job again and return the new id. Training resumes its model.

        The settings are the same, with what the user changed while it ran.
        """
        store = self.store(project)
        record = store.record(job_id)
        if not record.status.state.final:
            raise BadInputError("This job has not ended yet.", "Stop it first.")
        model_class = str(record.request.settings.get("model_class", "saehd"))
        try:
            settings = _as_it_ended(record, settings_class(record.request.stage, model_class))
        except (KeyError, ValueError) as error:
            raise BadInputError("The settings of this job cannot be used any more.", "Start it anew.") from error
        return self.submit(project, record.request.stage, settings, retry_of=job_id)

    def resume(self, project: Project | str, job_id: str) -> str:
        """Go on with an interrupted or stopped job: a new job, see retry."""
        return self.retry(project, job_id)

    def reorder(self, project: Project | str, job_id: str, step: int) -> None:
        """Move a queued job up (step -1) or down (+1) among the queued jobs of its project."""
        store = self.store(project)
        queued = _waiting(store)
        ids = [record.id for record in queued]
        if job_id not in ids:
            raise BadInputError("Only a job that waits can be moved.")
        at = ids.index(job_id)
        to = at + step
        if 0 <= to < len(ids):
            for moved, order in ((at, queued[to].status.order), (to, queued[at].status.order)):
                store.update(ids[moved], expect={JobState.QUEUED}, order=order)

    def run_next(self, project: Project | str, job_id: str) -> None:
        """Put a queued job before all other queued jobs of its project."""
        store = self.store(project)
        queued = _waiting(store)
        if job_id not in (record.id for record in queued):
            raise BadInputError("Only a job that waits can be moved.")
        store.update(job_id, expect={JobState.QUEUED}, order=queued[0].status.order - 1)

    def hold(self, project: Project | str, on: bool) -> None:
        """Let running jobs of a project end and start no other one, or go on with those that wait."""
        self.store(project).hold(on)

    def held(self, project: Project | str) -> bool:
        """Whether the queue of a project is held."""
        return self.store(project).held

    def request(self, project: Project | str, job_id: str, name: str) -> None:
        """Hand a wish to a running job; "save" and "backup" make training save now."""
        store = self.store(project)
        if name not in REQUESTS:
            raise BadInputError(f"A job does not know the wish '{name}'.")
        if store.status(job_id).state not in _ACTIVE:
            raise BadInputError("The job is not running.")
        (store.path(job_id) / name).touch()

    def change(self, project: Project | str, job_id: str, changes: Mapping[str, Any]) -> None:
        """Hand changed settings to a running job, which takes them over between two iterations.

        Raises:
            BadInputError: the job is not running, a setting cannot change while it runs, or a value does not fit.
        """
        store = self.store(project)
        record = store.record(job_id)
        if record.status.state is not JobState.RUNNING:
            raise BadInputError("The job is not running.")
        request = record.request
        kind = settings_class(request.stage, str(request.settings.get("model_class", "saehd")))
        fixed = [name for name in changes if name not in kind.model_fields or not is_live(kind.model_fields[name])]
        if fixed:
            raise BadInputError(f"This cannot change while a job runs: {', '.join(fixed)}.", "Stop it first.")
        try:
            kind.model_validate({**request.settings, **changes})
        except ValidationError as error:
            raise BadInputError(f"The changed settings cannot be used: {one_line(error)}.") from error
        add_changes(record.path, json_safe(changes))

    def jobs(self, project: Project | str) -> list[JobRecord]:
        """All jobs of a project, newest first."""
        return self.store(project).list()

    def running(self) -> list[JobRecord]:
        """Running and stopping jobs of all projects, oldest first."""
        active = [record for record in self._open_jobs() if record.status.state in _ACTIVE]
        return sorted(active, key=lambda record: record.request.created)

    def queued(self) -> list[JobRecord]:
        """Waiting jobs of all projects in the order in which they will start."""
        waiting = [record for record in self._open_jobs() if record.status.state is JobState.QUEUED]
        return sorted(waiting, key=lambda record: (record.status.order, record.request.created))

    def tick(self) -> None:
        """One look: reap, mark what died, press on with stops, start what may start. Reads only without the lock."""
        self._children = [child for child in self._children if child.poll() is None]
        if not self._lock.acquire():
            return
        for record in self._open_jobs():
            self._tidy(record)
        open_jobs = self._open_jobs()
        if self._devices is None and any(places(record.request.lane, None) is None for record in open_jobs):
            self.refresh_devices()
        held = {name for name in {r.request.project for r in open_jobs} if self.store(name).held}
        startable = [r for r in open_jobs if r.status.state in _ACTIVE or r.request.project not in held]
        for record in next_to_start(startable, self._best_device()):
            self._start_job(record)

    def _run(self) -> None:
        while not self._quit.wait(self._patience.tick):
            try:
                self.tick()
            except Exception:  # noqa: BLE001 - the thread has to outlive any fault of one look; the log says what it was
                _LOG.exception("a look at the jobs failed")

    def _open_jobs(self) -> list[JobRecord]:
        return [record for store in self._all_stores() for record in store.list() if not record.status.state.final]

    def _all_stores(self) -> Iterator[JobStore]:
        for name in self.workspace.projects():
            try:
                yield self.store(name)
            except LookalikeError as error:
                _LOG.warning("project %s: %s", name, error)

    def _tidy(self, record: JobRecord) -> None:
        status = record.status
        if status.state is JobState.QUEUED:
            if record.request.foreground and time.time() - record.request.created > _STARTING_S:
                self._mark_interrupted(record, "The command line ended before it began.")
        elif not is_alive(status.pid, status.pid_started):
            self._mark_interrupted(record, last_words(record.path))
        elif status.state is JobState.STOPPING:
            self._press(record)

    def _press(self, record: JobRecord) -> None:
        try:
            age = time.time() - (record.path / STOP_FILE).stat().st_mtime
        except FileNotFoundError:
            return
        if age > self._patience.stop:
            terminate(record.status.pid, record.status.pid_started, kill=age > self._patience.kill)

    def _mark_interrupted(self, record: JobRecord, reason: str) -> None:
        open_states = {JobState.QUEUED, JobState.RUNNING, JobState.STOPPING}
        update_status(record.path, expect=open_states, state=JobState.INTERRUPTED, finished=time.time(), error=reason)

    def _start_job(self, record: JobRecord) -> None:
        try:
            child = self._launch(record.path, self.weights_dir)
        except OSError as error:
            reason = f"The worker could not be started: {error}."
            update_status(record.path, state=JobState.FAILED, finished=time.time(), error=reason)
            return
        self._children.append(child)
        mark_started(record.path, child.pid)

    def _list_devices(self) -> None:
        self._devices = list_devices(self._patience.devices)

    def _best_device(self) -> str | None:
        return resolve_device(BEST, self._devices).name if self._devices is not None else None


def _waiting(store: JobStore) -> list[JobRecord]:
    """The queued jobs of a project in the order in which they will start."""
    queued = (record for record in store.list() if record.status.state is JobState.QUEUED)
    return sorted(queued, key=lambda record: (record.status.order, record.id))


def _as_it_ended(record: JobRecord, kind: type[Settings]) -> Settings:
    """Settings of an ended job with the changes that it took over while it ran, and with those it had no time to take.

    Raises:
        ValidationError: the settings of the job do not fit this version of the program.
    """
    live = {name for name, field in kind.model_fields.items() if is_live(field)}
    taken, left = (
        {name: value for name, value in found.items() if name in live}
        for found in (last_settings(record.path), changes_left(record.path))
    )
    settings = {**record.request.settings, **taken}
    try:
        return kind.model_validate({**settings, **left})
    except ValidationError:
        return kind.model_validate(settings)
