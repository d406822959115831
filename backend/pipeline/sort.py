"""Stage sort: give a faceset a new order, or choose from it. Nothing is deleted; renaming is an explicit wish."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from backend.core.errors import BadInputError, DamagedFileError
from backend.core.settings import SortSettings
from backend.environment import usable_cores
from backend.pipeline.context import StageContext
from backend.pipeline.face_work import need_faces
from backend.pipeline.sort_methods import METHODS, Arrangement, Faces
from backend.storage.faceset import FaceRecord, Faceset
from backend.storage.sort_values import write_values

_BLOCK = 64


class _Unreadable(NamedTuple):
    """In place of the value of a face whose picture cannot be read."""

    reason: str


def run(settings: SortSettings, ctx: StageContext) -> dict[str, Any]:
    """Sort the faceset of one side and store the order; rename the files when asked.

    What a choosing method leaves out goes to the trash as one batch, or comes last. Files that cannot be read stay
    behind all others.

    Returns:
        {"faces": in the order, "by", "renamed", "damaged": files that could not be read, "left_out": by a choosing
        method, "reasons": how many were left out for which reason, "trashed": whether they went to the trash}.
        Matching poses adds "missing_poses", the number of poses that only the other side has, and "missing", a list of
        {"pitch_deg", "yaw_deg", "faces"} of them, the most frequent first.

    Raises:
        BadInputError: the faceset is empty, none of it can be read, or nothing would be left.
    """
    records = need_faces(ctx.project.side(settings.side))
    faceset = ctx.project.side(settings.side).faceset()
    damaged = faceset.damaged()
    method = METHODS[settings.by]
    method.check(settings, ctx)
    faces, unreadable = _measured(records, method.measure, settings, ctx)
    for sentence in [f"{name} is left out: {reason}" for name, reason in damaged] + unreadable:
        ctx.log(sentence, "warning")
    if not faces.records:
        raise BadInputError(f"None of the {len(records)} {settings.side} faces can be read.", "Extract faces again.")
    ctx.progress(len(records), len(records), "faces", message="Putting them in order")
    arrangement = method.arrange(faces)
    ctx.check_stop()
    trashed, renamed = _carry_out(faceset, faces, arrangement, settings)
    reasons = dict(Counter(arrangement.left_out.values()).most_common())
    for reason, count in reasons.items():
        ctx.log(f"{count} left out: {reason}.")
    sorted_count = len(faces.records) - (len(arrangement.left_out) if trashed else 0)
    ctx.milestone("sorted", _sentence(sorted_count, arrangement, settings))
    return {
        "faces": sorted_count,
        "by": settings.by,
        "renamed": renamed,
        "damaged": len(damaged) + len(unreadable),
        "left_out": len(arrangement.left_out),
        "reasons": reasons,
        "trashed": trashed,
        **arrangement.facts,
    }


def _carry_out(faceset: Faceset, faces: Faces, arrangement: Arrangement, settings: SortSettings) -> tuple[bool, int]:
    """Trash what is left out, store the order and the values; whether something was trashed, files renamed."""
    names = [record.path.name for record in faces.records]
    if not arrangement.order:
        raise BadInputError(
            f"Sorting by {settings.by} would leave none of the {len(names)} {settings.side} faces.",
            "Check the faces, or sort by something else.",
        )
    ordered = [names[index] for index in arrangement.order]
    ordered = ordered[::-1] if settings.reverse else ordered
    rest = [names[index] for index in arrangement.left_out]
    trashed = bool(settings.trash and rest and faceset.trash(rest, reason=_batch_note(arrangement, settings)))
    faceset.set_order(ordered if trashed else ordered + rest, settings.by)
    before = faceset.names()
    renamed = faceset.apply_order() if settings.apply else 0
    values = dict(zip(names, arrangement.captions, strict=False))
    now = dict(zip(before, faceset.names(), strict=False)) if renamed else {name: name for name in before}
    write_values(faceset.folder, settings.by, {now[name]: values[name] for name in before if name in values})
    return trashed, renamed


def _batch_note(arrangement: Arrangement, settings: SortSettings) -> str:
    """Why a batch lies in the trash: the method and its reasons."""
    reasons = ", ".join(f"{reason} ({count})" for reason, count in Counter(arrangement.left_out.values()).most_common())
    return f"sorted by {settings.by}: {reasons}"


def _sentence(count: int, arrangement: Arrangement, settings: SortSettings) -> str:
    text = f"{count} {settings.side} faces sorted by {settings.by}."
    if arrangement.left_out:
        text += f" {len(arrangement.left_out)} left out."
    if arrangement.facts.get("missing_poses"):
        text += f" {arrangement.facts['missing_poses']} poses of the other side are missing."
    return text


def _measured(
    records: Sequence[FaceRecord], measure: Callable[[FaceRecord], Any], settings: SortSettings, ctx: StageContext
) -> tuple[Faces, list[str]]:
    """The faces with their values, in order, and sentences about those whose picture cannot be read."""
    found: list[FaceRecord] = []
    values: list[Any] = []
    unreadable: list[str] = []
    begun = time.monotonic()

    def attempt(record: FaceRecord) -> Any:
        try:
            return measure(record)
        except (DamagedFileError, OSError) as error:
            return _Unreadable(str(error))

    with ThreadPoolExecutor(max_workers=min(8, usable_cores())) as pool:
        for start in range(0, len(records), _BLOCK):
            ctx.check_stop()
            block = records[start : start + _BLOCK]
            for record, value in zip(block, pool.map(attempt, block), strict=True):
                if isinstance(value, _Unreadable):
                    unreadable.append(f"Left out: {value.reason}")
                else:
                    found.append(record)
                    values.append(value)
            done = start + len(block)
            ctx.progress(done, len(records), "faces", done / max(time.monotonic() - begun, 1e-6))
    return Faces(found, values, settings, ctx), unreadable
