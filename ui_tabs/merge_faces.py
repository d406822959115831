"""Who gets which model: every person and every track of the destination, swapped or left."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from backend.core.errors import BadInputError
from backend.core.settings import MergeSettings
from backend.storage.project import Project
from ui_tabs.context import PageContext, Updates, View
from ui_tabs.fix_data import FramePictures
from ui_tabs.merge_clip import Group, MergeClip
from ui_tabs.merge_rules import LEAVE, NO_TRACK, SWAP, chosen_rules, held_choice, own_rule
from ui_tabs.steps import count

MOST = 60
"""So many persons and so many tracks are listed; smaller ones follow the rule for everyone else."""

FACES_SCRIPT = """
element.addEventListener('change', (event) => {
  const choice = event.target.closest('select[data-rule]');
  if (!choice) return;
  trigger('select', {track: Number(choice.dataset.track), person: choice.dataset.person, choice: choice.value});
});
element.addEventListener('click', (event) => {
  const jump = event.target.closest('[data-jump]');
  if (jump) window.lookalike.mergeGo?.(Number(jump.dataset.jump));
});
"""


class FacesPanel:
    """The closed group "Faces". Place it inside a layout.

    Args:
        page: the page's context.
        pictures: makes the small pictures.
        change: changes the plan and gives back what is to be shown then.
    """

    def __init__(
        self,
        page: PageContext,
        pictures: FramePictures,
        change: Callable[[View, Callable[[MergeSettings], MergeSettings]], Updates],
    ) -> None:
        self.page = page
        self._pictures = pictures
        self._change = change
        with gr.Accordion("Faces", open=False, elem_classes="lk-more", elem_id="merge-faces-fold"):
            self.list = gr.HTML("", elem_id="merge-faces", js_on_load=FACES_SCRIPT)

    @property
    def outputs(self) -> list[Any]:
        """Every component that tick() may update."""
        return [self.list]

    def wire(self, told: list[Any]) -> None:
        """Make the choices work; ``told`` is what a change of the plan may update."""
        self.page.on(self.list.select, self._chosen, self.page.view, told, trigger_mode="multiple")

    def tick(self, view: View, project: Project, clip: MergeClip | None, plan: MergeSettings) -> Updates:
        """The list, when faces, rules, models or small pictures changed."""
        if clip is None:
            return {}
        folder = project.side("dst").aligned_dir
        examples = [folder / group.example for group in (*clip.persons.values(), *clip.tracks.values())][: 2 * MOST]
        urls = dict(zip(examples, self._pictures.small(project, examples), strict=True))
        models = project.models()
        if not view.changed("merge.faces", (clip.stamp, plan.faces, plan.model, tuple(models), tuple(urls.values()))):
            return {}
        return {self.list: faces_html(clip, plan, models, lambda name: urls.get(Path(folder / name), ""))}

    def _chosen(self, view: View, event: gr.EventData) -> Updates:
        asked: dict[str, Any] = getattr(event, "_data", None) or {}
        try:
            track, person = int(asked["track"]), str(asked["person"])
            choice = str(asked["choice"])
        except (KeyError, TypeError, ValueError) as error:
            raise BadInputError("This was not understood.") from error

        def rules(plan: MergeSettings) -> MergeSettings:
            return plan.model_copy(update={"faces": chosen_rules(plan.faces, track, person, choice)})

        return self._change(view, rules)


def faces_html(clip: MergeClip, plan: MergeSettings, models: Sequence[str], url: Callable[[str], str]) -> str:
    """Persons and tracks with what happens to them.

    Args:
        models: names of all models.
        url: file name of a face -> URL of its picture, "" while it is made.
    """
    if max(len(clip.persons), len(clip.tracks)) < 2 and not plan.faces:
        return f'<p class="lk-note">{html.escape(_alone(clip))}</p>'
    parts = [_row("Everyone else", "", "", _choices(plan, models, NO_TRACK, ""))]
    if clip.persons:
        parts.append(_section("Persons", len(clip.persons)))
        for name, group in list(clip.persons.items())[:MOST]:
            parts.append(_group_row(name, group, url(group.example), _choices(plan, models, NO_TRACK, name)))
    if len(clip.tracks) > 1:
        parts.append(_section("Tracks", len(clip.tracks)))
        for number, group in list(clip.tracks.items())[:MOST]:
            title = f"Track {number}" + (f", {group.person}" if group.person else "")
            parts.append(_group_row(title, group, url(group.example), _choices(plan, models, number, "")))
    note = "A rule for a track goes before one for its person, and that before everyone else."
    return f'<div class="lk-faces">{"".join(parts)}</div><p class="lk-note">{note}</p>'


def _alone(clip: MergeClip) -> str:
    """Why there is nothing to choose."""
    if clip.persons or clip.tracks:
        return "All faces are one person's. Every one of them is swapped."
    return (
        "Persons and tracks are not known yet, so every face is swapped. Several persons are told apart in the Sort "
        "tab; tracks are made when faces are extracted."
    )


def _choices(plan: MergeSettings, models: Sequence[str], track: int, person: str) -> str:
    """The select of one row."""
    everyone = track == NO_TRACK and not person
    held = held_choice(own_rule(plan.faces, track, person))
    offered = [("", f"swap, model {plan.model}" if everyone else "as everyone else, or as the person")]
    if not everyone:
        offered.append((SWAP, f"swap, model {plan.model}"))
    offered += [(f"{SWAP}:{name}", f"swap, model {name}") for name in models if name != plan.model]
    offered.append((LEAVE, "leave as it is"))
    if held not in dict(offered):
        offered.append((held, f"swap, model {held.partition(':')[2]}"))
    options = "".join(
        f'<option value="{html.escape(value)}"{" selected" if value == held else ""}>{html.escape(words)}</option>'
        for value, words in offered
    )
    about = person or (f"track {track}" if track >= 0 else "everyone else")
    return (
        f'<select data-rule data-track="{track}" data-person="{html.escape(person)}" '
        f'aria-label="What happens to {html.escape(about)}">{options}</select>'
    )


def _section(title: str, number: int) -> str:
    more = f" (the {MOST} largest of {number:,})" if number > MOST else ""
    return f'<p class="lk-faces-title">{title}{more}</p>'


def _group_row(title: str, group: Group, url: str, select: str) -> str:
    at = f"frame {group.first:,}" if group.first == group.last else f"frames {group.first:,} to {group.last:,}"
    words = (
        f'{count(group.faces, "face")}, <button type="button" class="lk-link" data-jump="{group.first}">{at}</button>'
    )
    return _row(title, words, url, select)


def _row(title: str, words: str, url: str, select: str) -> str:
    image = f'<img src="{html.escape(url)}" alt="">' if url else "<span></span>"
    return (
        f'<div class="lk-faces-row">{image}<span><b>{html.escape(title)}</b><br>'
        f'<span class="lk-note">{words}</span></span>{select}</div>'
    )
