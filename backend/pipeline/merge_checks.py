"""Whether a merge can be done, before anything is loaded or written."""

from __future__ import annotations

from collections.abc import Iterator

from backend.core.errors import BadInputError
from backend.core.settings import MergeLook, MergeSettings
from backend.environment import weights_folder
from backend.pipeline.context import StageContext
from backend.pipeline.frame_source import require_same_clip
from backend.pipeline.merge_cut import XSEG_FRAME, XSEG_PREDICTED
from backend.pipeline.merge_scene import MergeScene
from backend.pipeline.merge_workers import Shapes
from backend.storage.frame_estimate import BYTES_PER_PIXEL, frame_bytes
from backend.storage.weights import (
    default_folder,
    how_to_get_segmentation,
    installed_enhancer,
    installed_segmentation,
)
from backend.storage.workspace import Project

ENHANCED = 4
"""An enhancer makes faces so many times larger."""

MASK_BYTES = 0.1
"""Upper estimate of a mask's size per pixel, for the disk check."""


def chosen_range(scene: MergeScene, settings: MergeSettings) -> range:
    """Places in the table of the frames to merge. BadInputError when there are none."""
    count = len(scene.frames)
    last = settings.last_frame or count
    chosen = range(settings.first_frame - 1, min(last, count))
    if not chosen:
        raise BadInputError(
            f"There are no frames from {settings.first_frame} on; the clip has {count}.",
            "Choose a range inside the clip.",
        )
    return chosen


def check_merge(ctx: StageContext, scene: MergeScene, settings: MergeSettings, chosen: range) -> None:
    """Refuse a merge that cannot be done, and say what is odd about one that can.

    Args:
        ctx: for the log.
        scene: the frames and their faces.
        settings: how they are to be merged.
        chosen: the frames, by their place in the table.

    Raises:
        BadInputError: no face to swap, frames that are gone, or a mask mode whose network is not installed.
    """
    _require_faces(scene, settings, chosen)
    _require_pictures(ctx, scene, chosen)
    _require_mask_network(ctx.project, settings, chosen)
    for words in _odd_rules(scene, settings):
        ctx.log(words, "warning")


def looks_in(settings: MergeSettings, chosen: range) -> list[MergeLook]:
    """The looks that hold in a range, in order."""
    starts = [chosen.start + 1, *(key.frame for key in settings.keys if chosen.start + 1 < key.frame <= chosen.stop)]
    return [settings.look_at(frame) for frame in starts]


def square_side(project: Project, settings: MergeSettings, look: MergeLook, shapes: Shapes) -> int:
    """Side of the square that a look gives in place of the frame; 0 when it gives the frame.

    Args:
        project: whose enhancer may make the square larger.
        settings: whose main model predicts it.
        look: of the frame.
        shapes: name of a model -> its face type and the side of its crops.
    """
    if look.mode != "raw-predict":
        return 0
    weights_dir = weights_folder() or default_folder(project.path.parent)
    enhanced = look.super_resolution and installed_enhancer(weights_dir)
    return shapes[settings.model][1] * (ENHANCED if enhanced else 1)


def bytes_of_frame(project: Project, scene: MergeScene, settings: MergeSettings, side: int) -> float:
    """Upper estimate of what a merged frame takes on the disk with its mask.

    Args:
        project: whose frames tell how large one is.
        scene: those frames.
        settings: whether the mask is in the merged frame too.
        side: of the largest square that is given in place of the frame, 0 when none is.
    """
    video = scene.table.video
    size, _ = frame_bytes(video, "png", project.side("dst").frames_dir)
    masks = MASK_BYTES * (2 if settings.alpha_png else 1)
    return max(size + masks * video.width * video.height, (BYTES_PER_PIXEL["png"] + masks) * side * side)


def _require_faces(scene: MergeScene, settings: MergeSettings, chosen: range) -> None:
    """BadInputError when nothing would be swapped in the whole range, unless that is what the looks say."""
    if any(scene.plan(index, settings).faces for index in chosen):
        return
    if all(look.mode == "original" for look in looks_in(settings, chosen)):
        return
    where = f"frames {chosen.start + 1} to {chosen.stop}" if len(chosen) > 1 else f"frame {chosen.stop}"
    if any(scene.faces_in(index) for index in chosen):
        raise BadInputError(f"Every face in {where} is left as it is by a rule.", "Change the rules for faces.")
    raise BadInputError(
        f"There is no face to swap in {where}.", "Choose another range, or extract the faces of these frames."
    )


def _require_pictures(ctx: StageContext, scene: MergeScene, chosen: range) -> None:
    """BadInputError when frames are gone and cannot be taken from the clip."""
    gone = [scene.frames[index].stem for index in chosen if scene.frames[index].file is None]
    if not gone:
        return
    if scene.clip is None:
        raise BadInputError(
            f"The pictures of {len(gone)} of {len(chosen)} frames are gone, the first is {gone[0]}, and there is no"
            " clip to take them from.",
            "Extract the frames of dst again.",
        )
    require_same_clip(scene.clip, scene.table.video)
    ctx.log(f"{len(gone)} of {len(chosen)} frames are taken from {scene.clip.name}: their pictures are gone.")


def _require_mask_network(project: Project, settings: MergeSettings, chosen: range) -> None:
    if not any(look.mask_mode in (*XSEG_FRAME, *XSEG_PREDICTED) for look in looks_in(settings, chosen)):
        return
    weights_dir = weights_folder() or default_folder(project.path.parent)
    if not installed_segmentation(weights_dir, project.model_root):
        raise BadInputError(
            "This mask mode needs a mask network (XSeg), and none is installed.",
            f"{how_to_get_segmentation(weights_dir, project.model_root)} Or choose another mask mode.",
        )


def _odd_rules(scene: MergeScene, settings: MergeSettings) -> Iterator[str]:
    """What is said about rules that fit no face."""
    if not settings.faces:
        return
    persons = {name.casefold() for name in scene.faces.persons()}
    tracks = scene.faces.tracks()
    for rule in settings.faces:
        if rule.person and rule.person.casefold() not in persons:
            yield f"A rule is for '{rule.person}', and no face of dst is called so."
        if rule.track >= 0 and rule.track not in tracks:
            yield f"A rule is for track {rule.track}, and dst has no such track."
