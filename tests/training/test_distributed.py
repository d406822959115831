"""Two processes, each with half of every batch, learn what one learns from the whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from backend.core.settings import SaehdSettings
from backend.models.registry import build_model
from backend.training import lr_finder
from backend.training.batch import FaceBatch
from backend.training.distributed import process_ranks
from backend.training.loop import Training
from backend.training.ranks import Ranks
from backend.training.sampler import Share
from backend.training.step import StepLosses, TrainStep

CPU = torch.device("cpu")
SIDE = 64
BATCHES = 4
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "adversaries": {"gan_power": 0.1, "true_face_power": 0.01, "clip_gradients": True, "masked_training": False},
    "held still, clipped": {"freeze_weights": True, "freeze_layers": ("encoder",), "autoclip": True},
    "frozen, gathered": {"archi": "liae", "random_warp": False, "accumulate": 2, "average_weights": True},
}


def settings(**changes: Any) -> SaehdSettings:
    small = {"resolution": SIDE, "archi": "df", "ae_dims": 32, "e_dims": 16, "d_dims": 16, "d_mask_dims": 4}
    return SaehdSettings(**{**small, "precision": "fp32", "batch_size": 4, **changes})


def faces(number: int, share: Share) -> tuple[FaceBatch, FaceBatch]:
    random = torch.Generator().manual_seed(number)
    sides = []
    for _ in range(2):
        pictures = [torch.rand(4, 3, SIDE // 8, SIDE // 8, generator=random) for _ in range(2)]
        large = [torch.nn.functional.interpolate(picture, SIDE, mode="bilinear") for picture in pictures]
        mask = torch.zeros(4, 1, SIDE, SIDE)
        mask[:, :, 8:56, 8:56] = 1.0
        sides.append(FaceBatch(*(share.of(tensor) for tensor in (*large, mask, mask * 0))))
    return sides[0], sides[1]


def numbers(losses: StepLosses) -> list[float]:
    return [float(value) for value in (losses.src, losses.dst, losses.skipped, *losses.terms.values())]


def learn(ranks: Ranks, changes: dict[str, Any]) -> dict[str, Any]:
    """Losses of a few steps, and all weights before and after."""
    share = Share(ranks.rank, ranks.count)
    torch.manual_seed(3)
    chosen = settings(**changes)
    step = TrainStep(build_model(chosen, 3), chosen, CPU, ranks)
    before = copied(step)
    seen = [numbers(step(*faces(number, share))) for number in range(BATCHES)]
    return {"losses": seen, "before": before, "after": copied(step)}


def go_live(ranks: Ranks) -> dict[str, Any]:
    """Switches the discriminator on while training; then one process alone meets a loss that is no number."""
    share = Share(ranks.rank, ranks.count)
    torch.manual_seed(3)
    step = TrainStep(build_model(settings(), 3), settings(), CPU, ranks)
    torch.manual_seed(3 + ranks.rank)
    step(*faces(0, share))
    step.configure(settings(gan_power=0.2))
    step(*faces(1, share))
    before = copied(step)
    src, dst = faces(2, share)
    if ranks.rank == ranks.count - 1:
        src.target[0, 0, 0, 0] = float("nan")
    return {"skipped": bool(step(src, dst).skipped), "before": before, "after": copied(step)}


class Feed:
    """Stands for a loader and an augmenter: gives this process's share of batch after batch."""

    def __init__(self, share: Share) -> None:
        self._share = share
        self._given = 0

    def next(self) -> int:
        self._given += 1
        return self._given

    def reuses(self, iteration: int) -> bool:
        return False

    def __call__(self, batch: int, iteration: int) -> tuple[FaceBatch, FaceBatch]:
        return faces(batch, self._share)


def search(ranks: Ranks) -> dict[str, Any]:
    """Looks for a learning rate in five steps; only rank 0 would stop."""
    chosen = settings(lr_finder="set", learning_rate=1e-4)
    step = TrainStep(build_model(chosen, 3), chosen, CPU, ranks)
    training = Training(step, chosen, torch.Generator().manual_seed(ranks.rank), ranks=ranks)
    feed: Any = Feed(Share(ranks.rank, ranks.count))
    before, steps = copied(step), lr_finder.RisingRate
    lr_finder.FIRST, lr_finder.RisingRate = 1e-5, lambda number: steps(5)  # type: ignore[misc,assignment]
    try:
        curve = lr_finder.search_rate(training, feed, feed, lambda done: True)
        stopped = lr_finder.search_rate(training, feed, feed, lambda done: done < 2 or ranks.rank > 0)
    finally:
        lr_finder.FIRST, lr_finder.RisingRate = 1e-10, steps  # type: ignore[misc]
    assert curve is not None
    assert stopped is None
    return {"losses": curve.losses, "chosen": curve.chosen, "before": before, "after": copied(step)}


