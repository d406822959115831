"""Looking for a learning rate before a new model's first iteration, through the stage."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from backend.core.errors import LookalikeError, StopRequested
from backend.core.settings import Quick96Settings, TrainSettings
from backend.pipeline import train as stage
from backend.storage.checkpoint import Generation, load_latest
from backend.storage.lr_curve import read_lr_curve
from backend.training import lr_finder
from backend.training.lr_finder import LAST, RisingRate
from backend.training.step import TrainStep
from tests.pipeline.stored_model import tiny_amp
from tests.pipeline.training_project import Watched, briskly, drawn_project, tiny_settings

STEPS, FIRST = 6, 1e-5
SEARCH: dict[str, Any] = {"batch_size": 1, "preview_interval": 100, "target_iterations": 3, "lr_finder_iterations": 100}


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    """Searches take six steps from 1e-5 on, and always find something."""
    briskly(monkeypatch)
    monkeypatch.setattr(lr_finder, "FIRST", FIRST)
    monkeypatch.setattr(lr_finder, "RisingRate", lambda steps: RisingRate(STEPS))
    return Watched(drawn_project(tmp_path))


def newest(watched: Watched, name: str = "tiny") -> Generation:
    found = load_latest(watched.folder(name).generations_dir)
    assert found is not None
    return found


def found_rate(watched: Watched) -> float:
    (told,) = [data for kind, data in watched.events if kind == "milestone" and data["what"] == "lr found"]
    return float(told["learning_rate"])


def same(one: Generation, two: Generation) -> bool:
    tensors = [
        torch.equal(value, two.tensors[name][key])
        for name, values in one.tensors.items()
        for key, value in values.items()
    ]
    known = one.tensors.keys() == two.tensors.keys()
    return known and all(tensors) and one.state.rest == two.state.rest and one.state.rng == two.state.rng


@pytest.mark.parametrize(
    "changes",
    [
        {"lr_finder": "plot_and_set"},
        {"lr_finder": "set", "gan_power": 0.1, "gan_dims": 4, "average_weights": True, "autoclip": True},
        {"lr_finder": "set", "accumulate": 2, "optimizer": "adam", "lr_dropout": True, "lr_schedule": "anneal"},
    ],
    ids="-".join,
)
def test_a_training_afterwards_is_that_of_the_found_rate(watched: Watched, changes: dict[str, Any]) -> None:
    stage.run(tiny_settings(**SEARCH, **changes), watched.context)
    rate = found_rate(watched)
    assert 1e-7 <= rate <= 1e-2
    plain = {**changes, "lr_finder": "off", "learning_rate": rate}
    stage.run(tiny_settings(**{**SEARCH, "model": "plain"}, **plain), watched.context)
    assert same(newest(watched), newest(watched, "plain"))
    assert watched.folder().history().src.tolist() == watched.folder("plain").history().src.tolist()
    info = watched.folder().info()
    assert info is not None
    assert (info.settings["learning_rate"], info.settings["lr_finder"]) == (rate, "off")
    told = [data for kind, data in watched.events if kind == "progress" and data["unit"] == "steps"]
    assert told[0]["message"] == "Looking for a learning rate"
    assert (read_lr_curve(watched.folder().path) is None) == (changes["lr_finder"] == "set")


def test_the_curve_alone(watched: Watched) -> None:
    result = stage.run(tiny_settings(**SEARCH, lr_finder="plot", lr_finder_strength="extreme"), watched.context)
    assert (result["iteration"], result["iterations_done"], result["reason"]) == (0, 0, "learning rate plotted")
    curve = read_lr_curve(watched.folder().path)
    assert curve is not None
    assert (curve.rates[0], curve.iteration) == (FIRST, len(curve.rates))
    assert all(one < two <= LAST * 1.0001 for one, two in zip(curve.rates, curve.rates[1:], strict=False))
    assert curve.best == curve.rates[curve.smoothed.index(min(curve.smoothed))]
    assert curve.chosen == pytest.approx(min(curve.best / 2.5, 1e-2))
    assert "nothing was trained" in watched.text
    assert watched.project.models() == []
    stage.run(tiny_settings(**SEARCH, lr_finder="set"), watched.context)
    assert read_lr_curve(watched.folder().path) is None


def test_a_model_that_exists_keeps_its_rate(watched: Watched) -> None:
    settings = tiny_settings(**SEARCH, lr_finder="set")
    stage.run(settings, watched.context)
    rate = found_rate(watched)
    stage.run(settings.model_copy(update={"target_iterations": 4}), watched.context)
    assert f"with new models only; going on with {rate:.3g}" in watched.text
    assert newest(watched).state.info.settings["learning_rate"] == rate
    later = {"target_iterations": 5, "lr_finder": "off", "learning_rate": 3e-5}
    stage.run(settings.model_copy(update=later), watched.context)
    assert newest(watched).state.info.settings["learning_rate"] == 3e-5


def test_a_wish_to_stop_ends_the_search(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    real = TrainStep.__call__

    def step(self: TrainStep, *batch: Any) -> Any:
        watched.stop = True
        return real(self, *batch)

    monkeypatch.setattr(TrainStep, "__call__", step)
    with pytest.raises(StopRequested):
        stage.run(tiny_settings(**SEARCH, lr_finder="set"), watched.context)
    assert "nothing was saved" in watched.text
    assert watched.project.models() == []


def on_losses(monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    """Let the n-th step, from 0, report other losses."""
    real, calls = TrainStep.__call__, [0]

    def step(self: TrainStep, *batch: Any) -> Any:
        calls[0] += 1
        return change(real(self, *batch), calls[0] - 1)

    monkeypatch.setattr(TrainStep, "__call__", step)


def test_rising_losses_say_that_no_rate_was_found(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    def rising(losses: Any, number: int) -> Any:
        return type(losses)(torch.tensor(1.0 + number), torch.tensor(1.0), losses.skipped)

    on_losses(monkeypatch, rising)
    monkeypatch.setattr(lr_finder, "FIRST", 1e-10)
    with pytest.raises(LookalikeError, match=r"lowest at 1e-10.*more steps"):
        stage.run(tiny_settings(**SEARCH, lr_finder="set"), watched.context)
    assert watched.folder().owner() is None


def test_memory_that_runs_out_in_the_search_shrinks_the_batch(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = TrainStep.__call__

    def step(self: TrainStep, src: Any, dst: Any) -> Any:
        if len(src.warped) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return real(self, src, dst)

    monkeypatch.setattr(TrainStep, "__call__", step)
    changes = {**SEARCH, "batch_size": 2, "shrink_batch": True, "lr_finder": "set"}
    assert stage.run(tiny_settings(**changes), watched.context)["iteration"] == 3
    assert "going on with 1" in watched.text
    assert math.isfinite(found_rate(watched))


@pytest.mark.parametrize("family", [pytest.param("quick96", marks=pytest.mark.slow), "amp"])
def test_other_families_look_too(watched: Watched, family: str) -> None:
    short = {**SEARCH, "precision": "fp32", "device": "cpu", "seed": 5, "model": "tiny", "lr_finder": "set"}
    settings: TrainSettings = Quick96Settings(**short) if family == "quick96" else tiny_amp(**short)
    stage.run(settings.model_copy(update={"target_iterations": 1}), watched.context)
    assert newest(watched).state.info.settings["learning_rate"] == found_rate(watched)
