"""Running a job for a terminal: the same job folder and the same worker as from the page, watched until it ends."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from backend.core.jobs import JobState, JobStatus
from backend.core.settings import Settings
from backend.jobs.launch import Launch, launch_worker, mark_started
from backend.jobs.scheduler import lane_of
from backend.jobs.store import STOP_FILE, JobStore, last_words, read_status, update_status
from backend.storage.atomic import require_free_disk
from backend.storage.workspace import Project

POLL_S = 0.2


Show = Callable[[JobStatus], None]


class ForegroundJob:
    """One job that belongs to this process until it ends.

    Args:
        project: where it runs.
        stage: what it does.
        settings: how.
        weights_dir: folder of downloaded weights.
        launch: starts the worker of a job folder.

    Raises:
        DiskFullError: less than 1 GiB is free.
    """

    def __init__(
        self, project: Project, stage: str, settings: Settings, weights_dir: Path, launch: Launch = launch_worker
    ) -> None:
        require_free_disk(project.path)
        store = JobStore(project)
        lane = lane_of(stage, settings.model_dump(mode="json"))
        self.id = store.create(stage, settings, lane=lane, foreground=True)
        self.path = store.path(self.id)
        self._child: subprocess.Popen[bytes] = launch(self.path, weights_dir)
        mark_started(self.path, self._child.pid)

    def stop(self) -> None:
        """Ask the worker to save and end."""
        (self.path / STOP_FILE).touch()
        update_status(self.path, expect={JobState.RUNNING}, state=JobState.STOPPING)

    def wait(self, show: Show) -> JobStatus:
        """Show the status until the job has ended, and return the last one. KeyboardInterrupt passes through."""
        while True:
            ended = self._child.poll() is not None
            status = read_status(self.path)
            if ended and not status.state.final:
                status = self._mark_interrupted()
            show(status)
            if status.state.final:
                self._child.wait()
                return status
            time.sleep(POLL_S)

    def _mark_interrupted(self) -> JobStatus:
        """How the job ended, its worker being gone without a word. It is told here even if no disk takes it."""
        changes = {"state": JobState.INTERRUPTED, "finished": time.time(), "error": last_words(self.path)}
        try:
            return update_status(self.path, expect={JobState.QUEUED, JobState.RUNNING, JobState.STOPPING}, **changes)
        except OSError as error:
            changes["error"] = f"How it ended could not be written: {error.strerror}. {changes['error']}"
            return read_status(self.path).model_copy(update=changes)


class ProgressLine:
    """Shows a job on a terminal as a bar with one line that changes; elsewhere as a line every few seconds.

    Args:
        name: what stands before the progress.
        interval_s: between two lines when the output is no terminal.
    """

    def __init__(self, name: str, interval_s: float = 5.0) -> None:
        self._name = name
        self._terminal = sys.stdout.isatty()
        self._interval_s = 0.0 if self._terminal else interval_s
        self._shown_at = 0.0
        self._shown = ""

    def __call__(self, status: JobStatus) -> None:
        """Show the status if it is time to."""
        now = time.monotonic()
        bar = bar_text(status) if self._terminal else ""
        text = f"{self._name}: {bar}{progress_text(status)}"
        final = status.state.final
        if text == self._shown or (not final and now - self._shown_at < self._interval_s):
            return
        if self._terminal:
            sys.stdout.write(f"\r\x1b[K{text[:200]}" + ("\n" if final else ""))
        else:
            sys.stdout.write(text + "\n")
        sys.stdout.flush()
        self._shown, self._shown_at = text, now


def bar_text(status: JobStatus, width: int = 24) -> str:
    """The progress as a bar with a space behind it; empty while the end is not known."""
    if not status.total:
        return ""
    filled = round(width * min(1.0, status.done / status.total))
    return f"[{'#' * filled}{'.' * (width - filled)}] "


def progress_text(status: JobStatus) -> str:
    """State and progress in words, for example "120/392 frames, 31.0/s, 9 s left"."""
    parts = [status.state.value]
    if status.total:
        parts.append(f"{status.done:,}/{status.total:,} {status.unit}")
    elif status.done:
        parts.append(f"{status.done:,} {status.unit}")
    if status.rate > 0 and not status.state.final:
        parts.append(f"{status.rate:.1f}/s" if status.rate >= 1 else f"{1 / status.rate:.1f} s each")
        if status.total > status.done:
            parts.append(f"{duration_text((status.total - status.done) / status.rate)} left")
    if status.state.final and status.started:
        parts.append(duration_text(status.finished - status.started))
    if status.message and not status.state.final:
        parts.append(status.message)
    return ", ".join(part.strip() for part in parts)


def duration_text(seconds: float) -> str:
    """A duration in words: "9 s", "4 min 10 s", "2 h 5 min"."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
