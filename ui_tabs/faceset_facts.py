"""What a faceset holds, as figures, small charts and plain words."""

from __future__ import annotations

import html
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np
import numpy.typing as npt

from backend.core.faces import FaceType
from backend.storage.faceset_facts import PITCH_EDGES_DEG, YAW_EDGES_DEG, FacesetFacts, Spread, covered, facts_of
from backend.storage.project import SideFiles
from backend.storage.workspace import Project
from ui_tabs.context import PageContext, Updates, View
from ui_tabs.header import size
from ui_tabs.job_panel import empty_html
from ui_tabs.labels import SIDES, choice_label
from ui_tabs.steps import count

NOTHING_YET = "The numbers of this faceset appear here once it has faces."
OTHER = {"src": "dst", "dst": "src"}

_PATIENCE = 8.0
"""Numbers that took t seconds are not made again within this many times t."""
_CHART_WIDTH, _CHART_HEIGHT = 176, 48
_CELL = 14


@dataclass(frozen=True)
class _Kept:
    """Facts, of which state of the folders, when they were made and how many seconds that took."""

    stamp: tuple[int, ...]
    facts: FacesetFacts
    made: float
    took_s: float


class FactsView:
    """The numbers of one side, looked up again when its folders change. Place it inside a layout.

    Args:
        side_of: the side a view looks at.
    """

    def __init__(self, page: PageContext, side_of: Callable[[View], str]) -> None:
        self.page = page
        self._side_of = side_of
        self._kept: dict[tuple[str, str], _Kept] = {}
        self._lock = threading.Lock()
        self.box = gr.HTML(empty_html(NOTHING_YET), elem_id="tools-facts")

    @property
    def outputs(self) -> list[Any]:
        """Every component that tick() may update."""
        return [self.box]

    def tick(self, view: View) -> Updates:
        """What changed."""
        project, side = self.page.project(view), self._side_of(view)
        if project is None:
            text = empty_html(NOTHING_YET)
        else:
            text = facts_html(side, self._facts(project, side), self._facts(project, OTHER[side]))
        return {self.box: text} if view.changed("tools.facts", text) else {}

    def _facts(self, project: Project, name: str) -> FacesetFacts:
        """Facts of a side; while its folders change quickly they may be some seconds old."""
        side = project.side(name)
        with self._lock:
            kept = self._kept.get((str(project.path), name))
            stamp = _stamp(side)
            now = time.monotonic()
            if kept is None or (kept.stamp != stamp and now - kept.made > _PATIENCE * kept.took_s):
                facts = facts_of(side)
                kept = _Kept(stamp, facts, time.monotonic(), time.monotonic() - now)
                self._kept[str(project.path), name] = kept
            return kept.facts


def facts_html(side: str, facts: FacesetFacts, other: FacesetFacts) -> str:
    """The page of one faceset; ``other`` is the other side's, for comparing poses."""
    if not facts.faces:
        damaged = f" {count(facts.damaged, 'file')} cannot be used." if facts.damaged else ""
        return empty_html(NOTHING_YET + damaged)
    charts = "".join(
        (
            _chart("Sharpness", facts.sharpness, facts.faces),
            _chart("Confidence of the detector", facts.score, facts.faces),
            _chart("Head turn", facts.yaw_deg, facts.faces, ("looks left", "looks right")),
            _chart("Head tilt", facts.pitch_deg, facts.faces, ("looks down", "looks up")),
        )
    )
    unknown = [found is None for found in (facts.sharpness, facts.yaw_deg)]
    if any(unknown):
        what = " and ".join(w for w, missing in zip(("sharpness", "poses"), unknown, strict=True) if missing)
        charts += f'<p class="lk-note">{_capital(what)} are not known. Measure pose and sharpness finds them.</p>'
    return (
        f'<div class="lk-set-facts">{_figures(facts)}{_notes(facts)}'
        f'<div class="lk-set-charts">{charts}{_pose_chart(side, facts, other)}</div>'
        f'<div class="lk-set-lists">{_lists(facts)}</div></div>'
    )


