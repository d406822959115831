"""Merging: put predicted faces into a frame. Each face is fitted to the original frame, then laid over the result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from backend.core.faces import FaceType
from backend.ops.align import Float64, crop_corners, face_matrix, warp_face
from backend.ops.color import COLOR_TRANSFERS
from backend.ops.face_finish import color_degrade, finish_crop, needs_crop
from backend.ops.face_swap import FaceSwap, FaceTarget, MergedFrame, MergeOptions, Outcome
from backend.ops.frame_box import Box, Float32, Frame, as_dtype, as_float, blend, crop_box, to_box
from backend.ops.gray_face import color_back
from backend.ops.histogram_match import match_histograms
from backend.ops.merge_mask import FAINT, MASK_WORK_SCALE, work_mask
from backend.ops.seamless import poisson_clone, softened

_MIN_EXTENT = 4  # pixels in the frame; smaller masks leave the frame as it is


class _Patch(NamedTuple):
    """One face to lay over a frame, all of the same rectangle.

    Attributes:
        box: the rectangle.
        layer: (h, w, 3) float32, the face's pixels, sharpened ones beyond 0..1; None leaves the frame's.
        cover: (h, w) float32 0..1, how much they cover.
        mask: (h, w) float32 0..1, what the merged mask says.
    """

    box: Box
    layer: Float32 | None
    cover: Float32
    mask: Float32


class _Place(NamedTuple):
    """Where a face goes.

    Attributes:
        frame: (h, w, 3) the untouched frame.
        swap: the face.
        options: how to merge.
        side: of the crops that are worked on.
        mat: (2, 3) frame -> such a crop.
        out_mat: the same with the face scale.
        crop: (side, side, 3) float32 0..1, the destination; its edge goes on beyond the frame.
        local_mask: (side, side) float32, the mask in the crop.
        box: rectangle of the frame.
        mask: (h, w) float32 0..1, the mask there.
    """

    frame: Frame
    swap: FaceSwap
    options: MergeOptions
    side: int
    mat: Float64
    out_mat: Float64
    crop: Float32
    local_mask: Float32
    box: Box
    mask: Float32

    @property
    def area(self) -> Float32:
        """(side, side) float32, 1 where the mask is not 0."""
        return (self.local_mask > 0).astype(np.float32)


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
    crop = np.clip(as_float(warp_face(frame_bgr, mat, resolution)), 0.0, 1.0)
    return FaceTarget(landmarks, face_type, mat, crop)


def composite_frame(frame_bgr: Frame, swaps: Sequence[FaceSwap], options: MergeOptions) -> MergedFrame:
    """Put predicted faces into a frame, following DeepFaceLab's merger step by step.

    Only the rectangles of the faces are computed; all other pixels are the frame's own. Merging a uint8 frame is much
    faster than a float frame, because that needs no conversion outside of the faces. Mode "raw-predict" gives the
    predicted square of the first face and its mask instead, and the whole frame where there is no face.

    Args:
        frame_bgr: (h, w, 3) uint8 or float32 0..1, not changed.
        swaps: the faces, in the order in which they are laid over each other.
        options: how to merge.

    Raises:
        ValueError: the mask mode needs a segmentation network's mask and a prediction has none.
    """
    if options.mode == "raw-predict" and swaps:
        return _raw_prediction(frame_bgr, swaps, options)
    result = frame_bgr.copy()
    total = np.zeros(frame_bgr.shape[:2], dtype=np.float32)
    outcomes: list[Outcome] = []
    for swap in swaps:
        patch, outcome = _PATCHES.get(options.mode, _fitted_patch)(frame_bgr, swap, options)
        outcomes.append(outcome)
        if patch is None:
            continue
        pixels, mask = patch.box.of(result), patch.box.of(total)
        if patch.layer is not None:
            pixels[:] = as_dtype(blend(as_float(pixels), patch.layer, patch.cover), result.dtype)
        np.minimum(mask + patch.mask, 1.0, out=mask)
    return MergedFrame(result, total, tuple(outcomes))


def _raw_prediction(frame: Frame, swaps: Sequence[FaceSwap], options: MergeOptions) -> MergedFrame:
    """The predicted square of the first face; the others are left out."""
    swap = swaps[0]
    side = _side(swap, options)
    face = _predicted(swap, options, _destination(frame, swap.target, _matrix(swap.target, side), side))
    mask = cv2.resize(work_mask(frame, swap, options, raw=True), face.shape[:2], interpolation=cv2.INTER_CUBIC)
    left_out: tuple[Outcome, ...] = ("empty_mask",) * (len(swaps) - 1)
    return MergedFrame(as_dtype(face, frame.dtype), np.clip(mask, 0.0, 1.0), ("merged", *left_out))


def _raw_patch(frame: Frame, swap: FaceSwap, options: MergeOptions) -> tuple[_Patch | None, Outcome]:
    """The whole predicted square, hard at its edge; the mask is what would be replaced."""
    side = _side(swap, options)
    mat = _scaled_matrix(swap.target, side, options)
    box = crop_box((0, 0), (side, side), mat, frame)
    if box.empty:
        return None, "empty_mask"
    face = _predicted(swap, options, _destination(frame, swap.target, _matrix(swap.target, side), side))
    layer, cover = to_box(face, mat, box), to_box(np.ones((side, side), np.float32), mat, box)
    mask = _frame_mask(work_mask(frame, swap, options, raw=True), swap.target, options, box)
    return _Patch(box, np.clip(layer, 0.0, 1.0), np.clip(cover, 0.0, 1.0), mask), "merged"


def _original_patch(frame: Frame, swap: FaceSwap, options: MergeOptions) -> tuple[_Patch | None, Outcome]:
    """The frame's own pixels; only the mask is made."""
    place = _place(frame, swap, options)
    return (None, "empty_mask") if place is None else (_Patch(place.box, None, place.mask, place.mask), "merged")


