"""Stage extract-faces: find the faces of one side's frames and write them aligned, with their metadata."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from backend.core.errors import BadInputError, DamagedFileError
from backend.core.faces import Detection, Face, FaceType
from backend.core.provenance import SOFTWARE
from backend.core.settings import ExtractFacesSettings
from backend.devices import torch_device
from backend.environment import weights_folder
from backend.models.detection.base import Detector, Float32, Image, Landmarker, box_area
from backend.models.detection.build import DetectorOptions, build_detector, build_landmarker
from backend.models.detection.find import find_faces
from backend.ops.align import crop_corners, face_matrix, transform_points, warp_face
from backend.ops.draw import draw_landmarks
from backend.ops.mask import hull_mask
from backend.ops.pose import estimate_pose
from backend.ops.quality import sharpness
from backend.pipeline.context import StageContext
from backend.storage.atomic import require_free_disk, write_json
from backend.storage.face_file import write_face_image
from backend.storage.faceset import BY_NAME
from backend.storage.image import list_images, read_image, write_image
from backend.storage.weights import AUTO_ORDER, default_folder, obtain, pick_auto
from backend.storage.workspace import SideFiles

REPORT_FILE = ".extract.json"
"""In the folder of the aligned faces: what the last extraction found."""

_WITH_POINTS = ("mtcnn", "yunet")
_DEBUG_QUALITY = 50
_LISTED = 200
_DISK_EVERY = 50
_FREE_WHILE_RUNNING = 256 << 20
_MOST_WORKERS = 8


@dataclass(frozen=True)
class Tools:
    """What an extraction works with.

    Attributes:
        reasons: a sentence for each choice that "auto" made.
    """

    detector: Detector
    landmarker: Landmarker
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class FrameOutcome:
    """What became of one frame.

    Attributes:
        frame: file name.
        faces: how many were written.
        crop_xys: centre x, y and side of the crop in frame pixels when there is exactly one face.
        unreadable: why the frame could not be read; empty when it could.
    """

    frame: str
    faces: int = 0
    crop_xys: tuple[float, float, float] | None = None
    unreadable: str = ""


@dataclass
class Report:
    """Running account of an extraction."""

    outcomes: list[FrameOutcome] = field(default_factory=list)
    faces: int = 0

    def add(self, outcome: FrameOutcome) -> None:
        """Take one more frame in, in order."""
        self.outcomes.append(outcome)
        self.faces += outcome.faces

    def facts(self) -> dict[str, Any]:
        """Counters and lists as JSON."""
        return {
            "frames": len(self.outcomes),
            "faces": self.faces,
            "without_face": [o.frame for o in self.outcomes if not o.faces and not o.unreadable],
            "several": [o.frame for o in self.outcomes if o.faces > 1],
            "unreadable": [o.frame for o in self.outcomes if o.unreadable],
            "jitter": jitter([o.crop_xys for o in self.outcomes]),
        }


def run(settings: ExtractFacesSettings, ctx: StageContext) -> dict[str, Any]:
    """Extract the faces of one side. Faces that were there go to the trash first, as one batch.

    Returns:
        frames, faces, without_face, several, unreadable (file names, at most 200 each), jitter, detector, landmarker,
        reasons, took_s. The full account lies in REPORT_FILE beside the faces.

    Raises:
        BadInputError: no frames, or no face in any of them; then the faces that were there are back.
        WeightsMissingError, DamagedFileError: the wanted detector or landmarker cannot be had.
        DiskFullError: too little disk; what was written stays.
        StopRequested: what was written stays.
    """
    side = ctx.project.side(settings.side)
    frames = _frames(side, ctx)
    require_free_disk(side.aligned_dir)
    tools = choose_tools(settings, ctx)
    started = time.monotonic()
    report = Report()
    with _fresh_faceset(side):
        _extract(frames, FrameWorker(settings, tools, side), report, ctx)
        if not report.faces:
            raise BadInputError(*_no_face(settings, report))
    side.faceset().records()  # notes the data of every face in the side index
    facts = report.facts() | {
        "detector": tools.detector.name,
        "landmarker": tools.landmarker.name,
        "reasons": list(tools.reasons),
        "face_type": settings.face_type,
        "image_size": settings.image_size,
        "took_s": round(time.monotonic() - started, 2),
    }
    write_json(side.aligned_dir / REPORT_FILE, facts)
    ctx.milestone("extracted", f"{report.faces} {settings.side} faces in {len(frames)} frames.")
    return {key: value[:_LISTED] if isinstance(value, list) else value for key, value in facts.items()}


def choose_tools(settings: ExtractFacesSettings, ctx: StageContext) -> Tools:
    """Detector and landmarker of the settings, with "auto" resolved to the best that is present.

    Raises:
        WeightsMissingError: a named one is not present and cannot be downloaded.
        DamagedFileError: a weight file cannot be used.
        DeviceError: the device is not there.
    """
    weights_dir = weights_folder() or default_folder(ctx.project.path.parent)
    reasons: list[str] = []
    detector_name, landmarker_name = settings.detector, settings.landmarker
    if detector_name == "auto":
        detector_name, reason = pick_auto("detector", weights_dir)
        reasons.append(reason)
    if landmarker_name == "auto":
        head = ("fan3d",) if settings.face_type == "head" else ()
        landmarker_name, reason = pick_auto("landmarker", weights_dir, head + AUTO_ORDER["landmarker"])
        reasons.append(reason)
    for reason in reasons:
        ctx.log(reason)
    ctx.progress(0, 0, "frames", message="loading the networks")
    device = str(torch_device(settings.device))
    options = DetectorOptions(settings.min_face_px, settings.score, device, landmarker_name == "points5")
    needs_points = landmarker_name == "points5" and detector_name not in _WITH_POINTS
    detector = build_detector(detector_name, obtain(detector_name, weights_dir), options)
    points_files = obtain("mtcnn", weights_dir) if needs_points else ()
    landmarker = build_landmarker(landmarker_name, obtain(landmarker_name, weights_dir), device, points_files)
    return Tools(detector, landmarker, tuple(reasons))


class FrameWorker:
    """Does everything for one frame: read, find, cut, write. Called from several threads.

    Args:
        settings: the stage's settings.
        tools: what finds faces.
        side: where to write.
    """

    def __init__(self, settings: ExtractFacesSettings, tools: Tools, side: SideFiles) -> None:
        self._settings = settings
        self._tools = tools
        self._side = side
        self._face_type = FaceType.from_letter(settings.face_type)
        if settings.debug_images:
            side.debug_dir.mkdir(parents=True, exist_ok=True)

    def __call__(self, path: Path) -> FrameOutcome:
        """Extract the faces of one frame file."""
        try:
            frame = read_image(path)
        except (DamagedFileError, OSError) as error:
            return FrameOutcome(path.name, unreadable=str(error))
        faces = self._faces(frame, path.name)
        for index, face in enumerate(faces):
            self._write(frame, face, self._side.aligned_dir / f"{path.stem}_{index}.jpg")
        if self._settings.debug_images:
            write_image(self._side.debug_dir / f"{path.stem}.jpg", self._drawn(frame, faces), _DEBUG_QUALITY)
        return FrameOutcome(path.name, len(faces), _crop_xys(faces[0], self._settings) if len(faces) == 1 else None)

    def _faces(self, frame: Image, name: str) -> list[Face]:
        found = find_faces(frame, self._tools.detector, self._tools.landmarker, self._settings.max_faces)
        made = (self._face(detection, landmarks, name) for detection, landmarks in found)
        return [face for face in made if face is not None]

    def _face(self, detection: Detection, landmarks: Float32, name: str) -> Face | None:
        """Face record of a detection; None when it cannot be believed (DeepFaceLab's rule)."""
        size = self._settings.image_size
        try:
            matrix = face_matrix(landmarks, size, self._face_type)
        except (ValueError, np.linalg.LinAlgError):
            return None
        side = _crop_side(matrix, size)
        if self._face_type.rank <= FaceType.FULL_NO_ALIGN.rank and side**2 > 4 * box_area(detection.box_xyxy):
            return None
        aligned = transform_points(landmarks, matrix)
        return Face(
            source_filename=name,
            source_rect=np.rint(detection.box_xyxy).astype(np.int64),
            source_landmarks=np.asarray(landmarks, dtype=np.float64),
            landmarks=aligned,
            image_to_face_mat=matrix,
            face_type=self._face_type,
            pose_rad=estimate_pose(aligned, size),
            detector=self._tools.detector.name,
            landmarker=self._tools.landmarker.name,
            provenance={"software": SOFTWARE},
        )

    def _write(self, frame: Image, face: Face, path: Path) -> None:
        assert face.image_to_face_mat is not None
        image = warp_face(frame, face.image_to_face_mat, self._settings.image_size, cv2.INTER_LANCZOS4)
        measured = sharpness(image, hull_mask(image.shape[:2], face.landmarks))
        write_face_image(path, image, replace(face, sharpness=measured), self._settings.jpeg_quality)

    def _drawn(self, frame: Image, faces: Sequence[Face]) -> Image:
        for face in faces:
            assert face.image_to_face_mat is not None
            quad = crop_corners(face.image_to_face_mat, self._settings.image_size)
            frame = draw_landmarks(frame, face.source_landmarks, face.source_rect, quad)
        return frame


def jitter(crops_xys: Sequence[tuple[float, float, float] | None]) -> float | None:
    """How much crops tremble: median second difference of their centres over three frames, divided by their side.

    Args:
        crops_xys: per frame in order centre x, y and side, None where there is not exactly one face.

    Returns:
        The share of the side; None without three single faces in a row.
    """
    trembles = [
        float(np.hypot(a[0] - 2 * b[0] + c[0], a[1] - 2 * b[1] + c[1]) / b[2])
        for a, b, c in zip(crops_xys, crops_xys[1:], crops_xys[2:], strict=False)
        if a and b and c
    ]
    return round(float(np.median(trembles)), 6) if trembles else None


def _extract(frames: Sequence[Path], work: FrameWorker, report: Report, ctx: StageContext) -> None:
    started = time.monotonic()
    for done, outcome in enumerate(_in_order(frames, work, ctx), start=1):
        report.add(outcome)
        if outcome.unreadable:
            ctx.log(f"{outcome.frame} is left out: {outcome.unreadable}", "warning")
        rate = done / max(time.monotonic() - started, 1e-6)
        ctx.progress(done, len(frames), "frames", rate, f"{report.faces} faces")


def _in_order(
    frames: Sequence[Path], work: Callable[[Path], FrameOutcome], ctx: StageContext
) -> Iterator[FrameOutcome]:
    """Outcomes in the order of the frames; a few frames are worked on at once, each by one thread."""
    workers = min(_MOST_WORKERS, os.cpu_count() or 1)
    waiting: deque[Future[FrameOutcome]] = deque()
    with _one_thread_each(), ThreadPoolExecutor(workers, thread_name_prefix="faces") as pool:
        try:
            for number, path in enumerate(frames):
                ctx.check_stop()
                if number % _DISK_EVERY == 0:
                    require_free_disk(path.parent, _FREE_WHILE_RUNNING)
                waiting.append(pool.submit(work, path))
                if len(waiting) > workers + 1:
                    yield waiting.popleft().result()
            while waiting:
                ctx.check_stop()
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Keep torch and OpenCV from starting threads of their own: frames already run side by side."""
    import torch

    torch_threads, cv_threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(torch_threads)
        cv2.setNumThreads(cv_threads)


def _frames(side: SideFiles, ctx: StageContext) -> list[Path]:
    """Frame files in order, one per stem."""
    by_stem: dict[str, Path] = {}
    for path in list_images(side.frames_dir):
        if by_stem.setdefault(path.stem, path) is not path:
            ctx.log(f"{path.name} is left out: {by_stem[path.stem].name} has the same name.", "warning")
    if not by_stem:
        raise BadInputError(f"There are no {side.name} frames.", "Extract the frames of the clip first.")
    return list(by_stem.values())


@contextmanager
def _fresh_faceset(side: SideFiles) -> Iterator[None]:
    """Move the faces that are there to the trash, and bring them back when nothing took their place."""
    side.aligned_dir.mkdir(parents=True, exist_ok=True)
    faceset = side.faceset()
    by = faceset.order_by
    order = faceset.names() if by != BY_NAME else []
    removed = faceset.begin_fresh()
    try:
        yield
    except BaseException:
        if removed and not list_images(side.aligned_dir):
            faceset.undo()
            if order:
                faceset.set_order(order, by)
        raise


def _no_face(settings: ExtractFacesSettings, report: Report) -> tuple[str, str]:
    """What happened and how to get on when there is no face at all."""
    unreadable = sum(bool(outcome.unreadable) for outcome in report.outcomes)
    if unreadable == len(report.outcomes):
        return f"None of the {unreadable} {settings.side} frames can be read.", "Extract the frames again."
    return (
        f"No face was found in {len(report.outcomes)} {settings.side} frames.",
        f"Check that a face of at least {settings.min_face_px} px is shown, lower the score, or try another detector.",
    )


def _crop_side(matrix: npt.NDArray[np.float64], size: int) -> float:
    """Side of a crop in frame pixels."""
    corners = crop_corners(matrix, size)
    return float(np.linalg.norm(corners[1] - corners[0]))


def _crop_xys(face: Face, settings: ExtractFacesSettings) -> tuple[float, float, float]:
    assert face.image_to_face_mat is not None
    corners = crop_corners(face.image_to_face_mat, settings.image_size)
    x, y = corners.mean(axis=0)
    return float(x), float(y), float(np.linalg.norm(corners[1] - corners[0]))
