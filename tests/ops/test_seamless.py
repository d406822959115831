from __future__ import annotations

import cv2
import numpy as np
import pytest

from backend.ops.seamless import poisson_clone, softened

SIZE = 96


@pytest.fixture
def mask() -> np.ndarray:
    """(96, 96) float32, a disc."""
    return cv2.circle(np.zeros((SIZE, SIZE), np.float32), (48, 48), 30, 1.0, -1)


@pytest.fixture
def texture(rng) -> np.ndarray:
    """(96, 96, 3) float32 0..1 with soft spots."""
    spots = rng.uniform(0.4, 0.6, (12, 12, 3)).astype(np.float32)
    return cv2.resize(spots, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)


def test_the_face_keeps_its_detail_and_takes_the_light(texture, mask):
    darker = texture - 0.25
    cloned = poisson_clone(darker, texture, mask, 1.0)
    assert cloned is not None
    assert np.abs(cloned - texture).max() < 0.02


def test_what_lies_outside_is_the_destination(texture, mask):
    cloned = poisson_clone(np.zeros_like(texture), texture, mask, 1.0)
    outside = cv2.dilate(mask, np.ones((3, 3))) == 0
    assert np.abs(cloned - texture)[outside].mean() < 1 / 255
    assert np.abs(cloned - texture)[:10].max() <= 1 / 255


@pytest.mark.parametrize(("frame_px", "grown"), [(1.0, 0), (2.0, 0), (0.34, 2), (0.01, 3)])
def test_the_area_grows_where_a_crops_pixel_is_wider(texture, mask, frame_px, grown, monkeypatch):
    areas = []
    monkeypatch.setattr(cv2, "seamlessClone", lambda _s, destination, area, *_: areas.append(area) or destination)
    poisson_clone(texture, texture, mask, frame_px)
    assert cv2.boundingRect(areas[0])[2] == 61 + 2 * grown


def test_without_an_area_there_is_no_clone(texture, mask):
    assert poisson_clone(texture, texture, mask * 0.05, 1.0) is None


def test_noise_at_the_edge_moves_a_steady_clone_less(texture, mask, rng):
    """The same face cloned into two takes of the same noisy picture."""
    face = texture - 0.2
    takes = [np.clip(texture + rng.normal(0, 0.05, texture.shape), 0, 1).astype(np.float32) for _ in range(2)]
    inside = cv2.erode(mask, np.ones((9, 9))) > 0
    flicker = []
    for prepare in (lambda image: image, softened):
        first, second = (poisson_clone(face, prepare(take), mask, 1.0) for take in takes)
        assert first is not None
        assert second is not None
        flicker.append(np.abs(first - second)[inside].mean())
    assert flicker[1] < 0.5 * flicker[0]


def test_softening_leaves_the_light(texture):
    assert np.abs(softened(texture) - texture).mean() < 0.05
    assert softened(texture).mean() == pytest.approx(texture.mean(), abs=0.005)
    flat = np.full((SIZE, SIZE, 3), 0.3, np.float32)
    assert np.allclose(softened(flat), flat, atol=1e-5)
