"""One run of merging, as the stages merge and render share it: what has to be done, by whom, and what came of it."""

from __future__ import annotations

import errno
import time
from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Self

from backend.core.errors import BadInputError, DiskFullError
from backend.core.settings import MergeLook, MergeSettings
from backend.devices import torch_device
from backend.pipeline.context import StageContext
from backend.pipeline.merge_checks import bytes_of_frame, check_merge, chosen_range, looks_in, square_side
from backend.pipeline.merge_crew import choose_crew, choose_depths, computing_threads, with_room
from backend.pipeline.merge_keys import FrameKeys
from backend.pipeline.merge_models import MergeModels
from backend.pipeline.merge_output import MergedFolders
from backend.pipeline.merge_scene import MergeScene
from backend.pipeline.merge_steady import RADIUS, SteadyReport
from backend.pipeline.merge_stream import (
    FinishedFrame,
    Sink,
    Step,
    StreamPlan,
    frame_size,
    merge_stream,
    slot_layout,
    whole_batches,
)
from backend.storage.merge_ledger import MergedRecord

_WARNINGS: Mapping[str, str] = MappingProxyType(
    {
        "seamless_failed": "could not be merged seamless and were laid over.",
        "empty_mask": "stay as they are: their mask covers nothing, or the square of another face is given.",
    }
)
"""What a run says of outcomes that were not asked for."""

_FULL = (errno.ENOSPC, errno.EDQUOT)
_CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR, errno.EISDIR)


