"""Stage faceset: one tool run over all faces of a side."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from backend.core.errors import BadInputError, DamagedFileError
from backend.core.settings import FacesetSettings
from backend.ops.mask import hull_mask
from backend.ops.pose import estimate_pose
from backend.ops.quality import sharpness
from backend.pipeline.context import StageContext
from backend.pipeline.face_packing import pack_side, unpack_side
from backend.pipeline.face_pictures import write_debug_images, write_masks
from backend.pipeline.face_png_to_jpg import convert_png_faces
from backend.pipeline.face_work import each, need_faces, staging, tell_problems, teller
from backend.storage.face_file import write_face
from backend.storage.face_index import stamps
from backend.storage.face_meta import META_NAME, restore_meta, save_meta
from backend.storage.faceset import FaceRecord
from backend.storage.image import list_images, read_image
from backend.storage.linking import link_file
from backend.storage.tool_undo import ToolUndo, note_undo, park
from backend.storage.workspace import SideFiles

_LONGEST_STEM = 200


def run(settings: FacesetSettings, ctx: StageContext) -> dict[str, Any]:
    """Do what ``action`` says.

    Returns:
        {"action", "took_s"} and, by action:
        pack, unpack: see face_packing;
        save-metadata: {"faces"}; restore-metadata: {"from_meta", "from_index", "left" without data};
        original-names: {"renamed", "nameless"}; measure: {"measured", "unreadable"};
        png-to-jpg: see convert_png_faces(); debug-images, export-masks: see face_pictures.

    Raises:
        BadInputError: there is nothing to do it with.
        DamagedFileError: a pack or a meta.dat that cannot be read.
        DiskFullError: too little disk. On any error and on a stop nothing is half done; measure keeps what it noted.
    """
    began = time.monotonic()
    result = _ACTIONS[settings.action](settings, ctx)
    return {"action": settings.action, **result, "took_s": round(time.monotonic() - began, 2)}


def _side(settings: FacesetSettings, ctx: StageContext) -> SideFiles:
    return ctx.project.side(settings.side)


def _save_metadata(settings: FacesetSettings, ctx: StageContext) -> dict[str, Any]:
    side = _side(settings, ctx)
    need_faces(side)
    faces = save_meta(side.aligned_dir, teller(ctx, "saving"))
    ctx.milestone("saved", f"The data of {faces:,} {settings.side} faces is in {META_NAME}.")
    return {"faces": faces}


def _restore_metadata(settings: FacesetSettings, ctx: StageContext) -> dict[str, Any]:
    """From meta.dat when it is there, then from what the side index knows of the files that are still without data."""
    side = _side(settings, ctx)
    from_meta = _restore_from_meta(side, ctx) if (side.aligned_dir / META_NAME).is_file() else 0
    from_index = len(side.faceset().restore_metadata())
    left = len(side.faceset().damaged())
    ctx.milestone("restored", f"Data of {from_meta:,} faces from {META_NAME}, of {from_index:,} from the side index.")
    return {"from_meta": from_meta, "from_index": from_index, "left": left}


def _restore_from_meta(side: SideFiles, ctx: StageContext) -> int:
    """Put the data of meta.dat into copies that then take the place of all faces at once; the number of restored faces.

    The faces as they were lie in the trash as one batch: what was corrected since meta.dat was saved can come back.
    """
    with staging(side) as folder:
        for path in [side.aligned_dir / META_NAME, *list_images(side.aligned_dir)]:
            link_file(path, folder / path.name)
        restored = restore_meta(folder, teller(ctx, "restoring"))
        tell_problems([f"Not restored from {META_NAME}: {name}: {why}" for name, why in restored.failed], ctx)
        batch = ""
        if stamps(folder) != stamps(side.aligned_dir):
            batch = side.faceset().swap_in(folder, f"data restored from {META_NAME}")
    parked = {} if restored.failed else park(side, [META_NAME])
    note_undo(ctx.job_dir, ToolUndo(batch=batch, parked=parked))
    return len(restored.names)


def _original_names(settings: FacesetSettings, ctx: StageContext) -> dict[str, Any]:
    side = _side(settings, ctx)
    records = need_faces(side)
    others = [name for name, _ in side.faceset().damaged()]
    names = original_names(records, others)
    ctx.check_stop()
    renamed = side.faceset().rename(names)
    if renamed:
        back = {new: old for old, new in names.items() if old != new}
        note_undo(ctx.job_dir, ToolUndo(renamed=back))
    nameless = sum(not record.face.source_filename for record in records)
    if nameless:
        ctx.log(f"{nameless:,} faces do not tell their frame and keep their names.", "warning")
    ctx.milestone("renamed", f"{renamed:,} {settings.side} faces are called after their frames again.")
    return {"renamed": renamed, "nameless": nameless}


def original_names(records: Sequence[FaceRecord], others: Sequence[str] = ()) -> dict[str, str]:
    """File name -> name after its frame: stem_0, stem_1 ... for the faces of one frame, in the order of their names.

    Args:
        records: the faces.
        others: further names in the folder, which stay. Faces without a source name keep theirs too.
    """
    kept = [record.path.name for record in records if not record.face.source_filename]
    taken = {name.lower() for name in (*kept, *others)}
    named = [record for record in records if record.face.source_filename]
    names: dict[str, str] = {}
    numbers: Counter[str] = Counter()
    for record in sorted(named, key=lambda record: (record.path.name.lower(), record.path.name)):
        stem = Path(record.face.source_filename).stem.lstrip(".")[:_LONGEST_STEM] or "face"
        while f"{stem}_{numbers[stem.lower()]}.jpg".lower() in taken:
            numbers[stem.lower()] += 1
        names[record.path.name] = f"{stem}_{numbers[stem.lower()]}.jpg"
        taken.add(names[record.path.name].lower())
    return names


def _measure(settings: FacesetSettings, ctx: StageContext) -> dict[str, Any]:
    """Note pose and sharpness where they are missing. The pictures stay byte for byte."""
    records = need_faces(_side(settings, ctx))
    wanted = [r for r in records if r.face.pose_rad is None or r.face.sharpness is None]
    problems: list[str] = []
    for _, problem in each(wanted, _measure_one, ctx, "measuring"):
        problems += [problem] if problem else []
    tell_problems(problems, ctx)
    measured = len(wanted) - len(problems)
    ctx.milestone("measured", f"Pose and sharpness of {measured:,} {settings.side} faces were measured.")
    return {"measured": measured, "unreadable": len(problems)}


def _measure_one(record: FaceRecord) -> str:
    """Why it could not be measured, "" when it was."""
    face = record.face
    try:
        image = read_image(record.path)
        inside = hull_mask(image.shape[:2], face.landmarks, face.eyebrows_expand_mod)
        pose = face.pose_rad or estimate_pose(face.landmarks, image.shape[0])
        sharp = sharpness(image, inside) if face.sharpness is None else face.sharpness
        write_face(record.path, replace(face, pose_rad=pose, sharpness=sharp), durable=False)
    except (DamagedFileError, BadInputError, FileNotFoundError) as error:
        return f"Not measured: {error}"
    return ""


_ACTIONS: Mapping[str, Callable[[FacesetSettings, StageContext], dict[str, Any]]] = MappingProxyType(
    {
        "pack": lambda settings, ctx: pack_side(_side(settings, ctx), settings.keep_files, ctx),
        "unpack": lambda settings, ctx: unpack_side(_side(settings, ctx), ctx),
        "save-metadata": _save_metadata,
        "restore-metadata": _restore_metadata,
        "original-names": _original_names,
        "measure": _measure,
        "png-to-jpg": lambda settings, ctx: convert_png_faces(_side(settings, ctx), settings.jpeg_quality, ctx),
        "debug-images": lambda settings, ctx: write_debug_images(_side(settings, ctx), ctx),
        "export-masks": lambda settings, ctx: write_masks(_side(settings, ctx), ctx),
    }
)
"""Action -> what it does. A new tool is one function and one line."""
