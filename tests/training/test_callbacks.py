from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from backend.core.settings import TrainSettings
from backend.models.base import FaceSwapModel, Reconstruction, SwapOutput
from backend.training.batch import FaceBatch
from backend.training.callbacks.learning_rate import (
    ANNEAL_FROM,
    ANNEAL_TO,
    LearningRateCallback,
    annealed,
    run_progress,
)
from backend.training.callbacks.preview import preview_pages, thin_out
from backend.training.callbacks.target import TARGET, TIME_LIMIT, TargetCallback
from backend.training.loop import Training


def training(settings: TrainSettings, step: Any = None) -> Training:
    return Training(cast(Any, step), settings, torch.Generator())


@pytest.mark.parametrize(("optimizer", "memory"), [("adabelief", 0.999), ("rmsprop", 0.9)])
def test_the_first_steps_are_small(optimizer: Any, memory: float) -> None:
    group = {"lr": 5e-4, "iterations": 0}
    running = training(
        TrainSettings(learning_rate=5e-4, optimizer=optimizer),
        SimpleNamespace(optimizer=SimpleNamespace(param_groups=[group])),
    )
    LearningRateCallback().on_start(running)
    assert group["lr"] == pytest.approx(5e-4 * (1 - memory) ** 0.5)
    group["iterations"] = 20_000
    LearningRateCallback().on_step(running)
    assert group["lr"] == pytest.approx(5e-4)


def test_targets_and_limits() -> None:
    arrived = training(TrainSettings(target_iterations=5))
    arrived.iteration = 5
    TargetCallback(lambda: False).on_start(arrived)
    assert arrived.stop_reason == TARGET
    late = training(TrainSettings(time_limit_min=1.0))
    callback = TargetCallback(lambda: False)
    callback.on_start(late)
    callback.on_step(late)
    assert late.stop_reason == ""
    late.step_s = 120.0
    callback = TargetCallback(lambda: False)
    callback.on_step(late)
    assert late.stop_reason == TIME_LIMIT


class Echo(FaceSwapModel):
    """Gives back what it sees; the swap is white, its mask half."""

    def autoencode(self, src: torch.Tensor, dst: torch.Tensor, with_swap: bool = False) -> Reconstruction:
        one = torch.ones_like(src[:, :1])
        return Reconstruction(src, one, dst, one, torch.ones_like(dst), one * 0.5)

    def swap(self, dst: torch.Tensor) -> SwapOutput:
        return SwapOutput(dst, dst[:, :1], dst[:, :1])

    def parts(self) -> dict[str, torch.nn.Module]:
        return {}


@pytest.mark.parametrize("channels", [1, 3])
def test_preview_columns_and_masks(channels: int) -> None:
    model = Echo().train()
    face = torch.full((2, channels, 32, 32), 0.2)
    batch = FaceBatch(face, face, torch.zeros(2, 1, 32, 32), None)
    plain, masked = preview_pages(model, batch, batch)
    assert plain.shape == masked.shape == (20 + 2 * 32, 5 * 32, 3)
    assert [int(v) for v in plain[40, 16::32, 0]] == [51, 51, 51, 51, 255]
    assert [int(v) for v in masked[40, 16::32, 2]] == [0, 51, 0, 51, 128]
    assert model.training


def test_series_of_previews_is_thinned_out(tmp_path: Path) -> None:
    for i in range(11):
        (tmp_path / f"{i:07d}_faces.jpg").touch()
    thin_out(tmp_path, "*_faces.jpg", 11)
    assert len(list(tmp_path.iterdir())) == 11
    thin_out(tmp_path, "*_faces.jpg", 10)
    assert [int(p.name[:7]) for p in sorted(tmp_path.iterdir())] == list(np.arange(0, 11, 2))


def test_the_rate_falls_towards_a_known_end() -> None:
    assert annealed(0.0) == annealed(ANNEAL_FROM) == pytest.approx(1.0)
    assert annealed(1.0) == pytest.approx(ANNEAL_TO)
    assert annealed(0.7) > annealed(0.9)
    timed = TrainSettings(time_limit_min=2.0, target_iterations=1000)
    assert run_progress(timed, 0, 100, 90.0) == pytest.approx(0.75)
    assert run_progress(timed, 900, 50, 6.0) == pytest.approx(0.5)
    assert run_progress(TrainSettings(), 0, 100, 90.0) == 0.0
