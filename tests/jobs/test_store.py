from __future__ import annotations

import re
import threading
import time
from pathlib import Path

import pytest

from backend.core.errors import BadInputError
from backend.core.jobs import JobState
from backend.core.settings import SortSettings
from backend.jobs.store import CHANGES_FILE, JobStore, add_changes, take_changes


def test_a_new_job_is_queued_and_complete(store: JobStore) -> None:
    job_id = store.create("sort", SortSettings(by="yaw"), lane="io", retry_of="before")
    assert re.fullmatch(r"\d{8}-\d{6}-sort-[0-9a-f]{4}", job_id)
    request = store.request(job_id)
    assert (request.stage, request.settings["by"], request.retry_of) == ("sort", "yaw", "before")
    assert store.status(job_id).state is JobState.QUEUED
    assert (store.path(job_id) / "previews").is_dir()


def test_jobs_are_listed_newest_first(store: JobStore) -> None:
    ids = []
    for _ in range(4):
        ids.append(store.create("sort", SortSettings()))
        time.sleep(0.005)
    assert [record.id for record in store.list()] == ids[::-1]
    assert store.list()[0].request.project == "film"


def test_a_change_by_another_store_is_seen(store: JobStore) -> None:
    job_id = store.create("sort", SortSettings())
    assert store.list()[0].status.done == 0
    JobStore(store.project).update(job_id, done=7, state=JobState.RUNNING)
    assert store.list()[0].status.done == 7


def test_an_unexpected_state_is_left_alone(store: JobStore) -> None:
    job_id = store.create("sort", SortSettings())
    store.update(job_id, state=JobState.DONE)
    assert store.update(job_id, expect={JobState.RUNNING}, state=JobState.INTERRUPTED).state is JobState.DONE
    assert store.status(job_id).state is JobState.DONE


def test_writers_at_the_same_time_lose_nothing(store: JobStore) -> None:
    job_id = store.create("sort", SortSettings())

    def change(field: str) -> None:
        for value in range(20):
            store.update(job_id, **{field: value})

    threads = [threading.Thread(target=change, args=(field,)) for field in ("done", "total", "rate")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    status = store.status(job_id)
    assert (status.done, status.total, status.rate) == (19, 19, 19.0)


@pytest.mark.parametrize("job_id", ["", "..", "../../film", "20260101-000000-sort-zzzz", "20260101-000000-sort-0000"])
def test_an_id_cannot_lead_elsewhere(store: JobStore, job_id: str) -> None:
    with pytest.raises(BadInputError):
        store.path(job_id)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"state": "flying"}', "null"])
@pytest.mark.parametrize("file", ["request.json", "state.json"])
def test_a_damaged_job_is_shown_as_failed(store: JobStore, file: str, content: str) -> None:
    good = store.create("sort", SortSettings())
    bad = store.create("sort", SortSettings())
    (store.path(bad) / file).write_text(content)
    states = {record.id: record.status for record in store.list()}
    assert states[good].state is JobState.QUEUED
    assert states[bad].state is JobState.FAILED
    assert file in states[bad].error


def test_the_tail_of_the_log(store: JobStore) -> None:
    job_id = store.create("sort", SortSettings())
    assert store.log_tail(job_id, 3) == ""
    log: Path = store.path(job_id) / "log.txt"
    log.write_text("\n".join(f"line {number}" for number in range(20_000)) + "\n")
    assert store.log_tail(job_id, 2) == "line 19998\nline 19999"


def test_listing_many_ended_jobs_is_quick(store: JobStore) -> None:
    for _ in range(30):
        store.update(store.create("sort", SortSettings()), state=JobState.DONE)
    store.list()
    begun = time.perf_counter()
    for _ in range(20):
        store.list()
    assert (time.perf_counter() - begun) / 20 < 0.02


def test_changed_settings_are_handed_over_once(store: JobStore) -> None:
    job = store.path(store.create("sort", SortSettings()))
    assert take_changes(job) == {}
    add_changes(job, {"learning_rate": 1e-4, "gan_power": 0.1})
    add_changes(job, {"learning_rate": 2e-4})
    assert take_changes(job) == {"learning_rate": 2e-4, "gan_power": 0.1}
    assert take_changes(job) == {}


@pytest.mark.parametrize("content", ["", "{", "[1]", "null"])
def test_damaged_changes_are_none_and_do_not_stay(store: JobStore, content: str) -> None:
    job = store.path(store.create("sort", SortSettings()))
    (job / CHANGES_FILE).write_text(content)
    assert take_changes(job) == {}
    assert not (job / CHANGES_FILE).exists()


def test_no_change_is_lost_while_the_worker_takes_them(store: JobStore) -> None:
    job = store.path(store.create("sort", SortSettings()))
    taken: dict[str, int] = {}
    names = [f"setting_{number}" for number in range(60)]
    writer = threading.Thread(target=lambda: [add_changes(job, {name: 1}) for name in names])
    writer.start()
    while writer.is_alive():
        taken.update(take_changes(job))
    taken.update(take_changes(job))
    assert sorted(taken) == sorted(names)
