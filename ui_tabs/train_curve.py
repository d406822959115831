"""The card of the loss curve: range, axis, which lines, sessions, and the whole history as a table."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import gradio as gr

from backend.core.errors import BadInputError
from backend.storage.loss_history import SMOOTHING_SHARE
from backend.storage.model_folder import ModelFolder, ModelInfo
from backend.storage.term_history import LOSSES, TermCurve
from backend.storage.usage import PAGE_CACHE
from ui_tabs.context import PageContext, Updates, View
from ui_tabs.job_panel import empty_html
from ui_tabs.labels import choice_label
from ui_tabs.loss_plot import Line, Plot, loss_plot

RANGES: Mapping[str, int | None] = MappingProxyType({"last 1,000": 1_000, "last 10,000": 10_000, "all": None})
POINTS = 400
TOTAL = "total"
ALL_PARTS = "parts"
NOTHING_YET = "The loss of both sides appears here once a model is training."

PARTS: Mapping[str, tuple[str, Mapping[str, str]]] = MappingProxyType(
    {
        "structure": ("structure", MappingProxyType({"structure_src": "src", "structure_dst": "dst"})),
        "pixel": ("pixel", MappingProxyType({"pixel_src": "src", "pixel_dst": "dst"})),
        "mask": ("mask", MappingProxyType({"mask_src": "src", "mask_dst": "dst"})),
        "eyes_mouth": ("eyes and mouth", MappingProxyType({"eyes_mouth_src": "src", "eyes_mouth_dst": "dst"})),
        "style": ("style", MappingProxyType({"style": "style"})),
        "gan": (
            "GAN and discriminator",
            MappingProxyType({"gan": "GAN", "gan_d": "GAN discriminator", "background_dst": "calm surroundings"}),
        ),
        "true_face": (
            "true face",
            MappingProxyType({"true_face": "true face", "true_face_d": "true face discriminator"}),
        ),
        **{
            name: (
                choice_label("loss_function", name),
                MappingProxyType({f"{name}_src": "src", f"{name}_dst": "dst"}),
            )
            for name in LOSSES
        },
    }
)
"""Part of the loss -> (its name, term -> what its line is called)."""

COLOURS = 7
"""How many colours the page has for parts. The first parts have their own; chosen losses take those that are free."""


class CurveCard:
    """The loss of the shown model over its whole life.

    Args:
        page: the page's context.
        model: the model to show.
    """

    def __init__(self, page: PageContext, model: Callable[[View], ModelFolder | None]) -> None:
        self.page = page
        self._model = model
        with gr.Column(elem_classes="lk-card"):
            with gr.Row(elem_classes="lk-buttons", visible=False) as self.controls:
                self.range = gr.Radio(list(RANGES), value="all", label="Iterations", elem_id="train-range")
                self.lines = gr.Dropdown(
                    [("total", TOTAL)],
                    value=TOTAL,
                    label="Loss",
                    elem_id="train-lines",
                    elem_classes="lk-short",
                    filterable=False,
                )
                self.log = gr.Checkbox(True, label="Logarithmic", elem_id="train-logarithmic")
            self.curve = gr.HTML("", elem_id="train-curve")
            with gr.Row(elem_classes="lk-buttons", visible=False) as self.tables:
                self.table = gr.Button("Losses as CSV", size="sm", elem_id="train-csv", elem_classes="lk-quiet")
                self.download = gr.DownloadButton(
                    "Download", size="sm", elem_id="train-csv-file", elem_classes="lk-quiet", visible=False
                )
        for widget, name in ((self.range, "range"), (self.log, "log"), (self.lines, "lines")):
            page.act(widget.input, remember(name), [page.view, widget], None, trigger_mode="always_last")
        page.on(self.table.click, self._write_table, page.view, self.download)

    @property
    def outputs(self) -> list[Any]:
        """Every component that tick() and fill() may update."""
        return [self.controls, self.range, self.log, self.lines, self.curve, self.tables, self.download]

    def fill(self, view: View) -> Updates:
        """The choices of this browser tab."""
        return {
            self.range: str(view.local.get("train.range", "all")),
            self.log: bool(view.local.get("train.log", True)),
        }

    def tick(self, view: View, model: ModelFolder | None) -> Updates:
        """What changed: the curve, and which lines there are."""
        span = str(view.local.get("train.range", "all"))
        logarithmic = bool(view.local.get("train.log", True))
        chosen = str(view.local.get("train.lines", TOTAL))
        shown: Updates = {}
        if view.changed("train.csv", model.name if model else ""):
            shown[self.download] = gr.update(visible=False)
        drawn = model is not None and len(model.losses) > 0
        if view.changed("train.drawn", drawn):
            shown.update({row: gr.update(visible=drawn) for row in (self.controls, self.tables)})
        files = (stamp(model.losses.path), stamp(model.terms.path)) if model else ()
        if not view.changed("train.curve", (model.name if model else "", span, logarithmic, chosen, files)):
            return shown
        if model is None:
            return {**shown, self.curve: empty_html(NOTHING_YET), **self._offer(view, (), chosen)}
        terms = model.terms.curve(last=RANGES.get(span), points=POINTS)
        shown.update(self._offer(view, tuple(terms.terms), chosen))
        plot = _parts(terms, chosen) if chosen != TOTAL else _total(model, RANGES.get(span))
        if not plot.lines:
            plot = _total(model, RANGES.get(span))
        marked = Plot(plot.iterations, plot.lines, plot.count, session_marks(model.info()))
        return {**shown, self.curve: loss_plot(marked, logarithmic)}

    def _offer(self, view: View, terms: Sequence[str], chosen: str) -> Updates:
        """The lines that can be chosen, when they changed."""
        found = [(words, name) for name, (words, names) in PARTS.items() if set(names) & set(terms)]
        choices = [("total", TOTAL), *([("all parts", ALL_PARTS)] if found else []), *found]
        if not view.changed("train.lines", tuple(choices)):
            return {}
        value = chosen if chosen in [name for _, name in choices] else TOTAL
        return {self.lines: gr.update(choices=choices, value=value)}

    def _write_table(self, view: View) -> Any:
        model = self._model(view)
        if model is None or not len(model.losses):
            raise BadInputError("There are no losses yet.", "They are written while a model trains.")
        folder = self.page.need_project(view).jobs_dir / PAGE_CACHE
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{model.name}_losses.csv"
        model.write_csv(path)
        return gr.update(value=str(path), visible=True, label=f"Download {path.name}")


def session_marks(info: ModelInfo | None) -> list[tuple[int, str]]:
    """(iteration, words) of every run of a model."""
    sessions = info.sessions if info else ()
    return [
        (run.first_iteration, f"Session of {time.strftime('%Y-%m-%d %H:%M', time.localtime(run.started))}")
        for run in sessions
    ]


def remember(name: str) -> Callable[[View, Any], None]:
    """A handler that keeps a choice of the Train tab for this browser tab."""

    def pick(view: View, value: Any) -> None:
        view.local[f"train.{name}"] = value

    return pick


def stamp(path: Path | None) -> tuple[int, int]:
    """(modification time, size) of a file; zeros when it is not there."""
    try:
        stat = path.stat() if path else None
    except FileNotFoundError:
        stat = None
    return (stat.st_mtime_ns, stat.st_size) if stat else (0, 0)


def smoothed(values: Sequence[float]) -> list[float]:
    """Exponential moving average without a bias at the start; gaps (NaN) stay gaps."""
    alpha = 2.0 / (max(1.0, SMOOTHING_SHARE * len(values)) + 1.0)
    found = []
    total = weight = 0.0
    for value in values:
        if math.isfinite(value):
            total += alpha * (value - total)
            weight += alpha * (1.0 - weight)
        found.append(total / weight if math.isfinite(value) else math.nan)
    return found


def _total(model: ModelFolder, last: int | None) -> Plot:
    curve = model.history(last=last, points=POINTS)
    lines = [
        Line("src", "src", curve.src.tolist(), curve.src_smooth.tolist()),
        Line("dst", "dst", curve.dst.tolist(), curve.dst_smooth.tolist()),
    ]
    return Plot([float(i) for i in curve.iteration], lines if len(curve.iteration) else [], curve.count)


def _parts(terms: TermCurve, chosen: str) -> Plot:
    lines = []
    colours = part_colours(terms.terms)
    for part, (words, names) in PARTS.items():
        drawn = [name for name in names if name in terms.terms and chosen in (ALL_PARTS, part)]
        for number, name in enumerate(drawn):
            side = names[name]
            alone = chosen == part and side in ("src", "dst")
            label = f"{words} {side}" if side in ("src", "dst") and not alone else side
            style = side if alone else f"part-{colours[part]}{' second' if number else ''}"
            raw = terms.terms[name].tolist()
            lines.append(Line(label, style, raw, smoothed(raw)))
    return Plot([float(i) for i in terms.iteration], lines, terms.count)


def part_colours(terms: Collection[str]) -> dict[str, int]:
    """Number of the colour of each part that is there."""
    present = [part for part, (_, names) in PARTS.items() if set(names) & set(terms)]
    fixed = {part: number for number, part in enumerate(PARTS) if number < COLOURS and part in present}
    free = [number for number in range(COLOURS) if number not in fixed.values()] or list(range(COLOURS))
    chosen = (part for part in present if part not in fixed)
    return fixed | {part: free[number % len(free)] for number, part in enumerate(chosen)}
