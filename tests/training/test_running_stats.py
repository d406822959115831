"""What batch norms remember survives a batch that is not finite."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from backend.core.settings import PhazeASettings
from backend.models.registry import build_model
from backend.training.batch import FaceBatch
from backend.training.running_stats import RunningStats
from backend.training.step import TrainStep

CPU = torch.device("cpu")


def two_norms() -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3, affine=False))


def remembered(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items() if "running" in name}


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, two[name]) for name, value in one.items())


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_a_batch_that_overflows_leaves_no_trace(bad: float) -> None:
    network = two_norms()
    stats = RunningStats(network)
    network(torch.randn(4, 2, 3, 3))
    before = remembered(network)
    stats.settle()
    assert same(before, remembered(network))
    picture = torch.randn(4, 2, 3, 3)
    picture[0, 0, 0, 0] = bad
    network(picture)
    assert not all(bool(value.isfinite().all()) for value in remembered(network).values())
    stats.settle()
    assert same(before, remembered(network))
    network(torch.randn(4, 2, 3, 3))
    stats.settle()
    assert not same(before, remembered(network))


def test_what_was_loaded_is_what_stays() -> None:
    network, other = two_norms(), two_norms()
    stats = RunningStats(network)
    other(torch.randn(4, 2, 3, 3))
    network.load_state_dict(other.state_dict())
    stats.renew()
    network(torch.full((4, 2, 3, 3), float("inf")))
    stats.settle()
    assert same(remembered(other), remembered(network))


def test_a_network_without_any_is_left_alone() -> None:
    stats = RunningStats(nn.Conv2d(2, 2, 1))
    stats.settle()
    stats.renew()


def test_nobody_waits_for_a_device() -> None:
    with FakeTensorMode():
        network = two_norms()
        stats = RunningStats(network)
        network(torch.zeros(4, 2, 3, 3))
        stats.settle()


def test_a_step_that_is_skipped_leaves_the_shown_network_whole() -> None:
    settings = PhazeASettings.model_validate(
        {
            **PhazeASettings.PRESETS["lightweight"],
            "dec_norm": "batch",
            "precision": "fp32",
            "average_weights": True,
        }
    )
    step = TrainStep(build_model(settings, seed=1), settings, CPU)
    side = settings.resolution
    mask = torch.ones(1, 1, side, side)
    face = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(1))
    good = FaceBatch(face, face, mask, mask, eyes=mask, mouth=mask)
    bad = FaceBatch(face * float("inf"), face, mask, mask, eyes=mask, mouth=mask)
    assert not step(good, good).skipped
    before = remembered(step.model)
    assert before
    assert step(bad, good).skipped
    assert same(before, remembered(step.model))
    assert bool(step.shown_model.eval().swap(face).face.isfinite().all())
    assert not step(good, good).skipped
