from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from backend.core.faces import FaceType
from backend.core.settings import SaehdSettings
from backend.training.face_crop import FaceShape
from backend.training.sampler import (
    FEWEST_NEAR,
    NEAR_YAW,
    EpochSampler,
    Share,
    SimilarYawSampler,
    YawSampler,
    build_sampler,
    build_samplers,
)
from backend.training.synthetic import synthetic_faces


def test_every_face_once_per_round() -> None:
    sampler = EpochSampler(np.arange(10), seed=1)
    first, second = sampler.draw(10), sampler.draw(10)
    assert sorted(first) == sorted(second) == list(range(10))
    assert first.tolist() != second.tolist()


UNEVEN = np.concatenate([np.full(90, 0.02), np.linspace(-1.5, 1.5, 30)]).astype(np.float32)


@pytest.mark.parametrize(
    "kind", [EpochSampler, lambda entries, seed, drawn=0: YawSampler(entries, UNEVEN, seed, drawn)]
)
def test_drawing_goes_on_where_it_stood(kind) -> None:
    entries = np.arange(120)
    whole = kind(entries, 3).draw(1000)
    part = kind(entries, 3)
    part.draw(433)
    rest = kind(entries, 3, part.drawn).draw(567)
    assert whole[433:].tolist() == rest.tolist()
    assert whole.tolist() != kind(entries, 4).draw(1000).tolist()


def test_all_head_turns_come_equally_often() -> None:
    sampler = YawSampler(np.arange(200, 320), UNEVEN, seed=5)
    drawn = sampler.draw(31 * 200)
    seen = Counter(drawn.tolist())
    frontal = sum(seen[200 + i] for i in range(90))
    assert frontal < 0.1 * len(drawn)
    assert set(seen) == set(range(200, 320))
    counts = [seen[200 + i] for i in range(90)]
    assert max(counts) - min(counts) <= 1


def test_bins_are_those_of_the_negative_yaw() -> None:
    edges = np.linspace(-1.2, 1.2, 128)
    yaws = -np.array([edges[5], edges[6] - 1e-4, edges[6] + 1e-4, -3.0, -1.2, 3.0, 1.2 + 1e-4], np.float32)
    sampler = YawSampler(np.arange(7), yaws - 1e-6, seed=1)
    seen = Counter(sampler.draw(4 * 100).tolist())
    assert seen[0] + seen[1] == seen[2] == seen[3] + seen[4] == seen[5] + seen[6] == 100


def similar(yaws: np.ndarray, wanted: np.ndarray, drawn: int = 0) -> SimilarYawSampler:
    """A side whose entries begin at 500, fed like a side whose entries begin at 50."""
    like = EpochSampler(np.arange(50, 50 + len(wanted)), 8, drawn)
    return SimilarYawSampler(np.arange(500, 500 + len(yaws)), yaws, like, wanted, 7, drawn)


def test_each_face_gets_one_of_a_similar_turn() -> None:
    rng = np.random.default_rng(2)
    yaws, wanted = rng.normal(0, 0.4, (2, 400)).astype(np.float32)
    drawn = similar(yaws, wanted).draw(800) - 500
    like = EpochSampler(np.arange(400), 8).draw(800)
    apart = np.abs(yaws[drawn] - wanted[like])
    crowded = np.array([(np.abs(yaws - yaw) < NEAR_YAW).sum() >= FEWEST_NEAR for yaw in wanted[like]])
    assert apart[crowded].max() <= NEAR_YAW + 1e-6
    for place in np.flatnonzero(~crowded):
        assert apart[place] <= np.sort(np.abs(yaws - wanted[like[place]]))[FEWEST_NEAR - 1] + 1e-6
    assert 0 < (~crowded).sum() < 200
    assert len(set(drawn.tolist())) > 200


def test_a_turn_that_nobody_shares_gets_the_most_similar_ones() -> None:
    yaws = np.linspace(-0.2, 0.5, 40).astype(np.float32)
    drawn = similar(yaws, np.full(5, 1.1, np.float32)).draw(200) - 500
    assert set(drawn.tolist()) == set(range(32, 40))
    assert set((similar(yaws[:3], np.zeros(5, np.float32)).draw(60) - 500).tolist()) == {0, 1, 2}


def test_similar_turns_go_on_where_they_stood() -> None:
    yaws, wanted = np.random.default_rng(2).normal(0, 0.4, (2, 60)).astype(np.float32)
    whole = similar(yaws, wanted).draw(300)
    assert whole[133:].tolist() == similar(yaws, wanted, 133).draw(167).tolist()


@pytest.mark.parametrize("uniform_yaw", [False, True])
def test_the_other_side_draws_as_it_would_without(uniform_yaw: bool) -> None:
    shape = FaceShape(16, 3, FaceType.FULL)
    src, dst = ((cache, cache.usable[::2]) for cache in (synthetic_faces(shape, 400, 1), synthetic_faces(shape, 60, 2)))
    wanted = SaehdSettings(uniform_yaw=uniform_yaw, seed=4, sort_by_yaw=True)
    of_src, of_dst = build_samplers(src, dst, wanted, (12, 12))
    plain_src, plain_dst = build_samplers(src, dst, wanted.model_copy(update={"sort_by_yaw": False}), (12, 12))
    drawn, like = of_src.draw(50), of_dst.draw(50)
    assert like.tolist() == plain_dst.draw(50).tolist()
    assert drawn.tolist() != plain_src.draw(50).tolist()
    assert set(drawn.tolist()) <= set(src[1].tolist())
    assert np.abs(src[0].yaws(drawn) - dst[0].yaws(like)).max() < 0.1
    assert of_src.drawn == of_dst.drawn == 62


def test_shares_put_together_are_the_whole() -> None:
    whole = torch.arange(12)
    parts = [Share(rank, 3).of(whole) for rank in range(3)]
    assert torch.equal(torch.cat(parts), whole)
    assert Share().of(np.arange(5)).tolist() == [0, 1, 2, 3, 4]


def test_settings_choose_the_sampler() -> None:
    cache = synthetic_faces(FaceShape(16, 3, FaceType.FULL), 20, 1)
    even = build_sampler(cache, cache.usable, SaehdSettings(uniform_yaw=True), 3, 7)
    assert isinstance(even, YawSampler)
    assert even.drawn == 7
    assert isinstance(build_sampler(cache, cache.usable, SaehdSettings(), 3), EpochSampler)
