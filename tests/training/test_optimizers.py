"""Optimisers against DeepFaceLab's numbers, and their state through a checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from backend.core.errors import DamagedFileError
from backend.core.settings.train import TrainSettings
from backend.training.optimizers import AdaBelief, RMSprop, buckets, build_optimizer

NAMES = ("a", "b", "c")
RATES = {"plain": 5e-5, "bigplain": 1e-2}


@pytest.mark.parametrize("config", ["plain", "bigplain"])
@pytest.mark.parametrize("kind", ["adabelief", "rmsprop"])
def test_steps(golden: Path, kind: str, config: str) -> None:
    numbers = dict(np.load(golden / "dfl_networks" / "optimizers.npz"))
    weights = [torch.nn.Parameter(torch.from_numpy(numbers[f"w0_{n}"].copy())) for n in NAMES]
    settings = TrainSettings(optimizer=kind, learning_rate=RATES[config])
    optimizer = build_optimizer(settings, weights)
    for t in range(20):
        for weight, n in zip(weights, NAMES, strict=True):
            weight.grad = torch.from_numpy(numbers[f"grads_{n}"][t].copy())
        optimizer.step()
        for weight, n in zip(weights, NAMES, strict=True):
            expected = numbers[f"{kind}_{config}_w_{n}"][t]
            assert np.allclose(weight.detach().numpy(), expected, rtol=1e-6, atol=1e-6), (t, n)
    assert optimizer.param_groups[0]["iterations"] == 20


def parameters(seed: int) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(4, 3, 3, 3), (4,), (5, 4)]
    weights = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
    weights[0].data = weights[0].data.to(memory_format=torch.channels_last)
    return weights


def give_gradients(weights: list[torch.nn.Parameter], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for weight in weights:
        weight.grad = torch.randn(weight.shape, generator=generator)


@pytest.mark.parametrize("kind", [AdaBelief, RMSprop])
def test_state_continues_exactly(kind: type) -> None:
    straight, resumed = parameters(1), parameters(1)
    first = kind(straight, 1e-3)
    for t in range(3):
        give_gradients(straight, t)
        first.step()
    second = kind(resumed, 1e-3)
    stored = first.state_dict()
    stored["state"] = {k: {n: v.contiguous() for n, v in e.items()} for k, e in stored["state"].items()}
    second.load_state_dict(stored)
    for a, b in zip(straight, resumed, strict=True):
        b.data.copy_(a.data)
    assert second.param_groups[0]["iterations"] == 3
    for optimizer, weights in ((first, straight), (second, resumed)):
        give_gradients(weights, 9)
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(straight, resumed, strict=True))
    for name in kind.AVERAGES:
        assert second.state[resumed[0]][name].stride() == resumed[0].stride()


def test_weights_without_gradient_stand_still() -> None:
    weights = parameters(1)
    give_gradients(weights, 0)
    weights[1].grad = None
    before = weights[1].detach().clone()
    optimizer = AdaBelief(weights, 1e-2)
    optimizer.step()
    assert torch.equal(weights[1], before)
    assert weights[1] not in optimizer.state


def test_foreign_state_is_refused() -> None:
    weights = parameters(1)
    give_gradients(weights, 0)
    rms = RMSprop(weights, 1e-3)
    rms.step()
    with pytest.raises(DamagedFileError):
        AdaBelief(parameters(1), 1e-3).load_state_dict(rms.state_dict())
    with pytest.raises(DamagedFileError):
        RMSprop(parameters(1)[:2], 1e-3).load_state_dict(rms.state_dict())
    broken = rms.state_dict()
    broken["state"][0] = {"a": torch.zeros(2)}
    with pytest.raises(DamagedFileError):
        RMSprop(parameters(1), 1e-3).load_state_dict(broken)


def test_buckets_keep_every_weight_in_order() -> None:
    weights = [torch.empty(n) for n in (1 << 18, 3, 4, 1 << 19, 5)]
    found = list(buckets(weights))
    assert [len(bucket) for bucket in found] == [1, 3, 1]
    assert [id(w) for bucket in found for w in bucket] == [id(w) for w in weights]
