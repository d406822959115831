from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from backend.core.settings import TrainSettings
from backend.storage.loss_history import LossHistory
from backend.storage.term_history import TermHistory
from backend.training.callbacks.checkpoint import random_state, restore_random_state
from backend.training.callbacks.learning_rate import (
    ANNEAL_FROM,
    ANNEAL_TO,
    LearningRateCallback,
    annealed,
    run_progress,
    warmed_up,
    wave,
)
from backend.training.callbacks.live import LiveSettingsCallback
from backend.training.callbacks.metrics import MetricsCallback
from backend.training.callbacks.nan_guard import PATIENCE, NanGuardCallback
from backend.training.callbacks.target import TARGET, TIME_LIMIT, TargetCallback
from backend.training.loop import LossRow, Training
from backend.training.loss_log import LossLog
from backend.training.ranks import Ranks


def training(settings: TrainSettings, step: Any = None) -> Training:
    return Training(cast(Any, step), settings, torch.Generator())


def rates(settings: TrainSettings, iteration: int, *taken: int, factor: float = 1.0) -> list[float]:
    """The rate of the next step of optimisers that have taken so many."""
    groups = [{"lr": -1.0, "iterations": count} for count in taken]
    running = training(
        settings,
        SimpleNamespace(optimizers=lambda: iter([SimpleNamespace(param_groups=[group]) for group in groups])),
    )
    running.iteration = iteration
    running.rate_factor = factor
    LearningRateCallback().before_step(running)
    return [group["lr"] for group in groups]


@pytest.mark.parametrize(("optimizer", "memory"), [("adabelief", 0.999), ("rmsprop", 0.9)])
def test_the_first_steps_are_small(optimizer: Any, memory: float) -> None:
    settings = TrainSettings(learning_rate=5e-4, optimizer=optimizer)
    first, third, late = rates(settings, 0, 0, 2, 20_000)
    assert first == pytest.approx(5e-4 * (1 - memory) ** 0.5)
    assert third == pytest.approx(5e-4 * (1 - memory**3) ** 0.5)
    assert late == pytest.approx(5e-4)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "lion"])
def test_adam_and_lion_need_no_correction(optimizer: Any) -> None:
    assert rates(TrainSettings(learning_rate=5e-4, optimizer=optimizer), 0, 0) == [5e-4]


def test_the_rate_decays_by_iterations() -> None:
    settings = TrainSettings(learning_rate=1e-4, optimizer="lion", lr_schedule="decay", lr_decay=0.5, lr_decay_every=10)
    found = [rates(settings, iteration, 0)[0] for iteration in (0, 9, 10, 19, 35)]
    assert found == pytest.approx([1e-4, 1e-4, 5e-5, 5e-5, 1.25e-5])
    constant = settings.model_copy(update={"lr_schedule": "constant"})
    assert rates(constant, 35, 0) == [1e-4]


def test_the_rate_warms_up_over_the_models_iterations() -> None:
    settings = TrainSettings(learning_rate=1e-4, optimizer="lion", warmup_iterations=4)
    found = [rates(settings, iteration, 0)[0] for iteration in range(6)]
    assert found == pytest.approx([2.5e-5, 5e-5, 7.5e-5, 1e-4, 1e-4, 1e-4])
    assert warmed_up(0, 0) == 1.0


def test_roll_backs_lower_the_rate() -> None:
    assert rates(TrainSettings(learning_rate=1e-4, optimizer="lion"), 7, 0, 9, factor=0.25) == [2.5e-5, 2.5e-5]


@pytest.mark.parametrize(("model_class", "waves"), [("saehd", True), ("amp", True), ("quick96", False)])
def test_the_rate_waves_with_dropout(model_class: str, waves: bool) -> None:
    settings = TrainSettings(model_class=model_class, learning_rate=1e-4, optimizer="lion", lr_dropout=True)
    crest, middle, first = rates(settings, 3, 499, 249, 0)
    assert crest == pytest.approx(1e-4)
    assert middle == pytest.approx(0.0 if waves else 1e-4, abs=1e-12)
    assert (first < 1e-4) == waves
    assert rates(settings.model_copy(update={"lr_dropout": False}), 3, 249) == [1e-4]
    assert wave(125) == pytest.approx(0.5)


