"""Pictures of a faceset in a folder beside it: landmarks drawn on copies of the faces, and the masks of the faces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from backend.core.errors import DamagedFileError
from backend.ops.draw import draw_landmarks
from backend.ops.mask import hull_mask
from backend.pipeline.context import StageContext
from backend.pipeline.face_masks import face_mask
from backend.pipeline.face_work import each, need_faces, publish, staging, tell_problems
from backend.storage import jpeg
from backend.storage.face_trash import free_name
from backend.storage.faceset import FaceRecord
from backend.storage.image import read_image, write_image
from backend.storage.workspace import SideFiles

"""Folders beside the aligned faces; made anew each time."""

_QUALITY = 80


def write_debug_images(side: SideFiles, ctx: StageContext) -> dict[str, Any]:
    """Copies of all faces with their landmarks drawn and the area of the face at half brightness.

    Returns:
        {"pictures", "unreadable", "folder" in the project}.

    Raises:
        BadInputError: no faces. On any error and on a stop the folder is as it was.
    """

    def draw(record: FaceRecord, target: Path) -> str:
        image = read_image(record.path)
        inside = hull_mask(image.shape[:2], record.face.landmarks, record.face.eyebrows_expand_mod) > 0
        image[inside] //= 2
        write_image(target, draw_landmarks(image, record.face.landmarks), _QUALITY)
        return "drawn"

    made = _written(side, side.landmarks_dir, ".jpg", draw, ctx)
    return {"pictures": made["drawn"], "unreadable": made[""], "folder": _place(side.landmarks_dir, ctx)}


def write_masks(side: SideFiles, ctx: StageContext) -> dict[str, Any]:
    """The mask of every face as an 8-bit PNG of the size of its picture; see face_masks.face_mask() for which.

    Returns:
        {"masks", "xseg", "polygons", "hull", "without", "unreadable", "folder" in the project}: "without" counts the
        faces that nothing makes a mask for.

    Raises:
        BadInputError: no faces. On any error and on a stop the folder is as it was.
    """

    def export(record: FaceRecord, target: Path) -> str:
        header = jpeg.read_header(record.path.read_bytes())
        shape = (header.height, header.width) if header.height else read_image(record.path, None).shape[:2]
        found = face_mask(record.face, shape)
        if found is None:
            return "without"
        write_image(target, np.ascontiguousarray(found.mask))
        return found.kind

    made = _written(side, side.masks_dir, ".png", export, ctx)
    kinds = {kind: made[kind] for kind in ("xseg", "polygons", "hull", "without")}
    masks = made["xseg"] + made["polygons"] + made["hull"]
    return {"masks": masks, **kinds, "unreadable": made[""], "folder": _place(side.masks_dir, ctx)}


def _written(
    side: SideFiles, place: Path, suffix: str, write: Callable[[FaceRecord, Path], str], ctx: StageContext
) -> Counter[str]:
    """Make one picture per face and put them in place together; how many of each kind, "" for unreadable faces."""
    records = need_faces(side)
    targets = _targets(records, suffix)
    problems: list[str] = []
    made: Counter[str] = Counter()
    with staging(side) as folder:

        def work(record: FaceRecord) -> tuple[str, str]:
            try:
                return write(record, folder / targets[record.path.name]), ""
            except DamagedFileError as error:
                return "", f"Left out: {error.what}"

        for _, (kind, problem) in each(records, work, ctx, "writing pictures"):
            made[kind] += 1
            problems += [problem] if problem else []
        ctx.check_stop()
        publish(folder, place)
    tell_problems(problems, ctx)
    ctx.milestone("pictures", f"{sum(made.values()) - made['']:,} faces, pictures in {_place(place, ctx)}.")
    return made


def _targets(records: Sequence[FaceRecord], suffix: str) -> dict[str, str]:
    """Name of a face -> name of its picture: the stem, numbered where two faces share it."""
    taken: set[str] = set()
    return {record.path.name: free_name(f"{record.path.stem}{suffix}", taken) for record in records}


def _place(folder: Path, ctx: StageContext) -> str:
    return folder.relative_to(ctx.project.path).as_posix()
