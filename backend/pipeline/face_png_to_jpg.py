"""PNG faces of old facesets as JPEG, with the data they carry."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from backend.core.errors import BadInputError, DamagedFileError
from backend.pipeline.context import StageContext
from backend.pipeline.face_work import RESERVE_BYTES, bring_in, each, staging, tell_problems
from backend.storage import jpeg
from backend.storage.atomic import require_free_disk, write_bytes
from backend.storage.face_png import png_faces, read_png_face
from backend.storage.face_trash import free_name
from backend.storage.image import decode_image, encode_image
from backend.storage.tool_undo import ToolUndo, note_undo, park
from backend.storage.workspace import SideFiles


class _Made(NamedTuple):
    """What became of a PNG: "converted", "bare" without face data, "left" with a problem."""

    how: str
    problem: str = ""


def convert_png_faces(side: SideFiles, quality: int, ctx: StageContext) -> dict[str, Any]:
    """Write the PNG faces of a side as JPEG and put the PNG files aside in the trash.

    Files without face data, and files that cannot be read, stay where they are.

    Args:
        quality: of the JPEG files, 1..100.

    Returns:
        {"converted", "without_data", "left"}: numbers of PNG files.

    Raises:
        BadInputError: there is no PNG file. On any error and on a stop nothing has changed.
    """
    files = png_faces(side.aligned_dir)
    if not files:
        raise BadInputError(f"There are no PNG files among the {side.name} faces.", "There is nothing to convert.")
    require_free_disk(side.frames_dir, sum(path.stat().st_size for path in files) + RESERVE_BYTES)
    made: dict[str, _Made] = {}
    with staging(side) as folder:
        taken: set[str] = set()
        targets = {path: folder / free_name(f"{path.stem}.jpg", taken) for path in files}

        def work(path: Path) -> _Made:
            return _convert(path, targets[path], quality)

        for path, result in each(files, work, ctx, "converting"):
            made[path.name] = result
        tell_problems([one.problem for one in made.values() if one.problem], ctx)
        ctx.check_stop()
        converted = [name for name, one in made.items() if one.how == "converted"]
        added = bring_in(folder, side)
        parked = park(side, converted)
    if converted:
        note_undo(ctx.job_dir, ToolUndo(added=tuple(added.values()), parked=parked))
        ctx.milestone("converted", f"{len(converted):,} PNG faces are JPEG files now.")
    bare = sum(one.how == "bare" for one in made.values())
    return {"converted": len(converted), "without_data": bare, "left": len(made) - len(converted) - bare}


def _convert(path: Path, target: Path, quality: int) -> _Made:
    try:
        data = path.read_bytes()
        found = read_png_face(data)
        if found is None:
            return _Made("bare", f"Left as it is: {path.name} holds no face data.")
        picture = decode_image(data, path.name, None)
    except (DamagedFileError, BadInputError) as error:
        return _Made("left", f"Left as it is: {path.name}: {error.what}")
    if picture.ndim == 3:
        picture = picture[:, :, :3]
    encoded = encode_image(picture, ".jpg", quality)
    write_bytes(target, jpeg.with_payload(encoded, found[1]), durable=False)
    return _Made("converted")