def talk(ranks: Ranks) -> dict[str, Any]:
    tensors = [torch.full((2, 3), float(ranks.rank)), torch.tensor(10.0 * ranks.rank)]
    ranks.average_(tensors)
    ranks.average_([])
    return {
        "average": [tensors[0].flatten().tolist(), float(tensors[1])],
        "agree": ranks.agree({"said by": ranks.rank}),
        "least": ranks.least(10 - ranks.rank),
        "count": ranks.count,
    }


def copied(step: TrainStep) -> dict[str, Tensor]:
    tensors, _ = step.state()
    return {
        f"{name}/{key}": value.clone()
        for name, values in tensors.items()
        if "optimizer" not in name
        for key, value in values.items()
    }


def everything(ranks: Ranks) -> dict[str, Any]:
    cases = {name: learn(ranks, changes) for name, changes in CASES.items()}
    return {**cases, "live": go_live(ranks), "search": search(ranks), "talk": talk(ranks)}


def one_process(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    with process_ranks(CPU, f"file://{folder}/meeting", rank, 2) as ranks:
        torch.save(everything(ranks), folder / f"{rank}.pt")


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes found."""
    folder = tmp_path_factory.mktemp("ranks")
    torch.multiprocessing.spawn(one_process, (folder,), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def moved(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return sum(float((other[name] - value).abs().double().sum()) for name, value in one.items())


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As many as each of the two has: they share the cores with whatever else runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.usefixtures("one_thread")
def test_two_halves_teach_what_the_whole_teaches(both: list[dict[str, Any]], name: str) -> None:
    """Losses exactly; weights but for AdaBelief's first steps, which follow the sign of the smallest gradients."""
    alone = learn(Ranks(), CASES[name])
    first, second = both[0][name], both[1][name]
    assert torch.tensor(first["losses"]).tolist() == torch.tensor(second["losses"]).tolist()
    torch.testing.assert_close(torch.tensor(first["losses"]), torch.tensor(alone["losses"]), rtol=1e-4, atol=1e-5)
    assert moved(first["before"], alone["before"]) == 0
    assert moved(first["after"], second["after"]) == 0
    distance = moved(alone["before"], alone["after"])
    assert distance > 0
    assert moved(alone["after"], first["after"]) < 0.05 * distance


def test_what_one_process_alone_meets_stops_all(both: list[dict[str, Any]]) -> None:
    """Also: a discriminator that appears in the middle is the same everywhere."""
    for found in (both[0]["live"], both[1]["live"]):
        assert found["skipped"]
        assert any(name.startswith("gan/") for name in found["after"])
        assert moved(found["before"], found["after"]) == 0
    assert moved(both[0]["live"]["after"], both[1]["live"]["after"]) == 0


@pytest.mark.usefixtures("one_thread")
def test_they_find_the_same_rate_and_undo_the_search(both: list[dict[str, Any]]) -> None:
    alone, first, second = search(Ranks()), both[0]["search"], both[1]["search"]
    assert first["losses"] == second["losses"]
    assert first["losses"][:2] == pytest.approx(alone["losses"][:2], rel=1e-4)
    assert first["chosen"] == second["chosen"] == alone["chosen"]
    for found in (alone, first, second):
        assert moved(found["before"], found["after"]) == 0


def test_what_they_tell_each_other(both: list[dict[str, Any]]) -> None:
    for found in (both[0]["talk"], both[1]["talk"]):
        assert found == {"average": [[0.5] * 6, 5.0], "agree": {"said by": 0}, "least": 9, "count": 2}


def test_a_process_alone_talks_to_nobody() -> None:
    tensor = torch.tensor(3.0)
    ranks = Ranks()
    ranks.average_([tensor])
    with ranks.gathering(last=False):
        assert (float(tensor), ranks.agree("mine"), ranks.least(7)) == (3.0, "mine", 7)
