"""Settings that change while a training runs: what differs between the form and the run, and handing it over."""

from __future__ import annotations

import html
import time
from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr

from backend.core.errors import BadInputError
from backend.core.jobs import JobState
from backend.core.settings import TrainSettings, is_frozen, is_live
from backend.jobs.store import JobRecord
from ui_tabs.context import PageContext, Updates, View
from ui_tabs.labels import label_of

ANSWER_S = 20.0
"""After this time without an answer of the training, its settings count as unchanged."""


class LiveSettings:
    """The button "Apply while running", and the line that says what it would do; the tab renders that where it likes.

    Args:
        page: the page's context.
        record: the training of the open project, or None.
    """

    def __init__(self, page: PageContext, record: Callable[[View], JobRecord | None]) -> None:
        self.page = page
        self._record = record
        self.button = gr.Button("Apply while running", elem_id="train-apply", visible=False)
        self.note = gr.HTML("", elem_id="train-apply-note", render=False)

    @property
    def outputs(self) -> list[Any]:
        """Every component that tick() may update."""
        return [self.button, self.note]

    def running(self, view: View) -> JobRecord | None:
        """The training that runs now and can take other settings."""
        record = self._record(view)
        return record if record is not None and record.status.state is JobState.RUNNING else None

    def checked(self, view: View, settings: TrainSettings) -> Updates:
        """Note the settings that the form shows, and offer what of them can be applied."""
        view.local["train.checked"] = settings
        return self.tick(view)

    def tick(self, view: View) -> Updates:
        """What changed."""
        now, later = self.differing(view)
        shown: Updates = {}
        if view.changed("train.apply", bool(now)):
            shown[self.button] = gr.update(visible=bool(now))
        note = _note_html(now, later)
        if view.changed("train.apply-note", note):
            shown[self.note] = note
        return shown

    def differing(self, view: View) -> tuple[dict[str, Any], list[str]]:
        """(live settings that the form has otherwise than the running training, names of others for the next start)."""
        settings, record = view.local.get("train.checked"), self.running(view)
        if record is None or not isinstance(settings, TrainSettings):
            return {}, []
        applied = self.effective(view, record)
        if (settings.model_class, settings.model) != (applied.get("model_class"), applied.get("model")):
            return {}, []
        wanted = settings.model_dump(mode="json")
        chosen = {name: value for name, value in wanted.items() if name != "seed" or value}
        changed = {name: value for name, value in chosen.items() if name in applied and applied[name] != value}
        fields = type(settings).model_fields
        live = {name: value for name, value in changed.items() if is_live(fields[name])}
        return live, [name for name in changed if name not in live and not is_frozen(fields[name])]

    def apply(self, view: View, settings: TrainSettings) -> None:
        """Hand what differs to the running training. BadInputError when there is nothing, or none runs."""
        self.checked(view, settings)
        record, (changes, _) = self.running(view), self.differing(view)
        if record is None:
            raise BadInputError("No training is running.", "The settings count at the next start.")
        if not changes:
            raise BadInputError("Nothing that can change while it runs differs from the running training.")
        self.page.manager.change(view.project, record.id, changes)
        asked = _asked(view, record.id)
        view.local["train.asked"] = (record.id, time.time(), {**asked, **changes})

    def effective(self, view: View, record: JobRecord) -> dict[str, Any]:
        """Settings of a training as it applies them now: those it began with, and what was changed since."""
        told = self.told(record)
        asked = _asked(view, record.id)
        return {**told, **asked} if asked and not self._answered(view, record) else told

    def told(self, record: JobRecord) -> dict[str, Any]:
        """Settings of a training as it last reported them."""
        events = self.page.feed(record).milestones
        changed = next((e.data["settings"] for e in reversed(events) if isinstance(e.data.get("settings"), dict)), {})
        return {**record.request.settings, **changed}

    def _answered(self, view: View, record: JobRecord) -> bool:
        """Whether the training said something to the changes, or should have by now."""
        at = float(view.local["train.asked"][1])
        events = self.page.feed(record).milestones
        answers = (e for e in events if e.data.get("what") == "settings" or e.kind == "log")
        return time.time() - at > ANSWER_S or any(event.time >= at for event in answers)


def _asked(view: View, job: str) -> dict[str, Any]:
    """What was handed to this training from this browser tab."""
    asked = view.local.get("train.asked")
    return asked[2] if asked is not None and asked[0] == job else {}


def _note_html(now: Mapping[str, Any], later: list[str]) -> str:
    parts = [
        f"{words}: {', '.join(label_of('train', name) for name in names)}."
        for words, names in (("Can change while it runs", list(now)), ("Counts at the next start", later))
        if names
    ]
    return f'<p class="lk-note">{html.escape(" ".join(parts))}</p>' if parts else ""
