"""What flows through merging: which faces a frame has, and what became of them up to the finished picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from backend.core.settings import MergeLook
from backend.ops.face_swap import STILL, FaceSwap, FaceTarget, Motion, SwapPrediction

UInt8 = npt.NDArray[np.uint8]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FacePlan:
    """One face of a frame that is to be swapped.

    Attributes:
        name: file name of the aligned face it was found as.
        landmarks: (68, 2) float64 frame pixels.
        model: name of the model it gets.
        track: which face of other frames it is: equal in all frames of one track; None when it was never tracked.
        motion: between its neighbours on the track.
    """

    name: str
    landmarks: Float64
    model: str
    track: int | None = None
    motion: Motion = STILL


@dataclass(frozen=True)
class FramePlan:
    """What is to be done with one frame.

    Attributes:
        index: of the frame in the clip's table, from 0.
        stem: its file name without suffix.
        look: how its faces are put into it.
        faces: those to be swapped, in the order in which they are laid over each other.
        left: how many further faces the rules leave as they are.
    """

    index: int
    stem: str
    look: MergeLook
    faces: tuple[FacePlan, ...] = ()
    left: int = 0


@dataclass(frozen=True)
class CutFaces:
    """The crops of a frame's faces, as their models see them.

    Attributes:
        plan: of the frame.
        targets: one per face of the plan; None where the landmarks give no crop.
        xseg_crops: (256, 256, 3) float32 0..1 BGR per face, what a mask network sees of the frame; empty unless the
            mask mode looks at it.
    """

    plan: FramePlan
    targets: tuple[FaceTarget | None, ...]
    xseg_crops: tuple[npt.NDArray[np.float32] | None, ...] = ()


@dataclass(frozen=True)
class PredictedFaces(CutFaces):
    """A frame's faces with what the models made of them; compositing needs no model any more.

    Attributes:
        predictions: one per face; None where there was no crop.
        enhanced: (4r, 4r, 3) float32 0..1 BGR per face, where an enhancer was asked for.
    """

    predictions: tuple[SwapPrediction | None, ...] = ()
    enhanced: tuple[npt.NDArray[np.float32] | None, ...] = ()


@dataclass(frozen=True)
class ReadyFaces:
    """A frame's faces, steadied along their tracks, ready to be put into the frame.

    Attributes:
        plan: of the frame.
        swaps: what composite_frame() takes.
    """

    plan: FramePlan
    swaps: tuple[FaceSwap, ...]
