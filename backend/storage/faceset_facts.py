"""What a faceset holds, in numbers: from the data of its faces alone, no picture is decoded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from backend.core.errors import DamagedFileError
from backend.core.faces import FILLED, MANUAL
from backend.storage.atomic import read_json
from backend.storage.face_index import stamps
from backend.storage.face_persons import FacePersons
from backend.storage.faceset import FaceRecord
from backend.storage.image import list_images
from backend.storage.project import SideFiles

EXTRACTION_REPORT = ".extract.json"
"""Account of the last extraction, beside the faces."""

YAW_EDGES_DEG = tuple(range(-75, 76, 15))
PITCH_EDGES_DEG = tuple(range(-60, 61, 15))
"""Edges of the cells of the pose map; poses beyond them count in the outermost cells."""

_BINS = 16


@dataclass(frozen=True)
class Spread:
    """How a measure is distributed over the faces that have it.

    Attributes:
        low, high: ends of the counted range.
        counts: faces in equal parts of the range; those beyond it are in the outermost parts.
        known: how many faces have the measure.
        median: of those faces.
    """

    low: float
    high: float
    counts: tuple[int, ...]
    known: int
    median: float


@dataclass(frozen=True)
class FacesetFacts:
    """Numbers about one faceset.

    Attributes:
        faces, damaged: usable files, and files that cannot be used.
        bytes: disk used by both.
        persons: faces of each person, largest first; empty when nobody told them apart.
        tracks: different tracks; untracked faces count in none.
        types, sizes, detectors, landmarkers: value -> faces; sizes are "512" or "512 x 640", names "" where unknown.
        filled, manual: faces made from neighbouring frames, and by hand.
        masked, drawn: faces with an applied mask, with polygons drawn by hand.
        frames: frames of the side that are there; frames_without_face of them.
        per_frame: number of faces -> frames with so many, of the frames that have any.
        sharpness, score, yaw_deg, pitch_deg: None when no face has the measure.
        poses: (pitch, yaw) cells -> faces, see PITCH_EDGES_DEG and YAW_EDGES_DEG; first row looks down.
        jitter: how much the crops of the last extraction tremble, before and after smoothing; None where not measured.
    """

    faces: int
    damaged: int
    bytes: int
    persons: tuple[int, ...]
    tracks: int
    types: Mapping[str, int]
    sizes: Mapping[str, int]
    detectors: Mapping[str, int]
    landmarkers: Mapping[str, int]
    filled: int
    manual: int
    masked: int
    drawn: int
    frames: int
    frames_without_face: int
    per_frame: Mapping[int, int]
    sharpness: Spread | None
    score: Spread | None
    yaw_deg: Spread | None
    pitch_deg: Spread | None
    poses: npt.NDArray[np.int64]
    jitter: tuple[float | None, float | None]


def facts_of(side: SideFiles) -> FacesetFacts:
    """Numbers about the faces of one side. Reads only files that changed since the faceset was last looked at."""
    faceset = side.faceset()
    records = faceset.records()
    faces = [record.face for record in records]
    damaged = {name for name, _ in faceset.damaged()}
    sizes = {name: size for name, size in faceset.sizes().items() if name not in damaged}
    persons = FacePersons(side.aligned_dir).read().numbers
    poses = np.degrees([face.pose_rad[:2] for face in faces if face.pose_rad is not None]).reshape(-1, 2)
    in_frame = Counter(face.source_filename.rpartition(".")[0] or face.source_filename for face in faces)
    frames = [path.stem for path in list_images(side.frames_dir)]
    sharpness = [face.sharpness for face in faces if face.sharpness is not None]
    high = float(np.percentile(sharpness, 98)) if sharpness else 1.0
    return FacesetFacts(
        faces=len(records),
        damaged=len(damaged),
        bytes=sum(stamp[0] for stamp in stamps(side.aligned_dir).values()),
        persons=_persons(persons, records),
        tracks=len({face.track for face in faces if face.track is not None}),
        types=_counted(face.face_type.value for face in faces),
        sizes=_counted(_size_word(*size) for size in sizes.values()),
        detectors=_counted(face.detector for face in faces),
        landmarkers=_counted(face.landmarker for face in faces),
        filled=sum(face.origin == FILLED for face in faces),
        manual=sum(face.origin == MANUAL for face in faces),
        masked=sum(face.xseg_mask is not None for face in faces),
        drawn=sum(bool(face.seg_ie_polys) for face in faces),
        frames=len(frames),
        frames_without_face=sum(stem not in in_frame for stem in frames),
        per_frame=MappingProxyType(dict(sorted(Counter(in_frame.values()).items()))),
        sharpness=spread(sharpness, 0.0, max(high, 1e-6)),
        score=spread([face.score for face in faces if face.score is not None], 0.0, 1.0),
        yaw_deg=spread(poses[:, 1], YAW_EDGES_DEG[0], YAW_EDGES_DEG[-1], len(YAW_EDGES_DEG) - 1),
        pitch_deg=spread(poses[:, 0], PITCH_EDGES_DEG[0], PITCH_EDGES_DEG[-1], len(PITCH_EDGES_DEG) - 1),
        poses=pose_cells(poses),
        jitter=_jitter(side.aligned_dir / EXTRACTION_REPORT),
    )


def spread(values: Sequence[float] | npt.NDArray[Any], low: float, high: float, bins: int = _BINS) -> Spread | None:
    """Distribution of values over equal parts of a range; None without values."""
    found = np.asarray(values, np.float64)
    if not found.size:
        return None
    counts, _ = np.histogram(np.clip(found, low, high), bins, (low, high))
    return Spread(low, high, tuple(int(count) for count in counts), int(found.size), float(np.median(found)))


def pose_cells(pitch_yaw_deg: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Faces in each cell of the pose map.

    Args:
        pitch_yaw_deg: (n, 2) pitch and yaw in degrees.

    Returns:
        (8, 10) int64, pitch upwards with the rows, yaw to the left of the picture with the columns.
    """
    pitch = np.clip(pitch_yaw_deg[:, 0], PITCH_EDGES_DEG[0], PITCH_EDGES_DEG[-1])
    yaw = np.clip(pitch_yaw_deg[:, 1], YAW_EDGES_DEG[0], YAW_EDGES_DEG[-1])
    cells, _, _ = np.histogram2d(pitch, yaw, (PITCH_EDGES_DEG, YAW_EDGES_DEG))
    return cells.astype(np.int64)


def covered(poses: npt.NDArray[np.int64], others: npt.NDArray[np.int64]) -> float | None:
    """Share of the other set's faces whose cell of the pose map holds a face here, 0..1; None without any there."""
    total = int(others.sum())
    return float(others[poses > 0].sum()) / total if total else None


def _counted(values: Iterable[str]) -> Mapping[str, int]:
    """Value -> how often, most frequent first."""
    return MappingProxyType(dict(Counter(values).most_common()))


def _persons(persons: Mapping[str, int], records: Sequence[FaceRecord]) -> tuple[int, ...]:
    here = Counter(persons[record.path.name] for record in records if record.path.name in persons)
    return tuple(number for _, number in here.most_common())


def _size_word(width: int, height: int) -> str:
    return f"{width}" if width == height else f"{width} x {height}"


def _jitter(path: Path) -> tuple[float | None, float | None]:
    """Before and after, of the last extraction's report."""
    try:
        stored = read_json(path)
        before, after = stored.get("jitter_before"), stored.get("jitter")
    except (OSError, DamagedFileError, AttributeError):
        return None, None
    return _number(before), _number(after)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
