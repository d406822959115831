"""Exported videos as cards: player, facts, the marks the file carries, download and delete."""

from __future__ import annotations

import html
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backend.core.errors import LookalikeError
from backend.core.frames import VideoInfo
from backend.core.provenance import DIGITAL_SOURCE_TYPE
from backend.storage.results import read_sidecar, sidecar_path
from backend.storage.video_mark import read_xmp
from backend.storage.workspace import Project
from ui_tabs.context import PageContext
from ui_tabs.gallery import modified
from ui_tabs.header import size
from ui_tabs.job_panel import duration, empty_html

KEPT = 64
PLAYERS_THAT_PRELOAD = 6
"""Players further down the list fetch nothing until they are started."""

RESULT_SCRIPT = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-act]');
  if (!button) return;
  const card = button.closest('[data-result]');
  const ask = card.querySelector('[data-act="ask"]'), sure = card.querySelector('.lk-sure');
  if (button.dataset.act === 'delete') {
    button.disabled = true;
    trigger('select', {name: card.dataset.result});
    return;
  }
  const asking = button.dataset.act === 'ask';
  sure.hidden = !asking;
  ask.hidden = asking;
  (asking ? sure.querySelector('[data-act="keep"]') : ask).focus();
});
"""
"""Deleting takes two steps: the first button only shows the second."""

NOTHING_YET = (
    "The exported video appears here with a player, a download link and the marks it carries. "
    "Merge the frames first, then press Export."
)


@dataclass(frozen=True)
class Result:
    """What is known of one exported video.

    Attributes:
        path: the file.
        url, sidecar_url: where the browser gets the file and its sidecar; sidecar_url "" when there is none.
        info: what was probed, or a sentence why that failed.
        marked: whether the file itself carries the digital source type.
        sidecar: content of the sidecar, empty when there is none.
        bytes, modified: size and unix time of the file.
    """

    path: Path
    url: str
    sidecar_url: str
    info: VideoInfo | str
    marked: bool
    sidecar: Mapping[str, Any]
    bytes: int
    modified: float


@dataclass
class ResultCards:
    """Draws the results of a project; remembers what was read of each file, by path and modification time."""

    page: PageContext
    _known: dict[tuple[str, int], tuple[VideoInfo | str, bool]] = field(default_factory=dict)

    def stamp(self, project: Project | None) -> Any:
        """Changes when a result came, went or was written again."""
        if project is None:
            return None
        return tuple((path, modified(path), modified(sidecar_path(path))) for path in project.results())

    def html(self, project: Project | None) -> str:
        """All results, newest first."""
        found = [self._result(path) for path in project.results()] if project else []
        if not found:
            return empty_html(NOTHING_YET)
        cards = [card_html(result, at < PLAYERS_THAT_PRELOAD) for at, result in enumerate(found)]
        return f'<div class="lk-results">{"".join(cards)}</div>'

    def _result(self, path: Path) -> Result:
        info, marked = self._read(path)
        sidecar = sidecar_path(path)
        stat = path.stat()
        return Result(
            path=path,
            url=self.page.file_url(path),
            sidecar_url=self.page.file_url(sidecar) if sidecar.exists() else "",
            info=info,
            marked=marked,
            sidecar=read_sidecar(path),
            bytes=stat.st_size,
            modified=stat.st_mtime,
        )

    def _read(self, path: Path) -> tuple[VideoInfo | str, bool]:
        key = (str(path), modified(path))
        if key not in self._known:
            from backend.storage.video import probe

            try:
                info: VideoInfo | str = probe(path)
            except LookalikeError as error:
                info = str(error)
            if len(self._known) > KEPT:
                self._known.clear()
            self._known[key] = (info, DIGITAL_SOURCE_TYPE in read_xmp(path))
        return self._known[key]


def card_html(result: Result, preload: bool) -> str:
    """One exported video."""
    name = html.escape(result.path.name)
    url = html.escape(result.url)
    player = _player(result, url, name, preload)
    facts = "".join(f"<span>{html.escape(text)}</span>" for text in facts_of(result))
    buttons = (
        f'<a class="lk-act" href="{url}" download="{name}" aria-label="Download {name}">Download</a>'
        f'<button type="button" class="lk-act" data-act="ask" aria-label="Delete {name}">Delete</button>'
        '<span class="lk-sure" hidden>Delete this video and its sidecar from the disk?'
        f'<button type="button" class="lk-act lk-danger" data-act="delete" aria-label="Yes, delete {name}">Delete it'
        '</button><button type="button" class="lk-act" data-act="keep">Keep it</button></span>'
    )
    return (
        f'<article class="lk-result" data-result="{name}">{player}<h3 class="lk-card-title">{name}</h3>'
        f'<div class="lk-result-facts">{facts}</div>{marks_html(result)}<div class="lk-acts">{buttons}</div></article>'
    )


def facts_of(result: Result) -> list[str]:
    """Size, length, frames, picture, sound and date of a result, in words."""
    found = []
    if isinstance(result.info, VideoInfo):
        info = result.info
        found.append(f"{info.duration_s:.1f} s" if info.duration_s < 60 else duration(info.duration_s))
        if info.frame_count:
            found.append(f"{info.frame_count:,} frames")
        found.append(f"{info.width} x {info.height} px")
        found.append("with sound" if info.has_audio else "no sound")
    found.append(size(result.bytes))
    found.append(time.strftime("%Y-%m-%d %H:%M", time.localtime(result.modified)))
    return found


def marks_html(result: Result) -> str:
    """Which marks the file carries, and what the sidecar says."""
    chips = [
        _mark("marked as AI-manipulated", DIGITAL_SOURCE_TYPE) if result.marked else _mark("no AI mark in the file")
    ]
    chips.append(_mark("provenance sidecar", sidecar_path(result.path).name) if result.sidecar else _mark("no sidecar"))
    rows = "".join(f"<dt>{name}</dt><dd>{html.escape(text)}</dd>" for name, text in provenance_rows(result.sidecar))
    more = ""
    if rows:
        link = html.escape(result.sidecar_url)
        file = html.escape(sidecar_path(result.path).name)
        more = (
            f'<details class="lk-details"><summary>Where it came from</summary><dl class="lk-facts">{rows}</dl>'
            f'<a href="{link}" download="{file}">Download the sidecar</a></details>'
        )
    return f'<div class="lk-marks">{"".join(chips)}</div>{more}'


def provenance_rows(sidecar: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(name, text) of what a sidecar says, leaving out what is empty."""
    model = str(sidecar.get("model", ""))
    if model and sidecar.get("model_class"):
        model += f" ({sidecar['model_class']})"
    iteration = sidecar.get("iteration")
    named = [
        ("Project", sidecar.get("project")),
        ("Consent", sidecar.get("consent")),
        ("Model", model),
        ("Iteration", f"{iteration:,}" if isinstance(iteration, int) and iteration else ""),
        ("Software", sidecar.get("software")),
        ("Made", sidecar.get("created")),
        ("AI mark", "left out of the file by choice" if sidecar.get("mark") is False else ""),
        ("SHA-256", sidecar.get("sha256")),
    ]
    return [(name, str(value)) for name, value in named if value]


def _player(result: Result, url: str, name: str, preload: bool) -> str:
    if isinstance(result.info, str):
        return f'<p class="lk-error" role="alert">{html.escape(result.info)}</p>'
    width, height = result.info.width, result.info.height
    fetch = "metadata" if preload else "none"
    return (
        f'<video controls playsinline preload="{fetch}" width="{width}" height="{height}" src="{url}" '
        f'style="aspect-ratio:{width}/{height}" aria-label="{name}"></video>'
    )


def _mark(text: str, title: str = "") -> str:
    kind = "" if title else " lk-warn"
    tip = f' title="{html.escape(title)}"' if title else ""
    return f'<span class="lk-chip{kind}"{tip}>{html.escape(text)}</span>'
