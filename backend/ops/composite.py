"""Merging: put predicted faces into a frame. Each face is fitted to the original frame, then laid over the result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from backend.core.faces import FaceType
from backend.ops.align import Float64, crop_corners, face_matrix, invert, transform_points, warp_face
from backend.ops.color import COLOR_TRANSFERS, keep_colors
from backend.ops.face_swap import FaceTarget, MergedFrame, MergeOptions, Outcome, SwapPrediction
from backend.ops.mask import erode_blur_mask, hull_mask

Float32 = npt.NDArray[np.float32]
Frame = npt.NDArray[Any]

MASK_WORK_SCALE = 4  # the mask is eroded and blurred at this multiple of the model's resolution
_FAINT = 1.0 / 255.0
_MIN_EXTENT = 4  # pixels in the frame; smaller masks leave the frame as it is


class _Box(NamedTuple):
    """Rectangle of whole pixels in the frame."""

    left: int
    top: int
    right: int
    bottom: int

    def of(self, image: Frame) -> Frame:
        """View of the rectangle's pixels."""
        return image[self.top : self.bottom, self.left : self.right]

    def from_frame(self, mat: Float64) -> Float64:
        """The matrix frame -> crop, taking pixels of the rectangle instead of pixels of the frame."""
        moved = mat.copy()
        moved[:, 2] += mat[:, :2] @ np.array([self.left, self.top], dtype=np.float64)
        return moved

    @property
    def empty(self) -> bool:
        return self.right <= self.left or self.bottom <= self.top


class _Patch(NamedTuple):
    """One face to lay over a frame: its rectangle, the face's float32 0..1 pixels there, and how much they cover."""

    box: _Box
    layer: Float32
    mask: Float32


def face_target(frame_bgr: Frame, landmarks_68x2: npt.ArrayLike, face_type: FaceType, resolution: int) -> FaceTarget:
    """Cut the crop a model sees.

    Args:
        frame_bgr: (h, w, 3) uint8 or float32 0..1.
        landmarks_68x2: (68, 2) in frame pixels.
        face_type: the model's face type.
        resolution: side of the crop.

    Raises:
        ValueError: the landmarks give no crop, see face_matrix.
    """
    landmarks = np.asarray(landmarks_68x2, dtype=np.float64)
    mat = face_matrix(landmarks, resolution, face_type)
    crop = np.clip(_as_float(warp_face(frame_bgr, mat, resolution)), 0.0, 1.0)
    return FaceTarget(landmarks, face_type, mat, crop)


def merge_face(
    frame_bgr: Frame,
    landmarks_68x2: npt.ArrayLike,
    face_type: FaceType,
    predict: Callable[[Float32], SwapPrediction],
    resolution: int,
    options: MergeOptions,
) -> MergedFrame:
    """Merge one face; see merge_frame."""
    return merge_frame(frame_bgr, [landmarks_68x2], face_type, predict, resolution, options)


def merge_frame(
    frame_bgr: Frame,
    faces: Sequence[npt.ArrayLike],
    face_type: FaceType,
    predict: Callable[[Float32], SwapPrediction],
    resolution: int,
    options: MergeOptions,
) -> MergedFrame:
    """Merge all faces of a frame, calling the model once for each.

    Args:
        frame_bgr: (h, w, 3) uint8 or float32 0..1, not changed.
        faces: for each face its (68, 2) landmarks in frame pixels, in the order they are laid over each other.
        face_type: the model's face type.
        predict: (r, r, 3) float32 0..1 BGR -> SwapPrediction.
        resolution: the model's side r.
        options: how to merge.
    """
    targets = [face_target(frame_bgr, landmarks, face_type, resolution) for landmarks in faces]
    return composite_frame(frame_bgr, targets, [predict(target.crop) for target in targets], options)


def composite_frame(
    frame_bgr: Frame, targets: Sequence[FaceTarget], predictions: Sequence[SwapPrediction], options: MergeOptions
) -> MergedFrame:
    """Put predicted faces into a frame, following DeepFaceLab's merger step by step.

    Only the rectangles of the faces are computed; all other pixels are the frame's own. Merging a uint8 frame is much
    faster than a float frame, because that needs no conversion outside of the faces.

    Args:
        frame_bgr: (h, w, 3) uint8 or float32 0..1, not changed.
        targets: the faces, from face_target on this frame.
        predictions: for each target what the model made of its crop.
        options: how to merge.
    """
    result = frame_bgr.copy()
    total = np.zeros(frame_bgr.shape[:2], dtype=np.float32)
    outcomes: list[Outcome] = []
    for target, prediction in zip(targets, predictions, strict=True):
        patch, outcome = _merge_patch(frame_bgr, target, prediction, options)
        outcomes.append(outcome)
        if patch is None:
            continue
        pixels, mask = patch.box.of(result), patch.box.of(total)
        pixels[:] = _as_dtype(_blend(_as_float(pixels), patch.layer, patch.mask), result.dtype)
        np.minimum(mask + patch.mask, 1.0, out=mask)
    return MergedFrame(result, total, tuple(outcomes))


