"""Stage resize-faces: all faces of a side at another size or face type, with everything that is known of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from backend.core.errors import DamagedFileError
from backend.core.faces import FaceType
from backend.core.settings import ResizeFacesSettings
from backend.ops.recrop import (
    compose,
    cut,
    frame_matrix,
    measured,
    moved_face,
    moved_matrix,
    outside_share,
    shows_the_same,
)
from backend.pipeline.context import StageContext
from backend.pipeline.face_work import RESERVE_BYTES, each, need_faces, staging, take_over, tell_problems
from backend.storage import jpeg
from backend.storage.atomic import require_free_disk, write_bytes
from backend.storage.face_file import write_face
from backend.storage.faceset import FaceRecord
from backend.storage.image import encode_image, list_images, read_image
from backend.storage.linking import link_file
from backend.storage.workspace import SideFiles

Image = npt.NDArray[np.uint8]

_BLACK_SHARE = 0.002


class Made(NamedTuple):
    """What became of one face.

    Attributes:
        how: "frame" or "aligned", what it was cut from; "same" when nothing had to change; "left" as it is.
        black: whether it shows black where the old picture ended.
        problem: why it was left, else "".
    """

    how: str
    black: bool = False
    problem: str = ""


def run(settings: ResizeFacesSettings, ctx: StageContext) -> dict[str, Any]:
    """Bring the faces of one side to a size and face type.

    A face is cut from its frame again when the frame is there and shows it; else from its aligned picture. The new set
    appears as a whole, the old one lies in the trash as one batch.

    Returns:
        {"faces", "from_frames", "from_aligned", "black_border", "unchanged", "left"}: numbers of faces; "left" ones
        could not be changed and stay as they are.

    Raises:
        BadInputError: no faces.
        DiskFullError: the new set does not fit. On any error and on a stop the faces are as they were.
    """
    side = ctx.project.side(settings.side)
    records = need_faces(side)
    require_free_disk(side.frames_dir, _estimate(records, settings) + RESERVE_BYTES)
    with staging(side) as folder:
        work = _Recrop(settings, folder, _frames(side))
        made: list[Made] = []
        for _, results in each(_by_frame(records), work, ctx, "cutting the faces anew", len):
            made += results
        changed = sum(one.how in ("frame", "aligned") for one in made)
        tell_problems([one.problem for one in made if one.problem], ctx)
        if changed:
            take_over(side, folder, f"resized to {settings.image_size} px", ctx)
    return _told(made, settings, ctx)


class _Recrop:
    """Writes the faces of one frame anew into a folder. Called from several threads."""

    def __init__(self, settings: ResizeFacesSettings, folder: Path, frames: dict[str, Path]) -> None:
        self._size = settings.image_size
        self._type = None if settings.face_type == "same" else FaceType.from_letter(settings.face_type)
        self._quality = settings.jpeg_quality
        self._folder = folder
        self._frames = frames

    def __call__(self, records: Sequence[FaceRecord]) -> list[Made]:
        frame = self._frame(records[0])
        return [self._one(record, frame) for record in records]

    def _frame(self, record: FaceRecord) -> Image | None:
        path = self._frames.get(Path(record.face.source_filename).stem)
        if path is None or not record.face.source_filename:
            return None
        try:
            return read_image(path)
        except (DamagedFileError, OSError):
            return None

    def _one(self, record: FaceRecord, frame: Image | None) -> Made:
        path = record.path
        try:
            data = path.read_bytes()
            picture = read_image(path, None)
            plan = _plan(record, picture, self._size, self._type)
        except (DamagedFileError, ValueError, np.linalg.LinAlgError) as error:
            link_file(path, self._folder / path.name)
            what = error.what if isinstance(error, DamagedFileError) else f"{path.name}: {error}"
            return Made("left", problem=f"Left as it is: {what}")
        if plan is None:
            link_file(path, self._folder / path.name)
            return Made("same")
        crop, how = _cut(plan, picture, frame)
        face = moved_face(record.face, plan.matrix, plan.old_size, self._size, plan.face_type)
        encoded = encode_image(crop, ".jpg", self._quality)
        target = self._folder / path.name
        write_bytes(target, jpeg.with_payload(encoded, jpeg.read_payload(data)), durable=False)
        write_face(target, measured(face, crop), durable=False)
        black = how == "aligned" and outside_share(plan.matrix, picture.shape[:2], self._size) > _BLACK_SHARE
        return Made(how, black)


@dataclass(frozen=True)
class _Plan:
    """How one face changes: matrices from its picture and from its frame to the new picture."""

    matrix: npt.NDArray[np.float64]
    in_frame: npt.NDArray[np.float64]
    from_frame: npt.NDArray[np.float64]
    old_size: int
    new_size: int
    face_type: FaceType


def _plan(record: FaceRecord, picture: Image, size: int, wanted: FaceType | None) -> _Plan | None:
    """None when nothing changes. ValueError when the face cannot be cut anew."""
    face = record.face
    height, width = picture.shape[:2]
    face_type = face.face_type if wanted is None else wanted
    if height != width and face_type is face.face_type:
        raise ValueError("its picture is not square")
    if face_type is face.face_type and width == size:
        return None
    matrix = moved_matrix(face, width, size, face_type)
    in_frame = frame_matrix(face)
    return _Plan(matrix, in_frame, compose(matrix, in_frame), width, size, face_type)


def _cut(plan: _Plan, picture: Image, frame: Image | None) -> tuple[Image, str]:
    """The new picture, and what it was cut from. A one-channel picture stays one."""
    if frame is not None and picture.ndim == 3 and shows_the_same(frame, picture[:, :, :3], plan.in_frame):
        return cut(frame, plan.from_frame, plan.new_size), "frame"
    return cut(picture, plan.matrix, plan.new_size), "aligned"


def _by_frame(records: Sequence[FaceRecord]) -> list[list[FaceRecord]]:
    """Faces of one frame together, so that it is decoded once."""
    found: dict[str, list[FaceRecord]] = {}
    for record in records:
        found.setdefault(record.face.source_filename or record.path.name, []).append(record)
    return list(found.values())


def _frames(side: SideFiles) -> dict[str, Path]:
    """Stem -> frame; a stem that two files share tells nothing."""
    files = list_images(side.frames_dir)
    shared = {stem for stem, number in Counter(path.stem for path in files).items() if number > 1}
    return {path.stem: path for path in files if path.stem not in shared}


def _estimate(records: Sequence[FaceRecord], settings: ResizeFacesSettings) -> int:
    """Bytes of the new set: about 0.6 per pixel at high quality, as measured on faces."""
    return round(len(records) * settings.image_size**2 * 0.6)


def _told(made: Sequence[Made], settings: ResizeFacesSettings, ctx: StageContext) -> dict[str, Any]:
    numbers = Counter(one.how for one in made)
    black = sum(one.black for one in made)
    if black:
        ctx.log(f"{black:,} faces show black where the old picture ended: their frames are not here.", "warning")
    if numbers["same"] == len(made):
        ctx.log("All faces have this size and face type already; nothing was changed.")
    else:
        changed = numbers["frame"] + numbers["aligned"]
        ctx.milestone("resized", f"{changed:,} {settings.side} faces at {settings.image_size} px.")
    return {
        "faces": len(made),
        "from_frames": numbers["frame"],
        "from_aligned": numbers["aligned"],
        "black_border": black,
        "unchanged": numbers["same"],
        "left": numbers["left"],
    }
