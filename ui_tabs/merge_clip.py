"""The frames and faces of the destination as the Merge tab needs them. Read beside the page, kept until they change."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backend.core.errors import BadInputError, LookalikeError
from backend.storage.face_tracks_index import FaceTracksIndex, FrameFace
from backend.storage.frame_table import load_frame_table
from backend.storage.image import list_images
from backend.storage.project import Project, SideFiles
from ui_tabs.gallery import modified

PATIENCE_S = 0.3
"""So long the page waits for the first look at a faceset, seconds."""


@dataclass(frozen=True)
class Group:
    """The faces of one person or one track.

    Attributes:
        faces: how many there are; first, last: the frames they begin and end at, counted from 1.
        person: whose most of them are, "" when that is not known.
        example: file name of a face.
    """

    faces: int
    first: int
    last: int
    person: str
    example: str


@dataclass(frozen=True)
class MergeClip:
    """All frames of the destination.

    Attributes:
        stems: file names without suffix, in the order in which they are merged.
        files: the pictures; None where only the clip is left.
        faces: stem -> its faces.
        persons, tracks: name or number -> its faces, most faces first.
        stamp: changes when frames or faces come, go or are replaced.
        numbers: stem -> frame, counted from 1.
    """

    stems: tuple[str, ...]
    files: tuple[Path | None, ...]
    faces: Mapping[str, tuple[FrameFace, ...]]
    persons: Mapping[str, Group]
    tracks: Mapping[int, Group]
    stamp: tuple[int, ...]
    numbers: Mapping[str, int] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many frames there are."""
        return len(self.stems)

    def faces_of(self, frame: int) -> tuple[FrameFace, ...]:
        """Faces of a frame counted from 1."""
        return self.faces.get(self.stems[frame - 1], ()) if 1 <= frame <= self.count else ()


class MergeClips:
    """The destinations that were looked at. Shared by all browser tabs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[Path, tuple[FaceTracksIndex, MergeClip]] = {}
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="merge-clip")
        self._first: dict[Path, Future[MergeClip]] = {}

    def get(self, project: Project, busy: bool = False) -> MergeClip | None:
        """The destination as it is now; as it was, while a job changes it.

        None while a large faceset is read for the first time, which goes on beside the page.
        """
        known = self._known.get(project.path)
        if known is not None and (busy or known[1].stamp == clip_stamp(project.side("dst"))):
            return known[1]
        patience_s = 0.0
        first = self._first.get(project.path)
        if first is None:
            patience_s = PATIENCE_S  # only who asks first waits
            first = self._first[project.path] = self._pool.submit(self._read, project)
        try:
            return first.result(patience_s)
        except TimeoutError:
            return known[1] if known is not None else None
        finally:
            if first.done():
                self._first.pop(project.path, None)

    def need(self, project: Project) -> MergeClip:
        """The destination. BadInputError while it is read for the first time."""
        clip = self.get(project)
        if clip is None:
            raise BadInputError("The faces are still being read.", "Try again in a moment.")
        return clip

    def _read(self, project: Project) -> MergeClip:
        side = project.side("dst")
        with self._lock:
            known = self._known.get(project.path)
            index = FaceTracksIndex(side) if known is None else known[0]
            index.refresh()  # may note what it read beside the faces, which changes the stamp of their folder
            stamp = clip_stamp(side)
            index.refresh()
            clip = make_clip(side, index, stamp)
            self._known[project.path] = (index, clip)
            return clip


def clip_stamp(side: SideFiles) -> tuple[int, ...]:
    """Changes when frames or faces come, go or are replaced."""
    return tuple(modified(path) for path in (side.frames_dir, side.aligned_dir, side.frame_table_path))


def make_clip(side: SideFiles, index: FaceTracksIndex, stamp: tuple[int, ...]) -> MergeClip:
    """Put frames and faces together."""
    pictures = {path.stem: path for path in list_images(side.frames_dir)}
    try:
        table = load_frame_table(side)
    except LookalikeError:
        table = None
    stems = tuple(Path(ref.file).stem for ref in table.frames) if table is not None else tuple(pictures)
    numbers = {stem: number for number, stem in enumerate(stems, start=1)}
    persons: dict[str, list[tuple[int, FrameFace]]] = {}
    tracks: dict[int, list[tuple[int, FrameFace]]] = {}
    for stem, number in numbers.items():
        for face in index.by_stem.get(stem, ()):
            if face.person:
                persons.setdefault(face.person, []).append((number, face))
            if face.track is not None:
                tracks.setdefault(face.track, []).append((number, face))
    return MergeClip(
        stems,
        tuple(pictures.get(stem) for stem in stems),
        index.by_stem,
        _groups(persons),
        _groups(tracks),
        stamp,
        numbers,
    )


def _groups(faces: Mapping[Any, list[tuple[int, FrameFace]]]) -> dict[Any, Group]:
    """Most faces first."""
    most_first = sorted(faces.items(), key=lambda item: (-len(item[1]), item[1][0][0]))
    return {key: _group(found) for key, found in most_first}


def _group(found: list[tuple[int, FrameFace]]) -> Group:
    named = [face.person for _, face in found if face.person]
    person = max(set(named), key=named.count) if named else ""
    return Group(len(found), found[0][0], found[-1][0], person, found[len(found) // 2][1].name)
