from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from scipy.interpolate import griddata

from backend.ops.pose import LANDMARKS_3D
from backend.training import landmark_warp
from backend.training.landmark_warp import CELLS, LandmarkWarp, SimilarShapes, warp_nodes
from backend.training.lookup import Distortion, look_up

GENERIC = np.asarray(LANDMARKS_3D)[:, :2] / 260 + 0.5
CPU = torch.device("cpu")


def shapes(count: int, seed: int, spread: float = 0.02) -> np.ndarray:
    """Landmarks of so many faces, (count, 68, 2) float32 in shares."""
    rng = np.random.default_rng(seed)
    stretch = 1 + rng.normal(0, 2 * spread, (count, 1, 2))
    return ((GENERIC - 0.5) * stretch + 0.5 + rng.normal(0, spread / 8, (count, 68, 2))).astype(np.float32)


def at(nodes: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Displacements at points, (n, 2) in shares, as a lookup reads them."""
    place = (points * CELLS).astype(np.float32)
    planes = [cv2.remap(plane, place[:, :1], place[:, 1:], cv2.INTER_LINEAR)[:, 0] for plane in nodes]
    return np.stack(planes, 1) / 2


def test_the_nearest_shapes_are_found_whoever_is_asked_for_beside_them() -> None:
    own, others = shapes(40, 1), shapes(70, 2)
    distances = ((own[:, None].astype(float) - others[None]) ** 2).mean(axis=(2, 3))
    wanted = np.sort(np.argsort(distances, axis=1)[:, :10], axis=1)
    found = SimilarShapes(own, others)
    one_by_one = np.concatenate([found.of(np.array([entry])) for entry in range(40)])
    together = SimilarShapes(own, others).of(np.arange(40))
    assert np.array_equal(one_by_one, together)
    assert np.array_equal(together, wanted)
    assert found.of(np.array([7, 3, 7])).tolist() == wanted[[7, 3, 7]].tolist()


def test_a_small_side_lends_all_it_has() -> None:
    assert SimilarShapes(shapes(3, 1), shapes(4, 2)).of(np.array([1])).tolist() == [[0, 1, 2, 3]]


def test_many_faces_are_compared_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    own, others = shapes(40, 1), shapes(70, 2)
    whole = SimilarShapes(own, others).of(np.arange(40))
    monkeypatch.setattr(landmark_warp, "_AT_ONCE", 7)
    assert np.array_equal(SimilarShapes(own, others).of(np.arange(40)), whole)


def test_equal_shapes_stay_and_the_edge_does() -> None:
    own, other = shapes(2, 3, 0.04)
    assert np.abs(warp_nodes(own, own)).max() < 1e-6
    nodes = warp_nodes(own, other)
    assert nodes.shape == (2, CELLS + 1, CELLS + 1)
    assert nodes.dtype == np.float32
    assert np.abs(nodes).max() > 0.02
    for edge in (nodes[:, 0], nodes[:, -1], nodes[:, :, 0], nodes[:, :, -1]):
        assert np.abs(edge).max() < 1e-9


def test_landmarks_are_looked_up_where_the_face_has_them() -> None:
    own, other = shapes(2, 4, 0.03)
    inner = slice(27, 68)
    found = at(warp_nodes(own, other), other[inner])
    assert np.abs(found - (own - other)[inner]).mean() < 0.001
    assert np.abs(own - other)[inner].mean() > 0.004


def test_between_landmarks_it_is_what_griddata_gives() -> None:
    own, other = shapes(2, 5, 0.03)
    line = np.linspace(0, 1, 129)
    x, y = np.meshgrid(line, line)
    edge = np.array([(a, b) for a in (0, 0.5, 1) for b in (0, 0.5, 1) if (a, b) != (0.5, 0.5)])
    places, values = np.concatenate([other, edge]), np.concatenate([own, edge])
    wanted = griddata(places, values, (x, y), method="linear") - np.stack([x, y], -1)
    found = at(warp_nodes(own, other), np.stack([x, y], -1).reshape(-1, 2).astype(np.float32)).reshape(129, 129, 2)
    error_px = np.abs(found - wanted) * 128
    assert error_px.mean() < 0.02
    assert error_px.max() < 1


def test_what_lies_beyond_the_picture_or_inside_the_face_does_not_count() -> None:
    own, other = shapes(2, 6)
    beyond, inside = other.copy(), other.copy()
    beyond[8] = 0.5, 1.2
    inside[8] = 0.5, 0.5
    assert np.array_equal(warp_nodes(own, beyond), warp_nodes(own, inside))
    assert not np.array_equal(warp_nodes(own, beyond), warp_nodes(own, other))


def test_chance_follows_from_the_number_of_the_face() -> None:
    own, others = shapes(5, 7), shapes(30, 8)
    warp, again, other_side = (LandmarkWarp(own, others, 11, side) for side in (0, 0, 1))
    aims = warp.aims(np.array([2]))[0]
    first = warp.nodes(4, 2, aims)
    assert np.array_equal(first, again.nodes(4, 2, aims))
    assert not np.array_equal(first, warp.nodes(5, 2, aims))
    assert not np.array_equal(first, other_side.nodes(4, 2, aims))
    drawn = [np.abs(warp.nodes(number, 2, aims)).mean() for number in range(20)]
    assert 0.002 < min(drawn) < max(drawn) < 0.08


@pytest.mark.parametrize("mirror", [1.0, -1.0])
def test_a_picture_shows_its_landmarks_where_the_other_face_has_them(mirror: float) -> None:
    """Dots drawn at a face's landmarks are found at the other's, in mirrored pictures at the mirrored ones."""
    own, other = GENERIC, (GENERIC - 0.5) * (1.15, 0.9) + 0.5
    side, dots = 256, [30, 36, 45, 48, 54]
    image = np.zeros((side, side, 1), np.uint8)
    for x, y in own[dots] * side - 0.5:
        cv2.circle(image, (round(x * 16), round(y * 16)), 4 * 16, (255,), -1, cv2.LINE_AA, 4)
    theta = torch.tensor([[[mirror, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    nodes = torch.from_numpy(warp_nodes(own, other))[None]
    masks = torch.zeros(1, side, side, 2, dtype=torch.uint8)
    found = look_up(torch.from_numpy(image)[None], masks, Distortion(theta, nodes), CPU).warped[0, 0].numpy()
    wanted = other[dots] * side - 0.5
    assert np.abs(wanted - own[dots] * side).max() > 5
    if mirror < 0:
        wanted[:, 0] = side - 1 - wanted[:, 0]
    for x, y in wanted:
        ys, xs = np.mgrid[round(y) - 8 : round(y) + 9, round(x) - 8 : round(x) + 9]
        weight = found[ys, xs]
        assert weight.sum() > 20
        assert (weight * xs).sum() / weight.sum() == pytest.approx(x, abs=0.7)
        assert (weight * ys).sum() / weight.sum() == pytest.approx(y, abs=0.7)
