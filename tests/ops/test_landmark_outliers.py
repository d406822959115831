from __future__ import annotations

import numpy as np
import pytest

from backend.core.faces import FaceType
from backend.ops.align import face_matrix, transform_points
from backend.ops.landmark_outliers import fault_of_order, lies_beside_box, lies_outside, shape_error, unusual_shapes
from tests.drawn_faces import draw_face

SIZE = 256


@pytest.fixture
def aligned(rng) -> np.ndarray:
    _, points = draw_face(SIZE, rng)
    return transform_points(points, face_matrix(points, SIZE, FaceType.WHOLE))


def moved(points: np.ndarray, which: slice, by: tuple[float, float]) -> np.ndarray:
    changed = points.copy()
    changed[which] += by
    return changed


def test_a_face_has_no_fault(aligned):
    assert fault_of_order(aligned) == ""
    assert shape_error(aligned, SIZE) < 0.03


def test_each_fault_is_named(aligned):
    assert fault_of_order(moved(aligned, slice(17, 27), (0, 60))) == "the brows lie below the eyes"
    assert fault_of_order(moved(aligned, slice(48, 68), (0, -80))) == "the mouth lies above the nose"
    assert fault_of_order(moved(aligned, slice(27, 36), (0, -90))) == "the nose lies above the eyes"
    swapped = aligned.copy()
    swapped[36:48] = aligned[[*range(42, 48), *range(36, 42)]]
    assert fault_of_order(swapped) == "the eyes are swapped"
    assert fault_of_order(np.full((68, 2), 5.0)) == "the landmarks make no face"
    assert fault_of_order(np.full((68, 2), np.nan)) == "the landmarks make no face"


def test_shape_error_grows_with_disorder(aligned, rng):
    noise = rng.normal(0, 1, (68, 2))
    errors = [shape_error(aligned + amount * noise, SIZE) for amount in (0, 3, 8, 20)]
    assert errors == sorted(errors)
    assert errors[2] > 0.05
    assert shape_error(np.zeros((68, 2)), SIZE) == np.inf


def test_real_faces_are_usual_and_broken_ones_among_them_are_not(golden, rng):
    stored = np.load(golden / "dfl_alignment.npz")
    whole = stored["types"].tolist().index("whole_face")
    points = [
        transform_points(face, matrix)
        for face, matrix in zip(stored["landmarks"], stored["mat_256"][:, whole], strict=True)
    ]
    assert [fault_of_order(face) for face in points] == [""] * len(points)
    broken = [moved(face, slice(48, 68), (25, -15)) for face in points[::8]]
    found = unusual_shapes([shape_error(face, SIZE) for face in [*points, *broken]])
    assert not found[: len(points)].any()
    assert found[len(points) :].all()


def test_unusual_needs_both_distance_and_deviation():
    assert not unusual_shapes([]).size
    assert not unusual_shapes([0.02] * 20 + [0.04]).any()
    assert unusual_shapes([0.02] * 20 + [0.09, np.inf]).tolist() == [False] * 20 + [True, True]
    assert not unusual_shapes(np.linspace(0.03, 0.08, 20)).any()
    assert unusual_shapes([np.inf, np.inf, 0.02]).tolist() == [False, False, False]


def test_box_beside_the_landmarks():
    points = np.random.default_rng(1).uniform(100, 200, (68, 2))
    assert not lies_beside_box((90, 80, 210, 220), points)
    assert not lies_beside_box((0, 0, 0, 0), points)
    assert lies_beside_box((300, 80, 420, 220), points)
    assert lies_beside_box((0, 0, 400, 400), points)


def test_outside_the_frame():
    points = np.column_stack([np.linspace(-50, 50, 68), np.full(68, 20.0)])
    right, below = points + np.array((50, 0)), points + np.array((50, 90))
    assert lies_outside(points, None)
    assert not lies_outside(right, None)
    assert not lies_outside(right, (200, 100))
    assert lies_outside(right, (60, 100))
    assert lies_outside(below, (200, 100))
