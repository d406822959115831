"""What finding faces found: counters, frames without a face, and what "auto" picks here."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from backend.core.errors import LookalikeError
from backend.storage.faceset import FaceRecord
from backend.storage.weights import catalog, pick_auto
from backend.storage.workspace import SideStatus
from ui_tabs.job_panel import empty_html

KINDS: tuple[Literal["detector", "landmarker"], ...] = ("detector", "landmarker")


def counters_html(status: SideStatus | None, records: Sequence[FaceRecord]) -> str:
    """Frames, faces, frames without a face, frames with several."""
    if status is None or not (status.frames or status.faces):
        return empty_html("The numbers of frames and faces appear here once frames were extracted.")
    figures = [("frames", status.frames), ("faces", status.faces)]
    if records:
        of_frame = Counter(record.face.source_filename for record in records)
        if status.frames_without_face is not None:
            figures.append(("frames without a face", status.frames_without_face))
        figures.append(("frames with several faces", sum(number > 1 for number in of_frame.values())))
    figures.append(("in the trash", status.trashed))
    cells = "".join(f'<div class="lk-figure"><b>{number:,}</b><span>{name}</span></div>' for name, number in figures)
    return f'<div class="lk-stats">{cells}</div>'


def faceless_html(status: SideStatus | None, names: Sequence[str]) -> str:
    """The frames in which no face was found."""
    if status is None or not status.faces:
        return empty_html("Frames in which no face was found are listed here after an extraction.")
    if not names:
        return empty_html("Every frame has a face.")
    return f'<div class="lk-names">{"".join(f"<div>{html.escape(name)}</div>" for name in names)}</div>'


def weights_html(folder: Path) -> str:
    """What "auto" picks here, and how to get what is not present."""
    picked = []
    for kind in KINDS:
        try:
            picked.append(f"Auto {kind}: <b>{html.escape(pick_auto(kind, folder)[0])}</b>")
        except LookalikeError as error:
            picked.append(html.escape(str(error)))
    rows = "".join(
        f"<tr><td>{html.escape(choice.name)}</td><td>{html.escape(choice.note)}"
        f"{_how(choice)}</td><td>{'present' if choice.present else 'not here'}</td></tr>"
        for choice in catalog(folder)
    )
    table = f'<table class="lk-table"><tbody>{rows}</tbody></table>'
    summary = "What is present and how to get the rest"
    details = f'<details class="lk-details"><summary>{summary}</summary>{table}</details>'
    return f'<p class="lk-note">{", ".join(picked)}.</p>{details}'


def _how(choice: Any) -> str:
    return f'<p class="lk-note">{html.escape(choice.how_to_get)}</p>' if choice.how_to_get else ""
