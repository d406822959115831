"""What came of a tool for facesets, in words."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from backend.core.jobs import Event, JobState
from backend.jobs.store import JobRecord
from backend.storage.tool_undo import UNDONE_FILE
from ui_tabs.header import size
from ui_tabs.steps import count

_WARNINGS = 6

Result = Mapping[str, Any]


def told_html(record: JobRecord, milestones: Sequence[Event]) -> str:
    """The result of a finished job and its last warnings; "" when there is nothing to say.

    Args:
        milestones: milestones and warnings of the job, oldest first.
    """
    if record.status.state is not JobState.DONE:
        return ""
    if (record.path / UNDONE_FILE).exists():
        return '<p class="lk-message">It was taken back.</p>'
    sentence = result_sentence(record.request.stage, record.status.result)
    warnings = [str(e.data.get("message", "")) for e in milestones if e.kind == "log"]
    rows = "".join(f"<li>{html.escape(text)}</li>" for text in warnings[:_WARNINGS])
    more = f"<li>{len(warnings) - _WARNINGS:,} more in the log</li>" if len(warnings) > _WARNINGS else ""
    listed = f'<ul class="lk-tools-warnings">{rows}{more}</ul>' if rows else ""
    return f'<p class="lk-message">{html.escape(sentence)}</p>{listed}' if sentence or listed else ""


def result_sentence(stage: str, result: Result) -> str:
    """One or two sentences about a result; "" when it cannot be told."""
    key = str(result.get("action") or stage)
    try:
        return _SENTENCES[key](result) if key in _SENTENCES else ""
    except (KeyError, TypeError, ValueError):
        return ""


def _faces(number: Any) -> str:
    return count(int(number), "face")


def _list(*parts: tuple[Any, str]) -> str:
    """ "3 from their frames, 2 left as they are": parts whose number is not 0."""
    return ", ".join(f"{int(number):,} {words}" for number, words in parts if number)


def _resize(r: Result) -> str:
    if r["unchanged"] == r["faces"]:
        return "All faces have this size and face type already."
    told = _list(
        (r["from_frames"], "cut from their frames"),
        (r["from_aligned"], "from the old faces"),
        (r["black_border"], "with a black border"),
        (r["unchanged"], "fitted already"),
        (r["left"], "left as they are"),
    )
    return f"{_faces(r['faces'])}: {told}."


def _gray(r: Result) -> str:
    told = _list((r["unchanged"], "were gray already"), (r["left"], "left as they are"))
    return f"{_faces(r['converted'])} turned gray{', ' if told else ''}{told}."


def _add(r: Result) -> str:
    told = _list(
        (r["renamed"], "under another name"),
        (r["duplicates"], "were here already"),
        (r["left"], "cannot be used"),
        (r["persons"], "persons came along"),
    )
    return f"{_faces(r['added'])} added{', ' if told else ''}{told}."


def _unpack(r: Result) -> str:
    told = _list(
        (r["duplicates"], "were loose already"), (r["renamed"], "under another name"), (r["left"], "cannot be used")
    )
    return f"{_faces(r['faces'])} unpacked{', ' if told else ''}{told}."


def _restore(r: Result) -> str:
    if not (r["from_meta"] or r["from_index"] or r["left"]):
        return "No face has lost its data."
    told = _list(
        (r["from_meta"], "from meta.dat"),
        (r["from_index"], "from this program's notes"),
        (r["left"], "files still without data"),
    )
    return f"Restored: {told}."


def _names(r: Result) -> str:
    told = _list((r["nameless"], "do not tell their frame"))
    return f"{_faces(r['renamed'])} renamed{', ' if told else ''}{told}."


def _png(r: Result) -> str:
    told = _list((r["without_data"], "hold no face data"), (r["left"], "cannot be read"))
    return f"{count(int(r['converted']), 'PNG file')} converted{', ' if told else ''}{told}."


def _masks(r: Result) -> str:
    told = _list(
        (r["xseg"], "applied masks"),
        (r["polygons"], "from polygons"),
        (r["hull"], "from landmarks"),
        (r["without"], "faces without any"),
        (r["unreadable"], "unreadable"),
    )
    return f"{count(int(r['masks']), 'mask')} in {r['folder']}: {told}."


_SENTENCES: Mapping[str, Callable[[Result], str]] = MappingProxyType(
    {
        "resize-faces": _resize,
        "gray-faces": _gray,
        "add-faces": _add,
        "pack": lambda r: f"{_faces(r['faces'])} in a pack of {size(float(r['bytes']))}.",
        "unpack": _unpack,
        "save-metadata": lambda r: f"The data of {_faces(r['faces'])} is in meta.dat.",
        "restore-metadata": _restore,
        "original-names": _names,
        "measure": lambda r: (
            f"{_faces(r['measured'])} measured." if r["measured"] else "All faces were measured already."
        ),
        "png-to-jpg": _png,
        "debug-images": lambda r: f"{count(int(r['pictures']), 'picture')} in {r['folder']}.",
        "export-masks": _masks,
    }
)
"""Stage, or action of the stage "faceset" -> its result in words."""
