"""What a model has learned so far: numbers, loss curve, previews with their history, and the list of events."""

from __future__ import annotations

import html
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import gradio as gr

from backend.core.jobs import Event, JobState
from backend.jobs.store import JobRecord
from backend.storage.model_folder import ModelFolder
from ui_tabs.context import PageContext, Updates, View
from ui_tabs.job_panel import empty_html
from ui_tabs.loss_plot import loss_plot

RANGES: Mapping[str, int | None] = MappingProxyType({"last 1,000": 1_000, "last 10,000": 10_000, "all": None})
POINTS = 400
EVENTS_SHOWN = 12


class TrainView:
    """The right side of the Train tab.

    Args:
        page: the page's context.
        model: the model to show.
        record: the training job to show, or None.
    """

    def __init__(
        self,
        page: PageContext,
        model: Callable[[View], ModelFolder | None],
        record: Callable[[View], JobRecord | None],
    ) -> None:
        self.page = page
        self._model = model
        self._record = record
        with gr.Column(elem_classes="lk-card"):
            self.numbers = gr.HTML("", elem_id="train-numbers")
            with gr.Row(elem_classes="lk-buttons"):
                self.masked = gr.Radio(
                    [("faces", False), ("with masks", True)], value=False, label="Preview", elem_id="train-masked"
                )
                self.at = gr.Slider(
                    0, 1, value=1, step=1, label="History, right is now", elem_id="train-at", visible=False, buttons=[]
                )
            self.preview = gr.HTML(empty_html(_NO_PREVIEW), elem_id="train-preview")
        with gr.Column(elem_classes="lk-card"):
            with gr.Row(elem_classes="lk-buttons"):
                self.range = gr.Radio(list(RANGES), value="all", label="Iterations", elem_id="train-range")
                self.log = gr.Checkbox(True, label="Logarithmic", elem_id="train-logarithmic")
            self.curve = gr.HTML("", elem_id="train-curve")
            self.events = gr.HTML("", elem_id="train-events")
        for widget, name in ((self.masked, "masked"), (self.range, "range"), (self.log, "log"), (self.at, "at")):
            page.act(widget.input, _remember(name), [page.view, widget], None, trigger_mode="always_last")

    @property
    def outputs(self) -> list[Any]:
        """Every component that tick() and fill() may update."""
        return [self.numbers, self.at, self.preview, self.curve, self.events, self.masked, self.range, self.log]

    def fill(self, view: View) -> Updates:
        """The choices of this browser tab."""
        return {
            self.masked: bool(view.local.get("train.masked", False)),
            self.range: str(view.local.get("train.range", "all")),
            self.log: bool(view.local.get("train.log", True)),
        }

    def tick(self, view: View) -> Updates:
        """What changed since the last tick of this browser tab."""
        model, record = self._model(view), self._record(view)
        shown: Updates = {}
        for component, name, content in (
            (self.numbers, "numbers", self._numbers_html(model, record)),
            (self.events, "events", self._events_html(record)),
        ):
            if view.changed(f"train.{name}", content):
                shown[component] = content
        return {**shown, **self._tick_curve(view, model), **self._tick_preview(view, model)}

    def _numbers_html(self, model: ModelFolder | None, record: JobRecord | None) -> str:
        if model is None or record is None or record.request.settings.get("model") != model.name:
            return ""
        metric = self.page.feed(record).latest.get("metric")
        return numbers_html(metric.data, record.status.state is JobState.RUNNING) if metric else ""

    def _events_html(self, record: JobRecord | None) -> str:
        return events_html(self.page.feed(record).milestones) if record else ""

    def _tick_curve(self, view: View, model: ModelFolder | None) -> Updates:
        span = str(view.local.get("train.range", "all"))
        logarithmic = bool(view.local.get("train.log", True))
        stamp = (model.name, span, logarithmic, _stamp(model.losses.path)) if model else ()
        if not view.changed("train.curve", stamp):
            return {}
        if model is None:
            return {self.curve: empty_html("The loss of both sides appears here once a model is training.")}
        return {self.curve: loss_plot(model.history(last=RANGES.get(span), points=POINTS), logarithmic)}

    def _tick_preview(self, view: View, model: ModelFolder | None) -> Updates:
        masked = bool(view.local.get("train.masked", False))
        series = model.previews(masked) if model else []
        if view.changed("train.model", model.name if model else ""):
            view.local["train.at"] = None
        wanted = view.local.get("train.at")
        newest = wanted is None or int(wanted) >= len(series)
        if newest:
            view.local["train.at"] = None
        shown: Updates = {}
        if view.changed("train.history", (len(series), newest)):
            value: dict[str, Any] = {"value": len(series)} if newest else {}
            shown[self.at] = gr.update(visible=len(series) > 1, maximum=max(1, len(series)), **value)
        picture = (model.preview(masked) if model else None) if newest else series[int(wanted or 0)]
        if view.changed("train.preview", (str(picture), _stamp(picture))):
            shown[self.preview] = self._preview_html(picture)
        return shown

    def _preview_html(self, picture: Path | None) -> str:
        if picture is None:
            return empty_html(_NO_PREVIEW)
        url = html.escape(self.page.file_url(picture))
        name = picture.stem.split("_")[0]
        words = f"Preview of iteration {int(name):,}" if name.isdigit() else "Newest preview"
        return (
            f'<button type="button" class="lk-preview" data-full="{url}" title="{words}">'
            f'<img src="{url}" alt="{words}"></button>'
        )


