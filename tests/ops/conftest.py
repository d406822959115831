"""A face without any asset: the generic 3D landmarks seen from the front, and a picture drawn around them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from backend.ops.mask import hull_mask
from backend.ops.pose import LANDMARKS_3D


@pytest.fixture
def landmarks() -> np.ndarray:
    """(68, 2) landmarks of a frontal face about 150 pixels wide, tilted by 10 degrees, in a 400 x 320 frame."""
    angle = np.radians(10)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return LANDMARKS_3D[:, :2] @ rotation.T + (190.0, 150.0)


@pytest.fixture
def frame(landmarks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(320, 400, 3) uint8: smooth background, a skin-coloured face, dark eyes and mouth."""
    noise = rng.integers(0, 256, (10, 12, 3)).astype(np.uint8)
    image = cv2.resize(noise, (400, 320), interpolation=cv2.INTER_CUBIC)
    face = hull_mask(image.shape, landmarks)[:, :, None]
    image = (image * (1 - face) + np.array([120, 150, 205]) * face).astype(np.uint8)
    for group in (range(36, 42), range(42, 48), range(48, 60)):
        cv2.fillConvexPoly(image, landmarks[list(group)].astype(np.int32), (60, 50, 70))
    return cv2.GaussianBlur(image, (5, 5), 0)
