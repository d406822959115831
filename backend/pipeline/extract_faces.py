"""Stage extract-faces: find the faces of one side's frames and write them aligned, with their metadata."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from backend.core.errors import BadInputError, DamagedFileError
from backend.core.faces import FILLED, Face, FaceType
from backend.core.settings import ExtractFacesSettings
from backend.environment import usable_cores
from backend.models.detection.base import Image
from backend.models.detection.find import find_faces
from backend.ops.align import crop_corners, face_matrix
from backend.ops.draw import draw_landmarks
from backend.ops.track import thumbnail
from backend.pipeline.context import StageContext
from backend.pipeline.cores import one_thread_each
from backend.pipeline.extract_plan import Plan, PlannedFrame, make_plan, room_for
from backend.pipeline.extract_report import Crop, FaceOutcome, FrameOutcome, Report
from backend.pipeline.face_maker import FaceMaker, FoundFace, crop_xys
from backend.pipeline.face_tools import Tools, choose_tools
from backend.pipeline.face_tracks import FaceTracks, FrameFaces, TrackOptions
from backend.storage.atomic import MIN_FREE_BYTES, require_free_disk, write_json
from backend.storage.image import list_images, read_image, write_image
from backend.storage.workspace import SideFiles

REPORT_FILE = ".extract.json"
"""In the folder of the aligned faces: what the last extraction found."""

_DEBUG_QUALITY = 50
_DEBUG_BYTES_PER_PIXEL = 0.1
_METADATA_BYTES = 8192
_LISTED = 200
_DISK_EVERY = 50
_FREE_WHILE_RUNNING = 256 << 20
_MOST_WORKERS = 8


def run(settings: ExtractFacesSettings, ctx: StageContext) -> dict[str, Any]:
    """Extract the faces of one side; faces that are there are treated as ``settings.existing`` says.

    Returns:
        frames, faces, filled, tracks, without_face, several, unreadable (file names of the searched frames, at most 200
        each), jitter_before, jitter, existing, and, when any frame was searched, detector, landmarker, reasons,
        smoothing, face_type, image_size, took_s. The full account lies then in REPORT_FILE beside the faces.

    Raises:
        BadInputError: no frames, no debug images to go by, or, when started over, no face in any frame; then the faces
            that were there are back.
        WeightsMissingError, DamagedFileError: the wanted detector or landmarker cannot be had.
        DiskFullError: too little disk; what was written stays.
        StopRequested: what was written stays.
    """
    side = ctx.project.side(settings.side)
    options = TrackOptions(settings.fill_gaps, settings.smoothing_used, settings.max_faces)
    plan = make_plan(settings, side, options.look_ahead + 1, ctx)
    if not plan.searched:
        ctx.milestone("extracted", "No frame needs to be searched.")
        return {**Report().facts(), "existing": settings.existing}
    require_free_disk(side.aligned_dir, max(MIN_FREE_BYTES, _bytes_needed(settings, side, plan)))
    tools = choose_tools(settings, ctx)
    started = time.monotonic()
    report = Report()
    with room_for(plan, side):
        tracks = FaceTracks(plan.numbered(options), tools.landmarker)
        with _Bench(settings, tools, side) as bench:
            _extract(plan, bench, tracks, report, ctx)
        if settings.existing == "restart" and not report.faces:
            raise BadInputError(*_no_face(settings, report))
    side.faceset().records()  # notes the data of every face in the side index
    facts = report.facts() | {
        "existing": settings.existing,
        "detector": tools.detector.name,
        "landmarker": tools.landmarker.name,
        "reasons": list(tools.reasons),
        "smoothing": settings.smoothing_used,
        "face_type": settings.face_type,
        "image_size": settings.image_size,
        "took_s": round(time.monotonic() - started, 2),
    }
    write_json(side.aligned_dir / REPORT_FILE, facts)
    ctx.milestone("extracted", f"{report.faces} {settings.side} faces in {report.frames} frames.")
    return {key: value[:_LISTED] if isinstance(value, list) else value for key, value in facts.items()}


class _Bench:
    """Does the work on single frames in a few threads, in order: reading and finding first, writing later.

    Args:
        settings: the stage's settings.
        tools: what finds faces.
        side: where to write.
    """

    def __init__(self, settings: ExtractFacesSettings, tools: Tools, side: SideFiles) -> None:
        self._settings = settings
        self._tools = tools
        self._side = side
        self._maker = FaceMaker(FaceType.from_letter(settings.face_type), settings.image_size, settings.jpeg_quality)
        self._draws = settings.debug_images or settings.existing == "debug"
        self._workers = min(_MOST_WORKERS, usable_cores())
        self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="faces")
        self._writing: deque[Future[FrameOutcome]] = deque()
        self._taken: set[str] = set()

    def __enter__(self) -> _Bench:
        self._taken = {path.name.lower() for path in list_images(self._side.aligned_dir)}
        if self._draws:
            self._side.debug_dir.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *error: object) -> None:
        """Frames whose writing has begun are written even when the job is stopped, so that none is left out."""
        for future in self._writing:
            future.exception()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def found(self, frames: Sequence[PlannedFrame], ctx: StageContext) -> Iterator[FrameFaces]:
        """The frames in order with their faces as found."""
        waiting: deque[Future[FrameFaces]] = deque()
        try:
            for number, planned in enumerate(frames):
                ctx.check_stop()
                if number % _DISK_EVERY == 0:
                    require_free_disk(self._side.aligned_dir, _FREE_WHILE_RUNNING)
                waiting.append(self._pool.submit(self._find, planned))
                if len(waiting) > self._workers + 1:
                    yield waiting.popleft().result()
            while waiting:
                ctx.check_stop()
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    def write(self, frame: FrameFaces) -> Iterator[FrameOutcome]:
        """Begin to write the faces of a frame; yields the outcomes of frames written by now, in order."""
        if not frame.searched:
            return
        made = [
            (face, raw)
            for found, raw in zip(frame.faces, frame.raw, strict=True)
            if (face := self._maker.face(found, frame.path.name)) is not None
        ]
        paths = [self._side.aligned_dir / self._free_name(frame.path.stem) for _ in made]
        self._writing.append(self._pool.submit(self._write, frame, made, paths))
        yield from self.written(self._workers + 1)

    def written(self, at_most_waiting: int = 0) -> Iterator[FrameOutcome]:
        """Outcomes of written frames, in order, until no more than so many are still being written."""
        while len(self._writing) > at_most_waiting:
            yield self._writing.popleft().result()

    def _find(self, planned: PlannedFrame) -> FrameFaces:
        frame = FrameFaces(planned.index, planned.path, faces=list(planned.stored), searched=planned.searched)
        try:
            image = read_image(planned.path)
        except (DamagedFileError, OSError) as error:
            frame.unreadable = str(error)
            return frame
        frame.thumb = thumbnail(image)
        if planned.searched:
            frame.image_bgr = image
            frame.faces = self._search(image)
        return frame

    def _search(self, image: Image) -> list[FoundFace]:
        tools, settings = self._tools, self._settings
        found = find_faces(image, tools.detector, tools.landmarker, settings.max_faces, settings.rotation_degrees)
        return [
            FoundFace(
                detection.box_xyxy,
                landmarks,
                detection.score,
                detector=tools.detector.name,
                landmarker=tools.landmarker.name,
            )
            for detection, landmarks in found
        ]

    def _free_name(self, stem: str) -> str:
        """The next name of the frame's faces that no file has."""
        number = 0
        while f"{stem}_{number}.jpg".lower() in self._taken:
            number += 1
        self._taken.add(f"{stem}_{number}.jpg".lower())
        return f"{stem}_{number}.jpg"

    def _write(self, frame: FrameFaces, made: Sequence[tuple[Face, Any]], paths: Sequence[Path]) -> FrameOutcome:
        outcomes: list[FaceOutcome] = []
        image = frame.image_bgr
        if image is None:
            return FrameOutcome(frame.path.name, frame.index, unreadable=frame.unreadable)
        for (face, raw), path in zip(made, paths, strict=True):
            self._maker.write(image, face, path)
            outcomes.append(self._outcome(face, raw))
        if self._draws:
            drawn = self._drawn(image, [face for face, _ in made])
            write_image(self._side.debug_dir / f"{frame.path.stem}.jpg", drawn, _DEBUG_QUALITY)
        return FrameOutcome(frame.path.name, frame.index, outcomes)

    def _outcome(self, face: Face, raw: Any) -> FaceOutcome:
        assert face.image_to_face_mat is not None and face.track is not None
        size = self._settings.image_size
        calm: Crop = crop_xys(face.image_to_face_mat, size)
        before = calm if raw is face.source_landmarks else crop_xys(face_matrix(raw, size, face.face_type), size)
        return FaceOutcome(face.track, before, calm, face.origin == FILLED)

    def _drawn(self, frame: Image, faces: Sequence[Face]) -> Image:
        for face in faces:
            assert face.image_to_face_mat is not None
            quad = crop_corners(face.image_to_face_mat, self._settings.image_size)
            frame = draw_landmarks(frame, face.source_landmarks, face.source_rect, quad)
        return frame


