"""What a model has learned so far: numbers, previews with their history and its video, loss curve, list of events."""

from __future__ import annotations

import html
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from backend.core.errors import BadInputError
from backend.core.jobs import JobState
from backend.core.settings import TimelapseSettings
from backend.jobs.store import JobRecord
from backend.storage.model_folder import FACES, ModelFolder
from ui_tabs.context import OPEN_STATES, PageContext, Updates, View
from ui_tabs.job_panel import empty_html, job_html
from ui_tabs.train_curve import CurveCard, remember, stamp
from ui_tabs.train_words import beginning_html, events_html, numbers_html

PAGE_WORDS = (("faces", FACES), ("with masks", "masked"), ("morph", "morph"))
_NO_PREVIEW = (
    "Faces of both sides, their reconstructions and the swap appear here while a model trains; "
    "a model that was trained before shows its last preview."
)


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
                self.pages = gr.Radio(
                    list(PAGE_WORDS[:1]), value=FACES, label="Preview", elem_id="train-page", visible=False
                )
                self.at = gr.Slider(
                    0, 1, value=1, step=1, label="History, right is now", elem_id="train-at", visible=False, buttons=[]
                )
                self.film = gr.Button(
                    "Make a video of it", size="sm", elem_id="train-film", elem_classes="lk-quiet", visible=False
                )
            self.preview = gr.HTML(empty_html(_NO_PREVIEW), elem_id="train-preview")
            self.video = gr.HTML("", elem_id="train-video")
        self.curve = CurveCard(page, model)
        with gr.Column(elem_classes="lk-card lk-events"):
            self.events = gr.HTML("", elem_id="train-events")
        for widget, name in ((self.pages, "page"), (self.at, "at")):
            page.act(widget.input, remember(name), [page.view, widget], None, trigger_mode="always_last")
        page.act(self.film.click, self._make_film, page.view, None)

    @property
    def outputs(self) -> list[Any]:
        """Every component that tick() and fill() may update."""
        own = [self.numbers, self.pages, self.at, self.film, self.preview, self.video, self.events]
        return [*own, *self.curve.outputs]

    def fill(self, view: View) -> Updates:
        """The choices of this browser tab."""
        return self.curve.fill(view)

    def tick(self, view: View) -> Updates:
        """What changed since the last tick of this browser tab."""
        model, record = self._model(view), self._record(view)
        shown: Updates = {}
        for component, name, content in (
            (self.numbers, "numbers", self._numbers_html(model, record)),
            (self.events, "events", self._events_html(model, record)),
            (self.video, "video", self._video_html(view, model)),
        ):
            if view.changed(f"train.{name}", content):
                shown[component] = content
        return {**shown, **self.curve.tick(view, model), **self._tick_preview(view, model)}

    def _numbers_html(self, model: ModelFolder | None, record: JobRecord | None) -> str:
        if record is None or not _concerns(record, model):
            return ""
        feed, running = self.page.feed(record), record.status.state is JobState.RUNNING
        metric = feed.latest.get("metric")
        if metric is None:
            resumed = next((e for e in feed.milestones if e.data.get("what") == "resumed"), None)
            return beginning_html(resumed) if running else ""
        return numbers_html(metric.data, running)

    def _events_html(self, model: ModelFolder | None, record: JobRecord | None) -> str:
        return events_html(self.page.feed(record).milestones) if record and _concerns(record, model) else ""

    # -- previews

    def _tick_preview(self, view: View, model: ModelFolder | None) -> Updates:
        pages = model.pages() if model else []
        if view.changed("train.model", model.name if model else ""):
            view.local["train.at"] = None
        page = _page(view, pages)
        series = model.previews(page) if model else []
        wanted = view.local.get("train.at")
        newest = wanted is None or int(wanted) >= len(series)
        if newest:
            view.local["train.at"] = None
        shown: Updates = {}
        if view.changed("train.pages", (tuple(pages), page)):
            words = {name: word for word, name in PAGE_WORDS}
            choices = [(words.get(name, name), name) for name in pages or [FACES]]
            shown[self.pages] = gr.update(choices=choices, value=page, visible=len(pages) > 1)
        if view.changed("train.history", (len(series), newest)):
            value: dict[str, Any] = {"value": len(series)} if newest else {}
            shown[self.at] = gr.update(visible=len(series) > 1, maximum=max(1, len(series)), **value)
            shown[self.film] = gr.update(visible=len(series) > 1)
        picture = (model.preview(page) if model else None) if newest else series[int(wanted or 0)]
        if view.changed("train.preview", (str(picture), stamp(picture))):
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

    # -- their video

    def _film(self, view: View) -> JobRecord | None:
        """The newest time-lapse of the shown model."""
        model = self._model(view)
        if model is None:
            return None
        found = self.page.jobs(view, ("timelapse",))
        return next((r for r in found if r.request.settings.get("model") == model.name), None)

    def _make_film(self, view: View) -> None:
        model, record = self._model(view), self._film(view)
        if model is None:
            raise BadInputError("There is no model yet.", "Train one first.")
        if record is not None and record.status.state in OPEN_STATES:
            raise BadInputError("The video is being made already.")
        view.local["train.film"] = True
        settings = TimelapseSettings(model=model.name, page=_page(view, model.pages()))
        self.page.submit(view, "timelapse", settings)

    def _video_html(self, view: View, model: ModelFolder | None) -> str:
        record = self._film(view) if model else None
        if record is None:
            return ""
        if record.status.state is not JobState.DONE:
            fresh = record.status.state in OPEN_STATES or view.local.get("train.film")
            return job_html(record) if fresh else ""
        path = self.page.result_file(view, record, ("video",))
        if path is None:
            return ""
        url, name = html.escape(self.page.file_url(path)), html.escape(path.name)
        return (
            f'<div class="lk-film"><video controls preload="metadata" src="{url}"></video>'
            f'<a class="lk-link" href="{url}" download="{name}">Download {name}</a></div>'
        )


def _concerns(record: JobRecord, model: ModelFolder | None) -> bool:
    return model is not None and record.request.settings.get("model") == model.name


def _page(view: View, pages: list[str]) -> str:
    """The chosen preview page, else the first one there is."""
    chosen = str(view.local.get("train.page", FACES))
    return chosen if chosen in pages or not pages else pages[0]
