from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from backend.core.errors import BadInputError
from backend.core.jobs import JobState
from backend.core.settings import CreateSettings, ExportSettings, SampleSettings, SortSettings
from backend.jobs import worker
from backend.jobs.launch import PROGRAM_DIR, is_alive, start_time, terminate
from backend.jobs.store import JobStore, update_status
from backend.jobs.worker import run_job
from tests.jobs.conftest import LAUNCH, wait_for
from tests.jobs.injected import STAGES


def test_a_job_runs_to_its_end(store: JobStore) -> None:
    job_id = store.create("create", CreateSettings())
    assert run_job(store.path(job_id), STAGES) is JobState.DONE
    status = store.status(job_id)
    assert (status.state, status.done, status.total, status.message) == (JobState.DONE, 3, 3, "over")
    assert status.result == {"path": "x/y", "array": [0, 1, 2], "bad": None, "count": 4}
    assert status.pid == os.getpid()
    events, _ = store.events(job_id)
    assert [event.kind for event in events] == ["log", "progress", "finished"]
    assert events[-1].data["state"] == "done"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("expected", "The clip is empty. Take another."),
        ("type", "Unexpected error: TypeError: not this type"),
        ("memory", "There is not enough memory for these settings."),
        ("torch", "There is not enough memory for these settings."),
        ("disk", "The disk is full."),
    ],
)
def test_a_failure_is_one_sentence(store: JobStore, name: str, sentence: str) -> None:
    job_id = store.create("export", ExportSettings(name=name))
    assert run_job(store.path(job_id), STAGES) is JobState.FAILED
    error = store.status(job_id).error
    assert error.startswith(sentence)
    assert "Traceback" not in error
    assert "\n" not in error


def test_a_full_disk_does_not_keep_a_job_from_telling_how_it_ended(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = store.create("export", ExportSettings(name="disk"))
    left = [3]

    def full_at_first(*args: Any, **changes: Any) -> Any:
        if changes.get("state") is JobState.FAILED and left[0]:
            left[0] -= 1
            raise OSError(errno.ENOSPC, "No space left on device")
        return update_status(*args, **changes)

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(worker, "update_status", full_at_first)
    monkeypatch.setattr(worker, "ROOM_PAUSE_S", 0.01)
    monkeypatch.setattr("sys.stdout.write", refuse)
    monkeypatch.setattr(worker.EventWriter, "__call__", refuse)
    assert run_job(store.path(job_id), STAGES) is JobState.FAILED
    assert (store.status(job_id).error[:17], left) == ("The disk is full.", [0])


def test_the_traceback_goes_to_the_log(store: JobStore) -> None:
    job_id = store.create("export", ExportSettings(name="type"))
    LAUNCH(store.path(job_id), store.path(job_id)).wait()
    log = store.log_tail(job_id, 50)
    assert "Traceback" in log
    assert "TypeError: not this type" in log


def test_the_child_process_prints_into_the_log(store: JobStore) -> None:
    job_id = store.create("create", CreateSettings())
    assert LAUNCH(store.path(job_id), store.path(job_id)).wait() == 0
    log = store.log_tail(job_id)
    assert "printed by the stage" in log
    assert "info: a sentence" in log


def test_a_wish_to_stop_ends_as_stopped(store: JobStore) -> None:
    job_id = store.create("sort", SortSettings())
    (store.path(job_id) / "stop").touch()
    assert run_job(store.path(job_id), STAGES) is JobState.STOPPED


def test_sigterm_is_a_wish_to_stop(store: JobStore) -> None:
    job_id = store.create("sort", SortSettings())
    child = LAUNCH(store.path(job_id), store.path(job_id))
    wait_for(lambda: store.status(job_id).done > 0)
    child.send_signal(signal.SIGTERM)
    assert child.wait(20) == 0
    assert store.status(job_id).state is JobState.STOPPED


def test_progress_and_heartbeat_reach_the_state(store: JobStore) -> None:
    job_id = store.create("sort", SortSettings())
    child = LAUNCH(store.path(job_id), store.path(job_id))
    status = wait_for(lambda: (s := store.status(job_id)).done > 2 and s)
    assert (status.state, status.total, status.unit, status.rate) == (JobState.RUNNING, 1200, "steps", 20.0)
    assert is_alive(status.pid, status.pid_started)
    assert os.getpgid(status.pid) == status.pid
    terminate(status.pid, status.pid_started, kill=True)
    assert child.wait(20) == -signal.SIGKILL
    assert not is_alive(status.pid, status.pid_started)


@pytest.mark.parametrize(
    "request_json",
    [
        "",
        "{}",
        '{"stage": "sort"}',
        "cos\nsystem\n(S'true'\ntR.",
        json.dumps({"id": "x", "project": "film", "stage": "../../x", "settings": {}, "created": 1}),
        json.dumps({"id": "x", "project": "film", "stage": "os", "settings": {}, "created": 1}),
        json.dumps({"id": "x", "project": "../../etc", "stage": "sort", "settings": {"by": "evil"}, "created": 1}),
        json.dumps({"id": "x", "project": "film", "stage": "sort", "settings": {"unknown": 1}, "created": 1}),
        json.dumps({"id": "x", "project": "film", "stage": "train", "settings": {"model_class": "x"}, "created": 1}),
    ],
)
def test_a_hostile_request_fails_with_a_sentence(store: JobStore, request_json: str) -> None:
    job_id = store.create("sort", SortSettings())
    (store.path(job_id) / "request.json").write_text(request_json)
    assert run_job(store.path(job_id)) is JobState.FAILED
    status = store.status(job_id)
    assert status.error
    assert "Unexpected" not in status.error


def test_an_ended_or_foreign_job_is_refused(store: JobStore) -> None:
    done = store.create("sort", SortSettings())
    store.update(done, state=JobState.DONE)
    foreign = store.create("sort", SortSettings())
    store.update(foreign, state=JobState.RUNNING, pid=1, pid_started=start_time(1))
    for job_id in (done, foreign):
        with pytest.raises(BadInputError):
            run_job(store.path(job_id), STAGES)


def test_a_folder_without_a_job_is_one_line(tmp_path: Path) -> None:
    ended = subprocess.run(  # noqa: PLW1510
        [sys.executable, "-m", "backend.jobs.worker", str(tmp_path)], capture_output=True, text=True, cwd=PROGRAM_DIR
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: state.json")
    assert len(ended.stderr.splitlines()) == 1


def test_a_stubborn_stage_can_be_killed(store: JobStore) -> None:
    job_id = store.create("sample", SampleSettings())
    child = LAUNCH(store.path(job_id), store.path(job_id))
    status = wait_for(lambda: (s := store.status(job_id)).state is JobState.RUNNING and s)
    terminate(status.pid, status.pid_started)
    terminate(status.pid, status.pid_started, kill=True)
    assert child.wait(20) == -signal.SIGKILL
