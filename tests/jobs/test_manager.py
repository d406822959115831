from __future__ import annotations

import os
import signal
import time

import pytest

from backend.core.errors import BadInputError, DiskFullError
from backend.core.jobs import JobState
from backend.core.settings import (
    CreateSettings,
    ExtractFramesSettings,
    SaehdSettings,
    SampleSettings,
    SortSettings,
)
from backend.jobs import manager as manager_module
from backend.jobs.events import EventWriter
from backend.jobs.launch import is_alive, start_time, terminate
from backend.jobs.manager import JobManager
from backend.jobs.store import add_changes
from backend.storage.workspace import Project, Workspace
from tests.jobs.conftest import wait_for


def state(manager: JobManager, job_id: str) -> JobState:
    return manager.store("film").status(job_id).state


def tick_until(manager: JobManager, job_id: str, *wanted: JobState) -> JobState:
    def reached() -> JobState | None:
        manager.tick()
        now = state(manager, job_id)
        return now if now in wanted else None

    return wait_for(reached)


def running_job(manager: JobManager) -> tuple[str, int]:
    """A patient job that has begun to work, and its pid."""
    job_id = manager.submit("film", "sort", SortSettings())
    tick_until(manager, job_id, JobState.RUNNING)
    wait_for(lambda: manager.store("film").status(job_id).done > 0)
    return job_id, manager.store("film").status(job_id).pid


def test_a_submitted_job_runs_and_ends(make_manager, project: Project) -> None:
    manager = make_manager()
    job_id = manager.submit(project, "create", CreateSettings())
    assert tick_until(manager, job_id, JobState.DONE) is JobState.DONE
    assert [record.id for record in manager.jobs(project)] == [job_id]
    assert manager.running() == []


def test_the_thread_schedules_by_itself(make_manager, project: Project) -> None:
    manager = make_manager(tick=0.05)
    manager.start()
    job_id = manager.submit("film", "create", CreateSettings())
    wait_for(lambda: state(manager, job_id) is JobState.DONE)
    wait_for(manager.devices)


def test_one_job_of_the_io_lane_at_a_time(make_manager, project: Project) -> None:
    manager = make_manager()
    first, _ = running_job(manager)
    second = manager.submit("film", "create", CreateSettings())
    manager.tick()
    assert state(manager, second) is JobState.QUEUED
    manager.stop("film", first)
    assert tick_until(manager, second, JobState.DONE)


def test_stop_lets_the_job_save_and_end(make_manager, project: Project) -> None:
    manager = make_manager()
    job_id, _ = running_job(manager)
    manager.request("film", job_id, "save")
    store = manager.store("film")
    wait_for(lambda: any(event.kind == "milestone" for event in store.events(job_id)[0]))
    manager.stop("film", job_id)
    assert state(manager, job_id) in (JobState.STOPPING, JobState.STOPPED)
    assert tick_until(manager, job_id, JobState.STOPPED)


def test_stop_presses_on_to_kill(make_manager, project: Project) -> None:
    manager = make_manager(stop=0.2, kill=0.6)
    job_id = manager.submit("film", "sample", SampleSettings())
    tick_until(manager, job_id, JobState.RUNNING)
    time.sleep(0.5)
    begun = time.monotonic()
    manager.stop("film", job_id)
    assert time.monotonic() - begun < 0.5
    assert tick_until(manager, job_id, JobState.INTERRUPTED, JobState.STOPPED)


def test_a_queued_job_is_cancelled(make_manager, project: Project) -> None:
    manager = make_manager()
    job_id = manager.submit("film", "sort", SortSettings())
    manager.stop("film", job_id)
    assert state(manager, job_id) is JobState.STOPPED
    manager.tick()
    assert manager.running() == []


def test_a_killed_worker_is_interrupted_and_resumes(make_manager, project: Project) -> None:
    manager = make_manager()
    job_id, pid = running_job(manager)
    os.kill(pid, signal.SIGKILL)
    assert tick_until(manager, job_id, JobState.INTERRUPTED)
    assert "ended without finishing" in manager.store("film").status(job_id).error
    again = manager.resume("film", job_id)
    assert manager.store("film").request(again).retry_of == job_id
    assert manager.store("film").request(again).settings == manager.store("film").request(job_id).settings
    tick_until(manager, again, JobState.RUNNING)


def test_a_reused_pid_is_another_process(make_manager, project: Project) -> None:
    manager = make_manager()
    store = manager.store("film")
    job_id = store.create("sort", SortSettings())
    store.update(job_id, state=JobState.RUNNING, pid=os.getpid(), pid_started=12345.0)
    assert tick_until(manager, job_id, JobState.INTERRUPTED)


