"""Stage add-faces: copy the faces of another folder, pack or project into a side, byte for byte."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from backend.core.settings import AddFacesSettings
from backend.pipeline.context import StageContext
from backend.pipeline.face_copying import Copied, copy_in, kind_of
from backend.pipeline.face_sources import open_source
from backend.storage.faceset import Faceset
from backend.storage.tool_undo import ToolUndo, note_undo

_ADDED = "added"


def run(settings: AddFacesSettings, ctx: StageContext) -> dict[str, Any]:
    """Copy faces into the faceset of one side.

    Faces that are there already, byte for byte, are skipped; names that are taken get a number; persons come along
    when the other faces have some. All new faces appear at the end, together.

    Returns:
        {"added", "renamed", "duplicates", "left", "persons", "warning"}: numbers of faces; of persons that came along;
        a sentence when the set now mixes face types or sizes, else "".

    Raises:
        BadInputError: no folder, no faces in it, or it is the side's own.
        DamagedFileError: a pack that cannot be read.
        DiskFullError: they do not fit. On any error and on a stop the faceset is as it was.
    """
    side = ctx.project.side(settings.side)
    source = open_source(settings.folder.strip(), side)
    if source.note:
        ctx.log(source.note, "warning")
    before = _kinds(side.faceset())
    copied = copy_in(source, side, _ADDED, ctx)
    if copied.names:
        note_undo(ctx.job_dir, ToolUndo(added=tuple(copied.names)))
    return _told(copied, _mixed(before, copied.kinds), ctx)


def _kinds(faceset: Faceset) -> Counter[str]:
    """Face type and size -> number, of the faces that were there."""
    found: Counter[str] = Counter()
    records = faceset.records()
    sizes = faceset.sizes()
    for record in records:
        found[kind_of(record.face, sizes.get(record.path.name, (0, 0)))] += 1
    return found


def _mixed(before: Mapping[str, int], added: Mapping[str, int]) -> str:
    """A sentence when the set now holds faces of several types or sizes, else ""."""
    if not added or len({*before, *added}) < 2:
        return ""
    together = Counter(before) + Counter(added)
    listed = "; ".join(f"{number:,} of {kind}" for kind, number in together.most_common(6))
    return f"The faceset now mixes types or sizes: {listed}. Resize the faces to make them alike."


def _told(copied: Copied, warning: str, ctx: StageContext) -> dict[str, Any]:
    if warning:
        ctx.log(warning, "warning")
    if copied.duplicates:
        ctx.log(f"{copied.duplicates:,} faces were there already, byte for byte, and are not added again.")
    ctx.milestone("added", f"{len(copied.names):,} faces added.")
    return {"added": len(copied.names), **copied.numbers(), "warning": warning}