class MergeRun:
    """A merge from its checks to its result. Open it as a context: its workers end with it.

    Args:
        settings: how to merge.
        ctx: of the stage.

    Attributes:
        scene: the frames and their faces.
        indices: the frames of the range, by their place in the table.
        models: loaded ones.

    Raises:
        BadInputError: no model, no frames, no faces to swap, or a range outside of the clip. Nothing was written then.
    """

    def __init__(self, settings: MergeSettings, ctx: StageContext) -> None:
        self._settings, self._ctx, self._sink = settings, ctx, Sink()
        self._began = time.monotonic()
        self._counts: Counter[str] = Counter()
        self._steady = bool(settings.smooth_mask or settings.smooth_color)
        self._report = SteadyReport()
        self.scene = MergeScene(ctx.project)
        self.indices = chosen_range(self.scene, settings)
        check_merge(ctx, self.scene, settings, self.indices)
        on_cpu = torch_device(settings.device).type == "cpu"
        self._stack = ExitStack()
        with ExitStack() as stack:
            self._workers = choose_crew(settings.workers, len(self.indices), on_cpu)
            stack.callback(self._end_workers)
            self.models = MergeModels(ctx.project, settings.model_names(), settings.device, settings.batch_size)
            if on_cpu:
                stack.enter_context(computing_threads(self._workers))
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.__exit__(None, None, None)

    def _end_workers(self) -> None:
        self._workers.close()

    def frames(self, sink: Sink) -> Generator[FinishedFrame]:
        """Merge and give the frames in order; those that are up to date only when the sink wants their pixels.

        Reports progress unless somebody takes the pixels, and writes down what every frame in the folders was made of.

        Args:
            sink: where merged frames go.

        Yields:
            each frame that is done; close it when it is given up.

        Raises:
            StopRequested: the user asked to stop. DiskFullError: the disk is full, or would be. BadInputError: a file
                cannot be written. Others: see merge_stream().
        """
        self._sink = sink
        try:
            yield from self._counted(self._stream(set())) if sink.merged_dir is None else self._written()
        except OSError as error:
            if error.errno in _FULL:
                raise DiskFullError(
                    f"The disk became full after {self.done} of {len(self.indices)} frames.",
                    "Free some space and merge again: finished frames stay.",
                ) from error
            if error.errno in _CLOSED:
                raise BadInputError(
                    f"{error.filename} cannot be read or written ({error.strerror}).",
                    "Make sure that its folder can be written, and that nothing else is in its place.",
                ) from error
            raise

    def picture_size(self) -> tuple[int, int]:
        """(height, width) of the merged pictures. BadInputError when they would not all have one size."""
        sides = self._squares()
        if len(sides) > 1:
            raise BadInputError(
                "Some frames give the predicted square alone, others the whole picture or a larger square; a video has"
                " one size.",
                "Use the mode raw-predict in all frames alike, or in none.",
            )
        side = sides.pop()
        return (side, side) if side else frame_size(self.scene)

    def _squares(self) -> set[int]:
        """Sides of the squares that are given in place of frames; 0 stands for the frame."""
        return {self._square(look) for look in looks_in(self._settings, self.indices)}

    def _square(self, look: MergeLook) -> int:
        return square_side(self._ctx.project, self._settings, look, self.models.shapes)

    @property
    def done(self) -> int:
        """How many frames of the range are there."""
        return self._merged_now + self._counts["reused"]

    @property
    def _merged_now(self) -> int:
        return self._counts["merged_frames"] + self._counts["passed_through"]

    def result(self) -> dict[str, Any]:
        """What a job says about the run."""
        counts, seconds = self._counts, time.monotonic() - self._began
        for outcome, words in _WARNINGS.items():
            if counts[outcome]:
                self._ctx.log(f"{counts[outcome]} faces {words}", "warning")
        return {
            "frames": self.done,
            "merged": counts["merged_frames"],
            "passed_through": counts["passed_through"],
            "reused": counts["reused"],
            "faces": counts["merged"] + counts["seamless_failed"],
            "seamless_failed": counts["seamless_failed"],
            "empty_masks": counts["empty_mask"],
            "left": counts["left"],
            "model": self._settings.model,
            "iteration": self._loaded()["iteration"],
            "seconds": round(seconds, 2),
            "frames_per_s": round(self._merged_now / max(seconds, 1e-6), 2),
            **({"flicker": self._report.result()} if self._steady else {}),
        }

    def facts(self) -> dict[str, Any]:
        """What is written beside merged frames, and into the sidecar of a video made of them."""
        models = self.models.facts()["models"]
        return {
            "version": 1,
            "model": self._settings.model,
            "model_class": self._loaded()["model_class"],
            "iteration": self._loaded()["iteration"],
            "settings": self._settings.model_dump(mode="json"),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            **({"models": models} if len(models) > 1 else {}),
        }

    def _loaded(self) -> dict[str, Any]:
        return self.models.facts()["models"][self._settings.model]

    def _written(self) -> Iterator[FinishedFrame]:
        """The frames, with the folders and their ledger kept."""
        stamps = {name: self.models.stamp(name) for name in self._settings.model_names()}
        keys = FrameKeys(self._ctx.project, self.scene, self._settings, stamps)
        with MergedFolders(self._ctx.project, self._ctx.job_dir.name) as folders:
            records: dict[int, MergedRecord] = {index: keys.record(index) for index in self.indices}
            fresh = set() if self._settings.redo else folders.fresh(records)
            again = {record.stem for index, record in records.items() if index not in fresh}
            if fresh:
                self._ctx.log(f"{len(fresh)} of {len(records)} frames are up to date and stay as they are.")
            folders.require_room(
                again, bytes_of_frame(self._ctx.project, self.scene, self._settings, max(self._squares()))
            )
            folders.begin({frame.stem for frame in self.scene.frames}, again, self.facts())
            if not self._sink.pixels:
                self._counts["reused"] = len(fresh)
            for frame in self._counted(self._stream(fresh)):
                if not frame.reused:
                    folders.note(replace(records[frame.index], outcomes=frame.outcomes))
                yield frame
            folders.finish()

    def _steps(self, fresh: set[int], batch: int) -> list[Step]:
        """What is done with which frame. Those it is steadied by, and those of its batch, are predicted with it."""
        stale = [index for index in self.indices if index not in fresh]
        reach = RADIUS if self._steady else 0
        around = {each for index in stale for each in range(index - reach, index + reach + 1)}
        near = {index for index in whole_batches(around, batch) if self._is_there(index)}
        inside = set(self.indices)
        steps: list[Step] = []
        for index in sorted(near.union(inside if self._sink.pixels else stale)):
            if index in inside and index not in fresh:
                steps.append(Step(index, "merge"))
            else:
                loaded = index in inside and self._sink.pixels
                steps.append(Step(index, "load" if loaded else "context", index in near))
        return steps

    def _is_there(self, index: int) -> bool:
        """Whether there is such a frame, and a picture of it."""
        scene = self.scene
        return 0 <= index < len(scene.frames) and (scene.frames[index].file is not None or scene.clip is not None)

    def _stream(self, fresh: set[int]) -> Iterator[FinishedFrame]:
        layout = slot_layout(self.scene, self._sink, max(self._squares()))
        depths = choose_depths(self._workers, self.models.batch_size, self._steady, layout.slot_bytes)
        layout = layout._replace(count=depths.slots)
        self._workers = with_room(self._workers, layout.total_bytes)
        report = self._report if self._steady else None
        steps = self._steps(fresh, depths.batch)
        plan = StreamPlan(self.scene, self._settings, steps, self._sink, depths, layout, self._square, report)
        return merge_stream(plan, self.models, self._workers, self._ctx.check_stop)

    def _counted(self, frames: Iterator[FinishedFrame]) -> Iterator[FinishedFrame]:
        began, counts, told = time.monotonic(), self._counts, not self._sink.pixels
        if told:  # whoever takes the pixels says how far it is
            self._ctx.progress(self.done, len(self.indices), "frames")
        for frame in frames:
            yield frame
            counts["reused"] += frame.reused
            if not frame.reused:
                counts.update(frame.outcomes)
                counts["left"] += frame.left
                changed = any(outcome != "empty_mask" for outcome in frame.outcomes)
                counts["merged_frames" if changed else "passed_through"] += 1
            if told:
                rate = self._merged_now / max(time.monotonic() - began, 1e-6)
                self._ctx.progress(self.done, len(self.indices), "frames", rate)
