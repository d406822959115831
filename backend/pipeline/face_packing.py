"""All faces of a side as one faceset.pak, and back."""

from __future__ import annotations

from typing import Any

from backend.core.errors import BadInputError
from backend.pipeline.context import StageContext
from backend.pipeline.face_copying import copy_in
from backend.pipeline.face_sources import pack_source
from backend.pipeline.face_work import need_faces, staging, teller
from backend.storage.face_pack import BY_PACK, pack_faceset
from backend.storage.faceset import PACK_NAME
from backend.storage.tool_undo import ToolUndo, note_undo, park, unpark
from backend.storage.workspace import SideFiles


def pack_side(side: SideFiles, keep_files: bool, ctx: StageContext) -> dict[str, Any]:
    """Pack the usable faces of a side; a pack that was there is put aside in the trash.

    Args:
        keep_files: leave the loose files; else they go to the trash as one batch.

    Returns:
        {"faces", "bytes" of the pack, "kept": whether the loose files are still there}.

    Raises:
        BadInputError: no faces.
        DiskFullError: the pack does not fit. On any error and on a stop everything is as it was.
    """
    need_faces(side)
    faceset, pack = side.faceset(), side.aligned_dir / PACK_NAME
    with staging(side) as folder:
        names = pack_faceset(faceset, folder / PACK_NAME, teller(ctx, "packing"))
        old = park(side, [PACK_NAME]) if faceset.pack_file else {}
        try:
            (folder / PACK_NAME).rename(pack)
        except OSError:
            unpark(side, old)
            raise
    batch = "" if keep_files else faceset.trash(names, f"packed into {PACK_NAME}", packed=True)
    note_undo(ctx.job_dir, ToolUndo(batch=batch, parked=old, made=(PACK_NAME,)))
    ctx.milestone("packed", f"{len(names):,} {side.name} faces are in {PACK_NAME}.")
    return {"faces": len(names), "bytes": pack.stat().st_size, "kept": keep_files}


def unpack_side(side: SideFiles, ctx: StageContext) -> dict[str, Any]:
    """Write the faces of a side's pack as loose files, all at once, and put the pack aside in the trash.

    Returns:
        {"faces", "renamed", "duplicates", "left", "persons"}: written faces; those whose name was taken; those that lay
        there already, byte for byte; those that cannot be used. With any of the last kind the pack stays.

    Raises:
        BadInputError: there is no pack.
        DamagedFileError: it cannot be read.
        DiskFullError: the faces do not fit. On any error and on a stop everything is as it was.
    """
    pack = side.faceset().pack_file
    if pack is None:
        what = f"There is no {PACK_NAME} among the {side.name} faces."
        raise BadInputError(what, f"Put one into {side.aligned_dir}.")
    copied = copy_in(pack_source(pack), side, BY_PACK, ctx)
    parked = {} if copied.left else park(side, [PACK_NAME])
    note_undo(ctx.job_dir, ToolUndo(added=tuple(copied.names), parked=parked))
    if copied.left:
        ctx.log(f"{PACK_NAME} stays: {copied.left:,} faces in it cannot be used.", "warning")
    ctx.milestone("unpacked", f"{len(copied.names):,} {side.name} faces are loose files again.")
    return {"faces": len(copied.names), **copied.numbers()}
