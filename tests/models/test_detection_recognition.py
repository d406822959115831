from __future__ import annotations

import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from backend.models.detection import recognition
from backend.models.detection.build import build_recogniser
from backend.models.detection.points5 import five_points
from backend.models.detection.recognition import recognition_crop
from backend.ops.pose import LANDMARKS_3D

# OpenCV's own template (face_recognize.cpp), written down once more.
TEMPLATE = [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]


def marked(points: np.ndarray, side: int, radius: int) -> np.ndarray:
    """A black picture with a white disc on each point."""
    picture = np.zeros((side, side, 3), np.uint8)
    for x, y in points:
        cv2.circle(picture, (round(x * 16), round(y * 16)), radius * 16, (255, 255, 255), -1, shift=4)
    return picture


def centres(crop: np.ndarray) -> np.ndarray:
    count, _, _, found = cv2.connectedComponentsWithStats((crop[..., 0] > 127).astype(np.uint8))
    assert count == 6
    return found[1:]


@pytest.mark.parametrize(("zoom", "angle"), [(1.0, 0.0), (2.0, 0.4), (9.0, -0.7)])
def test_five_points_come_to_lie_on_the_template(zoom: float, angle: float) -> None:
    turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = (np.array(TEMPLATE) - 56) @ turn.T + 700
    crop = recognition_crop(marked(points, 1400, round(4 * zoom)), points)
    assert crop.shape == (112, 112, 3)
    found = centres(crop)
    for point in TEMPLATE:
        assert np.linalg.norm(found - point, axis=1).min() < 0.6


def test_no_pixel_of_a_large_face_is_skipped(rng: np.random.Generator) -> None:
    points = (np.array(TEMPLATE) - 56) * 8 + 500
    noise = rng.integers(0, 2, (1000, 1000, 1), dtype=np.uint8).repeat(3, axis=2) * 255
    assert recognition_crop(noise, points).std() < 40


def test_landmarks_stand_for_their_five_points() -> None:
    landmarks = LANDMARKS_3D[:, :2] / np.ptp(LANDMARKS_3D[:, 0]) * 150 + 200
    picture = marked(five_points(landmarks), 400, 5)
    np.testing.assert_array_equal(
        recognition_crop(picture, landmarks), recognition_crop(picture, five_points(landmarks))
    )


def test_a_face_becomes_a_vector_of_length_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made: list[tuple[str, bytes]] = []

    class Network:
        def feature(self, crop):
            assert (crop.shape, crop.dtype) == ((112, 112, 3), np.uint8)
            return np.arange(128, dtype=np.float32)[None] * crop.mean()

    def create(kind, model, config):
        made.append((kind, bytes(model)))
        return Network()

    monkeypatch.setattr(recognition.cv2.FaceRecognizerSF, "create", create)
    (tmp_path / "sface.onnx").write_bytes(b"model")
    recogniser = build_recogniser("sface", (tmp_path / "sface.onnx",))
    picture = np.full((200, 200, 3), 90, np.uint8)
    vector = recogniser.embed(picture, TEMPLATE)
    assert (vector.shape, vector.dtype) == ((128,), np.float32)
    assert np.linalg.norm(vector) == pytest.approx(1)
    np.testing.assert_allclose(vector, np.arange(128) / np.linalg.norm(np.arange(128)), atol=1e-6)
    assert np.isfinite(recogniser.embed(np.zeros_like(picture), TEMPLATE)).all()
    other = threading.Thread(target=recogniser.embed, args=(picture, TEMPLATE))
    other.start()
    other.join()
    assert made == [("onnx", b"model")] * 2