def _figures(facts: FacesetFacts) -> str:
    figures = [("faces", f"{facts.faces:,}"), ("disk used", size(facts.bytes))]
    if facts.frames:
        figures.append(("frames without a face", f"{facts.frames_without_face:,} of {facts.frames:,}"))
    if facts.persons:
        figures.append(("persons", f"{len(facts.persons):,}"))
    if facts.tracks:
        figures.append(("tracks", f"{facts.tracks:,}"))
    if facts.damaged:
        figures.append(("files that cannot be used", f"{facts.damaged:,}"))
    cells = "".join(f'<div class="lk-figure"><b>{value}</b><span>{name}</span></div>' for name, value in figures)
    return f'<div class="lk-stats">{cells}</div>'


def _notes(facts: FacesetFacts) -> str:
    """What needs a sentence."""
    before, after = facts.jitter
    said = []
    if len(facts.types) > 1 or len(facts.sizes) > 1:
        said.append("Face types or sizes are mixed; Size and face type makes them alike.")
    if facts.masked and facts.masked < facts.faces:
        said.append(f"{count(facts.faces - facts.masked, 'face')} have no applied mask.")
    if before is not None and after is not None:
        said.append(
            f"From frame to frame the crops of the last extraction trembled by {before:.2%} of their side as found, "
            f"by {after:.2%} as written."
        )
    elif after is not None:
        said.append(f"From frame to frame the crops of the last extraction tremble by {after:.2%} of their side.")
    return "".join(f'<p class="lk-note">{html.escape(sentence)}</p>' for sentence in said)


def _chart(title: str, found: Spread | None, faces: int, ends: tuple[str, str] | None = None) -> str:
    """Bars of a distribution with its range and median; of angles with words at the ends, left before right."""
    if found is None:
        return ""
    counts, flipped = found.counts, ends is not None and ends[0] == "looks left"
    wide, most = _CHART_WIDTH / len(counts), max(counts)
    bars = "".join(
        f'<rect x="{place * wide + 0.5:.1f}" y="{_CHART_HEIGHT - (h := max(1.5, number / most * _CHART_HEIGHT)):.1f}" '
        f'width="{wide - 1:.1f}" height="{h:.1f}"><title>{count(number, "face")}</title></rect>'
        for place, number in enumerate(reversed(counts) if flipped else counts)
        if number
    )
    known = "" if found.known == faces else f", known of {found.known:,}"
    median = _median(found.median, ends)
    low, high = ends or (_figure(found.low), _figure(found.high))
    words = f"{title}: median {median}{known}"
    return (
        f'<figure class="lk-set-chart"><figcaption>{title}</figcaption>'
        f'<svg viewBox="0 0 {_CHART_WIDTH} {_CHART_HEIGHT}" role="img" aria-label="{html.escape(words)}">{bars}</svg>'
        f"<p><span>{low}</span><b>median {median}{known}</b><span>{high}</span></p></figure>"
    )


def _median(value: float, ends: tuple[str, str] | None) -> str:
    """A median in words: "12", or "12\u00b0 left" for an angle."""
    if ends is None:
        return _figure(value)
    if abs(value) < 0.5:
        return "0\u00b0"
    left_or_right = ends[0] == "looks left"
    way = ("left" if value > 0 else "right") if left_or_right else ("up" if value > 0 else "down")
    return f"{abs(value):.0f}\u00b0 {way}"


def _pose_chart(side: str, facts: FacesetFacts, other: FacesetFacts) -> str:
    """The map of poses: darker for more faces, outlined where only the other side has some."""
    share = covered(facts.poses, other.poses)
    if not facts.poses.sum() and share is None:
        return ""
    rows, columns = facts.poses.shape
    most = max(1, int(facts.poses.max()))
    cells = "".join(
        _cell(row, column, int(facts.poses[row, column]), int(other.poses[row, column]), most)
        for row in range(rows)
        for column in range(columns)
    )
    word, theirs = SIDES[side].lower(), SIDES[OTHER[side]].lower()
    said = "" if share is None else coverage_words(facts.poses, other.poses, word, theirs)
    return (
        '<figure class="lk-set-chart lk-set-poses"><figcaption>Poses</figcaption>'
        f'<svg viewBox="0 0 {columns * _CELL} {rows * _CELL}" class="lk-set-{side}" role="img" '
        f'aria-label="{html.escape(said or "Poses of the faces")}">{cells}</svg>'
        f"<p>{html.escape(said)}</p></figure>"
    )


