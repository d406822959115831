"""Stage export: encode the merged frames with the timing and the sound of the destination clip, mark and check them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from backend.core.errors import BadInputError, DamagedFileError
from backend.core.frames import FrameTable
from backend.core.settings import ExportSettings
from backend.pipeline.context import StageContext
from backend.pipeline.export_job import ExportJob, export_range, preview_range, require_same_clip
from backend.storage.atomic import read_json
from backend.storage.frame_table import frame_table_for
from backend.storage.image import list_images, read_image
from backend.storage.video import decode
from backend.storage.workspace import Project

UInt8 = npt.NDArray[np.uint8]

READERS = 2
READ_AHEAD = 6


def run(settings: ExportSettings, ctx: StageContext) -> dict[str, Any]:
    """Write results/<name>.<container>, or the folder results/<name>, and its sidecar <name>.json.

    A name that is taken gets -2, -3, ...

    Returns:
        see ExportJob.finish().

    Raises:
        BadInputError: merged frames are missing, the destination clip was replaced after its frames were extracted,
            or the settings cannot be carried out here.
        DamagedFileError: the written file is not as it has to be.
        DiskFullError: too little disk. On any error and on a stop no part of the result stays.
    """
    project = ctx.project
    table = frame_table_for(project.side("dst"))
    facts = _merge_facts(project.merged_dir)
    merged = {path.stem: path for path in list_images(project.merged_dir)}
    chosen = merged_range(table, merged, settings, bool(facts.get("complete", True)))
    if len(chosen) < len(table.frames):
        ctx.log(f"Frames {chosen.start + 1} to {chosen.stop} of {len(table.frames)} are exported.")
    stems = [Path(table.frames[index].file).stem for index in chosen]
    files = [merged[stem] for stem in stems]
    height, width = read_image(files[0]).shape[:2]
    with ExportJob(settings, ctx, (width, height), chosen.start, table, len(chosen)) as job:
        masks = _masks(project, stems) if job.needs_mask else None
        originals = _originals(project, table, chosen) if job.needs_original else None
        with (
            closing(_images_ahead(files)) as images,
            closing(_images_ahead(masks, _mask)) if masks else nullcontext() as mask_images,
            closing(originals) if originals else nullcontext() as original_images,
        ):
            for image in images:
                mask = next(mask_images) if mask_images is not None else None
                original = next(original_images, None) if original_images is not None else None
                job.write(image, mask, original)
        return job.finish(facts)


def merged_range(table: FrameTable, merged: dict[str, Path], settings: ExportSettings, complete: bool = True) -> range:
    """Places in the table of the frames to export.

    Without a chosen range these are the merged ones, which have to follow each other.

    Args:
        table: the destination's frames.
        merged: stem of a frame -> its merged picture.
        settings: range and preview.
        complete: whether the merge that wrote them came to its end.

    Errors:
        BadInputError: none, a gap, or only a part because merging was not finished.
    """
    total = len(table.frames)
    present = [index for index, frame in enumerate(table.frames) if Path(frame.file).stem in merged]
    if not present:
        raise BadInputError("There are no merged frames.", "Merge them in the Merge tab first.")
    if settings.first_frame > 1 or settings.last_frame:
        wanted = export_range(settings, table)
    else:
        whole = range(present[0], present[-1] + 1) if complete else range(total)
        wanted = preview_range(settings, table, whole)
    missing = sorted(set(wanted).difference(present))
    if missing:
        raise BadInputError(
            f"{len(missing)} of {total} merged frames are missing, the first is "
            f"{Path(table.frames[missing[0]].file).stem}.png.",
            "Merge them in the Merge tab.",
        )
    return wanted


def _masks(project: Project, stems: Sequence[str]) -> list[Path]:
    """The masks of the frames. BadInputError when one is missing."""
    found = {path.stem: path for path in list_images(project.merged_mask_dir)}
    missing = [stem for stem in stems if stem not in found]
    if missing:
        raise BadInputError(
            f"{len(missing)} of {len(stems)} masks are missing, the first is {missing[0]}.png.",
            "Merge the frames again; that also writes the masks.",
        )
    return [found[stem] for stem in stems]


def _originals(project: Project, table: FrameTable, chosen: range) -> Generator[UInt8]:
    """The original frames in order: those that were extracted, or the clip's own when these are gone.

    BadInputError when there is neither.
    """
    side = project.side("dst")
    refs = [table.frames[index] for index in chosen]
    files = [side.frames_dir / ref.file for ref in refs]
    if all(path.is_file() for path in files):
        return _images_ahead(files)
    if side.video is None:
        raise BadInputError("The original frames are gone, and so is the clip.", "Extract the frames again.")
    require_same_clip(side.video, table)
    return _from_clip(side.video, [ref.index for ref in refs], refs[0].time_s)


def _from_clip(clip: Path, wanted: Sequence[int], start_s: float) -> Generator[UInt8]:
    rest = deque(wanted)
    for frame in decode(clip, start_s):
        if not rest:
            return
        if frame.index == rest[0]:
            rest.popleft()
            yield frame.frame_bgr


def _mask(path: Path) -> UInt8:
    return read_image(path, 1)


def _images_ahead(files: Sequence[Path], read: Callable[[Path], UInt8] = read_image) -> Generator[UInt8]:
    """Images in order, a few of them read in advance."""
    with ThreadPoolExecutor(READERS, thread_name_prefix="merged") as pool:
        waiting: deque[Future[UInt8]] = deque()
        rest: Iterator[Path] = iter(files)
        try:
            for path in rest:
                waiting.append(pool.submit(read, path))
                if len(waiting) >= READ_AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _merge_facts(merged_dir: Path) -> dict[str, Any]:
    """What the merge stage noted about model and settings; empty for frames of other programs."""
    try:
        facts = read_json(merged_dir / "merge.json")
    except (FileNotFoundError, DamagedFileError):
        return {}
    return facts if isinstance(facts, dict) else {}
