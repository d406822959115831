"""The running average of weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from backend.training.average import WeightAverage, kept_share


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3)).to(memory_format=torch.channels_last)


def set_weight(model: nn.Module, value: float) -> None:
    with torch.no_grad():
        for weight in model.parameters():
            weight.fill_(value)


def test_the_share_rises_to_the_decay() -> None:
    assert kept_share(0, 0.999) == pytest.approx(0.1)
    assert kept_share(90, 0.999) == pytest.approx(0.91)
    assert kept_share(10_000, 0.999) == 0.999
    assert kept_share(10_000, 0.5) == 0.5


def test_the_average_follows_the_weights() -> None:
    model = network()
    set_weight(model, 0.0)
    average = WeightAverage(model, decay=0.2)
    expected = 0.0
    for count, value in enumerate((1.0, -3.0, 7.0, 2.0)):
        set_weight(model, value)
        average.update()
        share = min(0.2, (1 + count) / (10 + count))
        expected = share * expected + (1 - share) * value
        assert average.count == count + 1
        for weight in average.model.parameters():
            assert torch.allclose(weight, torch.full_like(weight, expected))
    assert all(w.flatten()[0].item() == 2.0 for w in model.parameters())


def test_it_is_a_model_of_its_own_for_looking() -> None:
    model = network().train()
    average = WeightAverage(model)
    assert not average.model.training
    assert model.training
    assert not any(w.requires_grad for w in average.model.parameters())
    assert all(w.requires_grad for w in model.parameters())
    model(torch.randn(4, 2, 3, 3))
    average.update()
    assert all(torch.equal(a, b) for a, b in zip(average.model.buffers(), model.buffers(), strict=True))
    assert int(average.model.get_buffer("1.num_batches_tracked")) == 1


def test_state_goes_on_where_it_was() -> None:
    model = network()
    straight = WeightAverage(model)
    for value in (1.0, 2.0):
        set_weight(model, value)
        straight.update()
    assert straight.state_dict().keys() == model.state_dict().keys()
    resumed = WeightAverage(network())
    resumed.load_state_dict({n: v.clone() for n, v in straight.state_dict().items()}, straight.count)
    assert resumed.count == 2
    straight.update()
    resumed._followed = model
    resumed.update()
    for name, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name])


def test_the_host_does_not_wait() -> None:
    average = WeightAverage(nn.Sequential(nn.Linear(3, 2, device="meta"), nn.BatchNorm2d(3, device="meta")))
    average.update()
    assert average.count == 1
