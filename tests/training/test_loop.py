"""The loop: where it begins again, and what it does when observers give several orders at once."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import Tensor

from backend.core.settings import Quick96Settings
from backend.training.augment import Augmenter
from backend.training.batch import FaceBatch
from backend.training.callbacks.base import Callback
from backend.training.callbacks.checkpoint import random_state, restore_random_state
from backend.training.callbacks.target import TargetCallback
from backend.training.loader import RawBatch, RawSide
from backend.training.loop import Training, train
from backend.training.step import StepLosses

CPU = torch.device("cpu")


class Step:
    """Remembers the inputs it is given."""

    device = CPU
    gathered = 0

    def __init__(self) -> None:
        self.inputs: list[Tensor] = []

    def __call__(self, src: FaceBatch, dst: FaceBatch) -> StepLosses:
        self.inputs.append(src.warped)
        return StepLosses(torch.zeros(()), torch.zeros(()), torch.zeros((), dtype=torch.bool))


class Loader:
    """Noise that follows from the number of the batch."""

    def __init__(self, drawn: int) -> None:
        self.drawn = drawn

    def next(self) -> RawBatch:
        noise = torch.randint(
            0, 256, (1, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(self.drawn)
        )
        self.drawn += 1
        side = RawSide(noise, noise[..., :2].contiguous())
        return RawBatch(side, side, (self.drawn, self.drawn))


def run(target: int, iteration: int = 0, state: dict[str, Any] | None = None) -> tuple[list[Tensor], dict[str, Any]]:
    """Inputs of all iterations up to a target, and the random state at the end."""
    step = Step()
    settings = Quick96Settings(target_iterations=target)
    training = Training(cast(Any, step), settings, torch.Generator().manual_seed(1), iteration=iteration)
    if state is not None:
        restore_random_state(training, state)
    augmenter = Augmenter(settings, training.generator, CPU)
    train(training, cast(Any, Loader(training.drawn[0])), augmenter, [TargetCallback(lambda: False)])
    return step.inputs, random_state(training)


@pytest.mark.parametrize("first", range(1, 7))
def test_a_batch_that_is_taken_again_is_found_again(first: int) -> None:
    whole, at_end = run(7)
    before, state = run(first)
    after, again = run(7, first, state)
    assert len(whole) == len(before + after) == 7
    assert all(torch.equal(one, other) for one, other in zip(whole, before + after, strict=True))
    assert again == at_end
    assert at_end["drawn"] == [5, 5]


def test_a_way_back_from_the_target_does_not_end_the_training() -> None:
    class OneWayBack(Callback):
        def on_step(self, training: Training) -> None:
            training.orders.roll_back = training.iteration == 3 and training.rate_factor == 1.0

    def roll_back(training: Training) -> None:
        training.iteration = 1

    step = Step()
    settings = Quick96Settings(target_iterations=3)
    training = Training(cast(Any, step), settings, torch.Generator(), roll_back)
    callbacks = [TargetCallback(lambda: False), OneWayBack()]
    train(training, cast(Any, Loader(0)), Augmenter(settings, training.generator, CPU), callbacks)
    assert (training.iteration, training.rate_factor, len(step.inputs)) == (3, 0.5, 5)
    assert training.stop_reason == "target"
