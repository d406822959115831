"""Faces to merge, without a model: what it could predict, as a few flat or given squares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from backend.core.faces import FaceType
from backend.ops.composite import composite_frame, face_target
from backend.ops.face_swap import FaceSwap, MergedFrame, MergeOptions, SwapPrediction

SIZE = 96
FITTED_MODES = ("overlay", "hist-match", "hist-match-gray", "seamless", "seamless-hist-match")


def disc(radius: int = 30) -> np.ndarray:
    """(SIZE, SIZE) float32, 1 in the middle."""
    return cv2.circle(np.zeros((SIZE, SIZE), np.float32), (SIZE // 2, SIZE // 2), radius, 1.0, -1, cv2.LINE_AA)


def identity(crop: np.ndarray) -> SwapPrediction:
    """The face that is there already."""
    return SwapPrediction(crop, disc(), disc())


def colored(value: float, channels: int = 3, radius: int = 30) -> Callable[[np.ndarray], SwapPrediction]:
    """A model that predicts one flat colour, with masks of every kind."""

    def predict(crop: np.ndarray) -> SwapPrediction:
        mask = disc(radius)
        seen = cv2.resize(mask, (256, 256))
        return SwapPrediction(np.full((SIZE, SIZE, channels), value, np.float32), mask, mask, seen, seen)

    return predict


def swap_of(frame: np.ndarray, landmarks: np.ndarray, predict: Callable[[np.ndarray], SwapPrediction]) -> FaceSwap:
    """A whole face of a frame and what ``predict`` makes of its crop."""
    target = face_target(frame, landmarks, FaceType.WHOLE, SIZE)
    return FaceSwap(target, predict(target.crop))


def merge(
    frame: np.ndarray, landmarks: np.ndarray, predict: Callable[[np.ndarray], SwapPrediction], **options: Any
) -> MergedFrame:
    """One face merged, without colour transfer unless asked for."""
    defaults = {"blur_mask": 20, "color_transfer": "none"}
    return composite_frame(frame, [swap_of(frame, landmarks, predict)], MergeOptions(**(defaults | options)))