def test_the_next_manager_adopts_a_running_job(make_manager, project: Project) -> None:
    first = make_manager()
    job_id, pid = running_job(first)
    first.close()
    second = make_manager()
    second.tick()
    assert state(second, job_id) is JobState.RUNNING
    assert [record.id for record in second.running()] == [job_id]
    second.stop("film", job_id)
    assert tick_until(second, job_id, JobState.STOPPED)
    first.tick()
    started = second.store("film").status(job_id).pid_started
    wait_for(lambda: not is_alive(pid, started))


def test_only_one_manager_schedules(make_manager, project: Project) -> None:
    first, second = make_manager(), make_manager()
    first.tick()
    job_id = second.submit("film", "create", CreateSettings())
    second.tick()
    assert first.scheduling
    assert not second.scheduling
    assert state(second, job_id) is JobState.QUEUED
    first.close()
    assert tick_until(second, job_id, JobState.DONE)


def test_a_running_worker_does_not_hold_the_scheduler_lock(make_manager, project: Project) -> None:
    first = make_manager()
    running_job(first)
    first.close()
    second = make_manager()
    second.tick()
    assert second.scheduling


def test_reorder_moves_queued_jobs(make_manager, project: Project) -> None:
    manager = make_manager()
    ids = [manager.submit("film", "sort", SortSettings(by=by)) for by in ("blur", "yaw", "name")]
    manager.reorder("film", ids[2], -1)
    assert [record.id for record in manager.queued()] == [ids[0], ids[2], ids[1]]
    manager.reorder("film", ids[0], 1)
    assert [record.id for record in manager.queued()] == [ids[2], ids[0], ids[1]]
    manager.reorder("film", ids[2], -1)
    assert manager.queued()[0].id == ids[2]
    manager.tick()
    assert manager.running()[0].id == ids[2]
    with pytest.raises(BadInputError):
        manager.reorder("film", ids[2], 1)


def test_run_next_goes_before_all_that_wait(make_manager, project: Project) -> None:
    manager = make_manager()
    first, second, third = (manager.submit(project, "create", CreateSettings(notes=note)) for note in "abc")
    manager.run_next(project, third)
    assert [record.id for record in manager.queued()] == [third, first, second]
    manager.run_next(project, third)
    assert [record.id for record in manager.queued()] == [third, first, second]
    manager.stop(project, first)
    with pytest.raises(BadInputError, match="waits"):
        manager.run_next(project, first)


def test_a_held_queue_ends_what_runs_and_starts_nothing_more(make_manager, project: Project) -> None:
    manager = make_manager()
    running, _ = running_job(manager)
    waiting = manager.submit("film", "sort", SortSettings(side="dst"))
    manager.hold("film", True)
    manager.stop("film", running)
    tick_until(manager, running, JobState.STOPPED)
    for _ in range(3):
        manager.tick()
    assert state(manager, waiting) is JobState.QUEUED
    manager.close()
    later = make_manager()
    later.tick()
    assert later.held("film") and state(later, waiting) is JobState.QUEUED
    later.hold("film", False)
    tick_until(later, waiting, JobState.RUNNING, JobState.DONE)
    later.stop("film", waiting)
    tick_until(later, waiting, JobState.STOPPED, JobState.DONE)


def test_a_held_queue_holds_no_other_project(make_manager, project: Project, workspace: Workspace) -> None:
    manager = make_manager()
    workspace.create("other", "Drawn people agreed.")
    held = manager.submit("film", "create", CreateSettings())
    manager.hold("film", True)
    free = manager.submit("other", "create", CreateSettings())
    wait_for(lambda: (manager.tick(), manager.store("other").status(free).state is JobState.DONE)[1])
    assert state(manager, held) is JobState.QUEUED


def test_a_full_disk_refuses_the_job(make_manager, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: object) -> None:
        raise DiskFullError("Only 3 MB are free.", "Free some space.")

    monkeypatch.setattr(manager_module, "require_free_disk", full)
    manager = make_manager()
    with pytest.raises(DiskFullError):
        manager.submit("film", "create", CreateSettings())
    assert manager.jobs("film") == []


def test_wrong_settings_projects_and_wishes_are_refused(make_manager, project: Project) -> None:
    manager = make_manager()
    with pytest.raises(BadInputError):
        manager.submit("film", "sort", ExtractFramesSettings())
    with pytest.raises(BadInputError):
        manager.submit("nobody", "sort", SortSettings())
    job_id = manager.submit("film", "sort", SortSettings())
    with pytest.raises(BadInputError):
        manager.request("film", job_id, "save")
    with pytest.raises(BadInputError):
        manager.request("film", job_id, "../../x")
    with pytest.raises(BadInputError):
        manager.retry("film", job_id)