def _merge_patch(
    frame: Frame, target: FaceTarget, prediction: SwapPrediction, options: MergeOptions
) -> tuple[_Patch | None, Outcome]:
    """Fit one face to the original frame."""
    size = target.crop.shape[0]
    scale = 1.0 + 0.01 * options.face_scale
    work_mask = _work_mask(frame, target, prediction, options)
    mask_mat = face_matrix(target.landmarks, MASK_WORK_SCALE * size, target.face_type, scale)
    box = _mask_box(work_mask, mask_mat, frame.shape)
    if box.empty:
        return None, "empty_mask"
    mask = np.clip(_to_box(work_mask, mask_mat, box), 0.0, 1.0)
    mask[mask < _FAINT] = 0.0
    if min(cv2.boundingRect((mask > 0.1).astype(np.uint8))[2:]) <= _MIN_EXTENT:
        return None, "empty_mask"

    face = _as_bgr(prediction.face)
    local_mask = cv2.resize(work_mask, (size, size), interpolation=cv2.INTER_CUBIC)
    area = (local_mask > 0).astype(np.float32)
    transfer = COLOR_TRANSFERS[options.color_transfer]
    outcome: Outcome = "merged"
    if options.mode == "seamless":
        cloned = _poisson_clone(face, target.crop, local_mask)
        outcome = "merged" if cloned is not None else "seamless_failed"
        face = face if cloned is None else cloned
    if outcome == "seamless_failed" or options.mode == "overlay":
        face = transfer(face, target.crop, area)
    out_mat = face_matrix(target.landmarks, size, target.face_type, scale)
    layer = np.clip(_to_box(face, out_mat, box), 0.0, 1.0)
    if options.mode == "seamless" and outcome == "merged" and transfer is not keep_colors:
        merged = _blend(_as_float(box.of(frame)), layer, mask)
        crop = transfer(_recrop(frame, target, box, merged), target.crop, area)
        layer = np.clip(_to_box(crop, target.mat, box), 0.0, 1.0)
    return _Patch(box, layer, mask), outcome


def _work_mask(frame: Frame, target: FaceTarget, prediction: SwapPrediction, options: MergeOptions) -> Float32:
    """The chosen mask at the work size, eroded and blurred."""
    size = MASK_WORK_SCALE * target.crop.shape[0]
    mask = np.clip(MASK_SOURCES[options.mask_mode](frame, target, prediction), 0.0, 1.0)
    mask[mask < _FAINT] = 0.0
    mask = cv2.resize(mask, (size, size), interpolation=cv2.INTER_CUBIC)
    return erode_blur_mask(mask, options.erode_mask, options.blur_mask)


def _mask_box(work_mask: Float32, mask_mat: Float64, frame_shape: tuple[int, ...]) -> _Box:
    """Rectangle of the frame that the visible part of the mask can touch."""
    left, top, width, height = cv2.boundingRect((work_mask >= 0.5 * _FAINT).astype(np.uint8))
    if width == 0:
        return _Box(0, 0, 0, 0)
    xs, ys = (left - 2, left + width + 2), (top - 2, top + height + 2)  # cubic weights reach two pixels
    corners = transform_points([(x, y) for x in xs for y in ys], invert(mask_mat))
    low = np.floor(corners.min(axis=0)).astype(int) - 1
    high = np.ceil(corners.max(axis=0)).astype(int) + 2
    return _Box(max(low[0], 0), max(low[1], 0), min(high[0], frame_shape[1]), min(high[1], frame_shape[0]))


def _to_box(crop: Float32, mat: Float64, box: _Box) -> Float32:
    """Warp a crop back into a rectangle of the frame; 0 outside of the crop."""
    size_wh = (box.right - box.left, box.bottom - box.top)
    return cv2.warpAffine(crop, box.from_frame(mat), size_wh, flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)


def _recrop(frame: Frame, target: FaceTarget, box: _Box, pixels: Float32) -> Float32:
    """The target's crop, cut from the frame with the merged rectangle laid in."""
    size = target.crop.shape[0]
    corners = crop_corners(target.mat, size)
    low = np.maximum(np.floor(corners.min(axis=0)).astype(int) - 3, 0)
    high = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 4, (frame.shape[1], frame.shape[0]))
    around = _Box(min(low[0], box.left), min(low[1], box.top), max(high[0], box.right), max(high[1], box.bottom))
    region = _as_float(around.of(frame)).copy()
    inner = _Box(box.left - around.left, box.top - around.top, box.right - around.left, box.bottom - around.top)
    inner.of(region)[:] = pixels
    return np.clip(warp_face(region, around.from_frame(target.mat), size), 0.0, 1.0)


