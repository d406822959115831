"""Steadying while merging: the faces of a stream of frames, calmed along their tracks. Needs no model and no files."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from backend.ops.face_swap import FaceSwap, SwapPrediction
from backend.ops.steady import (
    RADIUS,
    FaceState,
    color_flicker,
    face_state,
    goes_on,
    mask_flicker,
    small_mask,
    steady_colors,
    steady_mask,
    window_weights,
)
from backend.pipeline.merge_types import FacePlan, PredictedFaces, ReadyFaces

_NEAR = 0.5  # of the face's size; a face without a track moves no farther from frame to frame
_WHOLE = ("lct", "mkl", "idt")  # colour transfers that look at all pixels
_MASKS = ("mask", "dst_mask", "xseg_mask", "xseg_dst_mask")


class _Strengths(NamedTuple):
    """In percent."""

    mask: int
    color: int


@dataclass(frozen=True)
class _Face:
    """A face that can be swapped, as it is in one frame.

    Attributes:
        plan: of the face.
        kind: what has to be the same for two states of a face to be mixed: the model, how far it was asked to go, and
            whether colours are those of all pixels.
        state: what is measured of it.
        swap: untouched.
    """

    plan: FacePlan
    kind: tuple[str, float, bool]
    state: FaceState
    swap: FaceSwap


@dataclass(frozen=True)
class _Frame:
    """A frame and its measured faces."""

    predicted: PredictedFaces
    faces: tuple[_Face, ...]

    @property
    def index(self) -> int:
        return self.predicted.plan.index


class _Figures(NamedTuple):
    """What flickers of one face, as predicted and as steadied: masks (32, 32), and the Lab colours (3,) aimed at."""

    mask: npt.NDArray[np.float32]
    calm_mask: npt.NDArray[np.float32]
    color: npt.NDArray[np.float64]
    calm_color: npt.NDArray[np.float64]


class SteadyReport:
    """How much masks and colours flicker along the tracks, before and after steadying.

    Measured over every three frames in a row that show one face without a jump. Masks, in crop space and where the
    predicted and the destination's agree: the sum of the absolute second difference, in percent of their area. Colours:
    the length of the second difference, in Lab units, of the mean colour that the face is brought to. That is the
    destination's, inside that mask if the transfer looks at it, or the predicted face's own where colours are not
    transferred. An even change gives 0.
    """

    def __init__(self) -> None:
        self._measured = 0
        self._sums = np.zeros(len(_Figures._fields))
        self._last: deque[tuple[_Frame, list[_Figures]]] = deque(maxlen=3)

    def result(self) -> dict[str, Any]:
        """For the job's result.

        Returns:
            {"measured": faces that had both neighbours, "mask_before", "mask_after": percent, "color_before",
            "color_after": Lab units}; the figures are None where nothing could be measured.
        """
        names = ("mask_before", "mask_after", "color_before", "color_after")
        means = self._sums / max(self._measured, 1) * (100, 100, 1, 1)
        figures = [round(mean, 4) if self._measured else None for mean in means.tolist()]
        return {"measured": self._measured, **dict(zip(names, figures, strict=True))}

    def add(self, frame: _Frame, swaps: Sequence[FaceSwap]) -> None:
        """Take in the next frame and what became of its faces."""
        own_colors = frame.predicted.plan.look.color_transfer == "none"
        figures = [_figures(face, swap, own_colors) for face, swap in zip(frame.faces, swaps, strict=True)]
        self._last.append((frame, figures))
        if len(self._last) < 3:
            return
        (before, first), (now, middle), (after, last) = self._last
        for face, own in zip(now.faces, middle, strict=True):
            left, right = (_beside(face, now.index, frame) for frame in (before, after))
            if left is not None and right is not None:
                masks, calm_masks, colors, calm_colors = zip(first[left], own, last[right], strict=True)
                self._sums += (
                    mask_flicker(*masks),
                    mask_flicker(*calm_masks),
                    color_flicker(*colors),
                    color_flicker(*calm_colors),
                )
                self._measured += 1


def steadied(
    frames: Iterator[PredictedFaces], smooth_mask: int, smooth_color: int, report: SteadyReport | None = None
) -> Iterator[ReadyFaces]:
    """Calm the faces of a stream of frames along their tracks.

    Faces of neighbouring frames are the same when their track is; without a track the nearest one is. A gap in the
    frames' indexes, another model, and a jump of place, size, colour or look end what a face is smoothed with. Faces
    without a crop are left out.

    Args:
        frames: in order. At most RADIUS are taken ahead of the one that is given; none when both strengths are 0, which
            passes predictions on as they are.
        smooth_mask, smooth_color: strengths, 0..100 %.
        report: takes in how much masks and colours flicker.

    Yields:
        one for each frame, in order.
    """
    strengths = _Strengths(smooth_mask, smooth_color)
    window: deque[_Frame] = deque()
    at = 0
    for predicted in frames:
        if not any(strengths):
            yield _untouched(predicted, report)
            continue
        window.append(_measured(predicted))
        if len(window) <= at + RADIUS:
            continue
        yield _calm_frame(window, at, strengths, report)
        at += 1
        if at > RADIUS:
            window.popleft()
            at -= 1
    for rest in range(at, len(window)):
        yield _calm_frame(window, rest, strengths, report)


def steady_one(window: Sequence[PredictedFaces], at: int, smooth_mask: int, smooth_color: int) -> ReadyFaces:
    """Calm the faces of one frame, exactly as steadied() does.

    Args:
        window: the frames from RADIUS before to RADIUS behind the one that is wanted, as far as they exist.
        at: which of them is wanted.
        smooth_mask, smooth_color: strengths, 0..100 %.
    """
    strengths = _Strengths(smooth_mask, smooth_color)
    if not any(strengths):
        return _untouched(window[at], None)
    return _calm_frame([_measured(frame) for frame in window], at, strengths, None)


def _untouched(predicted: PredictedFaces, report: SteadyReport | None) -> ReadyFaces:
    """A frame with its faces as they were predicted."""
    swaps = tuple(swap for _, swap in _swaps(predicted))
    if report is not None:
        report.add(_measured(predicted), swaps)
    return ReadyFaces(predicted.plan, swaps)


def _swaps(predicted: PredictedFaces) -> Iterator[tuple[FacePlan, FaceSwap]]:
    """The faces that have a crop and a prediction."""
    plans = predicted.plan.faces
    enhanced = predicted.enhanced or (None,) * len(plans)
    for plan, target, prediction, better in zip(
        plans, predicted.targets, predicted.predictions, enhanced, strict=False
    ):
        if target is not None and prediction is not None:
            yield plan, FaceSwap(target, prediction, plan.motion, better)


def _measured(predicted: PredictedFaces) -> _Frame:
    look = predicted.plan.look
    whole = look.color_transfer in _WHOLE
    return _Frame(
        predicted,
        tuple(
            _Face(plan, (plan.model, look.morph_factor, whole), face_state(swap.target, swap.prediction, whole), swap)
            for plan, swap in _swaps(predicted)
        ),
    )


def _calm_frame(window: Sequence[_Frame], at: int, strengths: _Strengths, report: SteadyReport | None) -> ReadyFaces:
    """One frame of a window with its faces calmed by the frames around it."""
    frame = window[at]
    swaps = tuple(_calm(face, _along(face, window, at), strengths) for face in frame.faces)
    if report is not None:
        report.add(frame, swaps)
    return ReadyFaces(frame.predicted.plan, swaps)


def _along(face: _Face, window: Sequence[_Frame], at: int) -> dict[int, _Face]:
    """Frames away, in order -> the face there; 0 is the face itself."""
    found = {0: face}
    for step in (-1, 1):
        here, last, last_away = window[at], face, 0
        for away in range(1, RADIUS + 1):
            place = at + step * away
            if not 0 <= place < len(window) or window[place].index - here.index != step:
                break
            here = window[place]
            number = _same(face=last, frame=here)
            if number is None and face.plan.track is not None:
                continue  # the track may have missed its face in this frame
            if number is None or not _goes_on(last, here.faces[number], away - last_away):
                break
            last, last_away = here.faces[number], away
            found[step * away] = last
    return dict(sorted(found.items()))


def _beside(face: _Face, index: int, frame: _Frame) -> int | None:
    """Which face of the frame right before or behind the face's own one it is."""
    number = _same(face, frame) if abs(frame.index - index) == 1 else None
    return number if number is not None and _goes_on(face, frame.faces[number], 1) else None


