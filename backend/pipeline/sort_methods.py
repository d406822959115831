"""Every way to sort: what it measures of a face and how that orders them all. A new one is a function and a line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from backend.core.errors import BadInputError, LookalikeError
from backend.core.settings import SortSettings
from backend.ops.best_faces import best_faces, matching_poses
from backend.ops.chain import Vectors, farthest_chain, nearest_chain
from backend.ops.histogram import histogram_chain, histogram_dissimilarity
from backend.ops.landmark_outliers import fault_of_order, lies_beside_box, lies_outside, unusual_shapes
from backend.ops.likeness import difference_vectors, duplicates
from backend.pipeline import sort_measures as measures
from backend.pipeline.context import StageContext
from backend.storage.faceset import FaceRecord
from backend.storage.image import list_images, read_image

_LAST = 1 << 62


class Faces(NamedTuple):
    """What a method arranges: the faces whose value is known, in their present order.

    Attributes:
        records: the faces.
        values: what the method measured of each.
        settings: as given to the stage.
        ctx: of the stage.
    """

    records: Sequence[FaceRecord]
    values: Sequence[Any]
    settings: SortSettings
    ctx: StageContext


@dataclass(frozen=True)
class Arrangement:
    """A new order.

    Attributes:
        order: indexes of the faces that stay.
        left_out: index -> why a choosing method leaves the face out.
        captions: a number for each face, in the order they were given; empty when there is nothing to show.
        facts: further entries of the stage's result.
    """

    order: Sequence[int]
    left_out: Mapping[int, str] = field(default_factory=dict)
    captions: Sequence[float] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


def _no_check(settings: SortSettings, ctx: StageContext) -> None:
    """For methods that need nothing but the faces."""


class Method(NamedTuple):
    """A way to sort.

    Attributes:
        measure: one face -> its value; DamagedFileError and OSError when it cannot be read.
        arrange: all faces and their values -> the new order.
        check: before anything is measured: BadInputError when something else is missing.
    """

    measure: Callable[[FaceRecord], Any]
    arrange: Callable[[Faces], Arrangement]
    check: Callable[[SortSettings, StageContext], None] = _no_check


def _up(faces: Faces) -> Arrangement:
    return Arrangement(sorted(range(len(faces.values)), key=lambda i: faces.values[i]), captions=faces.values)


def _down(faces: Faces) -> Arrangement:
    return Arrangement(sorted(range(len(faces.values)), key=lambda i: -faces.values[i]), captions=faces.values)


def _sharpest(faces: Faces) -> Arrangement:
    order = sorted(range(len(faces.values)), key=lambda i: faces.values[i], reverse=True)
    return Arrangement(order, captions=[edges for edges, _ in faces.values])


def _by_frame(faces: Faces) -> Arrangement:
    return Arrangement(sorted(range(len(faces.values)), key=lambda i: faces.values[i]))


def _similar_colours(faces: Faces) -> Arrangement:
    return Arrangement(histogram_chain(np.stack(faces.values), faces.ctx.check_stop).tolist())


def _rare_colours(faces: Faces) -> Arrangement:
    sums = histogram_dissimilarity(np.stack(faces.values), faces.ctx.check_stop)
    return _down(faces._replace(values=(sums / max(len(sums) - 1, 1)).tolist()))


def _chain(walk: Callable[[Vectors, Callable[[], None]], Any]) -> Callable[[Faces], Arrangement]:
    def arrange(faces: Faces) -> Arrangement:
        return Arrangement(walk(difference_vectors(np.stack(faces.values)), faces.ctx.check_stop).tolist())

    return arrange


def _need_persons(settings: SortSettings, ctx: StageContext) -> None:
    if not ctx.project.side(settings.side).faceset().persons():
        raise BadInputError("The persons in this faceset were not told apart yet.", "Tell the persons apart first.")


def _by_person(faces: Faces) -> Arrangement:
    """Each person's faces together, by track and frame; those of nobody come last."""
    persons = faces.ctx.project.side(faces.settings.side).faceset().persons()

    def place(index: int) -> tuple[Any, ...]:
        record = faces.records[index]
        track = record.face.track
        number = persons.get(record.path.name, _LAST)
        return number, _LAST if track is None else track, frame_name(record)

    captions = [float(persons.get(record.path.name, np.nan)) for record in faces.records]
    return Arrangement(sorted(range(len(faces.records)), key=place), captions=captions)


def _alone_in_frame(faces: Faces) -> Arrangement:
    several = {frame for frame, count in Counter(faces.values).items() if count > 1}
    left_out = {i: "several faces in the frame" for i, frame in enumerate(faces.values) if frame in several}
    return Arrangement([i for i in range(len(faces.values)) if i not in left_out], left_out)


