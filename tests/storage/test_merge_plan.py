"""The stored plan of a merge."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backend.core.settings import FaceRule, MergeKey, MergeLook, MergeSettings
from backend.jobs.arguments import read_config
from backend.storage.merge_plan import PLAN_FILE, load_plan, plan_path, plan_problem, save_plan
from backend.storage.workspace import Project, Workspace


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Workspace(tmp_path).create("film", "Nobody is shown.", "")


def test_a_plan_comes_back_as_it_was(project: Project) -> None:
    assert load_plan(project) is None
    assert plan_problem(project) == ""
    settings = MergeSettings(
        mode="seamless",
        keys=(MergeKey(frame=9, look=MergeLook(mode="hist-match", erode_mask=-3)),),
        faces=(FaceRule(person="anna", action="leave"), FaceRule(track=3, model="other")),
    )
    save_plan(project, settings)
    assert load_plan(project) == settings
    assert MergeSettings.model_validate(read_config(project.path / PLAN_FILE, "merge")) == settings
    assert read_config(plan_path(project), "render")["mode"] == "seamless"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "damaged"),
        ("[]", "does not fit"),
        (json.dumps({"mode": "magic"}), "mode"),
        (json.dumps({"later": 1}), "later"),
        (json.dumps({"keys": [{"frame": 4}, {"frame": 2}]}), "in order"),
    ],
)
def test_a_plan_that_cannot_be_used_is_told_of_and_kept(project: Project, text: str, said: str) -> None:
    plan_path(project).write_text(text)
    assert load_plan(project) is None
    assert said in plan_problem(project)
    save_plan(project, MergeSettings(erode_mask=4))
    assert load_plan(project) == MergeSettings(erode_mask=4)
    assert plan_problem(project) == ""
    assert (project.path / f"{PLAN_FILE}.damaged").read_text() == text
