"""Drawing of what was found in a frame, for people to check."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

# Lines of the 68 landmarks: (indexes, closed).
_LINES: tuple[tuple[range, bool], ...] = (
    (range(17), False),
    (range(17, 22), False),
    (range(22, 27), False),
    (range(27, 31), False),
    (range(31, 36), False),
    (range(36, 42), True),
    (range(42, 48), True),
    (range(48, 60), True),
    (range(60, 68), True),
)
_GREEN = (0, 255, 0)
_YELLOW = (0, 255, 255)
_BLUE = (255, 96, 0)
_RED = (0, 0, 255)
_FRACTION_BITS = 4


def draw_landmarks(
    image_bgr: npt.NDArray[np.uint8],
    landmarks_68x2: npt.ArrayLike,
    box_xyxy: npt.ArrayLike | None = None,
    crop_quad: npt.ArrayLike | None = None,
) -> npt.NDArray[np.uint8]:
    """Draw landmarks, and if given the detector's box and the outline of the crop.

    Args:
        image_bgr: (h, w, 3) uint8, not changed.
        landmarks_68x2: (68, 2) in pixels of the image.
        box_xyxy: left, top, right, bottom of the detection.
        crop_quad: (4, 2) corners of the crop; its top edge is drawn red.

    Returns:
        (h, w, 3) uint8 copy with landmark lines in green, points in yellow, box and outline in blue.
    """
    image = image_bgr.copy()
    width = max(1, round(max(image.shape[:2]) / 700))
    landmarks = np.asarray(landmarks_68x2, dtype=np.float64)
    if box_xyxy is not None:
        left, top, right, bottom = np.asarray(box_xyxy, dtype=np.float64)
        _line(image, np.array([(left, top), (right, top), (right, bottom), (left, bottom)]), _BLUE, width, closed=True)
    if crop_quad is not None:
        corners = np.asarray(crop_quad, dtype=np.float64)
        _line(image, corners, _BLUE, width, closed=True)
        _line(image, corners[:2], _RED, width)
    for indexes, closed in _LINES:
        _line(image, landmarks[list(indexes)], _GREEN, width, closed=closed)
    for x, y in _fixed(landmarks):
        cv2.circle(
            image, (int(x), int(y)), (width + 1) << (_FRACTION_BITS - 1), _YELLOW, -1, cv2.LINE_AA, _FRACTION_BITS
        )
    return image


def _line(
    image: npt.NDArray[np.uint8],
    points: npt.NDArray[np.float64],
    color: tuple[int, int, int],
    width: int,
    closed: bool = False,
) -> None:
    """Draw a polygon line in place, placed to a sixteenth of a pixel."""
    cv2.polylines(image, [_fixed(points)], closed, color, width, cv2.LINE_AA, _FRACTION_BITS)


def _fixed(points: npt.NDArray[np.float64]) -> npt.NDArray[np.int32]:
    """Points in OpenCV's fixed-point coordinates."""
    return np.rint(points * (1 << _FRACTION_BITS)).astype(np.int32)
