"""Stage export: encode the merged frames with the timing and the sound of the destination clip, mark and check them."""

from __future__ import annotations

import errno
import hashlib
import time
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from backend.core.errors import BadInputError, DamagedFileError, DiskFullError
from backend.core.frames import FrameTable, VideoInfo
from backend.core.provenance import Provenance
from backend.core.settings import ExportSettings
from backend.pipeline.context import StageContext
from backend.storage.atomic import MIN_FREE_BYTES, read_json, require_free_disk, write_json
from backend.storage.audio import AudioRange
from backend.storage.frame_table import frame_table_for
from backend.storage.image import list_images, read_image
from backend.storage.taken_names import take_name
from backend.storage.video import probe
from backend.storage.video_mark import TAGS, append_xmp
from backend.storage.video_writer import FrameClock, Picture, VideoWriter, check, frame_clock

READERS = 2
READ_AHEAD = 6
BITS_PER_PIXEL = 0.6
"""Upper estimate of the encoded size at low rate factors, for the disk check."""


@dataclass(frozen=True)
class MergedRange:
    """The frames that will be exported.

    Attributes:
        files: merged images in order.
        first: index of the first one in the frame table.
        clock: their times.
        start_s: time of the first one in the destination clip.
    """

    files: tuple[Path, ...]
    first: int
    clock: FrameClock
    start_s: float


def run(settings: ExportSettings, ctx: StageContext) -> dict[str, Any]:
    """Write results/<name>.mp4 and its sidecar <name>.json; a name that is taken gets -2, -3, ...

    Returns:
        {"video", "sidecar": paths in the project, "frames", "seconds", "fps", "audio", "mark", "took_s"}.

    Raises:
        BadInputError: merged frames are missing, or the destination clip was replaced after its frames were extracted.
        DamagedFileError: the written file is not as it has to be.
        DiskFullError: too little disk. On any error and on a stop no part of the result stays.
    """
    began, project = time.monotonic(), ctx.project
    table = frame_table_for(project.side("dst"))
    facts = _merge_facts(project.merged_dir)
    chosen = merged_range(table, project.merged_dir, bool(facts.get("complete", True)))
    if len(chosen.files) < len(table.frames):
        last = chosen.first + len(chosen.files)
        ctx.log(f"Only frames {chosen.first + 1} to {last} of {len(table.frames)} were merged; these are exported.")
    height, width = read_image(chosen.files[0]).shape[:2]
    picture = Picture(width, height, table.video.pixel_aspect, settings.crf, settings.speed)
    project.results_dir.mkdir(parents=True, exist_ok=True)
    require_free_disk(
        project.results_dir, MIN_FREE_BYTES + int(width * height * len(chosen.files) * BITS_PER_PIXEL / 8)
    )
    partial = project.results_dir / f".{settings.name}.{ctx.job_dir.name}.partial.mp4"
    try:
        writer = VideoWriter(
            partial,
            picture,
            chosen.clock,
            _sound(project.side("dst").video, table, chosen) if settings.audio != "none" else None,
            TAGS if settings.mark else None,
        )
        _encode(writer, chosen.files, ctx)
        info = check(partial, writer.expectation())
        if settings.mark:
            append_xmp(partial)
        else:
            ctx.log("The mark as AI-manipulated is off for this file; its sidecar says so.", "warning")
        video = take_name(project.results_dir, settings.name, ".mp4", partial)
    finally:
        partial.unlink(missing_ok=True)
    sidecar = video.with_suffix(".json")
    write_json(sidecar, _sidecar(settings, ctx, facts, _file_facts(video, info, chosen, writer)))
    ctx.emit("artifact", {"what": "video", "path": str(video.relative_to(project.path))})
    return {
        "video": str(video.relative_to(project.path)),
        "sidecar": str(sidecar.relative_to(project.path)),
        "frames": len(chosen.files),
        "seconds": round(chosen.clock.length_s, 3),
        "fps": round(float(chosen.clock.rate), 3),
        "audio": writer.audio.mode if writer.audio else "none",
        "mark": settings.mark,
        "took_s": round(time.monotonic() - began, 2),
    }


