from __future__ import annotations

import numpy as np
import pytest

from backend.ops.face_swap import STILL
from backend.ops.motion import motion_of


def test_way_from_the_frame_before_to_the_frame_after(landmarks):
    motion = motion_of(landmarks - (3, 0), landmarks, landmarks - (-5, -6))
    assert motion.power == pytest.approx(10, abs=1e-6)
    assert motion.angle_deg == pytest.approx(-np.degrees(np.arctan2(6, 8)), abs=1e-6)


def test_up_is_a_positive_angle(landmarks):
    assert motion_of(landmarks, landmarks, landmarks - (0, 4)).angle_deg == pytest.approx(90)


def test_a_missing_neighbour_is_made_up_for(landmarks):
    whole = motion_of(landmarks - (2, 1), landmarks, landmarks - (-2, -1))
    assert motion_of(None, landmarks, landmarks - (-2, -1)) == pytest.approx(whole)
    assert motion_of(landmarks - (2, 1), landmarks, None) == pytest.approx(whole)


def test_without_neighbours_or_without_a_way_it_stands_still(landmarks):
    assert motion_of(None, landmarks, None) == STILL
    assert motion_of(landmarks, landmarks, landmarks) == STILL
    point = np.zeros((68, 2))
    assert motion_of(None, point, landmarks) == STILL
    assert motion_of(point, landmarks, landmarks - (-2, -1)) == pytest.approx(
        motion_of(None, landmarks, landmarks - (-2, -1))
    )


def test_a_mouth_that_opens_is_no_motion(landmarks):
    talking = landmarks.copy()
    talking[55:60] += (0, 12)
    assert motion_of(landmarks, landmarks, talking) == STILL