def _poisson_clone(face: Float32, destination: Float32, mask: Float32) -> Float32 | None:
    """Clone a face into its destination crop keeping its gradients (Perez et al., "Poisson Image Editing", 2003).

    The cloned area is where the mask would not round to 0 in 8 bits.

    Args:
        face: (r, r, 3) float32 0..1.
        destination: (r, r, 3) float32 0..1.
        mask: (r, r) float32 0..1.

    Returns:
        (r, r, 3) float32 0..1, or None when OpenCV refuses.
    """
    area_u8 = (mask >= 0.5 * _FAINT).astype(np.uint8) * 255
    left, top, width, height = cv2.boundingRect(area_u8)
    centre = (int(left + width / 2), int(top + height / 2))
    face_u8, destination_u8 = (np.multiply(image, 255.0).astype(np.uint8) for image in (face, destination))
    try:
        cloned = cv2.seamlessClone(face_u8, destination_u8, area_u8, centre, cv2.NORMAL_CLONE)
    except cv2.error:
        return None
    return _as_float(cloned)


def _blend(under: Float32, over: Float32, mask: Float32) -> Float32:
    """under * (1 - mask) + over * mask; (h, w, 3) float32, mask (h, w)."""
    return np.asarray(under + (over - under) * mask[:, :, None], dtype=np.float32)


def _as_bgr(face: Float32) -> Float32:
    """A predicted face as (r, r, 3) float32 within 0..1; gray is repeated in all channels."""
    clipped = np.clip(face, 0.0, 1.0).reshape(*face.shape[:2], -1)
    return np.repeat(clipped, 3, axis=2) if clipped.shape[2] == 1 else clipped


def _as_float(image: Frame) -> Float32:
    """uint8 as float32 0..1; float images pass."""
    return image.astype(np.float32) / 255.0 if image.dtype == np.uint8 else image


def _as_dtype(pixels: Float32, dtype: np.dtype[Any]) -> Frame:
    """Float32 0..1 in the frame's dtype; uint8 is rounded."""
    return cv2.convertScaleAbs(pixels, alpha=255.0) if dtype == np.uint8 else pixels


def _full_mask(frame: Frame, target: FaceTarget, prediction: SwapPrediction) -> Float32:
    """The whole square."""
    return np.ones(prediction.mask.shape, dtype=np.float32)


def _landmarks_mask(frame: Frame, target: FaceTarget, prediction: SwapPrediction) -> Float32:
    """The landmarks' hull in the frame, seen in the crop."""
    size = target.crop.shape[0]
    low = np.floor(target.landmarks.min(axis=0)).astype(int)
    high = np.ceil(target.landmarks.max(axis=0)).astype(int)
    raised = (high[1] - low[1]) // 2  # room for the brows that the hull moves away from the eyes
    box = _Box(
        max(low[0] - raised, 0),
        max(low[1] - raised, 0),
        min(high[0] + raised, frame.shape[1]),
        min(high[1] + raised, frame.shape[0]),
    )
    if box.empty:
        return np.zeros((size, size), dtype=np.float32)
    shape = (box.bottom - box.top, box.right - box.left)
    hull = hull_mask(shape, target.landmarks, origin_xy=(box.left, box.top))
    return warp_face(hull, box.from_frame(target.mat), size)


def _predicted_mask(frame: Frame, target: FaceTarget, prediction: SwapPrediction) -> Float32:
    """The mask predicted for the swapped face."""
    return prediction.mask


def _destination_mask(frame: Frame, target: FaceTarget, prediction: SwapPrediction) -> Float32:
    """The mask predicted for the destination's face."""
    return prediction.dst_mask


def _product_mask(frame: Frame, target: FaceTarget, prediction: SwapPrediction) -> Float32:
    """Where both predicted masks agree."""
    return np.clip(prediction.mask, 0.0, 1.0) * np.clip(prediction.dst_mask, 0.0, 1.0)


# A new mask source is one function and one line: (frame, target, prediction) -> (r, r) float32.
MASK_SOURCES: Mapping[str, Callable[[Frame, FaceTarget, SwapPrediction], Float32]] = MappingProxyType(
    {
        "full": _full_mask,
        "dst": _landmarks_mask,
        "learned-prd": _predicted_mask,
        "learned-dst": _destination_mask,
        "learned-prd*learned-dst": _product_mask,
    }
)
