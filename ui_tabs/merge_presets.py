"""Presets, looks with a name: some that come with the program, and those that the user saved."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import gradio as gr
from pydantic import ValidationError

from backend.core.errors import BadInputError
from backend.core.settings import MergeLook, MergeSettings
from backend.storage.presets import Preset, PresetShelf
from ui_tabs.context import PageContext, Updates, View
from ui_tabs.form import sentences
from ui_tabs.merge_acts import changed

OF_THE_MODEL = frozenset({"morph_factor"})
"""What a look that comes with the program leaves as it is."""

BUILT_IN: Mapping[str, Preset] = MappingProxyType(
    {
        "Plain overlay": Preset({}, "The defaults: laid over with a soft edge, colours by Reinhard."),
        "Soft overlay": Preset(
            {"erode_mask": 20, "blur_mask": 120},
            "A narrower mask with a wide, soft edge; forgives masks that are not exact.",
        ),
        "Seamless": Preset(
            {"mode": "seamless", "erode_mask": 20, "blur_mask": 60, "color_transfer": "none", "steady_seamless": True},
            "Takes light and colour from the edge; steadied against flicker.",
        ),
        "Sharp, film grain kept": Preset(
            {"blur_mask": 60, "color_transfer": "lct", "sharpen_mode": "gaussian", "sharpen_amount": 20},
            "For sharp footage: the face is sharpened a little and nothing is smoothed away.",
        ),
        "Fast movement": Preset(
            {"blur_mask": 80, "motion_blur": 100, "bicubic_degrade": 10},
            "Blurs the face along its own motion, as the camera does.",
        ),
        "Old footage": Preset(
            {"blur_mask": 80, "denoise": 30, "bicubic_degrade": 40, "color_degrade": 15},
            "Makes the face as soft and as poor in colours as a small, worn clip.",
        ),
        "Strong light": Preset(
            {"mode": "hist-match", "blur_mask": 100, "hist_match_threshold": 225},
            "Matches the brightness step by step and keeps highlights back.",
        ),
    }
)


class PresetPanel:
    """The closed group "Presets". Place it inside a layout.

    Args:
        page: the page's context.
        plan_of: the plan of a browser tab and the frame it shows.
        change: changes the plan and gives back what is to be shown then.
        outputs: what that may update, asked when wired.
    """

    def __init__(
        self,
        page: PageContext,
        plan_of: Callable[[View], tuple[MergeSettings, int]],
        change: Callable[[View, Callable[[MergeSettings], MergeSettings]], Updates],
    ) -> None:
        self.page = page
        self.shelf = PresetShelf(page.workspace.root, "merge", BUILT_IN)
        self._plan_of = plan_of
        self._change = change
        with gr.Accordion("Presets", open=False, elem_classes="lk-more", elem_id="merge-presets"):
            names = self.shelf.names()
            self.names = gr.Dropdown(names, value=names[0], label="Look", filterable=False, elem_id="merge-preset")
            self.note = gr.HTML(self._note_html(names[0]), elem_id="merge-preset-note")
            with gr.Row(elem_classes="lk-buttons"):
                self.use = gr.Button("Use for these frames", size="sm", elem_id="merge-preset-use")
                self.delete = gr.Button("Delete", size="sm", elem_id="merge-preset-delete", interactive=False)
            self.name = gr.Textbox("", label="Save the shown look as", max_lines=1, elem_id="merge-preset-name")
            self.save = gr.Button("Save", size="sm", elem_id="merge-preset-save", elem_classes="lk-quiet")
            self.said = gr.HTML("", elem_id="merge-preset-said")

    @property
    def outputs(self) -> list[Any]:
        """Every component that tick() may update."""
        return [self.names, self.note, self.delete, self.name, self.said]

    def wire(self, told: list[Any]) -> None:
        """Make the buttons work; ``told`` is what a change of the plan may update."""
        page, ours = self.page, self.outputs
        page.on(self.names.change, self._chosen, self.names, [self.note, self.delete])
        page.on(self.use.click, self._use, [page.view, self.names], [*told, self.said])
        page.on([self.save.click, self.name.submit], self._save, [page.view, self.name], ours)
        page.on(self.delete.click, self._delete, self.names, ours)

    def tick(self, view: View) -> Updates:
        """The names, when another window changed them."""
        names = self.shelf.names()
        return {self.names: gr.update(choices=names)} if view.changed("merge.presets", tuple(names)) else {}

    def _use(self, view: View, name: str) -> Updates:
        values = self.shelf.load(name)
        if self.shelf.is_built_in(name):
            fresh = MergeLook().model_dump(exclude=set(OF_THE_MODEL))
            values = {**fresh, **values}
        known = {field: value for field, value in values.items() if field in MergeLook.model_fields}
        frame = self._plan_of(view)[1]
        try:
            shown = self._change(view, lambda plan: changed(plan, frame, known))
        except ValidationError as error:
            raise BadInputError(f"The look '{name}' does not fit: {' '.join(sentences('merge', error))}") from error
        return {**shown, self.said: _said(f"{name} is used.")}

    def _save(self, view: View, name: str) -> Updates:
        name = str(name or "").strip()
        if not name:
            raise BadInputError("The look has no name yet.", "Type one.")
        plan, frame = self._plan_of(view)
        known = name in self.shelf.names()
        self.shelf.save(name, plan.look_at(frame).model_dump(mode="json", include=set(MergeLook.model_fields)))
        said = _said(f"{name} is {'replaced' if known else 'saved'}; every project has it.")
        return {**self._offer(name), self.name: "", self.said: said}

    def _delete(self, name: str) -> Updates:
        self.shelf.delete(name)
        return {**self._offer(self.shelf.names()[0]), self.said: _said(f"{name} is deleted.")}

    def _offer(self, name: str) -> Updates:
        return {self.names: gr.update(choices=self.shelf.names(), value=name), **self._chosen(name)}

    def _chosen(self, name: str) -> Updates:
        own = bool(name) and not self.shelf.is_built_in(name)
        return {self.note: self._note_html(name), self.delete: gr.update(interactive=own)}

    def _note_html(self, name: str) -> str:
        note = self.shelf.note(name) if name in self.shelf.names() else ""
        return _said(note) if note else ""


def _said(words: str) -> str:
    return f'<p class="lk-note">{html.escape(words)}</p>'
