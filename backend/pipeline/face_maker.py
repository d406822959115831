"""From landmarks in a frame to an aligned face with its data: the same for found, filled and hand-made faces."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from backend.core.faces import MANUAL, Face, FaceType, FloatArray
from backend.core.provenance import SOFTWARE
from backend.models.detection.base import Image, box_area
from backend.ops.align import crop_corners, face_matrix, transform_points, warp_face
from backend.ops.mask import hull_mask
from backend.ops.pose import estimate_pose
from backend.ops.quality import sharpness
from backend.storage.face_file import write_face_image


@dataclass(frozen=True)
class FoundFace:
    """A face in a frame, before it is cut out.

    Attributes:
        box_xyxy: (4,) left, top, right, bottom of the detection in frame pixels.
        landmarks: (68, 2) in frame pixels.
        score, track, origin, detector, landmarker: as in Face.
    """

    box_xyxy: FloatArray
    landmarks: FloatArray
    score: float | None = None
    track: int | None = None
    origin: str = ""
    detector: str = ""
    landmarker: str = ""


class FaceMaker:
    """Cuts faces out of frames. Its methods may be called from several threads.

    Args:
        face_type: how much of the head is shown.
        image_size: side of the square face images in pixels.
        jpeg_quality: 1..100.
        channels: 3 writes colour, 1 gray.
    """

    def __init__(self, face_type: FaceType, image_size: int, jpeg_quality: int, channels: Literal[1, 3] = 3) -> None:
        self._face_type = face_type
        self._size = image_size
        self._quality = jpeg_quality
        self._channels = channels

    def face(self, found: FoundFace, frame_name: str) -> Face | None:
        """Face record of a face in a frame.

        Args:
            found: the face.
            frame_name: file name of the frame, without folder.

        Returns:
            None when its landmarks make no crop, or a crop far larger than the detection (DeepFaceLab's rule, which
            does not apply to faces placed by hand).
        """
        try:
            matrix = face_matrix(found.landmarks, self._size, self._face_type)
        except (ValueError, np.linalg.LinAlgError):
            return None
        judged = found.origin != MANUAL and self._face_type.rank <= FaceType.FULL_NO_ALIGN.rank
        if judged and crop_xys(matrix, self._size)[2] ** 2 > 4 * box_area(found.box_xyxy):
            return None
        aligned = transform_points(found.landmarks, matrix)
        return Face(
            source_filename=frame_name,
            source_rect=np.rint(found.box_xyxy).astype(np.int64),
            source_landmarks=np.asarray(found.landmarks, dtype=np.float64),
            landmarks=aligned,
            image_to_face_mat=matrix,
            face_type=self._face_type,
            pose_rad=estimate_pose(aligned, self._size),
            score=found.score,
            track=found.track,
            origin=found.origin,
            detector=found.detector,
            landmarker=found.landmarker,
            provenance={"software": SOFTWARE},
        )

    def write(self, frame_bgr: Image, face: Face, path: Path) -> None:
        """Cut a face out of its frame and write it as JPEG with its data and its sharpness.

        Args:
            frame_bgr: (h, w, 3) uint8.
            face: as face() gave it.
            path: the target, ending in .jpg; its folder exists.

        Raises:
            OSError: the file cannot be written.
        """
        assert face.image_to_face_mat is not None
        # DeepFaceLab takes Lanczos: four times the work for a difference below that of the JPEG encoding.
        image = warp_face(frame_bgr, face.image_to_face_mat, self._size, cv2.INTER_CUBIC)
        measured = sharpness(image, hull_mask(image.shape[:2], face.landmarks, face.eyebrows_expand_mod))
        if self._channels == 1:
            image = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)
        write_face_image(path, image, replace(face, sharpness=measured), self._quality)


def crop_xys(matrix_23: FloatArray, size: int) -> tuple[float, float, float]:
    """Centre x, centre y and side in frame pixels of the crop that a (2, 3) matrix cuts, ``size`` pixels wide."""
    corners = crop_corners(matrix_23, size)
    x, y = corners.mean(axis=0)
    return float(x), float(y), float(np.linalg.norm(corners[1] - corners[0]))