def coverage_words(poses: npt.NDArray[np.int64], others: npt.NDArray[np.int64], word: str, theirs: str) -> str:
    """How much of the other side's poses are here, one sentence or two."""
    share = covered(poses, others) or 0.0
    missing = int(others[poses == 0].sum())
    if not missing:
        return f"Every pose of the {theirs} faces is among the {word} faces too."
    return (
        f"{share:.0%} of the {theirs} faces have a pose that is here too; {count(missing, 'face')} "
        f"{'looks' if missing == 1 else 'look'} where none here does (outlined)."
    )


def _cell(row: int, column: int, here: int, there: int, most: int) -> str:
    """One pose; looking up is at the top, to the left of the picture at the left."""
    rows, columns = len(PITCH_EDGES_DEG) - 1, len(YAW_EDGES_DEG) - 1
    x, y = (columns - 1 - column) * _CELL, (rows - 1 - row) * _CELL
    shade = 0.12 + 0.88 * np.log1p(here) / np.log1p(most) if here else 0.0
    kind = "lacks" if there and not here else "has" if here else "none"
    turn = f"turn {YAW_EDGES_DEG[column]} to {YAW_EDGES_DEG[column + 1]}\u00b0"
    tilt = f"tilt {PITCH_EDGES_DEG[row]} to {PITCH_EDGES_DEG[row + 1]}\u00b0"
    opacity = f' fill-opacity="{shade:.2f}"' if here else ""
    return (
        f'<rect class="{kind}" x="{x + 1}" y="{y + 1}" width="{_CELL - 2}" height="{_CELL - 2}"{opacity}>'
        f"<title>{tilt}, {turn}: {count(here, 'face')} here, {there:,} on the other side</title></rect>"
    )


def _lists(facts: FacesetFacts) -> str:
    per_frame = {f"{number} in a frame": frames for number, frames in facts.per_frame.items()}
    people = {f"person {place + 1}": number for place, number in enumerate(facts.persons)}
    made = {"filled from neighbours": facts.filled, "placed by hand": facts.manual}
    masks = {"mask applied": facts.masked, "polygons drawn": facts.drawn}
    types = {choice_label("face_type", FaceType(name).letter) or name: n for name, n in facts.types.items()}
    sizes = {f"{name} px": number for name, number in facts.sizes.items()}
    parts = (
        ("Face type", types, facts.faces),
        ("Size", sizes, facts.faces),
        ("Found by", _named(facts.detectors), facts.faces),
        ("Landmarks by", _named(facts.landmarkers), facts.faces),
        ("Masks", masks, facts.faces),
        ("Faces in a frame", per_frame, sum(facts.per_frame.values())),
        ("Persons", people, facts.faces),
        ("Not found by the networks", {k: v for k, v in made.items() if v}, facts.faces),
    )
    return "".join(_shares(title, values, whole) for title, values, whole in parts if values)


def _named(values: Mapping[str, int]) -> dict[str, int]:
    return {name or "another program": number for name, number in values.items()}


def _shares(title: str, values: Mapping[str, int], whole: int, at_most: int = 6) -> str:
    """A short list of shares with bars."""
    shown: Sequence[tuple[str, int]] = list(values.items())[:at_most]
    rest = sum(values.values()) - sum(number for _, number in shown)
    rows = "".join(
        f'<li><span>{html.escape(name)}</span><i style="width:{100 * number / max(1, whole):.1f}%"></i>'
        f"<b>{number:,}</b></li>"
        for name, number in [*shown, *([("others", rest)] if rest else [])]
    )
    return f'<section><h3>{title}</h3><ul class="lk-set-shares">{rows}</ul></section>'


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 10 or value == round(value) else f"{value:.2g}"


def _stamp(side: SideFiles) -> tuple[int, ...]:
    """Changes when faces, frames or persons do."""
    found = []
    for path in (side.aligned_dir, side.frames_dir):
        try:
            found.append(path.stat().st_mtime_ns)
        except OSError:
            found.append(0)
    return tuple(found)
