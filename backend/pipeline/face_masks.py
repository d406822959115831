"""The mask of one aligned face: what was applied to it, else what was drawn on it, else the hull of its landmarks."""

from __future__ import annotations

from typing import Literal, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from backend.core.faces import Face
from backend.ops.mask import hull_mask, polygons_mask
from backend.ops.recrop import decode_mask

MaskKind = Literal["xseg", "polygons", "hull"]


class FaceMask(NamedTuple):
    """A mask and where it came from.

    Attributes:
        mask: (h, w) uint8, 0 outside the face and 255 inside.
        kind: "xseg" applied, "polygons" drawn by hand, "hull" of the landmarks.
    """

    mask: npt.NDArray[np.uint8]
    kind: MaskKind


def face_mask(face: Face, shape_hw: tuple[int, int]) -> FaceMask | None:
    """The best mask of a face at the size of its picture.

    An applied mask keeps its soft values. Polygons count when one of them includes something. A hull counts when it
    covers anything of the picture.

    Args:
        face: the face's data.
        shape_hw: height and width of its picture in pixels.

    Returns:
        None when there is nothing to make a mask of.
    """
    height, width = shape_hw
    applied = None if face.xseg_mask is None else decode_mask(face.xseg_mask)
    if applied is not None:
        if applied.shape != (height, width):
            way = cv2.INTER_AREA if applied.shape[0] > height else cv2.INTER_LINEAR
            applied = cv2.resize(applied, (width, height), interpolation=way)
        return FaceMask(np.asarray(applied, np.uint8), "xseg")
    drawn = _bytes(polygons_mask(shape_hw, face.seg_ie_polys))
    if drawn.any():
        return FaceMask(drawn, "polygons")
    hull = _bytes(hull_mask(shape_hw, face.landmarks, face.eyebrows_expand_mod))
    return FaceMask(hull, "hull") if hull.any() else None


def _bytes(mask: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    return np.rint(mask * 255).astype(np.uint8)
