"""What a training reports, as markup: the line of numbers, the list of events, the card of a model."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from backend.core.jobs import Event
from backend.storage.model_folder import ModelFolder
from ui_tabs.context import PageContext
from ui_tabs.labels import choice_label, label_of

EVENTS_SHOWN = 12

EVENT_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "settings": "settings changed",
        "batch": "batch made smaller",
    }
)
"""What of a milestone -> its word; others are shown as they are."""

_CHANGED = re.compile(r"\b([a-z]\w*) (\S+) -> ")

_FIGURES = (
    ("src_loss", "src loss", "{:.4f}"),
    ("dst_loss", "dst loss", "{:.4f}"),
    ("step_s", "s per iteration", "{:.3f}"),
    ("images_per_s", "images per s", "{:.1f}"),
    ("waits", "% of it waiting for faces", "{:.0f}"),
    ("memory_mb", "MB memory", "{:,.0f}"),
    ("learning_rate", "learning rate now", "{:.3g}"),
    ("skipped", "skipped steps", "{:,.0f}"),
)


def numbers_html(data: Mapping[str, Any], running: bool) -> str:
    """The line of numbers under way.

    Args:
        data: of a metric event: iteration, src_loss, dst_loss, step_s, images_per_s, loader_wait_s, memory_mb,
            learning_rate, skipped; what is missing is left out, and so is ``skipped`` when it is 0.
        running: whether the training goes on.
    """
    facts = {**data, "waits": _waiting_share(data), "skipped": data.get("skipped") or None}
    figures = [("iteration", f"{int(data.get('iteration', 0)):,}")]
    for key, words, shape in _FIGURES:
        value = facts.get(key)
        if isinstance(value, int | float):
            figures.append((words, shape.format(value)))
    cells = "".join(f'<span class="lk-figure"><b>{value}</b><span>{words}</span></span>' for words, value in figures)
    return f'<div class="lk-stats" data-running="{str(running).lower()}">{cells}</div>'


def beginning_html(resumed: Event | None) -> str:
    """The line of numbers of a running training before its first figures."""
    iteration = int(resumed.data.get("iteration", 0)) if resumed else 0
    words = f"Going on from iteration {iteration:,}." if iteration else "The first iteration is not done yet."
    return f'<p class="lk-note">{words}</p>'


def events_html(events: Sequence[Event]) -> str:
    """The newest milestones and warnings, newest first."""
    if not events:
        return ""
    rows = "".join(
        f'<tr><td class="lk-nowrap">{time.strftime("%H:%M:%S", time.localtime(event.time))}</td>'
        f'<td class="lk-nowrap">{html.escape(_event_word(event))}</td>'
        f"<td>{html.escape(_event_message(event))}</td></tr>"
        for event in list(events)[: -EVENTS_SHOWN - 1 : -1]
    )
    return f'<table class="lk-table"><tbody>{rows}</tbody></table>'


def model_card(page: PageContext, model: ModelFolder) -> str:
    """Thumbnail, family, iteration, last losses and age of a model."""
    info = model.info()
    if info is None:
        return '<p class="lk-note">This model has not been saved yet.</p>'
    picture = model.preview()
    image = f'<img src="{html.escape(page.file_url(picture))}" alt="">' if picture else ""
    losses = (
        f"src {info.src_loss:.4f}, dst {info.dst_loss:.4f}"
        if info.src_loss is not None and info.dst_loss is not None
        else "none yet"
    )
    saved = time.strftime("%Y-%m-%d %H:%M", time.localtime(info.updated))
    facts = [
        ("Family", _family(info.model_class, info.settings)),
        ("Iteration", f"{info.iteration:,}"),
        ("Mean losses", losses),
        ("Saved", f"{saved}, in training now" if model.owner() else saved),
        *([("Comes from", info.origin)] if info.origin else []),
    ]
    listed = "".join(f"<dt>{name}</dt><dd>{html.escape(value)}</dd>" for name, value in facts)
    return f'<div class="lk-clip">{image}<dl>{listed}</dl></div>'


def _family(model_class: str, settings: Mapping[str, Any]) -> str:
    words = [choice_label("model_class", model_class).partition(",")[0]]
    words += [str(settings[name]) for name in ("archi",) if settings.get(name)]
    side = settings.get("resolution") or settings.get("output_size")
    words += [f"{side} px"] if side else []
    return ", ".join([*words, *(["grayscale"] if settings.get("channels") == 1 else [])])


def _waiting_share(data: Mapping[str, Any]) -> float | None:
    """Share of a step that passed waiting for faces, %."""
    step, wait = data.get("step_s"), data.get("loader_wait_s")
    if not isinstance(step, int | float) or not isinstance(wait, int | float) or step <= 0:
        return None
    return min(100.0, 100.0 * wait / step)


def _event_word(event: Event) -> str:
    what = str(event.data.get("what") or event.data.get("level", ""))
    return EVENT_WORDS.get(what, what)


def _event_message(event: Event) -> str:
    """What a milestone says; settings by their labels instead of their names."""
    words = str(event.data.get("message", ""))
    if event.data.get("what") != "settings":
        return words
    return _CHANGED.sub(lambda found: f"{label_of('train', found[1])} {found[2]} to ", words)
