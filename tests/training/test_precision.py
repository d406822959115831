"""Choosing number formats, and the loss scale of fp16."""

from __future__ import annotations

import json

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from backend.training.precision import FIRST_SCALE, GOOD_STEPS, LossScale, Precision, choose_precision

CPU = torch.device("cpu")
YES, NO = torch.tensor(True), torch.tensor(False)


def factor(scale: LossScale) -> float:
    return float(scale.scale(torch.ones(())))


def test_scaled_gradients_come_back() -> None:
    weight = torch.nn.Parameter(torch.tensor([2.0, -3.0]))
    scale = LossScale(CPU, True)
    scale.scale((weight**2).sum()).backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [4.0 * FIRST_SCALE, -6.0 * FIRST_SCALE]
    scale.unscale_([weight.grad])
    assert weight.grad.tolist() == [4.0, -6.0]


def test_the_scale_halves_on_overflow_and_doubles_after_good_steps() -> None:
    scale = LossScale(CPU, True)
    assert factor(scale) == FIRST_SCALE == 1024.0
    for _ in range(GOOD_STEPS - 1):
        scale.update(YES)
    assert factor(scale) == 1024.0
    scale.update(YES)
    assert factor(scale) == 2048.0
    for _ in range(GOOD_STEPS - 1):
        scale.update(YES)
    scale.update(NO)
    assert factor(scale) == 1024.0
    for _ in range(GOOD_STEPS - 1):
        scale.update(YES)
    assert factor(scale) == 1024.0
    for _ in range(40):
        scale.update(NO)
    assert factor(scale) == 1.0


def test_the_scale_is_stored_as_json() -> None:
    scale = LossScale(CPU, True)
    for finite in (NO, *[YES] * (GOOD_STEPS - 1)):
        scale.update(finite)
    other = LossScale(CPU, True)
    other.load_state_dict(json.loads(json.dumps(scale.state_dict())))
    other.update(YES)
    assert factor(other) == 1024.0
    other.update(NO)
    assert factor(other) == 512.0


def test_nothing_is_scaled_without_need() -> None:
    scale = LossScale(CPU, False)
    loss, gradient = torch.tensor(2.0), torch.tensor([3.0])
    assert scale.scale(loss) is loss
    scale.unscale_([gradient])
    scale.update(NO)
    assert gradient.tolist() == [3.0]
    assert factor(scale) == 1.0
    assert scale.state_dict() == LossScale(CPU, True).state_dict()


def test_the_host_does_not_wait() -> None:
    with FakeTensorMode():
        scale = LossScale(CPU, True)
        gradients = [torch.empty(3)]
        scale.scale(torch.empty(()))
        scale.unscale_(gradients)
        scale.update(gradients[0].sum().isfinite())
        with pytest.raises(RuntimeError):
            scale.state_dict()


def test_fp16_gradients_survive_by_scaling() -> None:
    x = torch.full((1, 4), 2.0**-12)
    found = []
    for enabled in (False, True):
        weight = torch.nn.Parameter(torch.ones(4, 4))
        scale = LossScale(CPU, enabled)
        with Precision("fp16", CPU).autocast():
            out = torch.nn.functional.linear(x, weight)
        assert out.dtype == torch.float16
        scale.scale(out.float().sum() * 2.0**-14).backward()
        assert weight.grad is not None
        scale.unscale_([weight.grad])
        found.append(float(weight.grad[0, 0]))
    assert found == [0.0, 2.0**-26]


@pytest.mark.parametrize("device", ["cuda", "xpu", "mps"])
def test_fp16_is_offered_on_accelerators_only(device: str) -> None:
    assert choose_precision("fp16", torch.device(device)) == Precision("fp16", torch.device(device))
    refused = choose_precision("fp16", CPU)
    assert refused.name == "fp32"
    assert "fp16" in refused.note
