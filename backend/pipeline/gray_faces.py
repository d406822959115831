"""Stage gray-faces: all faces of a side as JPEG files of one channel, their data carried byte for byte."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from backend.core.errors import DamagedFileError
from backend.core.settings import GrayFacesSettings
from backend.pipeline.context import StageContext
from backend.pipeline.face_work import RESERVE_BYTES, each, need_faces, staging, take_over, tell_problems
from backend.storage import jpeg
from backend.storage.atomic import require_free_disk, write_bytes
from backend.storage.faceset import FaceRecord
from backend.storage.image import decode_image, encode_image
from backend.storage.linking import link_file


class _Made(NamedTuple):
    """What became of one face: "gray", "same" when it was gray already, "left" with a problem."""

    how: str
    problem: str = ""


def run(settings: GrayFacesSettings, ctx: StageContext) -> dict[str, Any]:
    """Turn the faces of one side gray. The new set appears as a whole, the old one lies in the trash as one batch.

    Returns:
        {"faces", "converted", "unchanged", "left"}: numbers of faces; "unchanged" ones had one channel before, "left"
        ones cannot be read and stay as they are.

    Raises:
        BadInputError: no faces.
        DiskFullError: the new set does not fit. On any error and on a stop the faces are as they were.
    """
    side = ctx.project.side(settings.side)
    records = need_faces(side)
    size = sum(record.path.stat().st_size for record in records)
    require_free_disk(side.frames_dir, size + RESERVE_BYTES)
    made: list[_Made] = []
    with staging(side) as folder:
        work = _Gray(folder, settings.jpeg_quality)
        made += [result for _, result in each(records, work, ctx, "converting")]
        tell_problems([one.problem for one in made if one.problem], ctx)
        if any(one.how == "gray" for one in made):
            take_over(side, folder, "turned gray", ctx)
    numbers = Counter(one.how for one in made)
    if numbers["gray"]:
        ctx.milestone("gray", f"{numbers['gray']:,} {settings.side} faces have one channel now.")
    else:
        ctx.log("No face had to be converted.")
    return {
        "faces": len(made),
        "converted": numbers["gray"],
        "unchanged": numbers["same"],
        "left": numbers["left"],
    }


class _Gray:
    """Writes one face gray into a folder. Called from several threads."""

    def __init__(self, folder: Path, quality: int) -> None:
        self._folder = folder
        self._quality = quality

    def __call__(self, record: FaceRecord) -> _Made:
        path, target = record.path, self._folder / record.path.name
        data = path.read_bytes()
        try:
            if decode_image(data, path.name, None).ndim == 2:
                link_file(path, target)
                return _Made("same")
            gray = decode_image(data, path.name, 1)
        except DamagedFileError as error:
            link_file(path, target)
            return _Made("left", f"Left as it is: {error.what}")
        encoded = encode_image(gray, ".jpg", self._quality)
        write_bytes(target, jpeg.with_payload(encoded, jpeg.read_payload(data)), durable=False)
        return _Made("gray")
