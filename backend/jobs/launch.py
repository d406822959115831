"""Starting workers, and knowing a process again by its pid and start time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

import backend
from backend.core.jobs import JobState
from backend.environment import worker_environment
from backend.jobs.store import update_status

Launch = Callable[[Path, Path], "subprocess.Popen[bytes]"]
"""launch(job_dir, weights_dir) -> the started worker."""

PROGRAM_DIR = Path(backend.__file__).resolve().parents[1]


def launch_worker(job_dir: Path, weights_dir: Path) -> subprocess.Popen[bytes]:
    """Start the worker of a job in a session of its own; it outlives this process and the terminal.

    Args:
        job_dir: the job's folder.
        weights_dir: folder of downloaded weights.
    """
    return launch_module("backend.jobs.worker", job_dir, weights_dir)


def launch_module(module: str, job_dir: Path, weights_dir: Path) -> subprocess.Popen[bytes]:
    """Start ``python -m module JOB_DIR`` with everything it prints in the job's log.txt."""
    with (job_dir / "log.txt").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", module, str(job_dir.resolve())],
            cwd=PROGRAM_DIR,
            env=worker_environment(weights_dir.resolve()),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            creationflags=_detached_flags(),
        )


def mark_started(job_dir: Path, pid: int) -> None:
    """Note a started worker in the state of its job, unless the worker was quicker."""
    now = time.time()
    update_status(
        job_dir,
        expect={JobState.QUEUED},
        state=JobState.RUNNING,
        pid=pid,
        pid_started=start_time(pid),
        started=now,
        heartbeat=now,
    )


def start_time(pid: int) -> float:
    """Start time of a process (unix seconds), 0.0 when it is gone or a zombie."""
    try:
        process = psutil.Process(pid)
        return 0.0 if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.Error:
        return 0.0


def is_alive(pid: int, started: float) -> bool:
    """Whether the process that was started at this time still runs; a reused pid is another process."""
    found = start_time(pid) if pid > 0 else 0.0
    return found > 0 and abs(found - started) < 1.0


def terminate(pid: int, started: float, *, kill: bool = False) -> None:
    """Ask a worker to end (SIGTERM), or end it with all its children (SIGKILL). A dead one is left alone."""
    if not is_alive(pid, started):
        return
    try:
        if sys.platform == "win32":
            psutil.Process(pid).kill() if kill else psutil.Process(pid).terminate()
        elif kill and os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGKILL if kill else signal.SIGTERM)
    except (ProcessLookupError, psutil.NoSuchProcess):
        return


def _detached_flags() -> int:
    if sys.platform == "win32":
        return subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS
    return 0
