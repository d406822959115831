from __future__ import annotations

import cv2
import numpy as np
import pytest

from backend.training import clahe
from backend.training.clahe import Equaliser, equalised


def faint(side: int, channels: int = 3) -> np.ndarray:
    """A picture with hardly any contrast."""
    rng = np.random.default_rng(3)
    coarse = rng.integers(90, 130, (8, 8, channels), np.uint8)
    return cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC).reshape(side, side, channels)


@pytest.mark.parametrize("channels", [1, 3])
def test_contrast_grows_and_colours_stay(channels: int) -> None:
    face = faint(64, channels)
    found = equalised(face, 4)
    assert found.shape == face.shape
    assert found.std() > 1.3 * face.std()
    if channels == 3:
        before, after = (cv2.cvtColor(image, cv2.COLOR_BGR2LAB).astype(int) for image in (face, found))
        assert np.abs(after[..., 1:] - before[..., 1:]).mean() < 1.5


def test_a_share_of_the_faces_is_equalised_and_always_the_same_ones() -> None:
    face = faint(16)
    runs = [[Equaliser(0.3, 4, 7, 0)(number, face) is not face for number in range(400)] for _ in range(2)]
    assert runs[0] == runs[1]
    assert 0.22 < np.mean(runs[0]) < 0.38
    assert [Equaliser(0.3, 4, 7, 1)(number, face) is not face for number in range(400)] != runs[0]
    assert [Equaliser(0.3, 4, 8, 0)(number, face) is not face for number in range(400)] != runs[0]


@pytest.mark.parametrize(("side", "sizes"), [(64, {2, 3, 4}), (512, {4, 6, 8})])
def test_grids_are_the_coarsest_and_finer_ones(monkeypatch: pytest.MonkeyPatch, side: int, sizes: set[int]) -> None:
    tiles: list[int] = []
    monkeypatch.setattr(clahe, "equalised", lambda face, count: tiles.append(count))
    for number in range(100):
        Equaliser(1.0, 2, 5, 0)(number, np.zeros((side, 1, 1), np.uint8))
    assert set(tiles) == sizes
    assert min(tiles.count(size) for size in sizes) > 20
