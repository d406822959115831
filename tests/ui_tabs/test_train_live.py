"""Settings that change while a training runs."""

from __future__ import annotations

import os
import time

import pytest

from backend.core.errors import BadInputError
from backend.core.jobs import JobState
from backend.core.settings import SaehdSettings
from backend.jobs.events import EventWriter
from backend.jobs.launch import start_time
from backend.jobs.store import take_changes
from tests.ui_tabs.train_page import make_tab, values_of
from ui_tabs.context import View


@pytest.fixture
def running(tmp_path, monkeypatch):
    """(tab, view, job folder): the model "anna" trains, and is the chosen one."""
    tab, manager = make_tab(tmp_path, monkeypatch)
    view = View(project="film", local={"train.pick": "anna"})
    job = tab.page.submit(view, "train", SaehdSettings(model="anna"))
    store = manager.store("film")
    store.update(job, state=JobState.RUNNING, pid=os.getpid(), pid_started=start_time(os.getpid()))
    return tab, view, store.path(job)


def check(tab, view, **changes):
    return tab._checked(view, SaehdSettings(**{"model": "anna", **changes}))


def test_the_button_comes_and_goes_with_the_difference(running):
    tab, view, _ = running
    assert check(tab, view)[tab.live.button]["visible"] is False
    assert check(tab, view, learning_rate=1e-4)[tab.live.button]["visible"] is True
    assert check(tab, view)[tab.live.button]["visible"] is False


def test_what_waits_for_the_next_start_is_told(running):
    tab, view, _ = running
    note = check(tab, view, learning_rate=1e-4, batch_size=2)[tab.live.note]
    assert "Can change while it runs: Learning rate." in note
    assert "Counts at the next start: Batch size." in note
    assert tab.live.differing(view) == ({"learning_rate": 1e-4}, ["batch_size"])


def test_only_what_differs_is_handed_to_the_training(running):
    tab, view, job = running
    tab._apply(values_of(tab, view, model="anna", learning_rate=1e-4, gan_power=0.1, batch_size=2))
    assert take_changes(job) == {"learning_rate": 1e-4, "gan_power": 0.1}
    assert tab.live.differing(view) == ({}, ["batch_size"])


def test_the_answer_of_the_training_is_what_counts(running):
    tab, view, job = running
    check(tab, view, learning_rate=1e-4)
    tab._apply(values_of(tab, view, model="anna", learning_rate=1e-4))
    write = EventWriter(job / "events.jsonl")
    settings = SaehdSettings(model="anna", learning_rate=3e-4).model_dump(mode="json")
    write("milestone", {"what": "settings", "message": "", "iteration": 5, "settings": settings})
    assert tab.live.differing(view) == ({"learning_rate": 1e-4}, [])
    settings = tab._baseline(view)[0]
    assert settings.learning_rate == 3e-4


def test_a_training_that_says_nothing_has_not_changed(running, monkeypatch):
    tab, view, _ = running
    tab._apply(values_of(tab, view, model="anna", learning_rate=1e-4))
    assert tab.live.differing(view) == ({}, [])
    later = time.time() + 60
    monkeypatch.setattr(time, "time", lambda: later)
    assert tab.live.differing(view) == ({"learning_rate": 1e-4}, [])


def test_another_model_or_no_training_has_nothing_to_apply(running):
    tab, view, job = running
    check(tab, view, model="bea", learning_rate=1e-4)
    assert tab.live.differing(view) == ({}, [])
    tab.page.manager.store("film").update(job.name, state=JobState.DONE)
    check(tab, view, learning_rate=1e-4)
    assert tab.live.differing(view) == ({}, [])
    with pytest.raises(BadInputError, match="No training is running"):
        tab._apply(values_of(tab, view, model="anna", learning_rate=1e-4))


def test_nothing_to_apply_is_told(running):
    tab, view, _ = running
    with pytest.raises(BadInputError, match="Nothing that can change"):
        tab._apply(values_of(tab, view, model="anna", batch_size=2))


def test_the_seed_that_a_training_picked_is_no_difference(running):
    tab, view, job = running
    settings = SaehdSettings(model="anna", seed=77).model_dump(mode="json")
    EventWriter(job / "events.jsonl")("milestone", {"what": "settings", "message": "", "settings": settings})
    check(tab, view)
    assert tab.live.differing(view) == ({}, [])
    check(tab, view, seed=5)
    assert tab.live.differing(view) == ({}, ["seed"])
