"""Stage render: merge and encode in one go, frame by frame; see backend.pipeline.merge_stream and export_job."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from backend.core.errors import DiskFullError
from backend.core.settings import MergeSettings, RenderSettings
from backend.pipeline.context import StageContext
from backend.pipeline.export_job import ExportJob, export_range
from backend.pipeline.merge_run import MergeRun
from backend.pipeline.merge_stream import Sink
from backend.storage.frame_table import frame_table_for


def run(settings: RenderSettings, ctx: StageContext) -> dict[str, Any]:
    """Merge the range straight into a video; with ``keep_frames`` also into merged/ and merged_mask/.

    Returns:
        what the stages merge and export return together; "seconds" is the video's length, "took_s" the time taken.

    Raises:
        BadInputError: see the stages merge and export. On any error and on a stop no part of the video stays, and the
            log says how far it got; frames that were kept stay.
    """
    with MergeRun(_quick_look(settings, ctx), ctx) as merge:
        height, width = merge.picture_size()
        table, indices = merge.scene.table, merge.indices
        encode = settings.export_settings()
        job = ExportJob(encode, ctx, (width, height), indices.start, table, len(indices))
        try:
            with job:
                with closing(merge.frames(_sink(settings, ctx, job.needs_original))) as frames:
                    for frame in frames:
                        assert frame.merged_bgr is not None, "the sink asked for pixels"
                        job.write(frame.merged_bgr, frame.mask if job.needs_mask else None, frame.original_bgr)
                made = job.finish(merge.facts())
        except BaseException as error:
            if not isinstance(error, DiskFullError):  # that says it itself
                ctx.log(f"It got to frame {merge.done} of {len(indices)}; the unfinished video was removed.", "warning")
            raise
        return {**merge.result(), **made}


def _sink(settings: RenderSettings, ctx: StageContext, original: bool) -> Sink:
    if not settings.keep_frames:
        return Sink(pixels=True, original=original)
    return Sink(ctx.project.merged_dir, ctx.project.merged_mask_dir, pixels=True, original=original)


def _quick_look(settings: RenderSettings, ctx: StageContext) -> MergeSettings:
    """How to merge; only the first seconds of the range when those are all that is wanted."""
    merge = settings.merge_settings()
    if not settings.preview_s:
        return merge
    table = frame_table_for(ctx.project.side("dst"))
    chosen = export_range(settings.export_settings(), table)
    return merge.model_copy(update={"last_frame": chosen.stop})
