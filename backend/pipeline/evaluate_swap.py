"""The swap's part of an evaluation: landmarks of swapped faces beside those of the faces they replace."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch

from backend.core.errors import LookalikeError
from backend.core.faces import Face, FaceType
from backend.core.settings import ExtractFacesSettings
from backend.models.base import FaceSwapModel
from backend.models.detection.base import Detector, Landmarker
from backend.ops.align import face_matrix, invert, transform_points
from backend.pipeline.context import StageContext
from backend.pipeline.face_tools import choose_tools
from backend.training.augment import plain
from backend.training.dataset import FaceCache
from backend.training.evaluate import Entries
from backend.training.loader import take
from backend.training.swap_quality import Points, expression_error, jitter, pose_error_deg

BLIND = ("points5",)
"""Landmarkers that place the points of a generic face: they see a pose and no expression."""

_BATCH = 8
_SEEN_PX = 256
_MARGIN = 0.3
_SMALLEST_FACE_PX = 80
_NUMBER = re.compile(r"(\d+)$")

Image = npt.NDArray[np.uint8]
Progress = Callable[[int], None]


@dataclass(frozen=True)
class PointPair:
    """Landmarks found in a dst face and in its swap, (68, 2) in pixels of the model's crop; None where none is seen."""

    dst: Points | None
    swap: Points | None


@dataclass(frozen=True)
class SwapFigures:
    """Means over the faces of which both landmarks were found; None where nothing can be said.

    Attributes:
        pose_deg, expression: see backend.training.swap_quality.
        missed: share of the dst faces whose swap shows no face although they do, 0..1.
        jitter_dst, jitter_swap: over the same frames.
    """

    pose_deg: float | None
    expression: float | None
    missed: float | None
    jitter_dst: float | None
    jitter_swap: float | None


class PointFinder:
    """Finds landmarks in aligned crops with whatever finds them in frames.

    A crop is enlarged and its edge repeated outwards, because detectors want to see some surroundings.

    Args:
        detector, landmarker: the tools of an extraction.
    """

    def __init__(self, detector: Detector, landmarker: Landmarker) -> None:
        self._detector = detector
        self._landmarker = landmarker
        self.names = (detector.name, landmarker.name)

    def __call__(self, crop: Image) -> Points | None:
        """(68, 2) landmarks of a (r, r, 3) uint8 BGR crop in its pixels; None when no face is seen."""
        zoom = max(1.0, _SEEN_PX / len(crop))
        large = cv2.resize(crop, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC) if zoom > 1 else crop
        rim = round(len(large) * _MARGIN)
        frame = np.asarray(cv2.copyMakeBorder(large, rim, rim, rim, rim, cv2.BORDER_REPLICATE), np.uint8)
        found = self._detector.detect(frame)
        if not found:
            return None
        try:
            points = self._landmarker.landmarks(frame, found[0])
        except LookalikeError:
            return None
        pixel = np.asarray(points, np.float64) - rim
        return (pixel + 0.5) / zoom - 0.5 if np.isfinite(pixel).all() else None


def build_finder(device: str, ctx: StageContext) -> PointFinder:
    """A finder with the best detector and landmarker that are present."""
    settings = ExtractFacesSettings(device=device, min_face_px=_SMALLEST_FACE_PX)
    tools = choose_tools(settings, ctx)
    return PointFinder(tools.detector, tools.landmarker)


def find_pairs(
    model: FaceSwapModel, dst: tuple[FaceCache, Entries], device: torch.device, finder: PointFinder, progress: Progress
) -> list[PointPair]:
    """Swap dst faces and find landmarks in both pictures.

    Outside the true face mask the swap shows dst, as a merged frame does. The mask the network drew is not used: one
    that is empty would let an unchanged face pass for a perfect swap.

    Args:
        model: in evaluation mode, on ``device``.
        dst: the faces and the entries to swap, in order.
        device: where to compute.
        finder: finds landmarks.
        progress: told after each batch how many are done; may raise to leave.
    """
    faces, entries = dst
    pairs: list[PointPair] = []
    for start in range(0, len(entries), _BATCH):
        side = plain(take(faces, entries[start : start + _BATCH]), device)
        with torch.inference_mode():
            swapped = model.swap(side.target).face.float()
        shown = swapped * side.mask + side.target * (1 - side.mask)
        pictures = zip(pictures_of(side.target), pictures_of(shown), strict=True)
        pairs.extend(PointPair(finder(original), finder(swap)) for original, swap in pictures)
        progress(len(pairs))
    return pairs


def swap_figures(
    pairs: Sequence[PointPair], frames: tuple[list[Points | None], list[Points | None]], size: int, blind: bool
) -> SwapFigures:
    """Sum up.

    Args:
        pairs: of the faces whose pose and expression count.
        frames: landmarks of dst and of the swap in frame pixels, of consecutive frames.
        size: side of the model's crop in pixels.
        blind: the landmarker sees no expressions.
    """
    both = [(pair.swap, pair.dst) for pair in pairs if pair.swap is not None and pair.dst is not None]
    seen = sum(pair.dst is not None for pair in pairs)
    poses = [error for swap, dst in both if (error := pose_error_deg(swap, dst, size)) is not None]
    shapes = [] if blind else [expression_error(swap, dst) for swap, dst in both]
    return SwapFigures(
        pose_deg=float(np.mean(poses)) if poses else None,
        expression=float(np.mean(shapes)) if shapes else None,
        missed=1 - len(both) / seen if seen else None,
        jitter_dst=jitter(frames[0]),
        jitter_swap=jitter(frames[1]),
    )


def in_frames(
    pairs: Sequence[PointPair], faces: Sequence[Face], size: int, face_type: FaceType
) -> tuple[list[Points | None], list[Points | None]]:
    """Landmarks of dst and of the swap, brought from the model's crops back into the frames.

    A face that only one of them shows counts for neither, so that both are measured on the same frames.
    """
    found: tuple[list[Points | None], list[Points | None]] = ([], [])
    for pair, face in zip(pairs, faces, strict=True):
        back = invert(face_matrix(face.source_landmarks, size, face_type))
        whole = pair.dst is not None and pair.swap is not None
        for line, points in zip(found, (pair.dst, pair.swap), strict=True):
            line.append(transform_points(points, back) if whole and points is not None else None)
    return found


def consecutive(faces: Sequence[tuple[int, Face]], count: int) -> list[tuple[int, Face]]:
    """The longest run of faces from frames that follow each other, at most ``count`` from its middle.

    Args:
        faces: (entry, face) in any order; of several in one frame the first counts.
        count: how many are wanted.
    """
    by_frame: dict[int, tuple[int, Face]] = {}
    for entry, face in faces:
        number = _NUMBER.search(face.source_filename.rpartition(".")[0])
        if number:
            by_frame.setdefault(int(number[1]), (entry, face))
    runs: list[list[tuple[int, Face]]] = []
    previous: int | None = None
    for frame in sorted(by_frame):
        if previous is None or frame != previous + 1:
            runs.append([])
        runs[-1].append(by_frame[frame])
        previous = frame
    longest = max(runs, key=len, default=[])
    first = max(0, (len(longest) - count) // 2)
    return longest[first : first + count]


def pictures_of(faces: torch.Tensor) -> list[Image]:
    """(B, C, H, W) float 0..1 -> (H, W, 3) uint8 BGR each; gray is repeated."""
    three = faces.float().clamp(0, 1).expand(-1, 3, -1, -1).permute(0, 2, 3, 1)
    return list((three * 255 + 0.5).to(torch.uint8).cpu().contiguous().numpy())
