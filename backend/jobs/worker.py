"""The child process of a job: ``python -m backend.jobs.worker JOB_DIR``.

Reads request.json, runs the one stage it names and reports through events.jsonl and state.json. How it ended stands in
state.json, never in the exit code alone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from backend.core.errors import BadInputError, LookalikeError, StopRequested
from backend.core.jobs import EventKind, JobRequest, JobState
from backend.core.settings import Settings, settings_class
from backend.jobs.events import EventWriter, json_safe
from backend.jobs.launch import start_time
from backend.jobs.store import STOP_FILE, one_line, read_request, take_changes, update_status
from backend.pipeline.context import StageContext
from backend.pipeline.stages import STAGES, load_stage
from backend.storage.workspace import Project

HEARTBEAT_S = 2.0
STATUS_INTERVAL_S = 0.25
FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
ROOM_ATTEMPTS, ROOM_PAUSE_S = 60, 0.5
"""How long a job waits for the few bytes that tell how it ended: another program may just be filling the disk."""

NICENESS = 5
"""Jobs leave the processor to the page and to its previews first (Unix)."""


@dataclass(frozen=True)
class Outcome:
    """How a stage ended."""

    state: JobState
    error: str = ""
    result: dict[str, Any] = field(default_factory=dict)


class Reporter:
    """Writes events at once, and progress and heartbeat into state.json from a thread of its own.

    Args:
        job_dir: the job's folder.
    """

    def __init__(self, job_dir: Path) -> None:
        self._job_dir = job_dir
        self._events = EventWriter(job_dir / "events.jsonl")
        self._progress: dict[str, Any] = {}
        self._guard = threading.Lock()
        self._quit = threading.Event()
        self._thread = threading.Thread(target=self._pulse, name="heartbeat", daemon=True)
        self._thread.start()

    def emit(self, kind: EventKind, data: dict[str, Any]) -> None:
        """Append one event; progress also reaches state.json, log sentences also log.txt."""
        event = self._events(kind, data)
        if kind == "progress":
            with self._guard:
                self._progress = {key: event.data[key] for key in _PROGRESS_FIELDS if event.data.get(key) is not None}
        elif kind in ("log", "milestone"):
            _say(f"{event.data.get('level', event.data.get('what', 'info'))}: {event.data.get('message', '')}")

    def finish(self, outcome: Outcome) -> None:
        """Write the last event and the final state."""
        self._quit.set()
        self._thread.join()
        facts = {"state": outcome.state, "error": outcome.error, "result": json_safe(outcome.result)}
        with contextlib.suppress(OSError):  # the disk is full: the state says the same, and that can wait for room
            self._events("finished", facts)
        self._events.close()
        now = time.time()
        for _ in range(ROOM_ATTEMPTS):
            try:
                update_status(self._job_dir, **self._progress, **facts, finished=now, heartbeat=now)
                return
            except OSError as error:
                if error.errno not in FULL_DISK:
                    raise
                time.sleep(ROOM_PAUSE_S)
        update_status(self._job_dir, **self._progress, **facts, finished=now, heartbeat=now)

    def _pulse(self) -> None:
        written = 0.0
        while not self._quit.wait(STATUS_INTERVAL_S):
            with self._guard:
                progress, self._progress = self._progress, {}
            if progress or time.monotonic() - written >= HEARTBEAT_S:
                written = time.monotonic()
                self._write(progress)

    def _write(self, progress: dict[str, Any]) -> None:
        try:
            update_status(self._job_dir, heartbeat=time.time(), **progress)
        except (OSError, LookalikeError) as error:
            _say(f"warning: the progress could not be written: {error}")


class Wishes:
    """What the user asked the running job: control files in its folder, and SIGTERM, which is a wish to stop."""

    def __init__(self, job_dir: Path) -> None:
        self._job_dir = job_dir
        self._terminated = False

    def terminate(self, *_: object) -> None:
        """Signal handler."""
        self._terminated = True

    def stop_requested(self) -> bool:
        """True once the job should save and end."""
        return self._terminated or (self._job_dir / STOP_FILE).exists()

    def take(self, name: str) -> bool:
        """True once for every time the wish was uttered."""
        try:
            (self._job_dir / name).unlink()
        except FileNotFoundError:
            return False
        return True

    def take_changes(self) -> dict[str, Any]:
        """Settings the user changed since the last call, {} when none."""
        return take_changes(self._job_dir)


def run_job(job_dir: Path, stages: Mapping[str, str] = STAGES, wishes: Wishes | None = None) -> JobState:
    """Run the job of a folder to its end and return its final state.

    Args:
        job_dir: ``<workspace>/<project>/jobs/<id>``.
        stages: stage name -> module.
        wishes: where to look for the wish to stop; the job's control files when None.

    Raises:
        BadInputError: the folder holds no job, or another process runs it or ran it.
    """
    _claim(job_dir)
    reporter = Reporter(job_dir)
    outcome = _guarded(job_dir, stages, wishes or Wishes(job_dir), reporter)
    reporter.finish(outcome)
    return outcome.state


def main(argv: list[str], stages: Mapping[str, str] = STAGES) -> int:
    """Command line of the worker; 0 when the job is done or was stopped."""
    if len(argv) != 1:
        sys.stderr.write("usage: python -m backend.jobs.worker JOB_DIR\n")
        return 2
    job_dir = Path(argv[0]).resolve()
    wishes = Wishes(job_dir)
    signal.signal(signal.SIGTERM, wishes.terminate)
    signal.signal(signal.SIGINT, wishes.terminate)
    with contextlib.suppress(AttributeError, OSError):
        os.nice(NICENESS)
    try:
        state = run_job(job_dir, stages, wishes)
    except LookalikeError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0 if state in (JobState.DONE, JobState.STOPPED) else 1


_PROGRESS_FIELDS = ("done", "total", "unit", "rate", "message")


def _claim(job_dir: Path) -> None:
    """Make this process the job's worker; refuse when it is or was another's."""
    pid = os.getpid()
    status = update_status(
        job_dir,
        expect={JobState.QUEUED},
        state=JobState.RUNNING,
        pid=pid,
        pid_started=start_time(pid),
        started=time.time(),
        heartbeat=time.time(),
    )
    if status.state.final or status.pid != pid:
        raise BadInputError(f"The job in {job_dir} is {status.state.value} and does not wait for a worker.")


def _guarded(job_dir: Path, stages: Mapping[str, str], wishes: Wishes, reporter: Reporter) -> Outcome:
    settings: Settings | None = None
    try:
        request = read_request(job_dir)
        settings = _settings(request)
        project = Project(job_dir.parents[1])
        context = StageContext(
            project=project,
            job_dir=job_dir,
            emit=reporter.emit,
            stop_requested=wishes.stop_requested,
            take_request=wishes.take,
            take_changes=wishes.take_changes,
        )
        _say(f"info: {request.stage} of project {project.name} begins")
        return Outcome(JobState.DONE, result=json_safe(load_stage(request.stage, stages)(settings, context) or {}))
    except (StopRequested, KeyboardInterrupt):
        return Outcome(JobState.STOPPED)
    except LookalikeError as error:
        _say(f"error: {error}")
        return Outcome(JobState.FAILED, str(error))
    except Exception as error:  # noqa: BLE001 - the boundary: the traceback goes to the log, a sentence to the user
        traceback.print_exc()
        return Outcome(JobState.FAILED, _sentence(error, settings))


def _settings(request: JobRequest) -> Settings:
    model_class = str(request.settings.get("model_class", "saehd"))
    try:
        return settings_class(request.stage, model_class).model_validate(request.settings)
    except KeyError as error:
        raise BadInputError(f"There is no stage or model class {error} in this version.") from error
    except ValidationError as error:
        raise BadInputError(f"The settings of this job cannot be used: {one_line(error)}.") from error


def _sentence(error: Exception, settings: Settings | None) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.errno in FULL_DISK:
        return "The disk is full. Free some space and start the job again."
    if _is_out_of_memory(error, text):
        batch = getattr(settings, "batch_size", 0)
        fix = f"Try a batch size of {batch // 2}." if batch > 1 else "Choose smaller settings or another device."
        return f"There is not enough memory for these settings. {fix}"
    return f"Unexpected error: {type(error).__name__}: {text[:400]}"


def _is_out_of_memory(error: Exception, text: str) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and ("out of memory" in text.lower() or "allocate memory" in text.lower())


def _say(line: str) -> None:
    """One line for log.txt; lost when the disk is full, which must not keep the job from telling how it ended."""
    with contextlib.suppress(OSError):
        sys.stdout.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