def _same(face: _Face, frame: _Frame) -> int | None:
    """Which face of another frame is the same by its track, or without one by its place."""
    rivals = [number for number, other in enumerate(frame.faces) if other.plan.track == face.plan.track]
    if face.plan.track is not None:
        return rivals[0] if rivals else None
    ways = {number: np.hypot(*(frame.faces[number].state.centre - face.state.centre)) for number in rivals}
    nearest = min(ways, key=lambda number: ways[number], default=None)
    return nearest if nearest is not None and ways[nearest] <= _NEAR * face.state.size else None


def _goes_on(face: _Face, other: _Face, frames: int) -> bool:
    """Whether two states of a face, so many frames apart, may be mixed."""
    return face.kind == other.kind and goes_on(face.state, other.state, frames)


def _calm(face: _Face, along: dict[int, _Face], strengths: _Strengths) -> FaceSwap:
    """A face's swap with masks and colours as they are along its track."""
    at, away, faces = list(along).index(0), list(along), list(along.values())
    swap = face.swap
    if strengths.mask:
        weights = window_weights(away, strengths.mask)
        predictions = [other.swap.prediction for other in faces]
        swap = replace(swap, prediction=_calm_masks(predictions, at, weights))
    if strengths.color:
        weights = window_weights(away, strengths.color)
        swap = replace(swap, shift=steady_colors([other.state for other in faces], at, weights))
    return swap


def _calm_masks(predictions: Sequence[SwapPrediction], at: int, weights: npt.NDArray[np.float64]) -> SwapPrediction:
    """A prediction with all the masks it has smoothed by those of the same kind around it."""
    calmed = {}
    for name in _MASKS:
        there = [number for number, other in enumerate(predictions) if getattr(other, name) is not None]
        if at in there:
            masks = [getattr(predictions[number], name) for number in there]
            calmed[name] = steady_mask(masks, there.index(at), weights[there])
    return replace(predictions[at], **calmed)


def _figures(face: _Face, swap: FaceSwap, own_colors: bool) -> _Figures:
    """What is measured of a face before and after steadying."""
    mask, color = face.state.mask, (face.state.face if own_colors else face.state.crop).mean
    calm_mask = mask if swap.prediction is face.swap.prediction else small_mask(swap.prediction)
    if swap.shift is None:
        return _Figures(mask, calm_mask, color, color)
    gain, offset = swap.shift[:2] if own_colors else swap.shift[2:]
    return _Figures(mask, calm_mask, color, color * gain + offset)
