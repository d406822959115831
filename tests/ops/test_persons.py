from __future__ import annotations

import time

import cv2
import numpy as np
import pytest

from backend.ops import persons
from backend.ops.persons import group, look
from backend.ops.pose import LANDMARKS_3D

SIZE = 128
POINTS = LANDMARKS_3D[:, :2] * 0.5 + (64, 80)


def face(skin: tuple[int, int, int] = (120, 150, 200), hair: tuple[int, int, int] = (30, 40, 60)) -> np.ndarray:
    """A drawn face in BGR: skin, hair above it, dark eyes, red lips."""
    image = np.full((SIZE, SIZE, 3), hair, np.uint8)
    cv2.ellipse(image, (64, 84), (38, 46), 0, 0, 360, skin, -1)
    for x in (45, 83):
        cv2.circle(image, (x, 61), 4, (20, 20, 20), -1)
    cv2.ellipse(image, (64, 97), (12, 4), 0, 0, 360, (70, 70, 170), -1)
    return cv2.GaussianBlur(image, (3, 3), 0)


def apart(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.linalg.norm(first - second))


def test_brightness_hardly_matters_and_colours_do() -> None:
    bright = face()
    dark = (bright * 0.6).astype(np.uint8)
    same = apart(look(bright, POINTS), look(dark, POINTS))
    assert same < 1.5
    assert apart(look(bright, POINTS), look(face(skin=(60, 90, 150)), POINTS)) > 3
    assert apart(look(bright, POINTS), look(face(hair=(90, 180, 220)), POINTS)) > 3


def test_the_size_of_the_picture_does_not_matter() -> None:
    large = cv2.resize(face(), (512, 512), interpolation=cv2.INTER_CUBIC)
    assert apart(look(large, POINTS * 4), look(face(), POINTS)) < 0.7


def posed(yaw: float, head: np.ndarray) -> np.ndarray:
    """Landmarks of a head as the camera of the pose sees them."""
    turn = cv2.Rodrigues(np.array([0.0, yaw, 0.0]))[0]
    seen = head @ turn.T + (0, 0, 400.0)
    return seen[:, :2] / seen[:, 2:] * SIZE + SIZE / 2


def test_proportions_show_through_a_turn_of_the_head() -> None:
    image, long_chin = face(), LANDMARKS_3D.copy()
    long_chin[4:13, 1] += 14
    front, turned = look(image, posed(0.0, LANDMARKS_3D)), look(image, posed(0.4, LANDMARKS_3D))
    other = look(image, posed(0.0, long_chin))
    shape = slice(10, None)
    assert apart(front[shape], other[shape]) > 2 * apart(front[shape], turned[shape])
    assert not look(image, posed(0.0, long_chin), shape_counts=False)[shape].any()


def test_the_mouth_does_not_count() -> None:
    laughing = POINTS.copy()
    laughing[55:60, 1] += 8
    laughing[65:68, 1] += 8
    shape = slice(10, None)
    assert apart(look(face(), laughing)[shape], look(face(), POINTS)[shape]) < 1e-5


def test_odd_input_gives_numbers() -> None:
    for image in (np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 255, np.uint8)):
        for points in (np.zeros((68, 2)), POINTS + 500, POINTS * 0.01):
            assert np.isfinite(look(image, points)).all()


def cloud(count: int, people: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Vectors around a centre per person, and whose they are."""
    rng = np.random.default_rng(seed)
    whose = rng.integers(0, people, count)
    return (rng.normal(0, 1.5, (people, 20))[whose] + rng.normal(0, 0.1, (count, 20))), whose


def test_groups_are_the_people_and_the_heaviest_is_first() -> None:
    vectors, whose = cloud(200, 4)
    labels = group(vectors, np.ones(200), [[number] for number in range(200)], 2.0)
    assert len(np.unique(labels)) == 4
    assert all(len(np.unique(labels[whose == person])) == 1 for person in range(4))
    counts = np.bincount(labels)
    assert (np.diff(counts) <= 0).all()
    few = group(vectors[:2], [1, 30], [[0], [1]], 1e-9)
    assert few.tolist() == [1, 0]


def test_faces_of_one_frame_are_never_one_person() -> None:
    vectors = np.zeros((6, 3))
    vectors[3:] += 0.1
    labels = group(vectors, np.ones(6), [["a"], ["b"], ["c"], ["a"], ["b"], ["c"]], 10.0)
    assert len(np.unique(labels)) == 2
    for one, other in ((0, 3), (1, 4), (2, 5)):
        assert labels[one] != labels[other]
    assert len(np.unique(group(vectors, np.ones(6), [[n] for n in range(6)], 10.0))) == 1


def test_the_average_counts_and_not_the_nearest() -> None:
    chain = np.arange(10.0)[:, None]
    labels = group(chain, np.ones(10), [[n] for n in range(10)], 1.5)
    assert len(np.unique(labels)) > 2


def test_very_many_are_grouped_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(persons, "MOST_GROUPED", 100)
    vectors, whose = cloud(1500, 5)
    frames = [[number // 2] for number in range(1500)]
    begun = time.process_time()
    labels = group(vectors, np.ones(1500), frames, 2.0)
    assert time.process_time() - begun < 5
    assert sum(np.bincount(whose[labels == one]).max() for one in np.unique(labels)) == 1500
    assert all(labels[n] != labels[n + 1] for n in range(0, 1500, 2))


def test_nothing_and_one() -> None:
    assert group(np.zeros((1, 4)), [1], [["a"]], 1.0).tolist() == [0]
