"""Stage merge: put the model's faces into the destination frames. One frame's preview runs the same code."""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from backend.core.errors import BadInputError
from backend.core.settings import MergeSettings
from backend.ops.composite import FaceTarget, MergedFrame, MergeOptions, SwapPrediction, composite_frame, face_target
from backend.pipeline.context import StageContext
from backend.pipeline.predictor import Predictor, load_model
from backend.storage.atomic import write_bytes, write_json
from backend.storage.image import list_images, read_image, write_image
from backend.storage.workspace import Project

UInt8 = npt.NDArray[np.uint8]
Landmarks = npt.NDArray[np.floating[Any]]

_MAX_THREADS = 8


class FramePreview(NamedTuple):
    """One frame before and after merging.

    Attributes:
        before, after: (h, w, 3) uint8 BGR.
        mask: (h, w) uint8, the replaced area.
        outcomes: per face what became of it, see backend.ops.composite.MergedFrame.
    """

    before: UInt8
    after: UInt8
    mask: UInt8
    outcomes: tuple[str, ...]


@dataclass(frozen=True)
class CutFrame:
    """A frame and the crops of its faces.

    Attributes:
        frame_bgr: (h, w, 3) uint8.
        targets: its faces as the model sees them.
    """

    frame_bgr: UInt8
    targets: tuple[FaceTarget, ...]


@dataclass(frozen=True)
class PredictedFrame(CutFrame):
    """A frame with what the model made of its faces; compositing it needs no model any more."""

    predictions: tuple[SwapPrediction, ...]


class MergeSession:
    """A loaded model and the destination's frames and faces.

    Args:
        project: whose destination frames, faces and models.
        model: name of the model.
        device: where it runs, by name.

    Raises:
        BadInputError: no such model, no destination frames or no destination faces.
    """

    def __init__(self, project: Project, model: str, device: str) -> None:
        self._project = project
        self.refresh()
        self.predictor: Predictor = load_model(project, model, device)

    def refresh(self) -> None:
        """Read again which frames and faces there are. BadInputError when there are none."""
        self.frames: list[Path] = list_images(self._project.side("dst").frames_dir)
        if not self.frames:
            raise BadInputError("There are no destination frames to merge.", "Extract the frames of dst first.")
        self._faces = _faces_by_frame(self._project)
        if not self._faces:
            raise BadInputError("There are no destination faces to merge.", "Extract the faces of dst first.")
        self._last: tuple[int, float, PredictedFrame] | None = None

    def render(self, frame_index: int, settings: MergeSettings) -> FramePreview:
        """Merge one frame; the last prediction is kept, so that settings of compositing need no model.

        Args:
            frame_index: from 0.
            settings: how to merge.
        """
        if not 0 <= frame_index < len(self.frames):
            raise BadInputError(f"There is no frame {frame_index + 1}; the clip has {len(self.frames)}.")
        morph = settings.morph_factor
        if self._last is None or self._last[:2] != (frame_index, morph):
            self._last = (frame_index, morph, self.predict(self.cut(self.frames[frame_index]), morph))
        predicted = self._last[2]
        merged = self.composite(predicted, settings)
        return FramePreview(predicted.frame_bgr, merged.frame_bgr, _mask_u8(merged.mask), merged.outcomes)

    def cut(self, frame: Path) -> CutFrame:
        """Read a frame and cut its faces. Safe to call from several threads."""
        image = read_image(frame)
        return CutFrame(image, tuple(self._targets(image, self._faces.get(frame.stem, ()))))

    def predict(self, cut: CutFrame, morph: float) -> PredictedFrame:
        """Run the model on each face. Call it from one thread only, or each brings computing threads of its own.

        Args:
            cut: a frame and its faces.
            morph: how far the swap goes from dst to src, 0..1; only AMP models.
        """
        predictions = tuple(self.predictor.predict(target.crop, morph) for target in cut.targets)
        return PredictedFrame(cut.frame_bgr, cut.targets, predictions)

    def composite(self, predicted: PredictedFrame, settings: MergeSettings) -> MergedFrame:
        """Put the predicted faces into their frame."""
        return composite_frame(predicted.frame_bgr, predicted.targets, predicted.predictions, merge_options(settings))

    def _targets(self, image: UInt8, faces: Sequence[Landmarks]) -> Iterator[FaceTarget]:
        for landmarks in faces:
            try:
                yield face_target(image, landmarks, self.predictor.face_type, self.predictor.resolution)
            except ValueError:
                continue


