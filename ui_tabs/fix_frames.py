"""The frames of one side with their faces, and which of them need a look. Kept until a folder changes."""

from __future__ import annotations

import contextlib
import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from backend.core.errors import BadInputError, DamagedFileError
from backend.core.faces import FILLED, MANUAL
from backend.storage.face_file import read_face
from backend.storage.face_index import Stamp, stamps
from backend.storage.faceset import FaceRecord
from backend.storage.image import list_images
from backend.storage.project import SideFiles

KINDS: Mapping[str, str] = MappingProxyType(
    {
        "none": "without a face",
        "several": "with several faces",
        "score": "with a low score",
        "filled": "with filled faces",
        "hand": "with hand-made faces",
    }
)
"""What can be jumped to, with its words."""
PATIENCE_S = 0.3
"""So long the page waits for the first look at a faceset, seconds."""
READ_HERE = 500
"""So many changed faces are read here at most; more are left to the faceset."""
BUSY_S = 5.0
"""While a job writes faces they are looked up this seldom, seconds."""


@dataclass(frozen=True)
class FrameMap:
    """All frames of a side.

    Attributes:
        frames: the files in order, one per stem.
        faces: stem of a frame -> its faces.
        found: number of frames by kind (without "score"), ascending, from 0.
        numbers: stem of a frame -> its number.
        stamp: see map_stamp(), of when this was read.
        lowest: (frame number, lowest score of its faces) where there is a score, ascending by number.
    """

    frames: tuple[Path, ...]
    faces: Mapping[str, list[FaceRecord]]
    found: Mapping[str, tuple[int, ...]]
    lowest: tuple[tuple[int, float], ...]
    numbers: Mapping[str, int]
    stamp: tuple[int, ...]

    def number(self, name: str) -> int:
        """Number of a frame by its file name, whatever the suffix; 0 when there is no such frame."""
        return self.numbers.get(Path(name).stem, 0)

    def of(self, number: int) -> list[FaceRecord]:
        """Faces of a frame, by file name."""
        return sorted(self.faces.get(self.frames[number].stem, []), key=lambda record: record.path.name)

    def record(self, name: str, frame: str) -> FaceRecord:
        """A face of a frame by its file name. BadInputError when it is not there."""
        for record in self.faces.get(Path(frame).stem, []):
            if record.path.name == name:
                return record
        raise BadInputError(f"There is no face {name} on this frame any more.", "Look at the frame again.")

    def places(self, kind: str, threshold: float) -> Sequence[int]:
        """Numbers of the frames of a kind, ascending; ``threshold`` is what a low score lies below."""
        if kind == "score":
            return [number for number, score in self.lowest if score < threshold]
        return self.found.get(kind, ())

    def next(self, kind: str, threshold: float, at: int, step: int) -> int | None:
        """Number of the next (step 1) or previous (-1) frame of a kind; goes round at the ends; None without any."""
        places = self.places(kind, threshold)
        if not places:
            return None
        return places[bisect_right(places, at) % len(places)] if step > 0 else places[bisect_left(places, at) - 1]


class FrameMaps:
    """Frame maps of all sides that were looked at. Shared by all browser tabs.

    A few changed faces are read here, one by one: the faceset notes the data of every face anew after each change,
    which takes over a second for ten thousand.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[Path, _Known] = {}
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="frame-map")
        self._first: dict[Path, Future[FrameMap]] = {}

    def get(self, side: SideFiles, busy: bool) -> FrameMap | None:
        """The frames of a side as they are now; while a job writes the faces, as they were a few seconds ago.

        None while a large faceset is read for the first time, which goes on beside the page.
        """
        if side.frames_dir in self._known:
            return self._read(side, busy)
        first, patience_s = self._first.get(side.frames_dir), 0.0
        if first is None:
            patience_s = PATIENCE_S  # only who asks first waits
            first = self._first[side.frames_dir] = self._pool.submit(self._read, side, busy)
        try:
            return first.result(patience_s)
        except TimeoutError:
            return None
        finally:
            if first.done():
                self._first.pop(side.frames_dir, None)

    def need(self, side: SideFiles) -> FrameMap:
        """The frames of a side as they are now. BadInputError while they are read for the first time."""
        frames = self.get(side, False)
        if frames is None:
            raise BadInputError("The faces are still being read.", "Try again in a moment.")
        return frames

    def _read(self, side: SideFiles, busy: bool) -> FrameMap:
        with self._lock:
            stamp, now = map_stamp(side), time.monotonic()
            known = self._known.get(side.frames_dir)
            if known is not None and (known.map.stamp == stamp or (busy and now - known.read_at < BUSY_S)):
                return known.map
            found = stamps(side.aligned_dir)
            records = _records(side, found, known)
            made = make_map(list_images(side.frames_dir), list(records.values()), stamp)
            self._known[side.frames_dir] = _Known(now, found, records, made)
            return made


@dataclass(frozen=True)
class _Known:
    """A map, when it was read (s, monotonic), and the face files it was made of."""

    read_at: float
    stamps: Mapping[str, Stamp]
    records: Mapping[str, FaceRecord]
    map: FrameMap


def map_stamp(side: SideFiles) -> tuple[int, ...]:
    """Changes when frames or faces come, go or are replaced."""
    return tuple(_modified(folder) for folder in (side.frames_dir, side.aligned_dir))


def make_map(frames: Sequence[Path], records: Sequence[FaceRecord], stamp: tuple[int, ...]) -> FrameMap:
    """The map of frames and faces; of frames with one stem the first counts."""
    by_stem: dict[str, Path] = {}
    for path in frames:
        by_stem.setdefault(path.stem, path)
    faces: dict[str, list[FaceRecord]] = {}
    for record in records:
        faces.setdefault(Path(record.face.source_filename).stem, []).append(record)
    found: dict[str, list[int]] = {kind: [] for kind in KINDS}
    lowest: list[tuple[int, float]] = []
    for number, stem in enumerate(by_stem):
        ours = faces.get(stem, [])
        origins = {record.face.origin for record in ours}
        scores = [record.face.score for record in ours if record.face.score is not None]
        if scores:
            lowest.append((number, min(scores)))
        tests = {"none": not ours, "several": len(ours) > 1, "filled": FILLED in origins, "hand": MANUAL in origins}
        for kind, true in tests.items():
            if true:
                found[kind].append(number)
    numbers = {stem: number for number, stem in enumerate(by_stem)}
    kinds = {kind: tuple(places) for kind, places in found.items()}
    return FrameMap(tuple(by_stem.values()), faces, kinds, tuple(lowest), numbers, stamp)


def _records(side: SideFiles, found: Mapping[str, Stamp], known: _Known | None) -> dict[str, FaceRecord]:
    """File name -> face of all usable faces; only what changed is read again."""
    changed = [name for name, stamp in found.items() if known is None or known.stamps.get(name) != stamp]
    if known is None or len(changed) > READ_HERE:
        return {record.path.name: record for record in side.faceset().records()}
    records = {name: record for name, record in known.records.items() if name in found}
    for name in changed:
        records.pop(name, None)
        with contextlib.suppress(DamagedFileError, OSError):
            records[name] = FaceRecord(side.aligned_dir / name, read_face(side.aligned_dir / name))
    return records


def _modified(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
