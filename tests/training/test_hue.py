from __future__ import annotations

import cv2
import numpy as np
import torch

from backend.training.hue import HsvShift, random_hsv, shift_hsv


def test_shift_equals_opencvs_hsv() -> None:
    rng = np.random.default_rng(1)
    faces = rng.random((4, 24, 24, 3), dtype=np.float32)
    faces[0, :4] = 0.5
    faces[1, :2] = 0
    hue, saturation, value = np.array([-40, 0, 35, 170]), np.array([0.1, -0.2, 0, 0.15]), np.array([0, 0.1, -0.15, 0])
    shift = HsvShift(*(torch.from_numpy(part.astype(np.float32)) for part in (hue, saturation, value)))
    result = shift_hsv(torch.from_numpy(faces).permute(0, 3, 1, 2), shift).permute(0, 2, 3, 1).numpy()
    for i, face in enumerate(faces):
        h, s, v = cv2.split(cv2.cvtColor(face, cv2.COLOR_BGR2HSV))
        moved = cv2.merge([(h + hue[i]) % 360, np.clip(s + saturation[i], 0, 1), np.clip(v + value[i], 0, 1)])
        assert np.abs(cv2.cvtColor(moved.astype(np.float32), cv2.COLOR_HSV2BGR) - result[i]).max() < 1e-3


def test_ranges_are_deepfacelabs() -> None:
    shift = random_hsv(5000, 0.05, torch.Generator().manual_seed(1))
    assert set(shift.hue.tolist()) == set(range(-9, 10))
    for part in (shift.saturation, shift.value):
        assert 0.024 < float(part.abs().max()) <= 0.025
    assert set(random_hsv(200, 0.001, torch.Generator().manual_seed(1)).hue.tolist()) == {-1, 0, 1}
