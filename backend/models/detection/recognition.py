"""Recognition: a face becomes a vector that is alike for all pictures of one person."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from backend.models.detection.base import Float32, Image
from backend.models.detection.opencv_network import NetworkOfThread
from backend.models.detection.points5 import five_points
from backend.ops.align import umeyama, warp_face

SAME_PERSON_COSINE = 0.363
"""From this cosine of two vectors of SFace on OpenCV takes two faces for one person."""

_SIDE = 112

# Where the eyes, the nose and the mouth corners lie in the crop that such networks are trained on (ArcFace's template).
_TEMPLATE = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
)
_TEMPLATE.setflags(write=False)


class SFace:
    """SFace (Zhong et al. 2021), OpenCV's recognition network. Runs on the CPU.

    Args:
        file: face_recognition_sface_2021dec.onnx.

    Raises:
        DamagedFileError: the file is no such network.
    """

    name = "sface"

    def __init__(self, file: Path) -> None:
        self._network = NetworkOfThread(
            file, lambda model: cv2.FaceRecognizerSF.create("onnx", model, np.zeros(0, np.uint8))
        )

    def embed(self, image_bgr: Image, points: npt.ArrayLike) -> Float32:
        """(128,) float32 of length 1; the dot product of two is their cosine.

        Args:
            image_bgr: (h, w, 3) uint8 BGR, a frame or a cut face.
            points: (68, 2) landmarks, or (5, 2) image-left eye, image-right eye, nose, mouth corners, in its pixels.
        """
        vector = np.asarray(self._network().feature(recognition_crop(image_bgr, points)), np.float32).reshape(-1)
        return vector / max(float(np.linalg.norm(vector)), 1e-12)


def recognition_crop(image_bgr: Image, points: npt.ArrayLike) -> Image:
    """(112, 112, 3) uint8 BGR crop in which five points lie as recognition networks expect them.

    A large face is halved first until no pixel is skipped.

    Args:
        image_bgr: (h, w, 3) uint8 BGR.
        points: (68, 2) landmarks or (5, 2) points, in its pixels.
    """
    five = np.asarray(points, np.float64)
    if len(five) == 68:
        five = five_points(five)
    to_crop = umeyama(five, _TEMPLATE)
    while np.linalg.norm(to_crop[:, 0]) <= 0.5 and min(image_bgr.shape[:2]) > 1:
        height, width = image_bgr.shape[:2]
        image_bgr = cv2.resize(image_bgr, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        shrunk = np.array([width // 2 / width, height // 2 / height])
        five = (five + 0.5) * shrunk - 0.5
        to_crop = umeyama(five, _TEMPLATE)
    return warp_face(image_bgr, to_crop, _SIDE, cv2.INTER_LINEAR)
