"""Optimisers against DeepFaceLab's and torch's numbers, steps that do not count, and state through a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from backend.core.errors import DamagedFileError
from backend.core.settings import SaehdSettings
from backend.training.callbacks.learning_rate import wave
from backend.training.optimizer_rules import MOVED, rule_named
from backend.training.optimizers import (
    CPU_BUCKET,
    MovingAverageOptimizer,
    OffloadedOptimizer,
    buckets,
    build_optimizer,
    clip_,
    gradient_norm,
)

NAMES = ("a", "b", "c")
KINDS = ("adabelief", "rmsprop", "adam", "adamw", "lion")
RATES = {"plain": 5e-5, "clip": 5e-5, "cos": 5e-5}
PERIODS = {"cos": 500, "bigcos500": 500, "bigcos10": 10, "bigall": 10}
BIG = CPU_BUCKET + 1000


@pytest.mark.parametrize("config", ["plain", "clip", "cos", "bigplain", "bigclip", "bigcos500", "bigcos10", "bigall"])
@pytest.mark.parametrize("kind", ["adabelief", "rmsprop"])
def test_steps_of_deepfacelab(golden: Path, kind: Any, config: str) -> None:
    numbers = dict(np.load(golden / "dfl_networks" / "optimizers.npz"))
    weights = [torch.nn.Parameter(torch.from_numpy(numbers[f"w0_{n}"].copy())) for n in NAMES]
    rate = RATES.get(config, 1e-2)
    optimizer = build_optimizer(SaehdSettings(optimizer=kind, learning_rate=rate), weights)
    for t in range(20):
        gradients = [torch.from_numpy(numbers[f"grads_{n}"][t].copy()) for n in NAMES]
        norm = gradient_norm(gradients)
        assert float(norm) == pytest.approx(float(numbers["grad_global_norm"][t]), rel=1e-5)
        if "clip" in config or config == "bigall":
            clip_(gradients, norm)
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient
        if config in PERIODS:
            optimizer.param_groups[0]["lr"] = rate * wave(t + 1, PERIODS[config])
        optimizer.step()
        for weight, n in zip(weights, NAMES, strict=True):
            expected = numbers[f"{kind}_{config}_w_{n}"][t]
            assert np.allclose(weight.detach().numpy(), expected, rtol=1e-6, atol=1e-6), (t, n)
            start = numbers[f"w0_{n}"]
            moved, wanted = weight.detach().numpy() - start, expected - start
            assert np.abs(moved - wanted).max() <= 1e-4 * np.abs(wanted).max() + 2e-7, (t, n)
    assert optimizer.param_groups[0]["iterations"] == 20


def parameters(seed: int, large: int = 0) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(4, 3, 3, 3), (4,), (5, 4), *([(large,)] if large else [])]
    weights = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
    weights[0].data = weights[0].data.to(memory_format=torch.channels_last)
    return weights


def give_gradients(weights: list[torch.nn.Parameter], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for weight in weights:
        weight.grad = torch.randn(weight.shape, generator=generator)


def made(kind: str, weights: list[torch.nn.Parameter], decay: float = 0.0, **more: Any) -> MovingAverageOptimizer:
    return MovingAverageOptimizer(weights, rule_named(kind, decay), 1e-3, **more)


def everything(optimizer: MovingAverageOptimizer) -> list[Tensor]:
    """All averages of an optimiser."""
    return [value for state in optimizer.state_dict()["state"].values() for value in state.values()]


def same(left: Any, right: Any) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize("beta", [0.9, 0.5, 0.0])
@pytest.mark.parametrize(("kind", "decay"), [("adam", 0.0), ("adamw", 0.0), ("adamw", 0.1)])
def test_adam_and_adamw_are_torchs(kind: str, decay: float, beta: float) -> None:
    ours, theirs = parameters(1), parameters(1)
    first = MovingAverageOptimizer(ours, rule_named(kind, decay, beta), 1e-3)
    torchs = torch.optim.Adam if kind == "adam" else torch.optim.AdamW
    second = torchs(theirs, lr=1e-3, betas=(beta, 0.999), weight_decay=decay)
    for t in range(12):
        for optimizer, weights in ((first, ours), (second, theirs)):
            give_gradients(weights, t)
            optimizer.step()
    start = parameters(1)
    rounding = 1.5e-6  # torch's own distance from the same in double precision is 1.04e-6
    assert all(torch.allclose(a, b, rtol=0, atol=rounding) for a, b in zip(ours, theirs, strict=True))
    assert not any(torch.allclose(a, b, atol=1e-3) for a, b in zip(ours, start, strict=True))


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_lion_moves_by_the_sign(decay: float) -> None:
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
    optimizer = made("lion", [weight], decay)
    expected, m = weight.detach().clone().double(), torch.zeros(3, dtype=torch.double)
    for g in ([1.0, -5.0, 0.0], [-0.01, -1.0, 2.0], [-3.0, 40.0, 0.5]):
        gradient = torch.tensor(g)
        weight.grad = gradient.clone()
        optimizer.step()
        expected -= 1e-3 * (torch.sign(0.9 * m + 0.1 * gradient) + decay * expected)
        m = 0.99 * m + 0.01 * gradient
        assert torch.allclose(weight.detach().double(), expected, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_weight_decay_is_for_adamw_and_lion(kind: Any) -> None:
    moved = []
    for decay in (0.0, 0.5):
        weights = parameters(1)
        optimizer = build_optimizer(SaehdSettings(optimizer=kind, weight_decay=decay), weights)
        give_gradients(weights, 0)
        optimizer.step()
        moved.append(weights)
    assert same(*moved) == (kind not in ("adamw", "lion"))


@pytest.mark.parametrize("seed", [None, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_a_step_that_does_not_count_changes_nothing(kind: str, seed: int | None) -> None:
    weights = parameters(1, BIG)
    optimizer = made(kind, weights, 0.1, dropout_seed=seed)
    give_gradients(weights, 0)
    optimizer.step()
    before = [w.detach().clone() for w in weights], [a.clone() for a in everything(optimizer)]
    give_gradients(weights, 1)
    for weight, bad in zip(weights, (float("nan"), float("inf"), -float("inf"), 1.0), strict=True):
        assert weight.grad is not None
        weight.grad.view(-1)[0] = bad
    optimizer.step(torch.tensor(False))
    assert same(weights, before[0])
    assert same(everything(optimizer), before[1])


@pytest.mark.parametrize("seed", [None, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_a_step_that_counts_is_the_plain_one(kind: str, seed: int | None) -> None:
    asked, plain = parameters(1, BIG), parameters(1, BIG)
    first, second = made(kind, asked, 0.1, dropout_seed=seed), made(kind, plain, 0.1, dropout_seed=seed)
    for t in range(3):
        give_gradients(asked, t)
        give_gradients(plain, t)
        first.step(torch.tensor(True))
        second.step()
    assert same(asked, plain)
    assert same(everything(first), everything(second))
    assert not same(asked, parameters(1, BIG))


@pytest.mark.parametrize("seed", [None, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_the_host_does_not_wait_for_the_answer(kind: str, seed: int | None) -> None:
    with FakeTensorMode():
        weights = [torch.nn.Parameter(torch.empty(BIG)), torch.nn.Parameter(torch.empty(4, 3, 3, 3))]
        optimizer = made(kind, weights, 0.1, dropout_seed=seed)
        for weight in weights:
            weight.grad = torch.empty_like(weight)
        gradients = [w.grad for w in weights if w.grad is not None]
        norm = gradient_norm(gradients)
        clip_(gradients, norm)
        optimizer.step(norm.isfinite())
        with pytest.raises(RuntimeError):
            bool(norm.isfinite())


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_moves_three_weights_in_ten(kind: str) -> None:
    weights = parameters(1, 2 * BIG)
    plain = parameters(1, 2 * BIG)
    optimizer, reference = made(kind, weights, 0.1, dropout_seed=3), made(kind, plain, 0.1)
    masks = []
    for t in range(2):
        before = weights[3].detach().clone()
        reference_before = plain[3].detach().clone()
        give_gradients(weights, t)
        give_gradients(plain, t)
        optimizer.step()
        reference.step()
        masks.append((weights[3] != before).double())
        if t == 0:
            kept = masks[0].bool()
            assert torch.equal(weights[3][kept], plain[3][kept])
            assert not torch.equal(plain[3], reference_before)
    shares = [float(mask.mean()) for mask in masks]
    assert shares == pytest.approx([MOVED, MOVED], abs=0.004)
    assert float((masks[0] * masks[1]).mean()) == pytest.approx(MOVED**2, abs=0.004)
    halves = [float(half.mean()) for half in masks[0].split(BIG)]
    assert halves == pytest.approx([MOVED, MOVED], abs=0.006)
    neighbours = float((masks[0][1:] * masks[0][:-1]).mean())
    assert neighbours == pytest.approx(MOVED**2, abs=0.004)
    assert same(everything(optimizer), everything(reference))


def test_dropout_repeats_itself_after_a_resume() -> None:
    straight, resumed = parameters(1), parameters(1)
    first, second = made("rmsprop", straight, dropout_seed=3), made("rmsprop", resumed, dropout_seed=3)
    for t in range(2):
        give_gradients(straight, t)
        first.step()
    second.load_state_dict(first.state_dict())
    for a, b in zip(straight, resumed, strict=True):
        b.data.copy_(a.data)
    for optimizer, weights in ((first, straight), (second, resumed)):
        give_gradients(weights, 9)
        optimizer.step()
    assert same(straight, resumed)


def test_settings_choose_dropout_and_place() -> None:
    weights = parameters(1)
    assert type(build_optimizer(SaehdSettings(optimizer_on_cpu=True), weights)) is MovingAverageOptimizer
    assert type(build_optimizer(SaehdSettings(), weights, on_cpu=True)) is OffloadedOptimizer
    give_gradients(weights, 0)
    before = [w.detach().clone() for w in weights]
    build_optimizer(SaehdSettings(lr_dropout=True), weights).step()
    still = sum(int((a == b).sum()) for a, b in zip(before, weights, strict=True))
    assert 0.5 < still / sum(w.numel() for w in weights) < 0.9


@pytest.mark.parametrize("seed", [None, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_offloaded_is_the_same(kind: str, seed: int | None) -> None:
    plain, working = parameters(1, BIG), parameters(1, BIG)
    working[1].requires_grad_(False)
    rule = rule_named(kind, 0.1)
    first = MovingAverageOptimizer(plain, rule, 1e-3, seed)
    second = OffloadedOptimizer(working, rule, 1e-3, seed)
    for t, applied in enumerate((None, torch.tensor(True), torch.tensor(False), None)):
        for optimizer, weights in ((first, plain), (second, working)):
            give_gradients(weights, t)
            weights[1].grad = None
            optimizer.param_groups[0]["lr"] = 1e-3 / (t + 1)
            optimizer.step(applied)
            optimizer.zero_grad()
            assert all(w.grad is None for w in weights)
        assert same(plain, working)
    assert same(everything(first), everything(second))
    assert first.state_dict()["param_groups"] == second.state_dict()["param_groups"]
    first.load_state_dict(second.state_dict())
    second.load_state_dict(first.state_dict())
    assert same(everything(first), everything(second))


def test_offloaded_notices_loaded_weights() -> None:
    plain, working = parameters(1), parameters(1)
    first, second = made("rmsprop", plain), OffloadedOptimizer(working, rule_named("rmsprop", 0.0), 1e-3)
    for t in range(2):
        for optimizer, weights in ((first, plain), (second, working)):
            with torch.no_grad():
                for weight, other in zip(weights, parameters(7 + t), strict=True):
                    weight.copy_(other)
            give_gradients(weights, t)
            optimizer.step()
        assert same(plain, working)


@pytest.mark.parametrize("kind", KINDS)
def test_state_continues_exactly(kind: str) -> None:
    straight, resumed = parameters(1), parameters(1)
    first = made(kind, straight)
    for t in range(3):
        give_gradients(straight, t)
        first.step()
    second = made(kind, resumed)
    stored = first.state_dict()
    stored["state"] = {k: {n: v.contiguous() for n, v in e.items()} for k, e in stored["state"].items()}
    second.load_state_dict(stored)
    for a, b in zip(straight, resumed, strict=True):
        b.data.copy_(a.data)
    assert second.param_groups[0]["iterations"] == 3
    for optimizer, weights in ((first, straight), (second, resumed)):
        give_gradients(weights, 9)
        optimizer.step()
    assert same(straight, resumed)
    for name in second.rule.AVERAGES:
        assert second.state[resumed[0]][name].stride() == resumed[0].stride()


def test_weights_without_gradient_stand_still() -> None:
    weights = parameters(1)
    give_gradients(weights, 0)
    weights[1].grad = None
    before = weights[1].detach().clone()
    optimizer = made("adabelief", weights)
    optimizer.step()
    assert torch.equal(weights[1], before)
    assert weights[1] not in optimizer.state


def test_foreign_state_is_refused() -> None:
    weights = parameters(1)
    give_gradients(weights, 0)
    rms = made("rmsprop", weights)
    rms.step()
    with pytest.raises(DamagedFileError):
        made("adabelief", parameters(1)).load_state_dict(rms.state_dict())
    with pytest.raises(DamagedFileError):
        made("rmsprop", parameters(1)[:2]).load_state_dict(rms.state_dict())
    broken = rms.state_dict()
    broken["state"][0] = {"a": torch.zeros(2)}
    with pytest.raises(DamagedFileError):
        made("rmsprop", parameters(1)).load_state_dict(broken)
    names = [frozenset(rule_named(kind, 0.0).AVERAGES) for kind in KINDS]
    assert len(set(names)) == len(KINDS) - 1  # Adam and AdamW keep the same; a learner tells them apart


def test_buckets_keep_every_weight_in_order() -> None:
    weights = [torch.empty(n) for n in (1 << 18, 3, 4, 5 << 17, 5)]
    found = list(buckets((w, w) for w in weights))
    assert [len(bucket) for bucket in found] == [1, 3, 1, 2]
    pieces = [row[0] for bucket in found for row in bucket]
    assert [p.numel() for p in pieces] == [1 << 18, 3, 4, 1 << 18, 1 << 18, 1 << 17, 5]
    ends = [(p.data_ptr(), p.data_ptr() + 4 * p.numel()) for p in pieces[3:6]]
    assert ends[0][0] == weights[3].data_ptr()
    assert [a[1] for a in ends[:-1]] == [b[0] for b in ends[1:]]


@pytest.mark.parametrize("gradient_order", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("weight_order", [torch.contiguous_format, torch.channels_last])
def test_large_weights_move_in_any_memory_order(weight_order: Any, gradient_order: Any) -> None:
    generator = torch.Generator().manual_seed(1)
    start = torch.randn(300, 100, 3, 3, generator=generator)
    gradient = torch.randn(start.shape, generator=generator)
    assert start.numel() > CPU_BUCKET
    weight = torch.nn.Parameter(start.clone().to(memory_format=weight_order))
    weight.grad = gradient.clone().to(memory_format=gradient_order)
    made("rmsprop", [weight]).step()
    expected = start - 1e-3 * gradient / ((0.1 * gradient.square()).sqrt() + 1e-6)
    assert torch.allclose(weight, expected, atol=1e-6)


def test_clipping_scales_long_gradients_only() -> None:
    long, short = [torch.tensor([3.0]), torch.tensor([0.0, 4.0])], [torch.tensor([0.5])]
    norm = gradient_norm(long)
    assert norm.shape == () and norm.dtype == torch.float32 and float(norm) == pytest.approx(5.0)
    clip_(long, norm)
    clip_(short, gradient_norm(short))
    assert float(gradient_norm(long)) == pytest.approx(1.0)
    assert long[1].tolist() == pytest.approx([0.0, 0.8])
    assert short[0].tolist() == [0.5]
    assert not gradient_norm([torch.ones(2), torch.tensor([float("nan")])]).isfinite()
    assert not gradient_norm([torch.ones(2), torch.tensor([float("inf")])]).isfinite()
    assert float(gradient_norm([])) == 0.0


def test_settings_choose_beta_1() -> None:
    moved = []
    for beta in (0.9, 0.5):
        weights = parameters(1)
        optimizer = build_optimizer(SaehdSettings(optimizer="adam", beta_1=beta), weights)
        for t in range(2):
            give_gradients(weights, t)
            optimizer.step()
        moved.append(weights)
    assert not same(*moved)


@pytest.mark.parametrize("place", [MovingAverageOptimizer, OffloadedOptimizer])
def test_a_parameter_that_learns_later_counts_its_own_steps(place: type[MovingAverageOptimizer]) -> None:
    """The others go on; a state is the same whether it was stored in between or not."""
    weights = parameters(1)
    optimizer = place(weights, rule_named("adam", 0.0), 1e-3)
    for t in range(3):
        give_gradients(weights, t)
        weights[1].grad = None
        optimizer.step()
    stored = optimizer.state_dict()
    assert [(group["iterations"], group["params"]) for group in stored["param_groups"]] == [(3, [0, 2]), (0, [1])]
    again = place(weights, rule_named("adam", 0.0), 1e-3)
    again.load_state_dict(stored)
    before = weights[1].detach().clone()
    give_gradients(weights, 5)
    gradient = weights[1].grad
    assert gradient is not None
    sign = gradient.sign()
    again.step()
    assert torch.allclose(before - weights[1].detach(), 1e-3 * sign, rtol=1e-3)  # Adam's first step is the rate
    later = again.state_dict()
    assert [(group["iterations"], group["params"]) for group in later["param_groups"]] == [(4, [0, 2]), (1, [1])]
    third = place(weights, rule_named("adam", 0.0), 1e-3)
    third.load_state_dict(later)
    assert third.state_dict()["param_groups"] == later["param_groups"]
    assert same(everything(third), everything(again))


def test_a_state_of_fewer_parameters_is_refused() -> None:
    stored = made("adam", parameters(1)[:2]).state_dict()
    with pytest.raises(DamagedFileError, match="does not fit"):
        made("adam", parameters(1)).load_state_dict(stored)
