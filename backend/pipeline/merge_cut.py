"""Cutting the faces of a frame as their models see them. Imports no torch: worker processes run it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from backend.core.faces import FaceType
from backend.ops.align import face_matrix, warp_face
from backend.ops.composite import face_target
from backend.ops.face_swap import FaceTarget
from backend.pipeline.merge_types import CutFaces, FacePlan, FramePlan

Float32 = npt.NDArray[np.float32]
UInt8 = npt.NDArray[np.uint8]

XSEG_SIDE = 256
"""Side in px of what a mask network sees."""

XSEG_PREDICTED = ("xseg-prd", "xseg-prd*xseg-dst", "learned*xseg")
"""Mask modes that look at the predicted face with a mask network."""

XSEG_FRAME = ("xseg-dst", "xseg-prd*xseg-dst", "learned*xseg")
"""Mask modes that look at the frame's face with a mask network."""


def cut_faces(frame_bgr: UInt8, plan: FramePlan, shapes: Mapping[str, tuple[FaceType, int]]) -> CutFaces:
    """Cut the crops of a frame's faces.

    Args:
        frame_bgr: (h, w, 3) uint8.
        plan: which faces get which model.
        shapes: name of a model -> its face type and the side of its crops.
    """
    targets = tuple(_target(frame_bgr, face, shapes) for face in plan.faces)
    if plan.look.mask_mode not in XSEG_FRAME:
        return CutFaces(plan, targets)
    crops = tuple(None if target is None else _xseg_crop(frame_bgr, target) for target in targets)
    return CutFaces(plan, targets, crops)


def _target(frame_bgr: UInt8, face: FacePlan, shapes: Mapping[str, tuple[FaceType, int]]) -> FaceTarget | None:
    try:
        return face_target(frame_bgr, face.landmarks, *shapes[face.model])
    except ValueError:
        return None


def _xseg_crop(frame_bgr: UInt8, target: FaceTarget) -> Float32:
    """The frame's face at the side of mask networks, (256, 256, 3) float32 0..1 BGR."""
    mat = face_matrix(target.landmarks, XSEG_SIDE, target.face_type)
    return warp_face(frame_bgr, mat, XSEG_SIDE).astype(np.float32) / 255.0
