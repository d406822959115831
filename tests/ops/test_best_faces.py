from __future__ import annotations

import cv2
import numpy as np
import pytest

from backend.ops.best_faces import best_faces, matching_poses


def by_the_book(pose: np.ndarray, sharpness: np.ndarray, hists: np.ndarray, target: int) -> list[int]:
    """Section 5.1 of the reference, step by step."""
    edges = np.linspace(-1.2, 1.2, 128)
    bins: list[list[int]] = [[] for _ in range(128)]
    for face, (_, yaw) in enumerate(pose):
        s = -yaw
        inside = [g for g in range(1, 127) if edges[g] <= s < edges[g + 1]]
        bins[0 if s < edges[1] else 127 if s >= edges[127] else inside[0]].append(face)
    n = round(target / 128)
    n += sum(max(0, n - len(members)) for members in bins) // 128
    pitches = np.linspace(-np.pi / 2, np.pi / 2, n)
    result = []
    for members in bins:
        cells: list[list[int]] = [[] for _ in range(n)]
        for face in sorted(members, key=lambda face: -sharpness[face])[: 10 * n]:
            p = pose[face, 0]
            found = [g for g in range(1, n - 1) if pitches[g] <= p < pitches[g + 1]]
            cells[0 if n == 1 or p < pitches[1] else n - 1 if p >= pitches[-1] else found[0]].append(face)
        cells = [by_rarity(cell, hists) for cell in cells]
        taken: list[int] = []
        while len(taken) < n and any(cells):
            for cell in cells:
                if cell and len(taken) < n:
                    taken.append(cell.pop(0))
        result += taken
    return result


def by_rarity(cell: list[int], hists: np.ndarray) -> list[int]:
    def rarity(face: int) -> float:
        return sum(cv2.compareHist(hists[face, 0], hists[other, 0], cv2.HISTCMP_BHATTACHARYYA) for other in cell)

    return sorted(cell, key=lambda face: -rarity(face)) if len(cell) > 2 else cell


def faces(rng: np.random.Generator, count: int, spread: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    pose = rng.normal(0, (0.4, spread), (count, 2)).clip(-1.5, 1.5)
    return pose, rng.random(count), rng.random((count, 1, 256)).astype(np.float32)


@pytest.mark.parametrize(("count", "spread", "target"), [(900, 0.5, 300), (600, 0.05, 260), (400, 0.8, 2000)])
def test_follows_the_book(rng, count, spread, target):
    pose, sharpness, hists = faces(rng, count, spread)
    expected = by_the_book(pose, sharpness, hists, target)
    assert best_faces(pose, sharpness, hists, target).tolist() == expected
    assert 0 < len(set(expected)) == len(expected) < count


def test_small_targets_are_kept_and_spread(rng):
    pose, sharpness, hists = faces(rng, 500, 0.5)
    chosen = best_faces(pose, sharpness, hists, 20)
    assert len(set(chosen.tolist())) == 20
    assert np.ptp(pose[chosen, 1]) > 1.5
    assert len(best_faces(pose[:3], sharpness[:3], hists[:3], 1)) == 1


def test_matching_takes_the_shares_of_the_other_side_and_the_sharpest():
    own = np.array([[0.05, 0.05]] * 50 + [[0.05, 0.35]] * 50 + [[0.05, -0.95]] * 9)
    other = np.array([[0.05, 0.05]] * 30 + [[0.05, 0.35]] * 10 + [[0.55, 0.75]] * 5 + [[0.55, 0.85]] * 7)
    sharpness = np.arange(109.0)
    found = matching_poses(own, other, sharpness, 20)
    assert found.order.tolist() == [*range(49, 34, -1), *range(99, 94, -1)]
    assert found.is_known.tolist() == [True] * 100 + [False] * 9
    assert [(round(p, 2), round(y, 2), n) for p, y, n in found.missing] == [(0.55, 0.85, 7), (0.55, 0.75, 5)]


def test_a_pose_with_too_few_faces_passes_its_share_on():
    own = np.array([[0.05, 0.05]] * 4 + [[0.05, 0.35]] * 50)
    other = np.array([[0.05, 0.05]] * 90 + [[0.05, 0.35]] * 10)
    found = matching_poses(own, other, np.ones(54), 20)
    assert (np.sort(found.order) < 4).sum() == 4
    assert len(found.order) == 20
    assert found.missing == []
    assert len(matching_poses(own, other, np.ones(54), 500).order) == 54


def test_no_common_pose():
    found = matching_poses(np.array([[0.0, 1.0]]), np.array([[0.0, -1.0], [9.0, -9.0]]), np.ones(1), 10)
    assert len(found.order) == 0
    assert not found.is_known.any()
    assert len(found.missing) == 2
