"""The form of the Merge tab: it shows the look of one frame, and what a change of it means for the plan."""

from __future__ import annotations

import html
import itertools
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr
from pydantic import ValidationError

from backend.core.errors import BadInputError
from backend.core.merge_keys import held_since
from backend.core.settings import MergeLook, MergeSettings, Settings
from ui_tabs.context import PageContext, Updates, View
from ui_tabs.form import Choices, SettingsForm, sentences
from ui_tabs.form_file import read_settings
from ui_tabs.labels import choice_label
from ui_tabs.merge_acts import flattened, mask_modes

NOTED = ("mask_mode", "super_resolution")
"""Settings with a line below them about the network that they need."""
HIST_MODES = frozenset({"hist-match", "hist-match-gray", "seamless-hist-match"})
SEAMLESS_MODES = frozenset({"seamless", "seamless-hist-match"})
KEPT = 16


@dataclass(frozen=True)
class Shown:
    """What a form was given: settings of a frame, counted from 1, whose look holds from ``since`` on."""

    frame: int
    since: int
    settings: MergeSettings


class MergeForm(SettingsForm):
    """A form whose values belong to the look in force at one frame.

    Every filling has a number, which comes back with the values: a change that was made before the browser got the
    look of another frame still belongs to the frame it was made for.

    Args:
        page: the page's context.
        choices: see SettingsForm.
        take: replaces the plan by loaded settings and gives back what the form has to show then.
        plan_of: the plan of a browser tab.

    Attributes:
        token: number of the filling that the browser shows.
        notes: name of a setting -> the line below it.
    """

    def __init__(
        self,
        page: PageContext,
        choices: Mapping[str, Choices],
        take: Callable[[View, MergeSettings], Updates],
        plan_of: Callable[[View], MergeSettings],
    ) -> None:
        self.page = page
        self.notes: dict[str, Any] = {}
        self._take = take
        self._plan_of = plan_of
        self._numbers = itertools.count(1)
        super().__init__(MergeSettings, "merge", "merge", choices=choices)
        self.token = gr.Number(0, visible="hidden", elem_id="merge-token", precision=0)

    @property
    def outputs(self) -> list[Any]:
        """Every component that updates() and show() may change."""
        return [*super().outputs, *self.notes.values(), self.token]

    def _add(self, names: Sequence[str], choices: Mapping[str, Choices]) -> None:
        for name in names:
            super()._add([name], choices)
            if name in NOTED:
                self.notes[name] = gr.HTML("", elem_id=f"merge-{name}-note")

    def show(self, view: View, plan: MergeSettings, frame: int) -> Updates:
        """Fill the form with the look in force at a frame; only what differs from what it shows."""
        if not self.due(view, plan, frame):
            return {}
        fillings = self._fillings(view)
        before = next(reversed(fillings.values())) if fillings else None
        wanted = _shown_of(plan, frame)
        number = next(self._numbers)
        fillings[number] = Shown(frame, held_since(plan, frame), wanted)
        while len(fillings) > KEPT:
            fillings.popitem(last=False)
        names = [n for n in self.widgets if before is None or getattr(before.settings, n) != getattr(wanted, n)]
        values: Updates = {self.widgets[name]: gr.update(value=getattr(wanted, name)) for name in names}
        return {**values, self.token: number, self.error: ""}

    def updates(self, settings: Settings, frozen: str = "") -> Updates:
        """Updates that show the given settings; what is grey for want of a network stays so."""
        shown = super().updates(settings, frozen)
        for widget in self.widgets.values():
            shown[widget].pop("interactive")
        return shown

    def due(self, view: View, plan: MergeSettings, frame: int) -> bool:
        """Whether the form shows something else than the look in force at a frame."""
        fillings = self._fillings(view)
        before = next(reversed(fillings.values())) if fillings else None
        return before is None or (before.since, before.settings) != (held_since(plan, frame), _shown_of(plan, frame))

    def _watch(self, page: PageContext, check: Callable[[Mapping[Any, Any]], Updates]) -> None:
        """Whoever takes what the user changed says what is wrong with it; what the plan filled in is right."""

    def changes(self, values: Mapping[Any, Any]) -> tuple[int, dict[str, Any]]:
        """(frame, setting -> value) of what the user changed since the form was filled.

        Args:
            values: of all widgets, or of some.

        Raises:
            BadInputError: the values contradict each other.
        """
        number = int(values[self.token] or 0)
        fillings = self._fillings(values[self.page.view])
        shown = fillings.get(number)
        if shown is None:
            raise BadInputError("This form is older than the page.", "Load the page again.")
        now = self.read(values)
        assert isinstance(now, MergeSettings)
        given = [name for name, widget in self.widgets.items() if widget in values]
        found = {n: getattr(now, n) for n in given if getattr(now, n) != getattr(shown.settings, n)}
        fillings[number] = replace(shown, settings=shown.settings.model_copy(update=found))
        return shown.frame, found

    def fill(self, view: View, plan: MergeSettings, frame: int) -> Updates:
        """Fill the form with everything, whatever it shows."""
        self._fillings(view).clear()
        return {**self.show(view, plan, frame), self.note: "", self.said: ""}

    def _fillings(self, view: View) -> OrderedDict[int, Shown]:
        return view.local.setdefault("merge.fillings", OrderedDict())

    # -- files: the whole plan, not only what has a widget

    def _saved(self, page: PageContext, view: View, settings: Settings) -> str:
        return super()._saved(page, view, self._plan_of(view))

    def _loaded(self, values: Mapping[Any, Any], frozen: bool) -> Updates:
        file = Path(values[self.load])
        try:
            given = read_settings(file, self.stage)
            plan = MergeSettings.model_validate(given)
        except ValidationError as error:
            raise BadInputError(" ".join(sentences(self.stage, error))) from error
        finally:
            file.unlink(missing_ok=True)
        filled = self._take(values[self.page.view], plan)
        keys = f" with {len(plan.keys)} key frame{'' if len(plan.keys) == 1 else 's'}" if plan.keys else ""
        said = f"{len(given)} setting{'' if len(given) == 1 else 's'} loaded{keys}."
        return {**filled, self.said: f'<p class="lk-note">{html.escape(said)}</p>'}


def _shown_of(plan: MergeSettings, frame: int) -> MergeSettings:
    """What a form shows of a plan."""
    return flattened(plan, frame).model_copy(update={"faces": ()})


def mask_choices(segmentation: str, held: str) -> list[tuple[str, str]]:
    """(words, value) of the mask modes; those of mask networks only where one is installed or they are chosen.

    Args:
        segmentation: file name of the mask network, "" without one.
        held: the mode in force.
    """
    without = [mode for mode in mask_modes(()) if "xseg" not in mode]
    shown = mask_modes(()) if segmentation else [mode for mode in mask_modes(()) if mode in without or mode == held]
    return [(choice_label("mask_mode", mode), mode) for mode in shown]


def acting(look: MergeLook, morphs: bool, channels: int) -> dict[str, bool]:
    """Setting -> whether it does anything, of those that do not always.

    Args:
        look: the look in force.
        morphs: whether the model can be set between the faces.
        channels: of the model, 1 or 3.
    """
    return {
        "morph_factor": morphs,
        "gray_face": channels == 1,
        "hist_match_threshold": look.mode in HIST_MODES,
        "masked_hist_match": look.mode in HIST_MODES,
        "steady_seamless": look.mode in SEAMLESS_MODES,
        "sharpen_amount": look.sharpen_mode != "none",
    }
