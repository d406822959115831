"""What is merged: the frames of the destination in the order of their table, and which face of them gets which model.

Imports no torch: processes that only cut and composite share it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from backend.core.errors import BadInputError
from backend.core.frames import FrameTable
from backend.core.settings import FaceRule, MergeLook, MergeSettings
from backend.ops.face_swap import STILL, Motion
from backend.ops.motion import motion_of
from backend.pipeline.frame_source import ClipReader
from backend.pipeline.merge_types import FacePlan, FramePlan
from backend.storage.face_tracks_index import FaceTracksIndex, FrameFace
from backend.storage.frame_table import frame_table_for
from backend.storage.image import list_images, read_image
from backend.storage.workspace import Project

UInt8 = npt.NDArray[np.uint8]

LEAVE = ""
"""In place of a model's name: the face stays as it is."""

_NEAR = 0.5
"""A face without a track is the same in the next frame when its centre moved by less than this share of its size."""

_READINGS = 3


@dataclass(frozen=True)
class SceneFrame:
    """One frame of the destination.

    Attributes:
        index: in the table, from 0.
        stem: file name without suffix; merged pictures carry it.
        file: the picture; None when it is gone and only the clip has the frame.
        clip_index: index in the clip, from 0.
        time_s: presentation time from the first frame of the clip.
    """

    index: int
    stem: str
    file: Path | None
    clip_index: int
    time_s: float


class MergeScene:
    """The destination of a project.

    Args:
        project: whose frames and faces.

    Attributes:
        frames: in the order of the table.
        table: see backend.storage.frame_table.
        clip: the destination's video; None when there is none.
        faces: the faces by frame.

    Raises:
        BadInputError: no destination frames, or no destination faces.
        DamagedFileError: the stored frame table cannot be read.
    """

    def __init__(self, project: Project) -> None:
        self._side = project.side("dst")
        self._read()

    def refresh(self) -> bool:
        """Read frames and faces again when files came or went; whether they did. Errors as of the constructor."""
        if self._stamp == self._stamp_now():
            return False
        self._read()
        return True

    def faces_in(self, index: int) -> Sequence[FrameFace]:
        """The faces of a frame, swapped or not, in the order in which they are laid over each other."""
        return self.faces.by_stem.get(self.frames[index].stem, ())

    def choices(self, index: int, settings: MergeSettings) -> list[tuple[FrameFace, str]]:
        """Every face of a frame with the model it gets, LEAVE for those that stay."""
        return [(face, model_for(face, settings)) for face in self.faces_in(index)]

    def plan(self, index: int, settings: MergeSettings) -> FramePlan:
        """What is to be done with a frame.

        Args:
            index: of the frame in the table, from 0.
            settings: with key frames and rules.

        Raises:
            BadInputError: there is no such frame.
        """
        if not 0 <= index < len(self.frames):
            raise BadInputError(f"There is no frame {index + 1}; the clip has {len(self.frames)}.")
        chosen, look = self.choices(index, settings), settings.look_at(index + 1)
        faces = tuple(
            FacePlan(face.name, face.landmarks, model, face.track, self._motion(index, face, look))
            for face, model in chosen
            if model != LEAVE
        )
        return FramePlan(index, self.frames[index].stem, look, faces, left=len(chosen) - len(faces))

    def picture(self, index: int) -> UInt8:
        """A frame, (h, w, 3) uint8 BGR, from its file, else from the clip. Call it from one thread at a time.

        Raises:
            BadInputError: neither has it.
            DamagedFileError: the file cannot be read.
        """
        frame = self.frames[index]
        if frame.file is not None:
            return read_image(frame.file)
        return self._reader.read(frame.time_s, frame.stem)

    def _read(self) -> None:
        """Read everything, again when something changed meanwhile: reading faces may itself leave an index there."""
        for _ in range(_READINGS):
            stamp = self._stamp_now()
            self._read_frames()
            self.faces = FaceTracksIndex(self._side)
            if not self.faces.by_stem:
                raise self._no_faces()
            if stamp == self._stamp_now():
                break
        self._stamp = stamp

    def _no_faces(self) -> BadInputError:
        pack = self._side.faceset().pack_file
        if pack is not None:
            return BadInputError(f"All destination faces are in {pack.name}.", "Unpack it in the Sort tab first.")
        return BadInputError("There are no destination faces to merge.", "Extract the faces of dst first.")

    def _read_frames(self) -> None:
        self.clip = self._side.video
        self._reader = ClipReader(self.clip)
        pictures = {path.stem: path for path in list_images(self._side.frames_dir)}
        if not pictures and (self.clip is None or not self._side.frame_table_path.exists()):
            raise BadInputError("There are no destination frames to merge.", "Extract the frames of dst first.")
        self.table: FrameTable = frame_table_for(self._side)
        self.frames: tuple[SceneFrame, ...] = tuple(
            SceneFrame(index, stem := Path(ref.file).stem, pictures.get(stem), ref.index, ref.time_s)
            for index, ref in enumerate(self.table.frames)
        )

    def _stamp_now(self) -> tuple[object, ...]:
        """Changes when files came to or went from the frames or faces, or the clip became another one."""
        side, clip = self._side, self._side.video
        paths = (side.frames_dir, side.aligned_dir, side.frame_table_path, *([clip] if clip else []))
        return (clip, *(path.stat().st_mtime_ns if path.exists() else 0 for path in paths))

    def _motion(self, index: int, face: FrameFace, look: MergeLook) -> Motion:
        """Between the same face in the frames before and after, where the look blurs along it."""
        if not look.motion_blur:
            return STILL
        before, after = (self._same_face(index + step, face) for step in (-1, 1))
        return motion_of(before, face.landmarks, after)

    def _same_face(self, index: int, face: FrameFace) -> npt.NDArray[np.float64] | None:
        """Landmarks of a face in a neighbouring frame, None when it is not there."""
        near = self.faces_in(index) if 0 <= index < len(self.frames) else ()
        if face.track is not None:
            for other in near:
                if other.track == face.track:
                    return other.landmarks
            near = [other for other in near if other.track is None]
        return _nearest(face.landmarks, (other.landmarks for other in near))


def model_for(face: FrameFace, settings: MergeSettings) -> str:
    """Name of the model a face gets, LEAVE when it stays. The first rule that fits decides."""
    for rule in settings.faces:
        if _fits(rule, face):
            return LEAVE if rule.action == "leave" else rule.model or settings.model
    return settings.model


def _fits(rule: FaceRule, face: FrameFace) -> bool:
    """A rule with neither track nor person fits every face."""
    if rule.track >= 0 and face.track != rule.track:
        return False
    return not rule.person or rule.person.casefold() == face.person.casefold()


def _nearest(
    landmarks: npt.NDArray[np.float64], others: Iterator[npt.NDArray[np.float64]]
) -> npt.NDArray[np.float64] | None:
    """The landmarks whose centre is nearest, when they are near enough to be the same face; else None."""
    low, high = landmarks.min(axis=0), landmarks.max(axis=0)
    best, least = None, _NEAR * float((high - low).max())
    for other in others:
        away = float(np.linalg.norm((other.min(axis=0) + other.max(axis=0) - low - high) / 2))
        if away < least:
            best, least = other, away
    return best
