"""Exported files as cards: player or picture, facts, the marks they carry, download, verify and delete.

The cards travel as data; export.js changes only what is different, so that a playing film goes on.
"""

from __future__ import annotations

import html
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backend.core.frames import VideoInfo
from backend.core.provenance import DIGITAL_SOURCE_TYPE
from backend.storage.results import sidecar_path
from backend.storage.workspace import Project
from ui_tabs.context import PageContext
from ui_tabs.gallery import modified
from ui_tabs.header import size
from ui_tabs.job_panel import duration
from ui_tabs.result_files import Look, ResultFiles, container_of, plays

PLAYERS_THAT_PRELOAD = 6
"""Players further down the list fetch nothing until they are started."""

RESULT_SCRIPT = "window.lookalike.exportResults(element, trigger, 'export-results-data');"
RESULT_FRAME = '<div class="lk-results" data-results></div>'

NOTHING_YET = (
    "Exported files appear here with a player, a download link and the marks they carry. "
    "Merge the frames and press Export merged frames, or press Merge and export."
)


@dataclass(frozen=True)
class Result:
    """One exported file or folder of pictures.

    Attributes:
        path: the file or folder.
        url, sidecar_url: where the browser gets the file and its sidecar; "" for a folder, or without a sidecar.
        pictures: addresses of a few pictures of a folder, or of one frame of a video that no browser plays.
        look: what was read of it; None while it is being read.
        sidecar: content of the sidecar, empty when there is none.
    """

    path: Path
    url: str
    sidecar_url: str
    pictures: tuple[str, ...] = ()
    look: Look | None = None
    sidecar: Mapping[str, Any] = field(default_factory=dict)


class ResultCards:
    """Draws the results of a project.

    Args:
        page: the page's context.
        files: reads them, beside the page.
    """

    def __init__(self, page: PageContext, files: ResultFiles | None = None) -> None:
        self.page = page
        self.files = files or ResultFiles()

    def stamp(self, project: Project | None) -> Any:
        """Changes when a result came, went, was written again, or was read meanwhile."""
        if project is None:
            return None
        return tuple(
            (path, modified(path), modified(sidecar_path(path)), self.files.known(path)) for path in project.results()
        )

    def data(self, project: Project | None) -> str:
        """All results, newest first, as export.js reads them."""
        found = project.results() if project else []
        looks = self.files.look(project, found) if project else {}
        cards = [card(self._result(path, looks.get(path)), at < PLAYERS_THAT_PRELOAD) for at, path in enumerate(found)]
        told = json.dumps({"project": project.name if project else "", "cards": cards, "empty": NOTHING_YET})
        return f"<div hidden>{html.escape(told, quote=False)}</div>"

    def _result(self, path: Path, look: Look | None) -> Result:
        sidecar = sidecar_path(path)
        pictures = look.pictures if look else ()
        return Result(
            path=path,
            url="" if path.is_dir() else self.page.file_url(path),
            sidecar_url=self.page.file_url(sidecar) if sidecar.exists() else "",
            pictures=tuple(self.page.file_url(picture) for picture in pictures if picture.exists()),
            look=look,
            sidecar=look.sidecar if look else {},
        )


def card(result: Result, preload: bool) -> dict[str, str]:
    """One result: its name, what tells its content apart, the markup of its picture and of the rest."""
    key = "|".join((result.url, *result.pictures, "" if result.look is None else "read"))
    return {"name": result.path.name, "key": key, "player": player_html(result, preload), "body": body_html(result)}


def player_html(result: Result, preload: bool) -> str:
    """What can be seen of it: a player, a moving GIF, or pictures with a word why there is no player."""
    name = html.escape(result.path.name)
    look = result.look
    if look is None:
        return '<p class="lk-empty">The file is being read.</p>'
    if look.fault:
        return f'<p class="lk-error" role="alert">{html.escape(look.fault)}</p>'
    if result.url and container_of(result.path) == "gif":
        return f'<img src="{html.escape(result.url)}" alt="{name}" loading="lazy">'
    if isinstance(look.info, VideoInfo) and plays(result.path, look.info, result.sidecar):
        return _video(result, look.info, "metadata" if preload else "none")
    shown = "".join(f'<img src="{html.escape(url)}" alt="A frame of {name}" loading="lazy">' for url in result.pictures)
    said = "" if result.path.is_dir() else '<p class="lk-note">Not playable in a browser. Download it to watch it.</p>'
    return f'<div class="lk-frames">{shown}</div>{said}'


