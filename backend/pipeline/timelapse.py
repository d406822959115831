"""Stage timelapse: the saved previews of a model as a video that shows it learn."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from backend.core.errors import BadInputError, DamagedFileError
from backend.core.provenance import Provenance
from backend.core.settings import TimelapseSettings
from backend.pipeline.context import StageContext
from backend.storage.atomic import MIN_FREE_BYTES, require_free_disk, write_json
from backend.storage.image import decode_image
from backend.storage.model_folder import ModelFolder, ModelInfo, preview_iteration
from backend.storage.model_operations import existing_model
from backend.storage.taken_names import take_name
from backend.storage.video_mark import TAGS, append_xmp
from backend.storage.video_writer import FrameClock, Picture, VideoWriter, check

UInt8 = npt.NDArray[np.uint8]

STRIP_PX = 28
"""Height of the line under each preview that names its iteration."""

_CRF = 16
_PAPER = 24


@dataclass(frozen=True)
class _Preview:
    iteration: int
    data: bytes
    name: str

    def image(self) -> UInt8:
        return decode_image(self.data, self.name)


def run(settings: TimelapseSettings, ctx: StageContext) -> dict[str, Any]:
    """Write results/<model>-<page>-timelapse.mp4, marked as an export is, and its sidecar.

    Previews of different sizes are set on one paper, at its top left. Damaged ones are left out with a word.

    Returns:
        {"video", "sidecar": paths in the project, "frames", "seconds", "first_iteration", "last_iteration", "took_s"}.

    Raises:
        BadInputError: no such model or page, or fewer than two previews.
        DamagedFileError: the written file is not as it has to be.
        DiskFullError: too little disk. On any error and on a stop no part of the video stays.
    """
    began, project = time.monotonic(), ctx.project
    folder = existing_model(project, settings.model)
    previews, size = _previews(folder, settings.page, ctx)
    project.results_dir.mkdir(parents=True, exist_ok=True)
    require_free_disk(project.results_dir, MIN_FREE_BYTES)
    clock = FrameClock(Fraction(1, settings.fps), tuple(range(len(previews))), len(previews), True)
    partial = project.results_dir / f".timelapse.{ctx.job_dir.name}.partial.mp4"
    try:
        writer = VideoWriter(partial, Picture(*size, crf=_CRF), clock, tags=TAGS)
        with writer:
            for number, frame in enumerate(_frames(previews, size), start=1):
                ctx.check_stop()
                writer.write(frame)
                ctx.progress(number, len(previews), "frames", number / max(1e-6, time.monotonic() - began))
        check(partial, writer.expectation())
        append_xmp(partial)
        video = take_name(project.results_dir, f"{folder.name}-{settings.page}-timelapse", ".mp4", partial, True)
    finally:
        partial.unlink(missing_ok=True)
    sidecar = video.with_suffix(".json")
    facts = {"width": size[0], "height": size[1], "frames": len(previews), "seconds": clock.length_s}
    write_json(sidecar, _sidecar(folder.info(), settings, ctx, video) | facts)
    place = video.relative_to(project.path).as_posix()
    ctx.emit("artifact", {"what": "video", "path": place})
    return {
        "video": place,
        "sidecar": sidecar.relative_to(project.path).as_posix(),
        "frames": len(previews),
        "seconds": round(clock.length_s, 3),
        "first_iteration": previews[0].iteration,
        "last_iteration": previews[-1].iteration,
        "took_s": round(time.monotonic() - began, 2),
    }


def _previews(folder: ModelFolder, page: str, ctx: StageContext) -> tuple[list[_Preview], tuple[int, int]]:
    """The pictures, read at once because a running training thins them out; and (width, height) that holds them all."""
    pages = folder.pages()
    if page not in pages:
        raise BadInputError(
            f"The model '{folder.name}' has no previews of the page '{page}'.",
            f"It has {', '.join(pages)}." if pages else "Train it first.",
        )
    found, width, height = [], 0, 0
    for path in folder.previews(page):
        ctx.check_stop()
        try:
            preview = _Preview(preview_iteration(path), path.read_bytes(), path.name)
            rows, columns = preview.image().shape[:2]
        except FileNotFoundError:
            continue
        except DamagedFileError as error:
            ctx.log(f"A preview was left out: {error.what}", "warning")
            continue
        found.append(preview)
        width, height = max(width, columns), max(height, rows)
    if len(found) < 2:
        raise BadInputError(
            f"The model '{folder.name}' has {len(found)} saved previews of the page '{page}'; a video needs two.",
            "Train on, or draw previews more often.",
        )
    return found, (width + width % 2, height + STRIP_PX + height % 2)


def _frames(previews: Sequence[_Preview], size: tuple[int, int]) -> Iterator[UInt8]:
    """Each preview at the top left of a dark paper of (width, height), its iteration below."""
    width, height = size
    for preview in previews:
        paper = np.full((height, width, 3), _PAPER, np.uint8)
        image = preview.image()
        paper[: image.shape[0], : image.shape[1]] = image
        words, place = f"iteration {preview.iteration:,}", (6, height - 8)
        cv2.putText(paper, words, place, cv2.FONT_HERSHEY_SIMPLEX, 0.55, (230, 230, 230), 1, cv2.LINE_AA)
        yield paper


def _sidecar(info: ModelInfo | None, settings: TimelapseSettings, ctx: StageContext, video: Path) -> dict[str, Any]:
    provenance = Provenance(
        project=ctx.project.name,
        consent=ctx.project.consent,
        model=settings.model,
        model_class=info.model_class if info else "",
        iteration=info.iteration if info else 0,
        settings={"timelapse": settings.model_dump(mode="json")},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    with video.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    facts = {"file": video.name, "sha256": digest, "bytes": video.stat().st_size, "fps": str(settings.fps)}
    return {**provenance.model_dump(mode="json"), "ai_manipulated": True, "mark": True, "audio": "none", **facts}
