"""The limit of AutoClip against numpy, its history through a checkpoint, and a host that does not wait."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from backend.core.settings import SaehdSettings
from backend.training import autoclip
from backend.training.autoclip import AutoClip
from backend.training.learner import Learner
from backend.training.precision import choose_precision

CPU = torch.device("cpu")


def lengths(count: int, seed: int = 0) -> list[Tensor]:
    return list(torch.rand(count, generator=torch.Generator().manual_seed(seed)) * 5)


@pytest.mark.parametrize(("percentile", "history"), [(10.0, 0), (10.0, 7), (50.0, 1), (100.0, 3), (33.0, 2000)])
def test_the_limit_is_numpys_percentile_of_the_newest(
    percentile: float, history: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(autoclip, "_FIRST", 4)
    clip, seen = AutoClip(percentile, history, CPU), []
    for norm in lengths(40):
        seen.append(float(norm))
        expected = np.percentile(seen[-history:], percentile)
        assert float(clip.limit(norm)) == pytest.approx(float(expected), rel=1e-6)


def test_lengths_that_are_not_finite_do_not_count() -> None:
    clip = AutoClip(50, 4, CPU)
    assert math.isnan(float(clip.limit(torch.tensor(math.inf))))
    assert float(clip.limit(torch.tensor(3.0))) == 3.0
    assert float(clip.limit(torch.tensor(math.nan))) == 3.0
    assert float(clip.limit(torch.tensor(5.0))) == 4.0
    for _ in range(2):
        clip.limit(torch.tensor(math.inf))
    assert float(clip.limit(torch.tensor(7.0))) == 6.0  # 5 and 7 are left


def test_no_more_than_a_million_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autoclip, "MOST", 5)
    clip = AutoClip(100, 0, CPU)
    limits = [float(clip.limit(torch.tensor(float(9 - i)))) for i in range(8)]
    assert limits == [9.0] * 5 + [8.0, 7.0, 6.0]


@pytest.mark.parametrize("done", [0, 3, 9])
def test_a_stored_history_goes_on_bit_for_bit(done: int) -> None:
    straight, resumed = AutoClip(30, 5, CPU), AutoClip(30, 5, CPU)
    for norm in lengths(done):
        straight.limit(norm)
    resumed.limit(torch.tensor(99.0))
    resumed.load_state_dict(straight.state_dict())
    for norm in lengths(8, seed=1):
        assert torch.equal(straight.limit(norm), resumed.limit(norm))
    assert torch.equal(straight.state_dict()["lengths"], resumed.state_dict()["lengths"])


def test_a_shorter_history_keeps_the_newest() -> None:
    long, short = AutoClip(100, 0, CPU), AutoClip(100, 2, CPU)
    for value in (9.0, 2.0, 3.0):
        long.limit(torch.tensor(value))
    short.load_state_dict(long.state_dict())
    assert short.state_dict()["lengths"].tolist() == [2.0, 3.0]
    assert float(short.limit(torch.tensor(1.0))) == 3.0


def test_the_host_does_not_wait() -> None:
    with FakeTensorMode():
        clip = AutoClip(10, 3, CPU)
        for _ in range(5):
            limit = clip.limit(torch.empty(()))
        with pytest.raises(RuntimeError):
            bool(limit > 0)


def learner(precision: str = "fp32", **changes: object) -> tuple[Learner, torch.nn.Parameter]:
    weight = torch.nn.Parameter(torch.zeros(4))
    settings = SaehdSettings.model_validate({"optimizer": "rmsprop", "autoclip": True, **changes})
    made = Learner([weight], settings, choose_precision(precision, CPU))
    return made, weight


def given(made: Learner, weight: torch.nn.Parameter, size: float) -> Tensor:
    """Gradients as they are clipped in a step."""
    seen: list[Tensor] = []
    weight.grad = torch.full((4,), size)
    real = made.optimizer.step
    made.optimizer.step = lambda applied=None: seen.append(weight.grad.clone()) or real(applied)  # type: ignore[union-attr,method-assign]
    made.step()
    made.optimizer.step = real  # type: ignore[method-assign]
    return seen[0]


def test_a_learner_clips_to_it_and_remembers() -> None:
    made, weight = learner(autoclip_percentile=50)
    assert given(made, weight, 1.0).norm() == pytest.approx(2.0)
    assert given(made, weight, 3.0).norm() == pytest.approx(4.0)  # halfway between 2 and 6
    assert given(made, weight, 0.5).norm() == pytest.approx(1.0)
    tensors, rest = made.state()
    other, _ = learner(autoclip_percentile=50)
    assert other.load(tensors, rest) == ""
    assert other.state()[0]["clip/lengths"].tolist() == [2.0, 6.0, 1.0]
    plain, _ = learner(autoclip=False)
    assert plain.load(tensors, rest) == ""
    assert "clip/lengths" not in plain.state()[0]
    other.load(*plain.state())
    assert other.state()[0]["clip/lengths"].tolist() == []


def test_lengths_are_those_without_the_loss_scale() -> None:
    made, weight = learner()
    made.scale.enabled = True
    made.backward(weight.sum())
    assert weight.grad is not None
    assert float(weight.grad[0]) > 100
    made.step()
    assert made.state()[0]["clip/lengths"].tolist() == [2.0]


def test_gradients_of_zero_stay_zero() -> None:
    made, weight = learner()
    assert given(made, weight, 0.0).tolist() == [0.0] * 4