def _fitted_patch(frame: Frame, swap: FaceSwap, options: MergeOptions) -> tuple[_Patch | None, Outcome]:
    """Fit one face to the original frame: colours or cloning in the crop, then the steps that look at the result."""
    place = _place(frame, swap, options)
    if place is None:
        return None, "empty_mask"
    face = _predicted(swap, options, place.crop)
    reference = _gray(place.crop) if _pasted_gray(swap, options) else place.crop
    if swap.shift is not None:
        face = _shifted(face, swap.shift.face_gain, swap.shift.face_offset)
        reference = _shifted(reference, swap.shift.crop_gain, swap.shift.crop_offset)
    mode, outcome = options.mode, "merged"
    if mode in _WITHOUT_CLONING:
        cloned = _cloned(face, place)
        if cloned is None:
            mode, outcome = _WITHOUT_CLONING[mode], "seamless_failed"
        else:
            face = cloned
    if mode not in _WITHOUT_CLONING:
        face = _colored(face, reference, place, mode)
    layer = np.clip(to_box(face, place.out_mat, place.box, edge_goes_on=True), 0.0, 1.0)
    layer = _finished(layer, reference, place, mode)
    return _Patch(place.box, layer, place.mask, place.mask), outcome


def _cloned(face: Float32, place: _Place) -> Float32 | None:
    """The face cloned into its place; None where that fails."""
    options, destination = place.options, place.crop
    if options.face_scale:
        destination = _destination(place.frame, place.swap.target, place.out_mat, place.side)
    if _pasted_gray(place.swap, options):
        destination = _gray(destination)
    if options.steady_seamless:
        destination = softened(destination)
    frame_px = float(np.sqrt(abs(np.linalg.det(place.out_mat[:, :2]))))
    return poisson_clone(face, destination, place.local_mask, frame_px)


def _colored(face: Float32, reference: Float32, place: _Place, mode: str) -> Float32:
    """A face with the reference's colours, by colour transfer and where the mode says so by its histograms."""
    options, area = place.options, place.area
    face = COLOR_TRANSFERS[options.color_transfer](face, reference, area)
    if mode == "hist-match-gray":
        face = _gray(face)
    if mode in ("hist-match", "hist-match-gray"):
        mask = area if options.masked_hist_match else None
        face = match_histograms(face, reference, mask, options.hist_match_threshold)
    return face


def _finished(layer: Float32, reference: Float32, place: _Place, mode: str) -> Float32:
    """What is done to the face as it looks in the frame; the face's pixels in the rectangle."""
    options, swap = place.options, place.swap
    cloned = mode in _WITHOUT_CLONING
    transferred = cloned and options.color_transfer != "none"
    matched = mode == "seamless-hist-match"
    if transferred or matched or needs_crop(options, swap.motion):
        crop = _recrop(place, blend(as_float(place.box.of(place.frame)), layer, place.mask))
        if transferred:
            crop = COLOR_TRANSFERS[options.color_transfer](crop, reference, place.area)
        if matched:
            crop = match_histograms(crop, reference, None, options.hist_match_threshold)
        enlarged = place.side > swap.target.crop.shape[0]
        crop = finish_crop(crop, options, swap.motion, place.mat, enlarged)
        layer = to_box(crop, place.mat, place.box, edge_goes_on=True)
    if options.color_degrade:
        merged = blend(as_float(place.box.of(place.frame)), layer, place.mask)
        layer = color_degrade(merged, options.color_degrade)
    return _gray(layer) if _pasted_gray(swap, options) else layer


def _place(frame: Frame, swap: FaceSwap, options: MergeOptions) -> _Place | None:
    """Where a face goes; None where its mask covers too little of the frame."""
    target, side = swap.target, _side(swap, options)
    work = work_mask(frame, swap, options)
    left, top, width, height = cv2.boundingRect((work >= 0.5 * FAINT).astype(np.uint8))
    if width == 0:
        return None
    work_mat = _scaled_matrix(target, work.shape[0], options)
    box = crop_box((left, top), (left + width, top + height), work_mat, frame)
    if box.empty:
        return None
    mask = _frame_mask(work, target, options, box)
    if min(cv2.boundingRect((mask > 0.1).astype(np.uint8))[2:]) <= _MIN_EXTENT:
        return None
    mat = _matrix(target, side)
    local_mask = cv2.resize(work, (side, side), interpolation=cv2.INTER_CUBIC)
    crop = _destination(frame, target, mat, side)
    out_mat = _scaled_matrix(target, side, options)
    return _Place(frame, swap, options, side, mat, out_mat, crop, local_mask, box, mask)