def test_a_changed_setting_counts_from_the_next_step() -> None:
    group = {"lr": 0.0, "iterations": 0}
    step = SimpleNamespace(optimizers=lambda: iter([SimpleNamespace(param_groups=[group])]))
    running = training(TrainSettings(learning_rate=1e-4, optimizer="lion"), step)
    callback = LearningRateCallback()
    callback.before_step(running)
    assert group["lr"] == 1e-4
    running.chosen = TrainSettings(learning_rate=3e-4, optimizer="lion")
    callback.before_step(running)
    assert group["lr"] == 3e-4


def test_a_timed_rate_is_the_same_in_all_processes() -> None:
    class Other(Ranks):
        def agree(self, value: Any) -> Any:
            return 0.7 * 600.0 if isinstance(value, float) else value

    group = {"lr": 0.0, "iterations": 0}
    step = SimpleNamespace(optimizers=lambda: iter([SimpleNamespace(param_groups=[group])]))
    timed = TrainSettings(learning_rate=1e-4, optimizer="lion", lr_schedule="anneal", time_limit_min=10.0)
    running = training(timed, step)
    running.ranks = Other()
    LearningRateCallback().before_step(running)
    assert group["lr"] == pytest.approx(0.515e-4)


def test_an_annealed_rate_falls_by_target() -> None:
    group = {"lr": 0.0, "iterations": 0}
    step = SimpleNamespace(optimizers=lambda: iter([SimpleNamespace(param_groups=[group])]))
    settings = TrainSettings(learning_rate=1e-4, optimizer="lion", lr_schedule="anneal", target_iterations=100)
    running = training(settings, step)
    callback = LearningRateCallback()
    found = []
    callback.on_start(running)
    for running.iteration in (40, 70, 100):
        callback.before_step(running)
        found.append(group["lr"])
    assert found == pytest.approx([1e-4, 0.515e-4, 0.03e-4])


def test_an_annealed_rate_goes_on_with_its_target_and_begins_anew_with_another() -> None:
    settings = TrainSettings(lr_schedule="anneal", target_iterations=100)
    running = training(settings)
    running.iteration, running.annealing = 60, (100, 20)
    assert running.anneal_from() == 20
    running.chosen = settings.model_copy(update={"target_iterations": 200})
    assert running.anneal_from() == 60
    running.iteration, running.chosen = 70, settings.model_copy(update={"lr_schedule": "constant"})
    running.anneal_from()
    running.iteration, running.chosen = 80, settings
    assert running.anneal_from() == 80
    assert running.annealing == (100, 80)


def test_targets_and_limits() -> None:
    arrived = training(TrainSettings(target_iterations=5))
    arrived.iteration = 5
    TargetCallback(lambda: False).on_start(arrived)
    arrived.obey()
    assert arrived.stop_reason == TARGET
    late = training(TrainSettings(time_limit_min=1.0))
    callback = TargetCallback(lambda: False)
    callback.on_start(late)
    callback.on_step(late)
    late.obey()
    assert late.stop_reason == ""
    late.step_s = 120.0
    callback = TargetCallback(lambda: False)
    callback.on_step(late)
    late.obey()
    assert late.stop_reason == TIME_LIMIT


def row(iteration: int, skipped: bool = False) -> LossRow:
    return LossRow(iteration, 1.0, 1.0, skipped, 0.0)


def test_skipped_steps_in_a_row_roll_back() -> None:
    said: list[Any] = []
    running = training(TrainSettings())
    guard = NanGuardCallback(lambda kind, data: said.append(data["message"]))
    guard.on_losses(running, [row(i, skipped=i > 1) for i in range(1, PATIENCE + 1)])
    assert not running.orders.roll_back
    assert len(said) == 1
    guard.on_losses(running, [row(20), *(row(20 + i, skipped=True) for i in range(1, PATIENCE))])
    assert not running.orders.roll_back
    guard.on_losses(running, [row(40, skipped=True)])
    assert running.orders.roll_back
    went: list[int] = []
    running.roll_back = lambda back: went.append(back.iteration)
    running.obey()
    assert went == [0]
    assert running.rate_factor == 0.5
    assert not running.orders.roll_back


