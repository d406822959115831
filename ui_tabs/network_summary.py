"""A described network: its parts and their layers as tables, what it says of itself, and whether it fits."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from backend.core.errors import DamagedFileError
from backend.storage.atomic import read_json
from ui_tabs.labels import choice_label, label_of

Layers = Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True)
class Described:
    """What the summary stage found.

    Attributes:
        settings: of the training that was described.
        result: see the summary stage: parts (name, output, parameters, megabytes, source), parameters, trained, facts,
            cautions, need_mb, free_mb (0 when that is not known), host_mb, largest_batch, gflop, device.
        layers: part -> its layers (name, kind, output, parameters, source).
    """

    settings: Mapping[str, Any]
    result: Mapping[str, Any]
    layers: Layers = field(default_factory=dict)


def read_layers(path: Path | None) -> Layers:
    """The layers that the summary stage wrote; {} when they are gone."""
    if path is None:
        return {}
    try:
        found: Layers = read_json(path)
    except (DamagedFileError, OSError):
        return {}
    return found


def summary_html(found: Described, text_url: str) -> str:
    """The whole description.

    Args:
        found: what the stage found.
        text_url: URL of the description as text, "" when there is none.
    """
    result = found.result
    title = f'<h2 class="lk-card-title">Network of {html.escape(network_words(found.settings))}</h2>'
    link = f'<a class="lk-link" href="{html.escape(text_url)}" download="summary.txt">As text</a>' if text_url else ""
    layers = "".join(
        _layers_html(str(part["name"]), found.layers.get(str(part["name"]), ())) for part in _parts(result)
    )
    return (
        f'<div class="lk-report">{title}{_figures_html(found)}{_cautions_html(result)}{_facts_html(result)}'
        f"{_parts_html(result)}{layers}{link}</div>"
    )


def network_words(settings: Mapping[str, Any]) -> str:
    """Name, family, architecture and size of a described network."""
    family = choice_label("model_class", settings.get("model_class", "")).partition(",")[0]
    side = settings.get("resolution") or settings.get("output_size")
    words = [str(settings.get("model", "")), family, str(settings.get("archi", "")), f"{side} px" if side else ""]
    return ", ".join(word for word in words if word)


def _figures_html(found: Described) -> str:
    result = found.result
    batch, largest = int(found.settings.get("batch_size", 0)), result.get("largest_batch")
    need, free = result.get("need_mb"), result.get("free_mb")
    total, trained = result.get("parameters"), result.get("trained")
    facts = [
        ("parameters", count_words(total)),
        ("of them learn", count_words(trained) if trained != total else ""),
        (f"MB needed at batch {batch}", count_words(need)),
        (f"MB free on {result.get('device', 'the device')}", count_words(free or None)),
        ("MB of main memory for the optimiser", count_words(result.get("host_mb") or None)),
        ("largest batch that fits", count_words(largest)),
        ("GFLOP per iteration", count_words(result.get("gflop"))),
    ]
    cells = "".join(
        f'<span class="lk-figure"><b>{value}</b><span>{html.escape(words)}</span></span>'
        for words, value in facts
        if value
    )
    short = ""
    if isinstance(largest, int) and free and batch > largest:
        advice = f"Set it to {largest} or less." if largest else "Choose a smaller network or another device."
        short = f'<p class="lk-error">A batch of {batch} does not fit. {advice}</p>'
    return f'<div class="lk-stats">{cells}</div>{short}'


def _cautions_html(result: Mapping[str, Any]) -> str:
    told = ((label_of("train", str(one["field"])), str(one["sentence"])) for one in result.get("cautions") or ())
    return "".join(f'<p class="lk-why">{html.escape(f"{label}: {sentence}")}</p>' for label, sentence in told)


def _facts_html(result: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<dt>{html.escape(str(label))}</dt><dd>{html.escape(str(words))}</dd>"
        for label, words in dict(result.get("facts") or {}).items()
    )
    return f'<dl class="lk-facts">{rows}</dl>' if rows else ""


def _parts(result: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = result.get("parts", ())
    return found


def _parts_html(result: Mapping[str, Any]) -> str:
    rows = [
        (
            str(part.get("name", "")),
            _shape(part.get("output")),
            count_words(part.get("parameters")),
            count_words(part.get("megabytes")),
            str(part.get("source") or ""),
        )
        for part in _parts(result)
    ]
    return _table(("Part", "Output", "Parameters", "MB", "Connected to"), rows)


def _layers_html(part: str, layers: Sequence[Mapping[str, Any]]) -> str:
    """The layers of a part, folded away."""
    if not layers:
        return ""
    rows = [
        (
            str(layer.get("name", "")),
            str(layer.get("kind", "")),
            _shape(layer.get("output")),
            count_words(layer.get("parameters")),
            str(layer.get("source") or ""),
        )
        for layer in layers
    ]
    table = _table(("Layer", "Type", "Output", "Parameters", "Connected to"), rows)
    return f'<details class="lk-details"><summary>Layers of {html.escape(part)}: {len(rows)}</summary>{table}</details>'


_LOOKS = MappingProxyType(
    {
        "Parameters": "lk-number",
        "MB": "lk-number",
        "Output": "lk-nowrap",
        "Layer": "lk-breaks",
        "Type": "lk-breaks",
        "Connected to": "lk-breaks",
    }
)
"""Look of a column: names of layers are long words, and break so that all columns stay in sight."""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def cell(kind: str, title: str, text: str) -> str:
        look = f' class="{_LOOKS[title]}"' if title in _LOOKS else ""
        return f"<{kind}{look}>{html.escape(text)}</{kind}>"

    lines = "".join(
        f"<tr>{''.join(cell('td', title, text) for title, text in zip(head, row, strict=True))}</tr>" for row in rows
    )
    titles = "".join(cell("th", title, title) for title in head)
    return (
        f'<div class="lk-scroll"><table class="lk-table"><thead><tr>{titles}</tr></thead>'
        f"<tbody>{lines}</tbody></table></div>"
    )


def count_words(value: Any) -> str:
    """A number as people write it: 1,234,567 or 4.9; "" for what is none."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return ""
    return f"{value:,.0f}" if isinstance(value, int) or abs(value) >= 100 else f"{value:.3g}"


def _shape(output: Any) -> str:
    return " x ".join(str(size) for size in output) if isinstance(output, list | tuple) else str(output or "")