def _extract(plan: Plan, bench: _Bench, tracks: FaceTracks, report: Report, ctx: StageContext) -> None:
    started = time.monotonic()
    total = plan.searched

    def take(outcomes: Iterator[FrameOutcome]) -> None:
        for outcome in outcomes:
            report.add(outcome)
            if outcome.unreadable:
                ctx.log(f"{outcome.frame} is left out: {outcome.unreadable}", "warning")
            rate = report.frames / max(time.monotonic() - started, 1e-6)
            ctx.progress(report.frames, total, "frames", rate, f"{report.faces} faces")

    with one_thread_each():
        for found in bench.found(plan.frames, ctx):
            for frame in tracks.push(found):
                take(bench.write(frame))
        for frame in tracks.rest():
            take(bench.write(frame))
        take(bench.written())


def _bytes_needed(settings: ExtractFacesSettings, side: SideFiles, plan: Plan) -> int:
    """Estimate of what will be written: one face per searched frame, and the debug images."""
    per_frame = settings.image_size**2 * settings.jpeg_quality / 250 + _METADATA_BYTES
    if settings.debug_images and plan.frames:
        per_frame += _DEBUG_BYTES_PER_PIXEL * _pixels(plan.frames[0].path)
    return round(per_frame * plan.searched)


def _pixels(path: Path) -> int:
    """Pixels of a frame; 0 when it cannot be read."""
    try:
        return read_image(path).size // 3
    except (DamagedFileError, OSError):
        return 0


def _no_face(settings: ExtractFacesSettings, report: Report) -> tuple[str, str]:
    """What happened and how to get on when there is no face at all."""
    if len(report.unreadable) == report.frames:
        return f"None of the {report.frames} {settings.side} frames can be read.", "Extract the frames again."
    return (
        f"No face was found in {report.frames} {settings.side} frames.",
        f"Check that a face of at least {settings.min_face_px} px is shown, lower the score, or try another detector.",
    )
