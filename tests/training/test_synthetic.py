from __future__ import annotations

import numpy as np
import pytest

from backend.core.faces import FaceType
from backend.training.dataset import FaceShape
from backend.training.synthetic import synthetic_faces


@pytest.mark.parametrize("channels", [1, 3])
def test_they_look_like_a_cache_of_faces(channels: int) -> None:
    cache = synthetic_faces(FaceShape(64, channels, FaceType.WHOLE), 40, seed=3)
    assert cache.images.shape == (40, 64, 64, channels)
    assert cache.masks.shape == (40, 64, 64, 2)
    assert len(cache.names) == len(cache.usable) == 40
    assert 0.15 < (cache.masks[..., 0] > 127).mean() < 0.4
    assert cache.masks[..., 1].max() == 255
    assert not cache.masks[..., 1][cache.masks[..., 0] == 0].any()
    assert len({image.tobytes() for image in cache.images}) == 40
    assert np.isfinite(cache.yaws(cache.usable)).all()


def test_the_seed_decides() -> None:
    shape = FaceShape(32, 3, FaceType.FULL)
    first, again, other = (synthetic_faces(shape, 6, seed) for seed in (1, 1, 2))
    assert np.array_equal(first.images, again.images)
    assert not np.array_equal(first.images, other.images)
