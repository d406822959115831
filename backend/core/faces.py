"""Faces: their types, what a detector finds, and the face record that travels from frame to export."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]


_CHIN = 8
HULL_PARTS: tuple[tuple[int, ...], ...] = (
    (*range(9), 17),
    (*range(8, 17), 26),
    (*range(17, 20), _CHIN),
    (*range(24, 27), _CHIN),
    (*range(19, 25), _CHIN),
    (*range(17, 22), 27, *range(31, 36), _CHIN),
    (*range(22, 27), 27, *range(31, 36), _CHIN),
    (*range(27, 31), *range(31, 36)),
)
"""Landmarks of the convex shapes that together are the area of a face (DeepFaceLab's full-face mask)."""

FILLED = "filled"
MANUAL = "manual"


class FaceType(Enum):
    """How much of the head a crop shows. Values are DeepFaceLab's stored strings.

    Facts: padding, name and order of the field's face types, used by every aligned crop.
    """

    HALF = "half_face"
    MID_FULL = "midfull_face"
    FULL = "full_face"
    FULL_NO_ALIGN = "full_face_no_align"
    WHOLE = "whole_face"
    HEAD = "head"
    HEAD_NO_ALIGN = "head_no_align"
    MARK_ONLY = "mark_only"

    @property
    def padding(self) -> float:
        """Padding around the canonical unit square, as a fraction of its side."""
        return _PADDING[self.value]

    @property
    def rank(self) -> int:
        """Order by how much is shown; a crop of higher rank contains those below it."""
        return _RANK[self.value]

    @property
    def letter(self) -> str:
        """Short name used in settings: h, mf, f, wf, head."""
        return _LETTER[self.value]

    @classmethod
    def from_letter(cls, letter: str) -> FaceType:
        """Face type of a short name (h, mf, f, wf, head). KeyError for others."""
        return cls(_BY_LETTER[letter])


_PADDING = {
    "half_face": 0.0,
    "midfull_face": 0.0675,
    "full_face": 0.2109375,
    "full_face_no_align": 0.2109375,
    "whole_face": 0.40,
    "head": 0.70,
    "head_no_align": 0.70,
    "mark_only": 0.0,
}
_RANK = {
    "half_face": 0,
    "midfull_face": 1,
    "full_face": 2,
    "full_face_no_align": 3,
    "whole_face": 4,
    "head": 10,
    "head_no_align": 20,
    "mark_only": 100,
}
_BY_LETTER = {"h": "half_face", "mf": "midfull_face", "f": "full_face", "wf": "whole_face", "head": "head"}
_LETTER = {
    **{name: letter for letter, name in _BY_LETTER.items()},
    "full_face_no_align": "f",
    "head_no_align": "head",
    "mark_only": "",
}


@dataclass(frozen=True)
class Detection:
    """A face found by a detector, in frame pixels.

    Attributes:
        box_xyxy: (4,) float32, left, top, right, bottom.
        score: 0..1.
        points5: (5, 2) float32 or None: image-left eye, image-right eye, nose, image-left and image-right mouth corner.
    """

    box_xyxy: FloatArray
    score: float
    points5: FloatArray | None = None


@dataclass(frozen=True)
class Face:
    """One aligned face and where it came from.

    Attributes:
        source_filename: file name of the frame with extension, without folder.
        source_rect: (4,) int64 l, t, r, b of the detection in frame pixels.
        source_landmarks: (68, 2) float64 in frame pixels.
        landmarks: (68, 2) float64 in pixels of the aligned image.
        image_to_face_mat: (2, 3) float64, frame -> aligned crop, or None (mark_only and old files).
        face_type: what the crop shows.
        eyebrows_expand_mod: brow expansion of the hull mask.
        seg_ie_polys: include/exclude polygons in aligned pixels: list of (type 0 exclude | 1 include, (n, 2) float32).
        xseg_mask: encoded grayscale PNG or JPEG bytes as 1-D uint8, or None.
        pose_rad: (pitch, yaw, roll) or None when never measured.
        sharpness: variance of the Laplacian inside the hull at 128 px, or None.
        score: the detector's confidence, 0..1, or None.
        track: number of the track this face belongs to, from 0; None when it was never tracked.
        origin: how the landmarks came about: "" by the networks, FILLED from the neighbouring frames of the track,
            MANUAL by hand.
        detector, landmarker: names of what found it; empty for other programs' faces.
        provenance: free JSON about the origin, see backend.core.provenance.
    """

    source_filename: str
    source_rect: npt.NDArray[np.int64]
    source_landmarks: FloatArray
    landmarks: FloatArray
    image_to_face_mat: FloatArray | None
    face_type: FaceType
    eyebrows_expand_mod: float = 1.0
    seg_ie_polys: tuple[tuple[int, FloatArray], ...] = ()
    xseg_mask: npt.NDArray[np.uint8] | None = None
    pose_rad: tuple[float, float, float] | None = None
    sharpness: float | None = None
    score: float | None = None
    track: int | None = None
    origin: str = ""
    detector: str = ""
    landmarker: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)