def run(settings: MergeSettings, ctx: StageContext) -> dict[str, Any]:
    """Merge all frames of the range into merged/ and merged_mask/.

    Returns:
        {"frames", "merged", "passed_through", "faces", "seamless_failed", "model", "iteration"}.

    Raises:
        BadInputError: no model, no frames, no faces, or a range outside of the clip.
    """
    session = MergeSession(ctx.project, settings.model, settings.device)
    frames = _range(session.frames, settings)
    output = Output(ctx.project)
    output.prepare({frame.stem for frame in session.frames})
    facts = _facts(session.predictor, settings)
    write_json(output.facts_path, {**facts, "complete": False})
    counts: Counter[str] = Counter()
    begun = time.monotonic()
    for done, outcomes in enumerate(_merge_all(session, frames, settings, output, ctx), start=1):
        counts.update(outcomes)
        counts["frames"] += 1
        counts["passed_through"] += not any(outcome != "empty_mask" for outcome in outcomes)
        ctx.progress(done, len(frames), "frames", done / max(time.monotonic() - begun, 1e-6))
    write_json(output.facts_path, {**facts, "complete": True})
    if counts["seamless_failed"]:
        ctx.log(f"{counts['seamless_failed']} faces could not be merged seamless and were laid over.", "warning")
    return {
        "frames": counts["frames"],
        "merged": counts["frames"] - counts["passed_through"],
        "passed_through": counts["passed_through"],
        "faces": counts["merged"] + counts["seamless_failed"],
        "seamless_failed": counts["seamless_failed"],
        "model": settings.model,
        "iteration": session.predictor.iteration,
    }


def merge_options(settings: MergeSettings) -> MergeOptions:
    """The part of the settings that compositing needs."""
    return MergeOptions(
        mode=settings.mode,
        mask_mode=settings.mask_mode,
        erode_mask=settings.erode_mask,
        blur_mask=settings.blur_mask,
        color_transfer=settings.color_transfer,
        face_scale=settings.face_scale,
    )


class Output:
    """The merged frames and masks on disk.

    Args:
        project: whose merged frames.
    """

    def __init__(self, project: Project) -> None:
        self._merged_dir = project.merged_dir
        self._mask_dir = project.merged_mask_dir
        self.facts_path = project.merged_dir / "merge.json"

    def prepare(self, stems: set[str]) -> None:
        """Make the folders, and remove what earlier runs left of frames that are not in the clip any more.

        Args:
            stems: of all frames of the clip.
        """
        for folder in (self._merged_dir, self._mask_dir):
            folder.mkdir(parents=True, exist_ok=True)
            for image in list_images(folder):
                if image.stem not in stems:
                    image.unlink()

    def write(self, frame: Path, merged: MergedFrame) -> None:
        """Write one merged frame and its mask, named as the frame."""
        name = f"{frame.stem}.png"
        if frame.suffix.lower() == ".png" and not merged.outcomes:
            write_bytes(self._merged_dir / name, frame.read_bytes(), durable=False)
        else:
            write_image(self._merged_dir / name, merged.frame_bgr)
        write_image(self._mask_dir / name, _mask_u8(merged.mask))


def _merge_all(
    session: MergeSession, frames: Sequence[Path], settings: MergeSettings, output: Output, ctx: StageContext
) -> Iterator[tuple[str, ...]]:
    """Outcomes of each frame in order. Reading, compositing and writing run beside the model, a few frames ahead."""
    threads = min(_MAX_THREADS, os.cpu_count() or 1)

    def finish(frame: Path, predicted: PredictedFrame) -> tuple[str, ...]:
        merged = session.composite(predicted, settings)
        output.write(frame, merged)
        return merged.outcomes

    with ThreadPoolExecutor(threads) as pool:
        finished: deque[Future[tuple[str, ...]]] = deque()
        for frame, cut in _ahead(pool, session.cut, frames, threads):
            ctx.check_stop()
            finished.append(pool.submit(finish, frame, session.predict(cut, settings.morph_factor)))
            if len(finished) > 2 * threads:
                yield finished.popleft().result()
        while finished:
            yield finished.popleft().result()


def _ahead(
    pool: ThreadPoolExecutor, read: Callable[[Path], CutFrame], frames: Sequence[Path], depth: int
) -> Iterator[tuple[Path, CutFrame]]:
    """Each frame with what was read of it, in order, read at most ``depth`` frames ahead."""
    pending: deque[tuple[Path, Future[CutFrame]]] = deque()
    for frame in frames:
        pending.append((frame, pool.submit(read, frame)))
        if len(pending) > depth:
            first, future = pending.popleft()
            yield first, future.result()
    for first, future in pending:
        yield first, future.result()


def _range(frames: Sequence[Path], settings: MergeSettings) -> list[Path]:
    last = settings.last_frame or len(frames)
    chosen = list(frames[settings.first_frame - 1 : last])
    if not chosen:
        raise BadInputError(
            f"There are no frames from {settings.first_frame} to {last}; the clip has {len(frames)}.",
            "Choose a range inside the clip.",
        )
    return chosen


def _faces_by_frame(project: Project) -> Mapping[str, list[Landmarks]]:
    faces: dict[str, list[Landmarks]] = {}
    for record in project.side("dst").faceset().records():
        faces.setdefault(Path(record.face.source_filename).stem, []).append(record.face.source_landmarks)
    return faces


def _facts(predictor: Predictor, settings: MergeSettings) -> dict[str, Any]:
    return {
        "version": 1,
        "model": settings.model,
        "model_class": predictor.provenance.model_class,
        "iteration": predictor.iteration,
        "settings": settings.model_dump(mode="json"),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _mask_u8(mask: npt.NDArray[np.float32]) -> UInt8:
    return cv2.convertScaleAbs(mask, alpha=255.0)
