"""Stage merge: put the models' faces into the destination frames, see backend.pipeline.merge_stream."""

from __future__ import annotations

from typing import Any

from backend.core.settings import MergeSettings
from backend.pipeline.context import StageContext
from backend.pipeline.merge_run import MergeRun
from backend.pipeline.merge_stream import Sink


def run(settings: MergeSettings, ctx: StageContext) -> dict[str, Any]:
    """Merge all frames of the range into merged/ and merged_mask/.

    Frames that are there already and were made of the same stay as they are, unless the settings say otherwise. A run
    that is stopped or fails keeps what it did.

    Returns:
        {"frames", "merged", "passed_through", "reused", "faces", "seamless_failed", "empty_masks", "left", "model",
        "iteration", "seconds", "frames_per_s"}, and with smoothing "flicker", see SteadyReport.

    Raises:
        BadInputError: no model, no frames, no face to swap, or a range outside of the clip.
        DiskFullError: the disk became full, or would become it.
    """
    sink = Sink(ctx.project.merged_dir, ctx.project.merged_mask_dir)
    with MergeRun(settings, ctx) as merge:
        for _ in merge.frames(sink):
            pass
        return merge.result()
