"""Masks of merging: which area of the crop is replaced, and how its edge is cut and softened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import cv2
import numpy as np

from backend.ops.align import warp_face
from backend.ops.face_swap import FaceSwap, FaceTarget, MergeOptions
from backend.ops.frame_box import Box, Float32, Frame
from backend.ops.mask import erode_blur_mask, hull_mask

MASK_WORK_SCALE = 4
"""The mask is eroded and blurred at this multiple of the model's resolution."""

FAINT = 1.0 / 255.0
"""What covers less counts as not covered."""


def work_mask(frame: Frame, swap: FaceSwap, options: MergeOptions, raw: bool = False) -> Float32:
    """The chosen mask, eroded and blurred.

    Args:
        frame: (h, w, 3), where the face sits.
        swap: the face.
        options: mask_mode, erode_mask and blur_mask are looked at.
        raw: leave the mask as its source gives it.

    Returns:
        (4r, 4r) float32 0..1.

    Raises:
        ValueError: the mode needs a segmentation network's mask and the prediction has none.
    """
    size = MASK_WORK_SCALE * swap.target.crop.shape[0]
    mask = np.clip(MASK_SOURCES[options.mask_mode](frame, swap), 0.0, 1.0)
    mask[mask < FAINT] = 0.0
    mask = cv2.resize(mask, (size, size), interpolation=cv2.INTER_CUBIC)
    if raw:
        return np.clip(mask, 0.0, 1.0, out=mask)
    return erode_blur_mask(mask, options.erode_mask, options.blur_mask)


def hull_in_crop(target: FaceTarget) -> Float32:
    """The landmarks' hull in the crop, (r, r) float32 0..1 with a soft edge: for a model that learns no mask."""
    size = target.crop.shape[0]
    fine = size * MASK_WORK_SCALE
    points = target.landmarks @ target.mat[:, :2].T + target.mat[:, 2]
    hull = hull_mask((fine, fine), (points + 0.5) * MASK_WORK_SCALE - 0.5)
    return np.asarray(cv2.resize(hull, (size, size), interpolation=cv2.INTER_AREA), np.float32)


def _full_mask(frame: Frame, swap: FaceSwap) -> Float32:
    """The whole square."""
    return np.ones(swap.prediction.mask.shape, dtype=np.float32)


def _landmarks_mask(frame: Frame, swap: FaceSwap) -> Float32:
    """The landmarks' hull in the frame, seen in the crop."""
    target = swap.target
    size = target.crop.shape[0]
    low = np.floor(target.landmarks.min(axis=0)).astype(int)
    high = np.ceil(target.landmarks.max(axis=0)).astype(int)
    raised = (high[1] - low[1]) // 2  # room for the brows that the hull moves away from the eyes
    box = Box.around([low, high], int(raised), frame.shape)
    if box.empty:
        return np.zeros((size, size), dtype=np.float32)
    shape = (box.bottom - box.top, box.right - box.left)
    hull = hull_mask(shape, target.landmarks, origin_xy=(box.left, box.top))
    return warp_face(hull, box.from_frame(target.mat), size)


def _predicted_mask(frame: Frame, swap: FaceSwap) -> Float32:
    """The mask predicted for the swapped face."""
    return swap.prediction.mask


def _destination_mask(frame: Frame, swap: FaceSwap) -> Float32:
    """The mask predicted for the destination's face."""
    return swap.prediction.dst_mask


def _product_mask(frame: Frame, swap: FaceSwap) -> Float32:
    """Where both predicted masks agree."""
    return np.clip(swap.prediction.mask, 0.0, 1.0) * np.clip(swap.prediction.dst_mask, 0.0, 1.0)


def _sum_mask(frame: Frame, swap: FaceSwap) -> Float32:
    """Where either predicted mask sees a face."""
    return np.clip(swap.prediction.mask, 0.0, 1.0) + np.clip(swap.prediction.dst_mask, 0.0, 1.0)


def _segmented_mask(frame: Frame, swap: FaceSwap) -> Float32:
    """What a segmentation network sees in the predicted face."""
    return _segmented(swap.prediction.xseg_mask, swap)


def _segmented_destination_mask(frame: Frame, swap: FaceSwap) -> Float32:
    """What a segmentation network sees in the destination's face."""
    return _segmented(swap.prediction.xseg_dst_mask, swap)


def _segmented_product_mask(frame: Frame, swap: FaceSwap) -> Float32:
    """Where it sees a face in both."""
    return _segmented_mask(frame, swap) * _segmented_destination_mask(frame, swap)


def _all_mask(frame: Frame, swap: FaceSwap) -> Float32:
    """Where both predicted masks and both of the segmentation network agree."""
    return _product_mask(frame, swap) * _segmented_product_mask(frame, swap)


def _segmented(mask: Float32 | None, swap: FaceSwap) -> Float32:
    """A segmentation network's mask at the crop's size, within 0..1."""
    if mask is None:
        raise ValueError("This mask needs a segmentation network (XSeg); there is none.")
    side = swap.target.crop.shape[0]
    return np.clip(cv2.resize(mask, (side, side), interpolation=cv2.INTER_CUBIC), 0.0, 1.0)


# A new mask source is one function and one line: (frame, swap) -> (r, r) float32.
MASK_SOURCES: Mapping[str, Callable[[Frame, FaceSwap], Float32]] = MappingProxyType(
    {
        "full": _full_mask,
        "dst": _landmarks_mask,
        "learned-prd": _predicted_mask,
        "learned-dst": _destination_mask,
        "learned-prd*learned-dst": _product_mask,
        "learned-prd+learned-dst": _sum_mask,
        "xseg-prd": _segmented_mask,
        "xseg-dst": _segmented_destination_mask,
        "xseg-prd*xseg-dst": _segmented_product_mask,
        "learned*xseg": _all_mask,
    }
)
