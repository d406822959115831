"""What compositing takes and gives: the crop of a face, what a model made of it, and how to put that into the frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from backend.core.faces import FaceType

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Outcome = Literal["merged", "empty_mask", "seamless_failed"]


@dataclass(frozen=True)
class SwapPrediction:
    """What a model makes of one aligned crop of side r.

    Attributes:
        face: (r, r, 3) or (r, r, 1) float32 0..1, BGR or gray.
        mask: (r, r) float32 0..1, the predicted face's mask.
        dst_mask: (r, r) float32 0..1, the mask the model sees in the destination.
        xseg_mask: (256, 256) float32 0..1, what a segmentation network sees in the predicted face; None without one.
        xseg_dst_mask: the same of the destination's face.
        learned: whether the model made the first two masks; those of one that learns none mean nothing.
    """

    face: Float32
    mask: Float32
    dst_mask: Float32
    xseg_mask: Float32 | None = None
    xseg_dst_mask: Float32 | None = None
    learned: bool = True


@dataclass(frozen=True)
class MergeOptions:
    """How a predicted face is put into the frame; see backend.core.settings.merge.MergeLook for words and ranges.

    Attributes:
        mode: "overlay" pastes with a soft edge, "seamless" also fits the light by Poisson cloning, "hist-match" matches
            histograms, "hist-match-gray" of the face in gray, "seamless-hist-match" both, "raw-rgb" pastes the whole
            predicted square, "raw-predict" gives that square alone, "original" leaves the frame and gives the mask.
        mask_mode: a key of MASK_SOURCES.
        erode_mask: -400..400, ellipse that eats the mask's edge, in pixels of four times the model's resolution.
        blur_mask: 0..400, kernel that softens the edge, same pixels.
        color_transfer: a key of COLOR_TRANSFERS.
        hist_match_threshold: 0..255, the level to which the face's distribution is scaled.
        masked_hist_match: whether only pixels inside the mask count for histogram matching.
        gray_face: what becomes of a one-channel prediction: "colour" keeps the crop's chroma and replaces its luma,
            "gray" repeats it in all channels.
        steady_seamless: whether Poisson cloning sees softened surroundings.
        face_scale: -50..50 percent; as in DeepFaceLab positive values make the face smaller, negative ones larger.
        motion_blur, super_resolution, bicubic_degrade, color_degrade: 0..100 percent; super-resolution needs a picture
            of an enhancer, see FaceSwap.
        sharpen_mode, sharpen_amount: kernel, and -100..100; negative blurs.
        denoise: 0..500.
    """

    mode: str = "overlay"
    mask_mode: str = "learned-prd*learned-dst"
    erode_mask: int = 0
    blur_mask: int = 40
    color_transfer: str = "rct"
    hist_match_threshold: int = 238
    masked_hist_match: bool = True
    gray_face: str = "colour"
    steady_seamless: bool = False
    face_scale: int = 0
    motion_blur: int = 0
    super_resolution: int = 0
    sharpen_mode: str = "none"
    sharpen_amount: int = 0
    denoise: int = 0
    bicubic_degrade: int = 0
    color_degrade: int = 0


class FaceTarget(NamedTuple):
    """Where a face sits in the frame, and what the model gets to see of it.

    Attributes:
        landmarks: (68, 2) float64, frame pixels.
        face_type: the model's face type.
        mat: (2, 3) float64, frame -> crop.
        crop: (r, r, 3) float32 0..1 BGR.
    """

    landmarks: Float64
    face_type: FaceType
    mat: Float64
    crop: Float32


class Motion(NamedTuple):
    """How a face moves between the frame before and the frame after.

    Attributes:
        power: length of the way in frame pixels; 0 when it stands still or is alone.
        angle_deg: its direction, counter-clockwise from the right.
    """

    power: float = 0.0
    angle_deg: float = 0.0


STILL = Motion()


class ColorShift(NamedTuple):
    """Bring colours to those steadied along the track: Lab' = Lab * gain + offset per channel, (3,) float32 each.

    Attributes:
        face_gain, face_offset: for the predicted face.
        crop_gain, crop_offset: for the destination's crop, where it is looked at as the reference.
    """

    face_gain: Float32
    face_offset: Float32
    crop_gain: Float32
    crop_offset: Float32


@dataclass(frozen=True)
class FaceSwap:
    """One face to put into a frame.

    Attributes:
        target: from face_target() on this frame.
        prediction: what the model made of its crop; masks may be steadied already.
        motion: for motion blur.
        enhanced: (4r, 4r, 3) float32 0..1 BGR, the predicted face as an enhancer sees it; None without one.
        shift: steadied colours; None works frame by frame.
    """

    target: FaceTarget
    prediction: SwapPrediction
    motion: Motion = STILL
    enhanced: Float32 | None = None
    shift: ColorShift | None = None


class MergedFrame(NamedTuple):
    """A merged frame.

    Attributes:
        frame_bgr: (h, w, 3), dtype and range of the frame that was given; of mode "raw-predict" the predicted square
            of the first face.
        mask: (h, w) float32 0..1, the replaced area of all faces.
        outcomes: per face "merged", "empty_mask" (face left as it was) or "seamless_failed"
            (pasted by overlay instead).
    """

    frame_bgr: npt.NDArray[Any]
    mask: Float32
    outcomes: tuple[Outcome, ...]