_NO_PREVIEW = (
    "Faces of both sides, their reconstructions and the swap appear here while a model trains; "
    "a model that was trained before shows its last preview."
)


def numbers_html(data: Mapping[str, Any], running: bool) -> str:
    """The line of numbers under way: iteration, time and images per second, loader wait, memory, losses."""
    figures = [("iteration", f"{int(data.get('iteration', 0)):,}")]
    formats = (
        ("src_loss", "src loss", "{:.4f}"),
        ("dst_loss", "dst loss", "{:.4f}"),
        ("step_s", "s per iteration", "{:.3f}"),
        ("images_per_s", "images per s", "{:.1f}"),
        ("loader_wait_s", "s waiting for faces", "{:.4f}"),
        ("memory_mb", "MB memory", "{:,.0f}"),
    )
    for key, words, shape in formats:
        value = data.get(key)
        if isinstance(value, int | float):
            figures.append((words, shape.format(value)))
    cells = "".join(f'<span class="lk-figure"><b>{value}</b><span>{words}</span></span>' for words, value in figures)
    return f'<div class="lk-stats" data-running="{str(running).lower()}">{cells}</div>'


def events_html(events: Sequence[Event]) -> str:
    """The newest milestones and warnings, newest first."""
    if not events:
        return ""
    rows = "".join(
        f'<tr><td class="lk-number">{time.strftime("%H:%M:%S", time.localtime(event.time))}</td>'
        f"<td>{html.escape(str(event.data.get('what') or event.data.get('level', '')))}</td>"
        f"<td>{html.escape(str(event.data.get('message', '')))}</td></tr>"
        for event in list(events)[: -EVENTS_SHOWN - 1 : -1]
    )
    return f'<table class="lk-table"><tbody>{rows}</tbody></table>'


def model_card(page: PageContext, model: ModelFolder) -> str:
    """Thumbnail, iteration, last losses and age of a model."""
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
    owner = model.owner()
    facts = [
        ("Iteration", f"{info.iteration:,}"),
        ("Mean losses", losses),
        (
            "Saved",
            time.strftime("%Y-%m-%d %H:%M", time.localtime(info.updated)) + (", in training now" if owner else ""),
        ),
    ]
    listed = "".join(f"<dt>{name}</dt><dd>{html.escape(value)}</dd>" for name, value in facts)
    return f'<div class="lk-clip">{image}<dl>{listed}</dl></div>'


def _remember(name: str) -> Callable[[View, Any], None]:
    def pick(view: View, value: Any) -> None:
        view.local[f"train.{name}"] = value

    return pick


def _stamp(path: Path | None) -> tuple[int, int]:
    try:
        stat = path.stat() if path else None
    except FileNotFoundError:
        stat = None
    return (stat.st_mtime_ns, stat.st_size) if stat else (0, 0)
