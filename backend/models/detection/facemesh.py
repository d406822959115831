"""FaceMesh: MediaPipe's network of 468 face points, run by OpenCV and reduced to the field's 68 landmarks."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from backend.core.faces import Detection
from backend.models.detection.base import Float32, Image
from backend.models.detection.opencv_network import NetworkOfThread

_SIDE = 192
_BOX_FACTOR = 1.45
_MESH_FACTOR = 1.5
_MESH_POINTS = 468

# Mesh point of each of the 68 landmarks: jaw, brows, nose, eyes, mouth.
_MESH_OF_68 = np.array(
    [
        *(162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389),
        *(71, 63, 105, 66, 107),
        *(336, 296, 334, 293, 301),
        *(168, 197, 5, 4),
        *(75, 97, 2, 326, 305),
        *(33, 160, 158, 133, 153, 144),
        *(362, 385, 387, 263, 373, 380),
        *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181),
        *(78, 82, 13, 312, 308, 317, 14, 87),
    ]
)
_MESH_OF_68.setflags(write=False)
_LEFT_EYE, _RIGHT_EYE = slice(36, 42), slice(42, 48)


class FaceMesh:
    """68 landmarks by FaceMesh: one look at the detector's box, a second one at the box of the points found.

    Args:
        file: FaceMesh.onnx.

    Raises:
        DamagedFileError: the file is no such network.
    """

    name = "facemesh"

    def __init__(self, file: Path) -> None:
        self._network = NetworkOfThread(file, cv2.dnn.readNetFromONNX)

    def landmarks(self, frame_bgr: Image, detection: Detection) -> Float32:
        """(68, 2) float32 landmarks in frame pixels; eyes are levelled by the detection's points when it has them."""
        left, top, right, bottom = (float(v) for v in detection.box_xyxy)
        side = _BOX_FACTOR * max(right - left, bottom - top)
        angle = 0.0 if detection.points5 is None else _angle(detection.points5[0], detection.points5[1])
        mesh = self._mesh(frame_bgr, np.array([(left + right) / 2, (top + bottom) / 2]), side, angle)
        found = mesh[_MESH_OF_68]
        angle = _angle(found[_LEFT_EYE].mean(axis=0), found[_RIGHT_EYE].mean(axis=0))
        centre, side = _levelled_box(mesh, angle)
        return self._mesh(frame_bgr, centre, _MESH_FACTOR * side, angle)[_MESH_OF_68].astype(np.float32)

    def _mesh(self, frame_bgr: Image, centre: Float32, side: float, angle: float) -> Float32:
        """(468, 2) mesh points in frame pixels, seen in a turned square about a centre."""
        zoom = _SIDE / max(side, 1.0)
        turn = zoom * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        to_crop = np.column_stack([turn, _SIDE / 2 - turn @ centre])
        crop = cv2.warpAffine(frame_bgr, to_crop, (_SIDE, _SIDE), flags=cv2.INTER_LINEAR)
        blob = cv2.cvtColor(crop, cv2.COLOR_BGR2RGB)[None].astype(np.float32) / 255.0
        network = self._network()
        network.setInput(blob)
        points = np.asarray(network.forward()).reshape(_MESH_POINTS, 3)[:, :2]
        return ((points - to_crop[:, 2]) @ np.linalg.inv(turn).T).astype(np.float32)


def _angle(left_eye: Float32, right_eye: Float32) -> float:
    """Angle of the line through the eyes in radians, 0 when level."""
    return float(np.arctan2(right_eye[1] - left_eye[1], right_eye[0] - left_eye[0]))


def _levelled_box(points: Float32, angle: float) -> tuple[Float32, float]:
    """Centre in the frame and longer side of the box of points, measured with the eyes level."""
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    level = points @ turn.T
    low, high = level.min(axis=0), level.max(axis=0)
    return (low + high) / 2 @ turn, float((high - low).max())
