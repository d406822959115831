"""What finding faces found: counters, frames that need a look, and what "auto" picks here."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from backend.core.errors import LookalikeError
from backend.storage.atomic import read_json
from backend.storage.faceset import FaceRecord
from backend.storage.weights import catalog, pick_auto
from backend.storage.workspace import SideFiles, SideStatus
from ui_tabs.fix_frames import FrameMap
from ui_tabs.job_panel import empty_html

KINDS: tuple[Literal["detector", "landmarker"], ...] = ("detector", "landmarker")
REPORT_FILE = ".extract.json"
"""Beside the faces: what the last extraction found."""
LISTED = 400
LOW_SCORE = 0.9
"""Frames whose least certain face lies below this are listed."""

LINK_SCRIPT = """
element.addEventListener('click', (event) => {
  const link = event.target.closest('[data-frame]');
  if (link) trigger('select', {frame: link.dataset.frame, kind: link.dataset.kind});
});
"""
"""Links to a frame in the view for fixing by hand: "select" tells its file name and why it is listed."""

LISTS: tuple[tuple[str, str, str], ...] = (
    ("none", "Frames without a face", "Every frame has a face."),
    ("several", "Frames with several faces", "No frame has several faces."),
    ("score", f"Frames with a score below {LOW_SCORE:g}", "No face has a low score."),
    ("filled", "Frames with a filled face", "No face was filled in from its neighbours."),
)
"""Kind as in fix_frames.KINDS, its title, and what to say when there is none."""


@dataclass(frozen=True)
class Findings:
    """What is known about the faces of one side.

    Attributes:
        status: numbers of files; records: the faces; frames: see FrameMap.
        persons: number of people that were told apart, 0 when that was not done.
        report: what the last extraction wrote, {} when there is none.
    """

    status: SideStatus
    records: Sequence[FaceRecord]
    frames: FrameMap
    persons: int = 0
    report: Mapping[str, Any] = field(default_factory=dict)

    def listed(self, kind: str) -> list[str]:
        """File names of the frames of a kind, in order."""
        return [self.frames.frames[number].name for number in self.frames.places(kind, LOW_SCORE)]


def find(side: SideFiles, status: SideStatus, frames: FrameMap) -> Findings:
    """Look the faces of a side up."""
    faceset = side.faceset()
    people = len(set(faceset.persons().values()))
    records = [record for ours in frames.faces.values() for record in ours]
    return Findings(status, records, frames, people, _report(side.aligned_dir / REPORT_FILE))


def counters_html(found: Findings | None) -> str:
    """Numbers; those of frames that need a look lead to the first of them."""
    if found is None or not (found.status.frames or found.status.faces):
        return empty_html("The numbers of frames and faces appear here once frames were extracted.")
    cells = [_figure(found.status.frames, "frames"), _figure(found.status.faces, "faces")]
    if found.records:
        for kind, title, _ in LISTS:
            names = found.listed(kind)
            cells.append(_figure(len(names), title[0].lower() + title[1:], names[0] if names else "", kind))
        tracks = {record.face.track for record in found.records} - {None}
        if tracks:
            cells.append(_figure(len(tracks), "tracks"))
        if found.persons:
            cells.append(_figure(found.persons, "persons"))
    cells.append(_figure(found.status.trashed, "in the trash"))
    return f'<div class="lk-stats">{"".join(cells)}</div>{_made_html(found)}'


def lists_html(found: Findings | None) -> str:
    """The frames that need a look, by reason; each leads to the view for fixing by hand."""
    if found is None or not found.records:
        return empty_html("Frames without a face, with several or with an uncertain one are listed here afterwards.")
    return "".join(_list_html(kind, title, none, found.listed(kind)) for kind, title, none in LISTS)


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


def _figure(number: int, words: str, frame: str = "", kind: str = "") -> str:
    words = html.escape(words)
    if frame:
        words = _link(frame, kind, words)
    return f'<div class="lk-figure"><b>{number:,}</b><span>{words}</span></div>'


def _link(frame: str, kind: str, words: str) -> str:
    name = html.escape(frame)
    return f'<button type="button" class="lk-link lk-frame" data-frame="{name}" data-kind="{kind}">{words}</button>'


def _list_html(kind: str, title: str, none: str, names: Sequence[str]) -> str:
    if not names:
        return f'<p class="lk-note">{none}</p>'
    links = "".join(f"<div>{_link(name, kind, html.escape(Path(name).stem))}</div>" for name in names[:LISTED])
    rest = f'<p class="lk-note">and {len(names) - LISTED:,} more</p>' if len(names) > LISTED else ""
    summary = f"<summary>{html.escape(title)}: {len(names):,}</summary>"
    return f'<details class="lk-details">{summary}<div class="lk-names">{links}</div>{rest}</details>'


def _made_html(found: Findings) -> str:
    """What found these faces and how much they tremble, by the last extraction."""
    report = found.report
    words = []
    if report.get("detector"):
        words.append(f"Found by {report['detector']} and {report.get('landmarker', 'unknown landmarks')}.")
    before, after = report.get("jitter_before"), report.get("jitter")
    if isinstance(after, float) and isinstance(before, float) and report.get("smoothing"):
        words.append(
            f"Jitter {100 * before:.2f} % of the face before smoothing, {100 * after:.2f} % after "
            f"(strength {report['smoothing']:g})."
        )
    elif isinstance(after, float):
        words.append(f"Jitter {100 * after:.2f} % of the face, not smoothed.")
    unreadable = report.get("unreadable") or ()
    if unreadable:
        words.append(f"{len(unreadable):,} frames could not be read.")
    return f'<p class="lk-note lk-made">{html.escape(" ".join(words))}</p>' if words else ""


def _report(path: Path) -> Mapping[str, Any]:
    try:
        found = read_json(path)
    except (OSError, LookalikeError):
        return {}
    return found if isinstance(found, dict) else {}


def _how(choice: Any) -> str:
    return f'<p class="lk-note">{html.escape(choice.how_to_get)}</p>' if choice.how_to_get else ""
