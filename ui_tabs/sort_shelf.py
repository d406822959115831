"""What the Sort tab knows of the faces of one side: columns to filter and count by, read once per change on disk."""

from __future__ import annotations

import contextlib
import itertools
import math
import threading
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from backend.core.errors import BadInputError
from backend.core.faces import FILLED, MANUAL
from backend.storage.face_tracks_index import person_name
from backend.storage.faceset import FaceRecord
from backend.storage.sort_values import read_values
from backend.storage.workspace import SideFiles
from ui_tabs.gallery import Picture

YAW_EDGE_DEG, PITCH_EDGE_DEG, CELL_DEG = 75, 45, 10
COLUMNS = 2 * YAW_EDGE_DEG // CELL_DEG
ROWS = 2 * PITCH_EDGE_DEG // CELL_DEG
"""The pose map: columns from nose to the left of the picture to the right, rows from looking up to down."""

NOBODY = -1
"""In place of a track, person or pose cell that is not known."""

_KEPT = 6
PATIENCE_S = 0.3
"""So long the page waits for the faces of a side, seconds."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Shelf:
    """The n usable faces of one side in their order.

    Attributes:
        stamp: fingerprint of the folder when it was read.
        records: the faces; names: their file names; place: file name -> position.
        order_by: what the order follows.
        titles: person -> what it is called, where that is known.
        values: file name -> what that order measured, where that is a number.
        damaged: (file name, reason) of the files that cannot be used.
        yaw_deg, pitch_deg, sharpness, score: (n,) float64, NaN where unknown. Positive yaw turns the nose to the left
            of the picture, positive pitch looks up.
        cell: (n,) cell of the pose map, row * COLUMNS + column.
        track, person: (n,), NOBODY where unknown.
        in_frame: (n,) how many faces the frame of this one has.
        xseg, polygons, filled, manual: (n,) bool.
    """

    stamp: Any
    records: tuple[FaceRecord, ...]
    names: tuple[str, ...]
    place: dict[str, int]
    order_by: str
    titles: dict[int, str]
    values: dict[str, float]
    damaged: tuple[tuple[str, str], ...]
    yaw_deg: Floats
    pitch_deg: Floats
    sharpness: Floats
    score: Floats
    cell: Ints
    track: Ints
    person: Ints
    in_frame: Ints
    xseg: Flags
    polygons: Flags
    filled: Flags
    manual: Flags

    def __len__(self) -> int:
        return len(self.names)

    def person_words(self, person: int) -> str:
        """What a person is called."""
        return person_name(person, self.titles)

    @property
    def pose_counts(self) -> Ints:
        """(ROWS * COLUMNS,) faces per cell of the pose map."""
        return np.bincount(self.cell[self.cell >= 0], minlength=ROWS * COLUMNS)

    @property
    def unknown_poses(self) -> int:
        """Faces whose pose was never measured."""
        return int((self.cell < 0).sum())

    def without(self, names: Collection[str], stamp: Any) -> Shelf:
        """The shelf after these faces were taken from the folder."""
        kept = np.array([name not in names for name in self.names], np.bool_)
        left = {
            facts.name: getattr(self, facts.name)[kept]
            for facts in fields(self)
            if isinstance(getattr(self, facts.name), np.ndarray)
        }
        records = tuple(itertools.compress(self.records, kept))
        left_names = tuple(record.path.name for record in records)
        place = {name: number for number, name in enumerate(left_names)}
        frames = Counter(record.face.source_filename for record in records)
        left["in_frame"] = np.array([frames[record.face.source_filename] for record in records], np.int64)
        return replace(self, **left, stamp=stamp, records=records, names=left_names, place=place)

    def counts(self, column: Ints) -> list[tuple[int, int]]:
        """(value, faces) of a column such as ``track``, most faces first; unknown ones are left out."""
        values, numbers = np.unique(column[column >= 0], return_counts=True)
        pairs = zip(values.tolist(), numbers.tolist(), strict=True)
        return sorted(pairs, key=lambda pair: (-pair[1], pair[0]))


@dataclass(frozen=True)
class About:
    """What is known of a faceset besides the data in its files; see Shelf."""

    stamp: Any = None
    order_by: str = ""
    persons: Mapping[str, int] = field(default_factory=dict)
    titles: Mapping[int, str] = field(default_factory=dict)
    values: Mapping[str, float] = field(default_factory=dict)
    damaged: Sequence[tuple[str, str]] = ()


def make_shelf(records: Sequence[FaceRecord], about: About) -> Shelf:
    """Columns of the faces, in the order of the records."""
    faces = [record.face for record in records]
    names = tuple(record.path.name for record in records)
    unknown = (math.nan, math.nan)
    poses = [unknown if face.pose_rad is None else face.pose_rad[:2] for face in faces]
    pitch, yaw = np.degrees(np.asarray(poses, np.float64).reshape(-1, 2)).T
    frames = Counter(face.source_filename for face in faces)
    return Shelf(
        stamp=about.stamp,
        records=tuple(records),
        names=names,
        place={name: number for number, name in enumerate(names)},
        order_by=about.order_by,
        titles=dict(about.titles),
        values=dict(about.values),
        damaged=tuple(about.damaged),
        yaw_deg=yaw,
        pitch_deg=pitch,
        sharpness=_floats([face.sharpness for face in faces]),
        score=_floats([face.score for face in faces]),
        cell=pose_cells(yaw, pitch),
        track=np.array([NOBODY if face.track is None else face.track for face in faces], np.int64),
        person=np.array([about.persons.get(name, NOBODY) for name in names], np.int64),
        in_frame=np.array([frames[face.source_filename] for face in faces], np.int64),
        xseg=np.array([face.xseg_mask is not None for face in faces], np.bool_),
        polygons=np.array([bool(face.seg_ie_polys) for face in faces], np.bool_),
        filled=np.array([face.origin == FILLED for face in faces], np.bool_),
        manual=np.array([face.origin == MANUAL for face in faces], np.bool_),
    )


def pose_cells(yaw_deg: Floats, pitch_deg: Floats) -> Ints:
    """(n,) cell of the pose map for (n,) angles; poses beyond its edge count in the outermost cell, NaN as NOBODY."""
    known = ~(np.isnan(yaw_deg) | np.isnan(pitch_deg))
    column = np.clip((YAW_EDGE_DEG - np.where(known, yaw_deg, 0)) // CELL_DEG, 0, COLUMNS - 1)
    row = np.clip((PITCH_EDGE_DEG - np.where(known, pitch_deg, 0)) // CELL_DEG, 0, ROWS - 1)
    return np.where(known, row * COLUMNS + column, NOBODY).astype(np.int64)


class Shelves:
    """The shelves of the sides looked at last, shared by all browser tabs. Large ones are read beside the page."""

    def __init__(self) -> None:
        self._kept: dict[str, Shelf] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="shelf")
        self._reading: dict[str, Future[Shelf]] = {}

    def of(self, side: SideFiles, beat: Any = None) -> Shelf | None:
        """The faces of a side, read again only when its folder changed; None while that takes long: ask again then.

        Args:
            beat: while it stays the same a changed folder is not read again; for faces that are just being written.
        """
        key = str(side.aligned_dir)
        stamp = beat if beat is not None else (folder_stamp(side),)
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None and kept.stamp == stamp:
                return kept
            reading = self._reading.get(key)
            if reading is None:
                reading = self._reading[key] = self._pool.submit(_read, side, beat)
        try:
            shelf = reading.result(PATIENCE_S)
        except TimeoutError:
            return None
        finally:
            if reading.done():
                self._done(key, reading)
        now = beat if beat is not None else (folder_stamp(side),)
        return shelf if shelf.stamp == now else None

    def last(self, side: SideFiles) -> Shelf | None:
        """The faces of a side as they were read last; None before that."""
        return self._kept.get(str(side.aligned_dir))

    def need(self, side: SideFiles) -> Shelf:
        """The faces of a side as they are now. BadInputError while they are being read."""
        shelf = self.of(side)
        if shelf is None:
            raise BadInputError("The faces are still being read.", "Try again in a moment.")
        return shelf

    def _done(self, key: str, reading: Future[Shelf]) -> None:
        """Keep what was read; a fault is told to whoever waits for it."""
        with self._lock:
            if self._reading.get(key) is reading:
                del self._reading[key]
                if reading.exception() is None:
                    self._keep(key, reading.result())

    @contextlib.contextmanager
    def taking(self, side: SideFiles, names: Collection[str]) -> Iterator[None]:
        """While these faces go to the trash: afterwards they are gone from the shelf too, with nothing read again."""
        key, before = str(side.aligned_dir), (folder_stamp(side),)
        yield
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None and kept.stamp == before:
                self._keep(key, kept.without(names, (folder_stamp(side),)))

    def _keep(self, key: str, shelf: Shelf) -> Shelf:
        self._kept.pop(key, None)
        self._kept[key] = shelf
        for old in list(self._kept)[:-_KEPT]:
            del self._kept[old]
        return shelf


def _read(side: SideFiles, beat: Any) -> Shelf:
    """The faces of a side. The first look may write the side index into the folder, so the stamp is taken after it."""
    faceset = side.faceset()
    damaged = faceset.damaged()
    stamp = beat if beat is not None else (folder_stamp(side),)
    records = faceset.records()
    by, values = read_values(side.aligned_dir)
    order_by = faceset.order_by
    about = About(
        stamp=stamp,
        order_by=order_by,
        persons=faceset.persons(),
        titles=faceset.person_titles,
        values=values if by == order_by else {},
        damaged=damaged,
    )
    return make_shelf(records, about)


def folder_stamp(side: SideFiles) -> int:
    """Modification time of the folder of faces, 0 when there is none. Order and persons lie in it and change it too."""
    try:
        return side.aligned_dir.stat().st_mtime_ns
    except OSError:
        return 0


class ShelfPictures(Sequence[Picture]):
    """Some faces of a shelf as pictures of a gallery, each made only when it is looked at.

    Args:
        places: positions in the shelf.
    """

    def __init__(self, shelf: Shelf, places: Ints) -> None:
        self._shelf = shelf
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self._picture(int(place)) for place in self._places[index]]
        return self._picture(int(self._places[index]))

    def _picture(self, place: int) -> Picture:
        record = self._shelf.records[place]
        return Picture(record.path.name, record.path, caption(self._shelf, place))


def caption(shelf: Shelf, place: int) -> str:
    """What the faces are ordered by, where that is a number of this one; else its name."""
    by, face = shelf.order_by, shelf.records[place].face
    value = shelf.values.get(shelf.names[place], math.nan)
    if by in ("yaw", "pitch"):
        measured = math.degrees(value)
        angle = measured if not math.isnan(measured) else (shelf.yaw_deg if by == "yaw" else shelf.pitch_deg)[place]
        words = "" if math.isnan(angle) else _turned(by, round(float(angle)))
    elif by == "person" and shelf.person[place] >= 0:
        words = shelf.person_words(int(shelf.person[place]))
    elif by in ("rect-size", "best-by-size"):
        left, top, right, bottom = face.source_rect
        words = f"{right - left} x {bottom - top} px"
    else:
        words = "" if math.isnan(value) else _measured(by, value)
    return words or shelf.records[place].path.stem


def _turned(by: str, angle: int) -> str:
    """ "12° left" for yaw, "3° up" for pitch."""
    positive, negative = ("left", "right") if by == "yaw" else ("up", "down")
    return f"{abs(angle)}\u00b0 {positive if angle > 0 else negative}" if angle else "0\u00b0"


def _measured(by: str, value: float) -> str:
    """A value of a sorting with its name; "" for methods whose value says nothing to people."""
    sharpness = f"sharpness {value:.{2 if value >= 0.1 else 4}f}"
    words = {
        "blur": sharpness,
        "best": sharpness,
        "match-poses": sharpness,
        "motion-blur": f"edges {value:,.0f}",
        "brightness": f"brightness {value / 2.55:.0f} %",
        "hue": f"hue {2 * value:.0f}\u00b0",
        "black": f"{100 * value:.1f} % black",
        "mask": f"{100 * value:.0f} % kept",
        "duplicates": f"likeness {value:.2f}",
        "outliers": f"shape {value:.1f}",
    }
    return words.get(by, "")


def _floats(values: Sequence[float | None]) -> Floats:
    return np.array([math.nan if value is None else value for value in values], np.float64)