def _frame_mask(work: Float32, target: FaceTarget, options: MergeOptions, box: Box) -> Float32:
    """The work mask as it lies in a rectangle of the frame."""
    mask = np.clip(to_box(work, _scaled_matrix(target, work.shape[0], options), box), 0.0, 1.0)
    mask[mask < FAINT] = 0.0
    return mask


def _side(swap: FaceSwap, options: MergeOptions) -> int:
    """Side of the crops that are worked on: the enhancer's when its picture is used, else the model's."""
    used = options.super_resolution > 0 and swap.enhanced is not None
    return swap.target.crop.shape[0] * (MASK_WORK_SCALE if used else 1)


def _matrix(target: FaceTarget, side: int) -> Float64:
    """Frame -> crop of that side."""
    resolution = target.crop.shape[0]
    return target.mat if side == resolution else target.mat * (side / resolution)


def _scaled_matrix(target: FaceTarget, side: int, options: MergeOptions) -> Float64:
    """Frame -> crop of that side, with the face scale."""
    if options.face_scale == 0:
        return _matrix(target, side)
    return face_matrix(target.landmarks, side, target.face_type, 1.0 + 0.01 * options.face_scale)


def _destination(frame: Frame, target: FaceTarget, mat: Float64, side: int) -> Float32:
    """The destination's crop. Beyond the frame its edge goes on: black would count as a colour of the place."""
    corners = crop_corners(mat, side)
    height, width = frame.shape[:2]
    inside = corners.min() >= 0 and corners[:, 0].max() <= width - 1 and corners[:, 1].max() <= height - 1
    if inside and mat is target.mat:
        return target.crop
    return _cut(frame, mat, side)


def _cut(image: Frame, mat: Float64, side: int) -> Float32:
    """A crop (side, side, 3) float32 0..1; beyond the image its outermost pixels are repeated."""
    crop = cv2.warpAffine(image, mat, (side, side), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.clip(as_float(crop), 0.0, 1.0)


def _recrop(place: _Place, pixels: Float32) -> Float32:
    """The crop, cut from the frame with the merged rectangle laid in."""
    frame, box = place.frame, place.box
    around = Box.around(crop_corners(place.mat, place.side), 3, frame.shape).joined(box)
    region = as_float(around.of(frame)).copy()
    box.inside(around).of(region)[:] = pixels
    return _cut(region, around.from_frame(place.mat), place.side)


def _predicted(swap: FaceSwap, options: MergeOptions, crop: Float32) -> Float32:
    """The predicted face at the crop's size as (s, s, 3) float32 0..1, with what the enhancer made of it mixed in."""
    prediction, side = swap.prediction.face, crop.shape[0]
    face = np.clip(prediction, 0.0, 1.0).reshape(*prediction.shape[:2], -1)
    if side != face.shape[0] and swap.enhanced is not None:
        share = options.super_resolution / 100.0
        enhanced = cv2.resize(swap.enhanced, (side, side), interpolation=cv2.INTER_CUBIC)
        if _one_channel(swap):
            enhanced = cv2.cvtColor(enhanced, cv2.COLOR_BGR2GRAY)
        large = cv2.resize(face, (side, side), interpolation=cv2.INTER_LINEAR)
        face = np.clip(cv2.addWeighted(large, 1.0 - share, enhanced, share, 0), 0.0, 1.0).reshape(side, side, -1)
    if not _one_channel(swap):
        return face
    return np.repeat(face, 3, axis=2) if options.gray_face == "gray" else color_back(face, crop)


def _one_channel(swap: FaceSwap) -> bool:
    """Whether the model predicts gray."""
    return swap.prediction.face.shape[2:] in ((), (1,))


def _pasted_gray(swap: FaceSwap, options: MergeOptions) -> bool:
    """Whether a gray prediction is to stay gray in the frame."""
    return options.gray_face == "gray" and _one_channel(swap)


def _gray(image_bgr: Float32) -> Float32:
    """The picture in gray, in three channels."""
    return cv2.cvtColor(cv2.cvtColor(image_bgr, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)


def _shifted(image_bgr: Float32, gain: Float32, offset: Float32) -> Float32:
    """Colours moved in Lab."""
    lab = cv2.cvtColor(image_bgr, cv2.COLOR_BGR2LAB) * gain + offset
    return np.clip(cv2.cvtColor(lab.astype(np.float32), cv2.COLOR_LAB2BGR), 0.0, 1.0)


_WITHOUT_CLONING: Mapping[str, str] = MappingProxyType({"seamless": "overlay", "seamless-hist-match": "hist-match"})
"""Modes that clone, and what becomes of them where cloning fails."""

_PATCHES: Mapping[str, Callable[[Frame, FaceSwap, MergeOptions], tuple[_Patch | None, Outcome]]] = MappingProxyType(
    {"original": _original_patch, "raw-rgb": _raw_patch}
)
"""Modes that do not fit the face to the frame."""
