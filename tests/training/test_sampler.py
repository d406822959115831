from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from backend.core.faces import FaceType
from backend.core.settings import SaehdSettings
from backend.training.dataset import FaceShape
from backend.training.sampler import EpochSampler, Share, YawSampler, build_sampler
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
