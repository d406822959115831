"""What a network would be, and how good a trained model is: the two reports of the Train tab."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gradio as gr

from backend.core.errors import BadInputError
from backend.core.jobs import JobState
from backend.core.settings import EvaluateSettings, SummarySettings, TrainSettings
from backend.jobs.store import JobRecord
from backend.storage.evaluation import FIGURES, read_evaluation
from backend.storage.lr_curve import LR_CURVE, read_lr_curve
from backend.storage.model_folder import ModelFolder
from ui_tabs.context import OPEN_STATES, PageContext, Updates, View
from ui_tabs.job_panel import empty_html, job_html, why_html
from ui_tabs.network_summary import Described, read_layers, summary_html
from ui_tabs.rate_plot import rate_plot
from ui_tabs.train_curve import stamp

NOT_EVALUATED = (
    "Likeness of the reconstructions and of the swap, as figures and as a picture, appears here after an evaluation."
)


class ModelReport:
    """Three cards: evaluation of the shown model, its search for a learning rate, the parts of a described network.

    Args:
        page: the page's context.
        model: the model to show.
        searched: the model whose search for a learning rate is shown; it may have been tried only.
    """

    def __init__(
        self,
        page: PageContext,
        model: Callable[[View], ModelFolder | None],
        searched: Callable[[View], ModelFolder | None],
    ) -> None:
        self.page = page
        self._model = model
        self._searched = searched
        with gr.Column(elem_classes="lk-card"):
            gr.HTML('<h2 class="lk-card-title">Evaluation</h2>')
            with gr.Row(elem_classes="lk-buttons"):
                self.evaluate = gr.Button("Evaluate", size="sm", elem_id="train-evaluate", interactive=False)
                self.why = gr.HTML("", elem_id="train-evaluate-why")
            self.evaluating = gr.HTML("", elem_id="train-evaluating")
            self.evaluation = gr.HTML(empty_html(NOT_EVALUATED), elem_id="train-evaluation")
        with gr.Column(elem_classes="lk-card lk-when-filled"):
            self.rates = gr.HTML("", elem_id="train-rates")
        with gr.Column(elem_classes="lk-card lk-when-filled"):
            self.summary = gr.HTML("", elem_id="train-summary")
        page.act(self.evaluate.click, self._evaluate, page.view, None)

    @property
    def outputs(self) -> list[Any]:
        """Every component that tick() may update."""
        return [self.evaluate, self.why, self.evaluating, self.evaluation, self.rates, self.summary]

    def tick(self, view: View) -> Updates:
        """What changed since the last tick of this browser tab."""
        shown: Updates = {}
        model = self._model(view)
        record = self._job(view, "evaluate", model.name if model else "")
        busy = record is not None and record.status.state in OPEN_STATES
        reason = "" if model and model.info() else "There is no saved model yet." if model else "Choose a model first."
        if view.changed("train.evaluate", (busy, reason)):
            shown[self.evaluate] = gr.update(interactive=not busy and not reason)
            shown[self.why] = why_html(reason)
        for component, name, content in (
            (self.evaluating, "evaluating", _unfinished_html(record)),
            (self.summary, "summary", self._summary_html(view)),
        ):
            if view.changed(f"train.{name}", content):
                shown[component] = content
        searched = self._searched(view)
        curve = searched.path / LR_CURVE if searched else None
        if view.changed("train.rates", (str(curve), stamp(curve))):
            shown[self.rates] = _rates_html(searched)
        file = model.path / FIGURES if model else None
        if view.changed("train.evaluation", (str(file), stamp(file))):
            shown[self.evaluation] = self._evaluation_html(model)
        return shown

    def describe(self, view: View, settings: TrainSettings) -> None:
        """Queue the description of a network with these settings; nothing is trained."""
        record = self._job(view, "summary", settings.model)
        if record is not None and record.status.state in OPEN_STATES:
            raise BadInputError("The network is being described already.")
        train = settings.model_dump(mode="json")
        self.page.submit(view, "summary", SummarySettings(train=train))

    def _evaluate(self, view: View) -> None:
        model = self._model(view)
        if model is None:
            raise BadInputError("There is no model yet.", "Train one first.")
        record = self._job(view, "evaluate", model.name)
        if record is not None and record.status.state in OPEN_STATES:
            raise BadInputError("This model is being evaluated already.")
        info = model.info()
        device = str(info.settings.get("device", "best")) if info else "best"
        single = "best" if device == "all" or "," in device else device
        self.page.submit(view, "evaluate", EvaluateSettings(model=model.name, device=single))

    def _job(self, view: View, stage: str, model: str) -> JobRecord | None:
        """The newest job of a stage that concerns a model."""
        found = self.page.jobs(view, (stage,))
        return next((r for r in found if _model_of(r.request.settings) == model), None)

    def _summary_html(self, view: View) -> str:
        shown, checked = self._model(view), view.local.get("train.checked")
        name = checked.model if isinstance(checked, TrainSettings) else shown.name if shown else ""
        record = self._job(view, "summary", name)
        if record is None:
            return ""
        if record.status.state is not JobState.DONE:
            return f'<h2 class="lk-card-title">Network of {html.escape(name)}</h2>{job_html(record)}'
        text = self.page.result_file(view, record, ("text",))
        layers = read_layers(self.page.result_file(view, record, ("layers",)))
        found = Described(record.request.settings.get("train", {}), record.status.result, layers)
        return summary_html(found, self.page.file_url(text) if text else "")

    def _evaluation_html(self, model: ModelFolder | None) -> str:
        found = read_evaluation(model.path) if model else None
        if found is None:
            return empty_html(NOT_EVALUATED)
        figures, picture = found
        return evaluation_html(figures, html.escape(self.page.file_url(picture)) if picture else "")


def _rates_html(model: ModelFolder | None) -> str:
    """What the search for a learning rate found; "" when the model has not had one."""
    curve = read_lr_curve(model.path) if model else None
    return f'<h2 class="lk-card-title">Learning rate finder</h2>{rate_plot(curve)}' if curve else ""


def evaluation_html(result: Mapping[str, Any], picture: str) -> str:
    """The figures of an evaluation and its picture.

    Args:
        result: see the evaluate stage: rows (name, src, dst, swap, unit, better), note, iteration, faces_src, ...
        picture: URL of the grid, "" when there is none.
    """
    rows: Sequence[Mapping[str, Any]] = result.get("rows", ())
    cells = "".join(
        f"<tr><td>{html.escape(_with_unit(row))}</td>"
        + "".join(f'<td class="lk-number">{_score(row.get(key))}</td>' for key in ("src", "dst", "swap"))
        + f"<td>{html.escape(_better(str(row.get('better') or '')))}</td></tr>"
        for row in rows
    )
    head = "<th>Measure</th>" + "".join(f'<th class="lk-number">{word}</th>' for word in ("src", "dst", "swap"))
    note = html.escape(" ".join(part for part in (_when(result), str(result.get("note") or "")) if part))
    image = (
        f'<button type="button" class="lk-preview" data-full="{picture}" title="Faces of the evaluation">'
        f'<img src="{picture}" alt="Faces of the evaluation"></button>'
        if picture
        else ""
    )
    return (
        f'<div class="lk-report"><div class="lk-scroll"><table class="lk-table"><thead><tr>{head}<th></th></tr></thead>'
        f'<tbody>{cells}</tbody></table></div><p class="lk-note">{note}</p>{image}</div>'
    )


def _model_of(settings: Mapping[str, Any]) -> str:
    train = settings.get("train")
    named = settings.get("model") or (train.get("model") if isinstance(train, dict) else "")
    return str(named or "")


def _unfinished_html(record: JobRecord | None) -> str:
    """The job while it has no result to show."""
    return "" if record is None or record.status.state is JobState.DONE else job_html(record)


def _score(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) and not isinstance(value, bool) else ""


def _with_unit(row: Mapping[str, Any]) -> str:
    unit = str(row.get("unit") or "")
    return f"{row.get('name', '')}{', ' + unit if unit else ''}"


def _better(word: str) -> str:
    return {"higher": "more is better", "lower": "less is better"}.get(word, f"{word} is better" if word else "")


def _when(result: Mapping[str, Any]) -> str:
    """Iteration, faces and tools of an evaluation."""
    parts = [f"Iteration {result['iteration']:,}"] if isinstance(result.get("iteration"), int) else []
    faces = [result.get("faces_src"), result.get("faces_dst")]
    if all(isinstance(count, int) for count in faces):
        seen = "held out of the training" if result.get("held_out") else "of the training"
        parts.append(f"{faces[0]:,} src and {faces[1]:,} dst faces {seen}")
    tools = [str(result[name]) for name in ("detector", "landmarker") if result.get(name)]
    parts += [f"landmarks by {' and '.join(tools)}"] if tools else []
    return f"{', '.join(parts)}." if parts else ""
