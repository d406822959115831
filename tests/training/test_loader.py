from __future__ import annotations

import numpy as np
import pytest

from backend.training.dataset import FaceCache
from backend.training.loader import BatchLoader, EpochSampler, take


def numbered(count: int) -> FaceCache:
    """Faces whose pixels are their number."""
    images = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 8, 8, 3)).copy()
    masks = np.zeros((count, 8, 8, 2), np.uint8)
    return FaceCache(images, masks, tuple(f"{i}.jpg" for i in range(count)), np.arange(count))


def test_every_face_once_per_round() -> None:
    sampler = EpochSampler(np.arange(10), seed=1)
    first, second = sampler.draw(10), sampler.draw(10)
    assert sorted(first) == sorted(second) == list(range(10))
    assert first.tolist() != second.tolist()


def test_drawing_goes_on_where_it_stood() -> None:
    whole = EpochSampler(np.arange(7), seed=3).draw(40)
    part = EpochSampler(np.arange(7), seed=3)
    part.draw(17)
    rest = EpochSampler(np.arange(7), seed=3, drawn=part.drawn).draw(23)
    assert whole[17:].tolist() == rest.tolist()


def test_loader_hands_out_in_order_and_counts() -> None:
    cache = numbered(6)
    expected = EpochSampler(np.arange(6), seed=1).draw(8)
    src, dst = EpochSampler(np.arange(6), seed=1), EpochSampler(np.arange(6), seed=2)
    with BatchLoader((cache, src), (cache, dst), 4) as loader:
        first, second = loader.next(), loader.next()
    assert [*first.src.images[:, 0, 0, 0].tolist(), *second.src.images[:, 0, 0, 0].tolist()] == expected.tolist()
    assert first.drawn == (4, 4)
    assert second.drawn == (8, 8)
    assert first.dst.masks.shape == (4, 8, 8, 2)


def test_an_error_of_the_thread_reaches_the_caller() -> None:
    cache, broken = numbered(6), EpochSampler(np.array([99]), seed=1)
    with BatchLoader((cache, broken), (cache, broken), 2) as loader, pytest.raises(IndexError):
        loader.next()


def test_take_copies() -> None:
    cache = numbered(4)
    side = take(cache, np.array([2, 0]))
    side.images.zero_()
    assert cache.images[2, 0, 0, 0] == 2
