"""Which faces of the destination lie in which frame, whose they are and which track they belong to. Decodes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from backend.storage.project import SideFiles


@dataclass(frozen=True, eq=False)
class FrameFace:
    """One face of a frame.

    Attributes:
        name: file name of the aligned face.
        landmarks: (68, 2) float64 frame pixels.
        track: number of its track; None when it was never tracked.
        person: name of its person, "" when persons were never told apart.
    """

    name: str
    landmarks: npt.NDArray[np.float64]
    track: int | None = None
    person: str = ""


@dataclass(frozen=True)
class TrackFacts:
    """One track, or one person.

    Attributes:
        faces: how many faces it has.
        person: whose most of them are, "" when that is not known.
        example: file name of its first face.
    """

    faces: int
    person: str
    example: str


class FaceTracksIndex:
    """The faces of one side by frame. Faces of a frame are in the order of their file names, whatever the sorting is.

    Args:
        side: whose faces; only files that changed since the last time are read.
    """

    def __init__(self, side: SideFiles) -> None:
        self._side = side
        self.by_stem: Mapping[str, tuple[FrameFace, ...]] = MappingProxyType({})
        self.refresh()

    def refresh(self) -> None:
        """Look at the folder of faces again."""
        faceset = self._side.faceset()
        titles, persons = faceset.person_titles, faceset.persons()
        found: dict[str, list[FrameFace]] = {}
        for stem, records in faceset.faces_by_frame().items():
            faces = found.setdefault(stem, [])
            for record in records:
                name, face = record.path.name, record.face
                person = person_name(persons[name], titles) if name in persons else ""
                landmarks = np.asarray(face.source_landmarks, dtype=np.float64)
                faces.append(FrameFace(name, landmarks, face.track, person))
            faces.sort(key=lambda each: (each.name.lower(), each.name))
        self.by_stem = MappingProxyType({stem: tuple(faces) for stem, faces in found.items()})

    def __len__(self) -> int:
        """How many faces there are."""
        return sum(map(len, self.by_stem.values()))

    def persons(self) -> dict[str, TrackFacts]:
        """Name of a person -> its faces, most faces first."""
        return _most_first(self._grouped(lambda face: face.person or None))

    def tracks(self) -> dict[int, TrackFacts]:
        """Number of a track -> its faces, most faces first."""
        return _most_first(self._grouped(lambda face: face.track))

    def _grouped(self, key: Any) -> dict[Any, TrackFacts]:
        groups: dict[Any, list[FrameFace]] = {}
        for stem in sorted(self.by_stem):
            for face in self.by_stem[stem]:
                if key(face) is not None:
                    groups.setdefault(key(face), []).append(face)
        return {group: _facts(faces) for group, faces in groups.items()}


def person_name(number: int, titles: Mapping[int, str]) -> str:
    """What a person is called: its name, or its number counted from 1."""
    return titles.get(number) or f"person {number + 1}"


def _facts(faces: list[FrameFace]) -> TrackFacts:
    named = Counter(face.person for face in faces if face.person)
    return TrackFacts(len(faces), named.most_common(1)[0][0] if named else "", faces[0].name)


def _most_first(groups: dict[Any, TrackFacts]) -> dict[Any, TrackFacts]:
    return dict(sorted(groups.items(), key=lambda item: (-item[1].faces, item[0])))
