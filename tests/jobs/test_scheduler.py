from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backend.core.jobs import JobRequest, JobState, JobStatus
from backend.jobs.scheduler import lane_of, must_wait, next_to_start
from backend.jobs.store import JobRecord

SETTINGS: dict[str, dict[str, Any]] = {
    "extract-frames": {"side": "src"},
    "extract-faces": {"side": "src", "device": "cpu"},
    "sort": {"side": "src"},
    "train": {"model": "m", "device": "cpu", "target_iterations": 10},
    "merge": {"model": "m", "device": "cpu"},
    "export": {"name": "result"},
}


def job(
    number: int,
    stage: str,
    state: JobState = JobState.QUEUED,
    lane: str = "",
    project: str = "film",
    foreground: bool = False,
    **settings: Any,
) -> JobRecord:
    values = {**SETTINGS[stage], **settings}
    request = JobRequest(
        id=f"job{number}",
        project=project,
        stage=stage,
        settings=values,
        lane=lane or lane_of(stage, values),
        created=number,
        foreground=foreground,
    )
    return JobRecord(request, JobStatus(state=state, order=number), Path(request.id))


def started(records: list[JobRecord], best: str | None = "cpu") -> list[str]:
    return [record.id for record in next_to_start(records, best)]


def test_lanes() -> None:
    assert lane_of("sort", {}) == "io"
    assert lane_of("export", {}) == "io"
    assert lane_of("train", {"device": "cuda:1"}) == "cuda:1"
    assert lane_of("merge", {"device": "best"}) == "best"
    assert lane_of("merge", {"device": "best"}, "cuda:0") == "cuda:0"


def test_one_job_per_lane_in_order() -> None:
    jobs = [job(1, "sort"), job(2, "sort", side="dst"), job(3, "extract-faces", side="dst", project="other")]
    assert started(jobs) == ["job1", "job3"]
    assert started([job(0, "export", JobState.RUNNING), *jobs]) == ["job3"]


def test_two_devices_work_beside_each_other() -> None:
    jobs = [job(1, "train", model="a", device="cuda:0"), job(2, "train", model="b", device="cpu")]
    assert started(jobs) == ["job1", "job2"]


def test_a_job_on_several_devices_takes_them_all() -> None:
    both = job(1, "train", JobState.RUNNING, model="a", device="cuda:0, cuda:1")
    assert both.request.lane == "cuda:0,cuda:1"
    others = [job(n + 2, "train", model=f"m{n}", device=f"cuda:{n}") for n in range(3)]
    assert started([both, *others, job(9, "merge", device="cpu")], "cuda:0") == ["job4", "job9"]
    both = job(2, "train", model="a", device="cuda:0,cuda:1")
    assert started([both, *others]) == ["job2", "job4"]
    later = job(9, "train", model="z", device="cuda:0")
    busy = job(1, "train", JobState.RUNNING, model="y", device="cuda:1")
    assert started([busy, both, later, job(10, "merge")]) == ["job10"]
    assert lane_of("train", {"device": "cpu,cpu"}) == "cpu"
    assert lane_of("train", {"device": "best,cuda:1"}, "cuda:0") == "cuda:0,cuda:1"


def test_all_is_every_accelerator() -> None:
    every = job(1, "train", model="a", device="all")
    one, cpu, io = job(2, "train", model="b", device="cuda:1"), job(3, "merge"), job(4, "sort", project="other")
    assert started([every, one, cpu, io], None) == ["job2", "job3", "job4"]
    assert started([every, one, cpu, io], "cuda:0") == ["job1", "job3", "job4"]
    assert started([every, one, cpu, io], "cpu") == ["job1", "job2", "job4"]
    assert lane_of("train", {"device": "all"}, "cpu") == "cpu"
    assert lane_of("train", {"device": "all"}, "cuda:0") == lane_of("train", {"device": "all"}) == "all"


def test_best_waits_until_it_is_known_and_shares_the_lane() -> None:
    jobs = [job(1, "train", device="best", model="a"), job(2, "train", device="cuda:0", model="b")]
    assert started(jobs, None) == ["job2"]
    assert started(jobs, "cuda:0") == ["job1"]
    assert started(jobs, "cpu") == ["job1", "job2"]


def test_a_job_waits_for_what_it_needs() -> None:
    path = [
        job(1, "extract-frames", JobState.RUNNING),
        job(2, "extract-faces"),
        job(3, "extract-faces", side="dst"),
        job(4, "train"),
        job(5, "merge"),
        job(6, "export"),
    ]
    assert started(path) == ["job3"]


def test_other_projects_and_other_sides_do_not_wait() -> None:
    earlier = job(1, "extract-faces").request
    assert must_wait(job(2, "sort").request, earlier)
    assert must_wait(job(2, "train").request, earlier)
    assert not must_wait(job(2, "sort", side="dst").request, earlier)
    assert must_wait(job(2, "sort", side="dst", by="match-poses").request, earlier)
    assert not must_wait(job(2, "sort", project="other").request, earlier)
    assert must_wait(job(2, "sort").request, job(1, "train").request)


def test_nobody_waits_for_endless_training() -> None:
    endless = job(1, "train", JobState.RUNNING, lane="cuda:0", target_iterations=0, time_limit_min=0.0)
    assert started([endless, job(2, "merge"), job(3, "sort")]) == ["job2", "job3"]


def test_a_job_of_the_command_line_is_left_alone_but_occupies_its_lane() -> None:
    assert started([job(1, "sort", foreground=True)]) == []
    assert started([job(1, "sort", JobState.RUNNING, foreground=True), job(2, "export")]) == []


@pytest.mark.parametrize("state", [JobState.STOPPING, JobState.RUNNING])
def test_a_stopping_job_still_occupies_its_lane(state: JobState) -> None:
    assert started([job(1, "train", state, model="x"), job(2, "train", model="y")]) == []