def test_settings_change_while_training() -> None:
    said: list[tuple[str, Any]] = []
    pending = [{"learning_rate": 1e-5}, {"batch_size": 3}, {"learning_rate": 7.0}]
    configured: list[TrainSettings] = []
    running = training(TrainSettings(), SimpleNamespace(configure=configured.append, notes=[]))
    callback = LiveSettingsCallback(pending.pop, lambda kind, data: said.append((kind, data)))
    for _ in range(3):
        callback._asked_at = -10.0
        callback.on_step(running)
        running.obey()
    assert [kind for kind, _ in said] == ["log", "log", "milestone"]
    assert "batch_size" in said[1][1]["message"]
    assert said[2][1]["settings"]["learning_rate"] == 1e-5
    assert running.settings.learning_rate == configured[-1].learning_rate == 1e-5


def test_the_rate_falls_towards_a_known_end() -> None:
    assert annealed(0.0) == annealed(ANNEAL_FROM) == pytest.approx(1.0)
    assert annealed(1.0) == pytest.approx(ANNEAL_TO)
    assert annealed(0.7) > annealed(0.9)
    timed = TrainSettings(time_limit_min=2.0, target_iterations=1000)
    assert run_progress(timed, 0, 100, 90.0) == pytest.approx(0.75)
    assert run_progress(timed, 900, 50, 6.0) == pytest.approx(0.5)
    assert run_progress(TrainSettings(), 0, 100, 90.0) == 0.0


@pytest.mark.parametrize("kind", ["cuda", "xpu", "mps"])
def test_the_generator_of_any_accelerator_is_kept(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    state = torch.arange(16, dtype=torch.uint8)
    found: list[torch.Tensor] = []
    module = (
        SimpleNamespace(get_rng_state=lambda: state, set_rng_state=found.append)
        if kind == "mps"
        else SimpleNamespace(
            get_rng_state=lambda device: state, set_rng_state=lambda state, device: found.append(state)
        )
    )
    monkeypatch.setattr(torch, "get_device_module", lambda device: module)
    running = training(TrainSettings(), SimpleNamespace(device=torch.device(kind)))
    kept = json.loads(json.dumps(random_state(running)))
    restore_random_state(running, kept)
    assert [each.tolist() for each in found] == [state.tolist()]
    restore_random_state(training(TrainSettings(), SimpleNamespace(device=torch.device("cpu"))), kept)
    assert len(found) == 1


def log_of(folder: Path) -> LossLog:
    return LossLog(LossHistory(folder / "loss.bin"), TermHistory(folder / "terms.bin"))


def test_the_median_step_is_that_of_the_newest_steps(tmp_path: Path) -> None:
    step = SimpleNamespace(device=torch.device("cpu"), optimizer=SimpleNamespace(param_groups=[{"lr": 1e-4}]))
    running = training(TrainSettings(), step)
    metrics = MetricsCallback(log_of(tmp_path), lambda kind, data: None)
    metrics.on_start(running)
    for first, seconds in ((1, 5.0), (10_001, 1.0)):
        rows = [replace(row(first + i), step_s=seconds) for i in range(10_000)]
        metrics.on_losses(running, rows)
    assert metrics.summary(running)["step_s"] == 1.0


def test_the_mean_since_the_last_mark(tmp_path: Path) -> None:
    losses = log_of(tmp_path)
    assert losses.mark() is None
    losses.add([replace(row(1), src=1.0, dst=4.0), replace(row(2), src=float("nan"), dst=2.0)])
    losses.add([replace(row(3), src=3.0, dst=8.0)])
    assert losses.mark() == (2.0, 6.0)
    assert losses.mark() is None
    losses.add([row(4)])
    losses.drop_after(3)
    assert losses.mark() is None
