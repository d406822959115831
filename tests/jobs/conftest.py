"""A project in a fresh workspace, managers with short patience, and waiting for a condition."""

from __future__ import annotations

import functools
import time
from pathlib import Path

import pytest

from backend.jobs.launch import launch_module, terminate
from backend.jobs.manager import JobManager, Patience
from backend.jobs.store import JobStore
from backend.storage.workspace import Project, Workspace

LAUNCH = functools.partial(launch_module, "tests.jobs.injected")


def wait_for(condition, timeout_s: float = 30.0, step_s: float = 0.05):
    """Wait until the condition is true and return its value."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(step_s)
    return value


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """An empty workspace."""
    (tmp_path / "workspace").mkdir()
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def project(workspace: Workspace) -> Project:
    """A project without clips."""
    return workspace.create("film", "Drawn people agreed.", "")


@pytest.fixture
def store(project: Project) -> JobStore:
    """The jobs of the project."""
    return JobStore(project)


@pytest.fixture
def make_manager(workspace: Workspace):
    """Makes managers that run the small stages; ends what they left running."""
    made: list[JobManager] = []

    def make(**patience: float) -> JobManager:
        manager = JobManager(workspace, patience=Patience(**patience), launch=LAUNCH)
        made.append(manager)
        return manager

    yield make
    for manager in made:
        manager.close()
        for record in manager.running():
            terminate(record.status.pid, record.status.pid_started, kill=True)
