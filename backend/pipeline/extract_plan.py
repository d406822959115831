"""Which frames an extraction searches, and what becomes of the faces that are already there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from backend.core.errors import BadInputError
from backend.core.faces import MANUAL
from backend.core.settings import ExtractFacesSettings
from backend.pipeline.context import StageContext
from backend.pipeline.face_maker import FoundFace
from backend.pipeline.face_tracks import TrackOptions
from backend.storage.faceset import BY_NAME, FaceRecord
from backend.storage.image import list_images
from backend.storage.workspace import SideFiles


@dataclass(frozen=True)
class PlannedFrame:
    """A frame that is looked at.

    Attributes:
        index: its place in the clip.
        path: its file.
        searched: False for a neighbour of searched frames, whose stored faces only help the tracks.
        stored: those faces.
    """

    index: int
    path: Path
    searched: bool = True
    stored: tuple[FoundFace, ...] = ()


@dataclass(frozen=True)
class Plan:
    """What an extraction does.

    Attributes:
        frames: in order.
        doomed: names of faces that go to the trash before; None for all of them.
        first_track: number of the first new track.
    """

    frames: tuple[PlannedFrame, ...]
    doomed: tuple[str, ...] | None = ()
    first_track: int = 0

    @property
    def searched(self) -> int:
        """How many frames are searched."""
        return sum(frame.searched for frame in self.frames)

    def numbered(self, options: TrackOptions) -> TrackOptions:
        """The options with track numbers that go on behind those of the faces that stay."""
        return replace(options, first_track=self.first_track)


def make_plan(settings: ExtractFacesSettings, side: SideFiles, reach: int, ctx: StageContext) -> Plan:
    """What to search, as the setting about existing faces says.

    Args:
        settings: of the stage.
        side: where frames and faces lie.
        reach: frames before and behind a searched one that can share a track with it.
        ctx: takes the log.

    Raises:
        BadInputError: there are no frames, or there are no debug images to go by.
    """
    frames = _frames(side, ctx)
    by_stem = side.faceset().faces_by_frame()
    by_hand = sum(record.face.origin == MANUAL for records in by_stem.values() for record in records)
    if settings.existing == "restart":
        if by_hand:
            ctx.log(f"{by_hand} faces made by hand go to the trash with the others; undo brings them back.", "warning")
        return Plan(tuple(PlannedFrame(index, path) for index, path in enumerate(frames)), None)
    wanted = _wanted(settings, side, frames, by_stem)
    doomed = [record for index in sorted(wanted) for record in by_stem.get(frames[index].stem, ())]
    tracks = [record.face.track for records in by_stem.values() for record in records]
    near = {index + step for index in wanted for step in range(-reach, reach + 1)} - wanted
    planned = [PlannedFrame(index, frames[index]) for index in wanted]
    for index in near:
        if 0 <= index < len(frames):
            stored = tuple(_found(record) for record in by_stem.get(frames[index].stem, ()))
            planned.append(PlannedFrame(index, frames[index], searched=False, stored=stored))
    return Plan(
        tuple(sorted(planned, key=lambda frame: frame.index)),
        tuple(record.path.name for record in doomed),
        1 + max((track for track in tracks if track is not None), default=-1),
    )


def _wanted(
    settings: ExtractFacesSettings, side: SideFiles, frames: Sequence[Path], by_stem: dict[str, list[FaceRecord]]
) -> set[int]:
    """Indexes of the frames to search."""
    if settings.existing == "continue":
        last = max((index for index, path in enumerate(frames) if path.stem in by_stem), default=-1)
        return set(range(last + 1, len(frames)))
    if settings.existing == "missing":
        return {index for index, path in enumerate(frames) if path.stem not in by_stem}
    drawn = {path.stem for path in list_images(side.debug_dir)}
    if not drawn:
        raise BadInputError(
            f"There are no debug images of the {side.name} frames.",
            "Extract once with debug images switched on, then delete those of the frames to search again.",
        )
    return {index for index, path in enumerate(frames) if path.stem not in drawn}


@contextmanager
def room_for(plan: Plan, side: SideFiles) -> Iterator[None]:
    """Move the doomed faces to the trash as one batch; bring all of them back when nothing took their place.

    When all of them go, so do the debug images: those that are there afterwards show the new faces.
    """
    side.aligned_dir.mkdir(parents=True, exist_ok=True)
    faceset = side.faceset()
    if plan.doomed is not None:
        if plan.doomed:
            faceset.trash(plan.doomed)
        yield
        return
    by = faceset.order_by
    order = faceset.names() if by != BY_NAME else []
    removed = faceset.begin_fresh()
    drawn = _set_aside(side.debug_dir)
    try:
        yield
    except BaseException:
        if not list_images(side.aligned_dir):
            _move_images(drawn, side.debug_dir)
            if removed:
                faceset.undo()
                if order:
                    faceset.set_order(order, by)
        raise
    finally:
        shutil.rmtree(drawn, ignore_errors=True)


def _set_aside(folder: Path) -> Path:
    """Move the pictures of a folder, there or not, into a hidden one beside it; returns that one."""
    aside = folder.with_name(f".{folder.name}.before")
    shutil.rmtree(aside, ignore_errors=True)
    _move_images(folder, aside)
    return aside


def _move_images(source: Path, target: Path) -> None:
    for path in list_images(source):
        target.mkdir(exist_ok=True)
        path.replace(target / path.name)


def _frames(side: SideFiles, ctx: StageContext) -> list[Path]:
    """Frame files in order, one per stem."""
    by_stem: dict[str, Path] = {}
    for path in list_images(side.frames_dir):
        if by_stem.setdefault(path.stem, path) is not path:
            ctx.log(f"{path.name} is left out: {by_stem[path.stem].name} has the same name.", "warning")
    if not by_stem:
        raise BadInputError(f"There are no {side.name} frames.", "Extract the frames of the clip first.")
    return list(by_stem.values())


def _found(record: FaceRecord) -> FoundFace:
    """A stored face as if it had just been found."""
    face = record.face
    return FoundFace(
        face.source_rect.astype(np.float64),
        face.source_landmarks,
        face.score,
        face.track,
        face.origin,
        detector=face.detector,
        landmarker=face.landmarker,
    )
