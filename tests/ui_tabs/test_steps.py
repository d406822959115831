"""Marks of the step bar."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from backend.core.jobs import JobRequest, JobState, JobStatus
from backend.jobs.store import JobRecord
from backend.storage.workspace import ModelStatus, ProjectStatus, SideStatus
from ui_tabs.header import marks_html
from ui_tabs.steps import TITLES, steps, tab_of_stage

EMPTY = SideStatus()
CLIP = SideStatus(video=Path("data_src.mp4"))
FACES = SideStatus(video=Path("data_src.mp4"), frames=9, faces=9)


def job(stage, state):
    request = JobRequest(id="x", project="p", stage=stage, settings={}, created=time.time())
    return JobRecord(request, JobStatus(state=state), Path("x"))


def by_name(status, consent="Ann agreed.", jobs=()):
    return {step.name: step for step in steps(status, consent, list(jobs))}


def test_without_a_project_everything_leads_to_the_project_tab():
    found = by_name(None)
    assert len(found) == 6
    assert {step.goto for step in found.values()} == {"project"}


def test_what_is_missing_names_the_tab_that_makes_it():
    found = by_name(ProjectStatus(src=CLIP, dst=CLIP))
    assert found["project"].mark == "done"
    assert found["extract"].mark == "ready"
    assert (found["train"].mark, found["train"].goto) == ("missing", "extract")
    assert (found["merge"].goto, found["export"].goto) == ("train", "merge")


def test_one_missing_side_is_named():
    found = by_name(ProjectStatus(src=FACES, dst=EMPTY))
    assert found["train"].missing == "The destination faces are missing."
    assert "the destination clip" in found["project"].missing


def test_missing_consent_is_named():
    found = by_name(ProjectStatus(src=CLIP, dst=CLIP), consent="  ")
    assert "consent" in found["project"].missing


def test_the_whole_path_is_done():
    status = ProjectStatus(src=FACES, dst=FACES, models=(ModelStatus(name="m", iteration=5),), merged=9, results=1)
    found = by_name(status, jobs=[job("sort", JobState.DONE)])
    assert {step.mark for step in found.values()} == {"done"}


def test_a_merge_of_some_frames_is_not_done_and_an_export_needs_no_merged_frames():
    trained = {"src": FACES, "dst": FACES, "models": (ModelStatus(name="m", iteration=5),)}
    some = by_name(ProjectStatus(**trained, merged=4))
    assert (some["merge"].mark, some["merge"].there) == ("ready", "4 of 9 frames merged")
    none = by_name(ProjectStatus(**trained))
    assert (none["merge"].mark, none["export"].mark) == ("ready", "ready")
    assert by_name(ProjectStatus(**trained), jobs=[job("render", JobState.RUNNING)])["export"].mark == "running"


@pytest.mark.parametrize(
    ("state", "mark"),
    [
        (JobState.RUNNING, "running"),
        (JobState.STOPPING, "running"),
        (JobState.FAILED, "failed"),
        (JobState.DONE, "done"),
    ],
)
def test_jobs_show_on_their_step(state, mark):
    found = by_name(ProjectStatus(src=FACES, dst=FACES), jobs=[job("extract-faces", state)])
    assert found["extract"].mark == mark


def test_marks_are_written_behind_every_title():
    found = steps(None, "", [])
    style = marks_html(found, 2)
    assert all(f"#tab-{name}-button" in style for name in TITLES)
    assert "(2)" in style


def test_every_stage_has_a_tab():
    assert tab_of_stage("extract-faces") == "extract"
    assert tab_of_stage("something else") == "queue"
