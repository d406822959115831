from __future__ import annotations

import numpy as np

from backend.core.faces import FaceType
from backend.ops.align import crop_corners, face_matrix
from backend.ops.draw import draw_landmarks


def test_drawing_marks_the_face_and_leaves_the_input(frame, landmarks):
    before = frame.copy()
    corners = crop_corners(face_matrix(landmarks, 256, FaceType.FULL), 256)
    drawn = draw_landmarks(frame, landmarks, (100, 60, 280, 240), corners)
    assert np.array_equal(frame, before)
    assert drawn.shape == frame.shape
    for x, y in np.rint(landmarks).astype(int):
        assert (drawn[y - 1 : y + 2, x - 1 : x + 2].astype(int) - frame[y - 1 : y + 2, x - 1 : x + 2] != 0).any()
    assert (drawn[60, 100] != frame[60, 100]).any()
    x, y = np.rint(corners[:2].mean(axis=0)).astype(int)
    assert drawn[y, x, 2] > 150


def test_drawing_outside_the_image_is_harmless(frame, landmarks):
    assert np.array_equal(draw_landmarks(frame, landmarks + 5000), frame)