def merged_range(table: FrameTable, merged_dir: Path, complete: bool = True) -> MergedRange:
    """The merged frames in table order with their clock.

    Args:
        table: the destination's frames.
        merged_dir: folder of <stem of the frame>.png.
        complete: whether the merge that wrote them came to its end.

    Errors:
        BadInputError: none, a gap, or only a part because merging was not finished.
    """
    merged = {path.stem: path for path in list_images(merged_dir)}
    present = [index for index, frame in enumerate(table.frames) if Path(frame.file).stem in merged]
    total = len(table.frames)
    if not present:
        raise BadInputError("There are no merged frames.", "Merge them in the Merge tab first.")
    span = range(present[0], present[-1] + 1)
    missing = total - len(present) if not complete else len(span) - len(present)
    if missing:
        have = set(present)
        lost = next(i for i in (range(total) if not complete else span) if i not in have)
        raise BadInputError(
            f"{missing} of {total} merged frames are missing, the first is {Path(table.frames[lost].file).stem}.png.",
            "Merge them in the Merge tab.",
        )
    times = [table.frames[index].time_s for index in span]
    end_s = table.frames[span.stop].time_s if span.stop < total else table.end_s
    return MergedRange(
        tuple(merged[Path(table.frames[index].file).stem] for index in span),
        span.start,
        frame_clock(times, end_s, table.video.fps),
        times[0],
    )


def _sound(clip: Path | None, table: FrameTable, chosen: MergedRange) -> AudioRange | None:
    """The part of the clip's sound that belongs to the frames; None without a clip or sound."""
    if clip is None:
        return None
    now = probe(clip)
    if _looks(now) != _looks(table.video):
        raise BadInputError(
            f"{clip.name} is not the clip the frames came from.",
            "Extract and merge again, or bring the earlier clip back, or export without sound.",
        )
    return AudioRange(clip, chosen.start_s, chosen.clock.length_s) if now.has_audio else None


def _looks(info: VideoInfo) -> tuple[int, int, int, Fraction, float]:
    return info.width, info.height, info.frame_count, info.fps, round(info.duration_s, 3)


def _encode(writer: VideoWriter, files: Sequence[Path], ctx: StageContext) -> None:
    began = time.monotonic()
    try:
        with writer, closing(_images_ahead(files)) as images:
            for number, image in enumerate(images, start=1):
                ctx.check_stop()
                writer.write(image)
                ctx.progress(number, len(files), "frames", number / max(1e-6, time.monotonic() - began))
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise DiskFullError("The disk became full while the video was written.", "Free some space.") from error


def _images_ahead(files: Sequence[Path]) -> Generator[npt.NDArray[np.uint8]]:
    """Images in order, a few of them read in advance."""
    with ThreadPoolExecutor(READERS, thread_name_prefix="merged") as pool:
        waiting: deque[Future[npt.NDArray[np.uint8]]] = deque()
        rest = iter(files)
        try:
            for path in rest:
                waiting.append(pool.submit(read_image, path))
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


def _file_facts(video: Path, info: VideoInfo, chosen: MergedRange, writer: VideoWriter) -> dict[str, Any]:
    with video.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    right, below = writer.picture.padding
    return {
        "file": video.name,
        "sha256": digest,
        "bytes": video.stat().st_size,
        "width": info.width,
        "height": info.height,
        "padded_right_px": right,
        "padded_below_px": below,
        "frames": len(chosen.files),
        "first_frame": chosen.first + 1,
        "seconds": chosen.clock.length_s,
        "fps": str(chosen.clock.rate),
        "constant_rate": chosen.clock.constant,
        "audio": writer.audio.mode if writer.audio else "none",
    }


def _sidecar(
    settings: ExportSettings, ctx: StageContext, merge_facts: dict[str, Any], file_facts: dict[str, Any]
) -> dict[str, Any]:
    provenance = Provenance(
        project=ctx.project.name,
        consent=ctx.project.consent,
        model=str(merge_facts.get("model", "")),
        model_class=str(merge_facts.get("model_class", "")),
        iteration=int(merge_facts.get("iteration") or 0),
        settings={"merge": merge_facts.get("settings", {}), "export": settings.model_dump(mode="json")},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return {**provenance.model_dump(mode="json"), "ai_manipulated": True, "mark": settings.mark, **file_facts}
