"""What an extraction found: counters, lists, and how much the crops tremble."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Crop = tuple[float, float, float]
"""Centre x, centre y and side of a crop in frame pixels."""


@dataclass(frozen=True)
class FaceOutcome:
    """One written face.

    Attributes:
        track: number of its track.
        raw, calm: its crop before and after the landmarks were calmed.
        filled: it was not detected but filled in.
    """

    track: int
    raw: Crop
    calm: Crop
    filled: bool = False


@dataclass(frozen=True)
class FrameOutcome:
    """What became of one frame.

    Attributes:
        frame: file name.
        index: its place in the clip.
        faces: the written ones.
        unreadable: why the frame could not be read; empty when it could.
    """

    frame: str
    index: int
    faces: Sequence[FaceOutcome] = ()
    unreadable: str = ""


class Jitter:
    """How much crops tremble: the median second difference of their centres over three frames, divided by their side.

    Crops of different tracks are not compared.
    """

    def __init__(self) -> None:
        self._last: dict[int, list[tuple[int, Crop]]] = {}
        self._trembles: list[float] = []

    def add(self, track: int, frame: int, crop: Crop) -> None:
        """Take in the crop of a track in a frame; frames of a track come in order."""
        last = [*self._last.get(track, ()), (frame, crop)][-3:]
        self._last[track] = last
        if [number for number, _ in last] == [frame - 2, frame - 1, frame]:
            a, b, c = (crop for _, crop in last)
            self._trembles.append(float(np.hypot(a[0] - 2 * b[0] + c[0], a[1] - 2 * b[1] + c[1]) / b[2]))

    def value(self) -> float | None:
        """The share of the side; None without a track of three frames in a row."""
        return round(float(np.median(self._trembles)), 6) if self._trembles else None


@dataclass
class Report:
    """Running account of an extraction."""

    frames: int = 0
    faces: int = 0
    filled: int = 0
    without_face: list[str] = field(default_factory=list)
    several: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    _tracks: set[int] = field(default_factory=set)
    _raw: Jitter = field(default_factory=Jitter)
    _calm: Jitter = field(default_factory=Jitter)

    def add(self, outcome: FrameOutcome) -> None:
        """Take one more frame in, in order."""
        self.frames += 1
        self.faces += len(outcome.faces)
        self.filled += sum(face.filled for face in outcome.faces)
        if outcome.unreadable:
            self.unreadable.append(outcome.frame)
        elif not outcome.faces:
            self.without_face.append(outcome.frame)
        elif len(outcome.faces) > 1:
            self.several.append(outcome.frame)
        for face in outcome.faces:
            self._tracks.add(face.track)
            self._raw.add(face.track, outcome.index, face.raw)
            self._calm.add(face.track, outcome.index, face.calm)

    def facts(self) -> dict[str, Any]:
        """Counters and lists as JSON."""
        return {
            "frames": self.frames,
            "faces": self.faces,
            "filled": self.filled,
            "tracks": len(self._tracks),
            "without_face": self.without_face,
            "several": self.several,
            "unreadable": self.unreadable,
            "jitter_before": self._raw.value(),
            "jitter": self._calm.value(),
        }
