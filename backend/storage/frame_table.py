"""The table that maps frame files to presentation time, beside the frames of one side."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import ValidationError

from backend.core.errors import BadInputError, DamagedFileError
from backend.core.frames import FrameRef, FrameTable, VideoInfo
from backend.storage.atomic import read_json, write_json

if TYPE_CHECKING:
    from backend.storage.workspace import SideFiles

USUAL_RATE = Fraction(25)
"""Rate of frames that came without a clip."""


def load_frame_table(side: SideFiles) -> FrameTable | None:
    """The stored table of a side; None when there is none. DamagedFileError when it cannot be read."""
    path = side.frame_table_path
    if not path.exists():
        return None
    try:
        return FrameTable.model_validate(read_json(path))
    except ValidationError as error:
        raise DamagedFileError(
            f"The frame table {path} is damaged: {error.errors()[0]['msg']}.", "Extract the frames again."
        ) from error


def save_frame_table(side: SideFiles, table: FrameTable) -> None:
    """Store the table of a side (temp, fsync, rename)."""
    write_json(side.frame_table_path, table.model_dump(mode="json"))


def frame_table_for(side: SideFiles) -> FrameTable:
    """The stored table, or one made from the images and the clip when another program extracted the frames.

    As many images as the clip has frames: each gets the time of its frame. Otherwise they are taken as evenly spread
    at the clip's rate, or at 25 frames per second without a clip. Nothing is written.

    Errors:
        BadInputError: no images. DamagedFileError: the stored table or the first image cannot be read.
    """
    stored = load_frame_table(side)
    return stored if stored is not None else table_of_images(side)


def table_of_images(side: SideFiles) -> FrameTable:
    """Make the table from the images and the clip, see frame_table_for."""
    from backend.storage.image import list_images

    images = list_images(side.frames_dir)
    if not images:
        raise BadInputError(f"There are no frames in {side.frames_dir}.", "Extract them in the Extract tab.")
    video, times = _clip_of(side, images)
    if times is None or len(times) != len(images):
        times = np.arange(len(images)) / float(video.fps)
    refs = tuple(FrameRef(file=path.name, index=index, time_s=float(times[index])) for index, path in enumerate(images))
    last = float(times[-1] - times[-2]) if len(times) > 1 else float(1 / video.fps)
    fits_clip = len(images) == video.frame_count and video.duration_s > refs[-1].time_s
    return FrameTable(video=video, frames=refs, end_s=video.duration_s if fits_clip else refs[-1].time_s + last)


def _clip_of(side: SideFiles, images: list[Path]) -> tuple[VideoInfo, np.ndarray | None]:
    if side.video is not None:
        from backend.storage.video import frame_times, probe

        return probe(side.video), frame_times(side.video)
    from backend.storage.image import read_image

    height, width = read_image(images[0]).shape[:2]
    return (
        VideoInfo(
            path=side.frames_dir,
            width=width,
            height=height,
            fps=USUAL_RATE,
            frame_count=len(images),
            duration_s=float(len(images) / USUAL_RATE),
        ),
        None,
    )
