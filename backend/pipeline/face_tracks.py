"""Faces of consecutive frames as tracks: numbered, their gaps filled, their landmarks calmed. Frames stream through."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from backend.core.faces import FILLED, Detection, FloatArray
from backend.models.detection.base import Image, Landmarker
from backend.models.detection.points5 import five_points
from backend.ops.smooth import HISTORY, between, smooth_at, smoothing_radius
from backend.ops.track import PATIENCE, CutFinder, Tracker
from backend.pipeline.face_maker import FoundFace

_FARTHEST = 0.15
"""Share of the face's size by which points of the picture may lie off those between the neighbours."""


@dataclass
class FrameFaces:
    """One frame on its way through the tracks.

    Attributes:
        index: its place in the clip.
        path: its file.
        image_bgr: (h, w, 3) uint8; None when it could not be read or is only a neighbour of searched frames.
        thumb: its look, see track.thumbnail(); None when it could not be read.
        faces: what was found; of a neighbour, the faces that are already stored.
        searched: False for such a neighbour: it helps the tracks and nothing of it is written.
        unreadable: why it could not be read; empty when it could.
        raw: landmarks of the faces before they were calmed, in the same order.
    """

    index: int
    path: Path
    image_bgr: Image | None = None
    thumb: npt.NDArray[np.float32] | None = None
    faces: list[FoundFace] = field(default_factory=list)
    searched: bool = True
    unreadable: str = ""
    raw: list[FloatArray] = field(default_factory=list)


@dataclass(frozen=True)
class TrackOptions:
    """How tracks are made.

    Attributes:
        fill_gaps: frames in a row without a detection that are filled at most; 0 fills none.
        smoothing: strength of the calming, 0..1.
        max_faces: frames with this many faces are not filled further; 0 for any number.
        first_track: number of the first new track.
    """

    fill_gaps: int = 0
    smoothing: float = 0.0
    max_faces: int = 0
    first_track: int = 0

    @property
    def look_ahead(self) -> int:
        """Frames behind one that must be known before it is finished; so many decoded frames are held, and one more."""
        return max(self.fill_gaps, smoothing_radius(self.smoothing))


@dataclass
class _History:
    """Faces of one track: frame indexes, rising, and landmarks as found."""

    frames: list[int] = field(default_factory=list)
    faces: list[FoundFace] = field(default_factory=list)

    def put(self, frame: int, face: FoundFace) -> None:
        at = bisect_left(self.frames, frame)
        self.frames.insert(at, frame)
        self.faces.insert(at, face)

    def forget_before(self, frame: int) -> None:
        old = bisect_left(self.frames, frame)
        del self.frames[:old], self.faces[:old]


class FaceTracks:
    """Takes frames in order and gives them back in order, later by the look-ahead, with finished faces.

    Args:
        options: how tracks are made.
        landmarker: looks again at frames in which a track's face was not detected.
    """

    def __init__(self, options: TrackOptions, landmarker: Landmarker) -> None:
        self._options = options
        self._landmarker = landmarker
        self._cuts = CutFinder()
        self._tracker = Tracker(options.first_track)
        self._waiting: deque[FrameFaces] = deque()
        self._histories: dict[int, _History] = {}

    def push(self, frame: FrameFaces) -> Iterator[FrameFaces]:
        """Take the next frame in; yields those that are finished."""
        cut = frame.thumb is not None and self._cuts.step(frame.thumb)
        numbers = self._tracker.step(frame.index, [face.box_xyxy for face in frame.faces], cut=cut)
        numbers = self._under_known_numbers(frame.faces, numbers)
        frame.faces = [replace(face, track=number) for face, number in zip(frame.faces, numbers, strict=True)]
        for face, number in zip(frame.faces, numbers, strict=True):
            history = self._histories.setdefault(number, _History())
            if history.frames:
                self._fill(history, frame.index, face)
            history.put(frame.index, face)
        self._waiting.append(frame)
        while self._waiting[0].index + self._options.look_ahead <= frame.index:
            yield self._finished(self._waiting.popleft())
            if not self._waiting:
                break
        self._forget(frame.index)

    def rest(self) -> Iterator[FrameFaces]:
        """The frames that still wait, when no more will come."""
        while self._waiting:
            yield self._finished(self._waiting.popleft())

    def _under_known_numbers(self, faces: list[FoundFace], numbers: list[int]) -> list[int]:
        """Track numbers with those that stored faces have in place of new ones."""
        known = [number if face.track is None else face.track for face, number in zip(faces, numbers, strict=True)]
        if len(set(known)) < len(known):
            return numbers
        for new, old in zip(numbers, known, strict=True):
            if new != old:
                self._tracker.adopt(new, old)
                self._rename(new, old)
        return known

    def _rename(self, new: int, old: int) -> None:
        """Put the faces of a track under another number, also those that still wait."""
        history = self._histories.pop(new, None)
        if history is None:
            return
        renamed = self._histories.setdefault(old, _History())
        for index, face in zip(history.frames, history.faces, strict=True):
            renamed.put(index, replace(face, track=old))
        for frame in self._waiting:
            frame.faces = [replace(face, track=old) if face.track == new else face for face in frame.faces]

    def _fill(self, history: _History, index: int, face: FoundFace) -> None:
        """Put faces into the waiting frames between the last face of a track and this one."""
        last, before = history.frames[-1], history.faces[-1]
        if not 0 < index - last - 1 <= self._options.fill_gaps:
            return
        most = self._options.max_faces or np.inf
        for frame in self._waiting:
            free = frame.searched and frame.image_bgr is not None and len(frame.faces) < most
            if last < frame.index < index and free:
                filled = self._between(before, face, (frame.index - last) / (index - last), frame.image_bgr)
                frame.faces.append(filled)
                history.put(frame.index, filled)

    def _between(self, before: FoundFace, after: FoundFace, share: float, image_bgr: Image | None) -> FoundFace:
        """A face between two of its track: its points come from the picture when they lie where they should."""
        boxes = np.stack([before.box_xyxy, after.box_xyxy]).astype(np.float64)
        box = ((1 - share) * boxes[0] + share * boxes[1]).astype(np.float32)
        points, side = between(before.landmarks, after.landmarks, share)
        if image_bgr is not None:
            five = five_points(points).astype(np.float32)
            seen = self._landmarker.landmarks(image_bgr, Detection(box, 0.0, five))
            off = float(np.median(np.linalg.norm(seen - points, axis=1))) / side
            points = seen if off <= _FARTHEST else points
        return replace(after, box_xyxy=box, landmarks=points, score=None, origin=FILLED, track=before.track)

    def _finished(self, frame: FrameFaces) -> FrameFaces:
        """The frame with calm landmarks."""
        frame.raw = [face.landmarks for face in frame.faces]
        if frame.searched and self._options.smoothing > 0:
            frame.faces = [self._calmed(face, frame.index) for face in frame.faces]
        return frame

    def _calmed(self, face: FoundFace, index: int) -> FoundFace:
        assert face.track is not None
        history = self._histories[face.track]
        at = bisect_left(history.frames, index)
        landmarks = np.stack([near.landmarks for near in history.faces])
        return replace(face, landmarks=smooth_at(history.frames, landmarks, at, self._options.smoothing))

    def _forget(self, newest: int) -> None:
        """Keep of the tracks what later frames can need."""
        oldest = newest - self._options.look_ahead - max(HISTORY, PATIENCE) - 1
        for history in self._histories.values():
            history.forget_before(oldest)
        self._histories = {number: history for number, history in self._histories.items() if history.frames}