def _without_outliers(faces: Faces) -> Arrangement:
    """The most usual shapes first."""
    unusual = unusual_shapes(faces.values)
    frame = _frame_size(faces)
    left_out = {}
    for index, record in enumerate(faces.records):
        face = record.face
        reason = fault_of_order(face.landmarks)
        if not reason and lies_beside_box(face.source_rect, face.source_landmarks):
            reason = "the landmarks lie beside the detected face"
        if not reason and lies_outside(face.source_landmarks, frame):
            reason = "much of the face lies outside the frame"
        if not reason and unusual[index]:
            reason = "the proportions are not those of a face"
        if reason:
            left_out[index] = reason
    stay = [i for i in _up(faces).order if i not in left_out]
    return Arrangement(stay, left_out, faces.values)


def _frame_size(faces: Faces) -> tuple[int, int] | None:
    """Width and height of the side's frames; None when there are none to look at."""
    for path in list_images(faces.ctx.project.side(faces.settings.side).frames_dir)[:1]:
        try:
            height, width = read_image(path).shape[:2]
        except (LookalikeError, OSError):
            return None
        return width, height
    return None


def _without_duplicates(faces: Faces) -> Arrangement:
    details = np.stack([detail for detail, _ in faces.values])
    sharpness = np.array([value for _, value in faces.values])
    found = duplicates(details, sharpness, faces.settings.likeness, faces.ctx.check_stop)
    left_out = {int(i): "nearly the same as a sharper face" for i in np.flatnonzero(~found.is_kept)}
    return Arrangement(np.flatnonzero(found.is_kept).tolist(), left_out, found.likeness.tolist())


def _best(faces: Faces) -> Arrangement:
    facts: Sequence[measures.BestFacts] = faces.values
    values = np.array([fact.value for fact in facts])
    poses, hists = np.array([fact.pose for fact in facts]), np.stack([fact.histogram for fact in facts])
    chosen = best_faces(poses, values, hists, faces.settings.target).tolist()
    others = set(range(len(facts))) - set(chosen)
    return Arrangement(chosen, dict.fromkeys(sorted(others), "others of this pose are better"), values.tolist())


def _other(settings: SortSettings) -> str:
    return "dst" if settings.side == "src" else "src"


def _need_other(settings: SortSettings, ctx: StageContext) -> None:
    other = _other(settings)
    if not ctx.project.side(other).faceset().records():
        raise BadInputError(f"There are no {other} faces whose poses could be matched.", f"Extract the {other} faces.")


def _matching(faces: Faces) -> Arrangement:
    """As many of every pose as the other side has, the sharpest ones."""
    other = _other(faces.settings)
    records = faces.ctx.project.side(other).faceset().records()
    own = np.array([pose for pose, _ in faces.values])
    values = np.array([value for _, value in faces.values])
    matched = matching_poses(
        own, np.array([measures.pose(record) for record in records]), values, faces.settings.target
    )
    chosen = set(matched.order.tolist())
    left_out = {
        i: "enough others have this pose" if matched.is_known[i] else "the other side has no face of this pose"
        for i in range(len(own))
        if i not in chosen
    }
    missing = [
        {"pitch_deg": round(float(np.degrees(pitch))), "yaw_deg": round(float(np.degrees(yaw))), "faces": count}
        for pitch, yaw, count in matched.missing
    ]
    return Arrangement(
        matched.order.tolist(), left_out, values.tolist(), {"missing_poses": len(missing), "missing": missing}
    )


def frame_name(record: FaceRecord) -> tuple[str, str]:
    """What puts faces in the order of their frames."""
    return record.face.source_filename.lower(), record.path.name


def _frame(record: FaceRecord) -> str:
    return record.face.source_filename.lower() or record.path.name


def _nothing(_: FaceRecord) -> None:
    return None


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "hist": Method(measures.colours, _similar_colours),
        "hist-dissim": Method(measures.face_grays, _rare_colours),
        "blur": Method(measures.blur, _sharpest),
        "motion-blur": Method(measures.motion_blur, _down),
        "yaw": Method(lambda record: measures.pose(record)[1], _down),
        "pitch": Method(lambda record: measures.pose(record)[0], _down),
        "rect-size": Method(measures.rect_area, _down),
        "brightness": Method(measures.brightness, _down),
        "hue": Method(measures.hue, _down),
        "black": Method(measures.black_share, _up),
        "absdiff": Method(measures.colour_pixels, _chain(nearest_chain)),
        "absdiff-dissim": Method(measures.colour_pixels, _chain(farthest_chain)),
        "mask": Method(measures.mask_coverage, _down),
        "name": Method(frame_name, _by_frame),
        "person": Method(_nothing, _by_person, _need_persons),
        "one-face": Method(_frame, _alone_in_frame),
        "outliers": Method(measures.shape, _without_outliers),
        "duplicates": Method(measures.details, _without_duplicates),
        "best": Method(measures.best_facts, _best),
        "best-by-size": Method(measures.best_facts_by_size, _best),
        "match-poses": Method(measures.pose_and_edge_value, _matching, _need_other),
    }
)
"""Sort method -> what it measures and how that orders the faces."""