def body_html(result: Result) -> str:
    """Name, facts, marks and buttons."""
    name = html.escape(result.path.name)
    facts = "".join(f"<span>{html.escape(text)}</span>" for text in facts_of(result))
    folder = result.path.is_dir()
    if folder:
        path = html.escape(str(result.path.resolve()), quote=True)
        take = f'<button type="button" class="lk-act" data-act="copy" data-path="{path}">Copy the path</button>'
        place = f'<p class="lk-note">The pictures lie in {path}</p>'
    else:
        url = html.escape(result.url)
        take = f'<a class="lk-act" href="{url}" download="{name}" aria-label="Download {name}">Download</a>'
        place = ""
    what = "this folder of pictures" if folder else "this file"
    buttons = (
        f"{take}"
        f'<button type="button" class="lk-act" data-act="verify" aria-label="Verify {name}">Verify</button>'
        f'<button type="button" class="lk-act" data-act="ask" aria-label="Delete {name}">Delete</button>'
        f'<span class="lk-sure" hidden>Delete {what} and its sidecar from the disk?'
        f'<button type="button" class="lk-act lk-danger" data-act="delete" aria-label="Yes, delete {name}">Delete it'
        '</button><button type="button" class="lk-act" data-act="keep">Keep it</button></span>'
    )
    return (
        f'<h3 class="lk-card-title">{name}</h3><div class="lk-result-facts">{facts}</div>{place}'
        f'{marks_html(result)}<div class="lk-acts">{buttons}</div>'
    )


def facts_of(result: Result) -> list[str]:
    """Format, length, frames, picture, sound, size and date of a result, in words."""
    look = result.look
    if look is None:
        return []
    found = [look.format] if look.format else []
    if isinstance(look.info, VideoInfo):
        info = look.info
        found.append(f"{info.duration_s:.1f} s" if info.duration_s < 60 else duration(info.duration_s))
        if info.frame_count:
            found.append(f"{info.frame_count:,} frames")
        found.append(f"{info.width} x {info.height} px")
        found.append("with sound" if info.has_audio else "no sound")
    elif look.count:
        found.append(f"{look.count:,} picture{'' if look.count == 1 else 's'}")
    found.append(size(look.bytes))
    found.append(time.strftime("%Y-%m-%d %H:%M", time.localtime(look.modified)))
    return found


def marks_html(result: Result) -> str:
    """Which marks the file carries, and what the sidecar says."""
    if result.look is None:
        return ""
    marked, sidecar = result.look.marked, result.sidecar
    chips = [_mark("marked as AI-manipulated", DIGITAL_SOURCE_TYPE) if marked else _mark("no AI mark in the file")]
    signer, label = (str(sidecar.get(name) or "") for name in ("certificate_subject", "label"))
    chips += [_mark(f"signed by {signer}", "Content credentials, C2PA")] if signer else []
    chips += [_mark("visible label", label)] if label else []
    chips.append(_mark("provenance sidecar", sidecar_path(result.path).name) if sidecar else _mark("no sidecar"))
    rows = "".join(f"<dt>{name}</dt><dd>{html.escape(text)}</dd>" for name, text in provenance_rows(sidecar))
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


def _video(result: Result, info: VideoInfo, fetch: str) -> str:
    return (
        f'<video controls playsinline preload="{fetch}" width="{info.width}" height="{info.height}" '
        f'src="{html.escape(result.url)}" style="aspect-ratio:{info.width}/{info.height}" '
        f'aria-label="{html.escape(result.path.name)}"></video>'
    )


def _mark(text: str, title: str = "") -> str:
    kind = "" if title else " lk-warn"
    tip = f' title="{html.escape(title)}"' if title else ""
    return f'<span class="lk-chip{kind}"{tip}>{html.escape(text)}</span>'