def test_jobs_of_the_command_line_are_watched_not_started(make_manager, project: Project) -> None:
    manager = make_manager()
    store = manager.store("film")
    job_id = store.create("create", CreateSettings(), foreground=True)
    manager.tick()
    assert state(manager, job_id) is JobState.QUEUED
    store.update(job_id, state=JobState.RUNNING, pid=2**22 + 1, pid_started=1.0)
    assert tick_until(manager, job_id, JobState.INTERRUPTED)


def test_a_worker_that_cannot_begin_is_interrupted(workspace: Workspace, project: Project) -> None:
    from functools import partial

    from backend.jobs.launch import launch_module

    manager = JobManager(workspace, launch=partial(launch_module, "tests.jobs.nowhere"))
    job_id = manager.submit("film", "create", CreateSettings())
    assert tick_until(manager, job_id, JobState.INTERRUPTED)
    assert "nowhere" in manager.store("film").status(job_id).error
    manager.close()


def test_killing_leaves_other_processes_alone() -> None:
    terminate(os.getpid(), 12345.0, kill=True)
    assert is_alive(os.getpid(), start_time(os.getpid()))


def test_live_settings_reach_a_running_training(make_manager, project: Project) -> None:
    manager = make_manager()
    job_id = manager.submit("film", "train", SaehdSettings(device="cpu"))
    with pytest.raises(BadInputError, match="not running"):
        manager.change("film", job_id, {"learning_rate": 1e-4})
    tick_until(manager, job_id, JobState.RUNNING)
    manager.change("film", job_id, {"learning_rate": 1e-4, "gan_power": 0.1})
    store = manager.store("film")
    told = wait_for(lambda: [e for e in store.events(job_id)[0] if e.kind == "milestone"])
    assert told[0].data["settings"] == {"learning_rate": 1e-4, "gan_power": 0.1}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"batch_size": 4}, "cannot change while a job runs: batch_size"),
        ({"nonsense": 4}, "cannot change while a job runs: nonsense"),
        ({"learning_rate": 7.0}, "learning_rate"),
        ({"true_face_power": 0.1}, "true face needs a df architecture"),
    ],
)
def test_changes_that_cannot_be_are_refused(make_manager, project: Project, changes, reason) -> None:
    manager = make_manager()
    job_id = manager.store("film").create("train", SaehdSettings(device="cpu"))
    manager.store("film").update(job_id, state=JobState.RUNNING, pid=os.getpid(), pid_started=start_time(os.getpid()))
    with pytest.raises(BadInputError, match=reason):
        manager.change("film", job_id, changes)
    assert not (manager.store("film").path(job_id) / "changes.json").exists()
    manager.store("film").update(job_id, state=JobState.DONE)


def test_a_resumed_training_keeps_what_was_changed_while_it_ran(make_manager, project: Project) -> None:
    manager = make_manager()
    asked = SaehdSettings(device="cpu", target_iterations=10_000, batch_size=4)
    store = manager.store("film")
    job_id = store.create("train", asked)
    folder = store.path(job_id)
    writer = EventWriter(folder / "events.jsonl")
    for target in (20_000, 50_000):
        settings = asked.model_copy(update={"target_iterations": target, "batch_size": 2, "learning_rate": 1e-4})
        writer("milestone", {"what": "settings", "message": "Changed.", "settings": settings.model_dump(mode="json")})
        writer("milestone", {"what": "saved", "message": "Saved."})
    writer.close()
    add_changes(folder, {"gan_power": 0.1, "batch_size": 3})
    store.update(job_id, state=JobState.INTERRUPTED)
    again = store.request(manager.resume("film", job_id)).settings
    before = asked.model_dump(mode="json")
    changed = {name: value for name, value in again.items() if value != before[name]}
    assert changed == {"target_iterations": 50_000, "learning_rate": 1e-4, "gan_power": 0.1}


def test_a_change_that_never_fitted_is_not_resumed(make_manager, project: Project) -> None:
    manager = make_manager()
    store = manager.store("film")
    job_id = store.create("train", SaehdSettings(device="cpu"))
    add_changes(store.path(job_id), {"learning_rate": 7.0})
    store.update(job_id, state=JobState.STOPPED)
    again = manager.retry("film", job_id)
    assert store.request(again).settings == store.request(job_id).settings
