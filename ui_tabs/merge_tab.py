"""The Merge tab: tune frames with the loaded model, look by look, then merge all as a job."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from backend.core.errors import LookalikeError
from backend.core.jobs import JobState
from backend.core.settings import MergeLook, MergeSettings, Settings
from backend.jobs.command import command_line
from backend.storage.merge_plan import plan_path
from backend.storage.model_folder import ModelFolder
from backend.storage.project import Project
from ui_tabs.context import PageContext, TabHandles, Updates, View, joined
from ui_tabs.form import error_html
from ui_tabs.job_panel import JobPanel, command_html
from ui_tabs.merge_acts import changed, look_words
from ui_tabs.merge_faces import FacesPanel
from ui_tabs.merge_form import MergeForm, acting, mask_choices
from ui_tabs.merge_networks import enhancer_note, mask_note, networks
from ui_tabs.merge_plans import PlanBook
from ui_tabs.merge_presets import PresetPanel
from ui_tabs.merge_strip import standing_words
from ui_tabs.merge_view import MergeViewer, shown_frame
from ui_tabs.result_words import result_words
from ui_tabs.steps import merge_missing

EXPORT_LINK = (
    '<button type="button" class="lk-link" data-goto="export">Merge and export in one go</button> is in the Export tab.'
)
Change = Callable[[MergeSettings], MergeSettings]


class MergeTab:
    """Left: the look of the shown frames and the job that merges all. Right: one frame, and where looks change."""

    def __init__(self, page: PageContext) -> None:
        self.page = page
        self.plans = PlanBook(page)
        with page.tab("merge") as self.tab, gr.Row(elem_classes="lk-split"):
            with gr.Column(scale=2, min_width=330, elem_classes="lk-card"):
                self.look = gr.HTML("", elem_id="merge-look")
                choices = {"model": [], "device": page.device_choices()}
                self.form = MergeForm(page, choices, self._take, lambda view: self._plan(view)[0])
                self.presets = PresetPanel(page, self._plan, self._change)
                faces = gr.Column(elem_classes="lk-plain")
                with gr.Row(elem_classes="lk-buttons"):
                    self.start = gr.Button("Merge all frames", variant="primary", elem_id="merge-start")
                    self.again = gr.Button("Merge again", visible=False, elem_id="merge-again-stale")
                gr.HTML(f'<p class="lk-note">{EXPORT_LINK}</p>', elem_id="merge-export-link")
                self.panel = JobPanel(page, "merge", ("merge",), "Progress appears here when all frames are merged.")
                self.note = gr.HTML("", elem_id="merge-made")
                with gr.Accordion("Command line of this run", open=False, elem_classes="lk-more"):
                    self.command = gr.HTML("", elem_id="merge-command")
            with gr.Column(scale=5, min_width=330, elem_classes="lk-card"):
                self.viewer = MergeViewer(page, self.plans, self._missing)
                self.follow = gr.State("")
            with faces:
                self.faces = FacesPanel(page, self.viewer.pictures, self._change)
        self._wire()

    @property
    def handles(self) -> TabHandles:
        """What the page needs of this tab."""
        own = [*self._told_parts, *self._follow_parts, *self.panel.outputs, *self.faces.outputs, *self.presets.outputs]
        return TabHandles("merge", self.tab, [*own, self.note, self.again], self.tick, self.fill)

    @property
    def _told_parts(self) -> list[Any]:
        """What a change of the plan updates at once."""
        return [*self.viewer.outputs, self.follow]

    @property
    def _follow_parts(self) -> list[Any]:
        """What follows another frame or another plan a moment later."""
        return [*self.form.outputs, self.look, self.command]

    def tick(self, view: View) -> Updates:
        """What changed: job, models, frames, plan, what is merged."""
        shown = self.panel.tick(view)
        project = self.page.project(view)
        shown.update(self.form.offer(view, "device", self.page.device_choices()))
        shown.update(self.viewer.tick(view))
        if project is None:
            return shown
        clip = self.viewer.clips.get(project, busy=True)
        plan, _ = self._plan(view)
        models = [(name, name) for name in project.models()]
        parts = (
            self.form.offer(view, "model", models),
            self._tick_look(view, project),
            self._tick_merged(view, project),
            self.faces.tick(view, project, clip, plan),
            self.presets.tick(view),
        )
        for part in parts:
            shown = joined(shown, part)
        return shown

    def fill(self, view: View) -> Updates:
        """The plan as it is on the disk."""
        project = self.page.project(view)
        for key in ("merge.data", "merge.want", "merge.words", "merge.acting"):
            view.seen.pop(key, None)
        if project is None:
            return {**self.form.updates(MergeSettings()), self.look: "", self.command: ""}
        plan, frame = self._plan(view)
        shown = self.form.fill(view, plan, frame)
        model = self.form.widgets["model"]
        shown[model] = {**shown[model], "choices": project.models()}
        return joined(shown, self._tick_acting(view))

    def _wire(self) -> None:
        page, told = self.page, self._told_parts
        self.panel.attach_start(self.start, self._missing)
        self.form.wire(page, baseline=self._baseline)
        seen = {*self.form.inputs, self.form.token, page.view}
        self._wire_fields(seen)
        page.on(self.follow.change, self._follow, page.view, self._follow_parts, concurrency_limit=None)
        page.on(self.form.reset.click, self._reset, page.view, told)
        self.viewer.wire(self._to_follow, [self.follow])
        self.presets.wire(told)
        self.faces.wire(told)
        page.act([self.start.click, self.again.click], self._begin, seen, [self.form.error])

    def _wire_fields(self, seen: set[Any]) -> None:
        """Take what the user changes. A value of a look comes alone: the browser takes long to gather all of them."""
        form = self.form
        depend = [form.widgets[name] for name in acting(MergeLook(), False, 3)]
        shown = [form.error, *self.viewer.picture_parts, *depend]
        for name, widget in form.widgets.items():
            alone = {widget, form.token, self.page.view}
            given = alone if name in MergeLook.model_fields else seen
            last_wins = {"trigger_mode": "always_last", "concurrency_limit": None, **self.page.quiet}
            widget.input(self._edited, given, shown, **last_wins)

    # -- the plan

    def _plan(self, view: View) -> tuple[MergeSettings, int]:
        """The plan of the open project and the shown frame, counted from 1."""
        project = self.page.project(view)
        if project is None:
            return MergeSettings(), 1
        clip = self.viewer.clips.get(project, busy=True)
        return self.plans.get(view, project), 1 if clip is None else shown_frame(view, clip)

    def _change(self, view: View, how: Change) -> Updates:
        """Change the plan, and show what follows."""
        self.plans.change(view, self.page.need_project(view), how)
        view.local.update({"merge.said": "", "merge.failed": False})
        return self._told(view)

    def _edited(self, values: Mapping[Any, Any]) -> Updates:
        """The user changed values of the form: the plan takes them, then comes the picture."""
        view: View = values[self.page.view]
        try:
            self._apply(values)
        except (LookalikeError, OSError) as error:
            return {self.form.error: error_html(str(error))}
        return self.viewer.answer(view, lambda: {self.form.error: "", **self._tick_acting(view)})

    def _apply(self, values: Mapping[Any, Any]) -> None:
        view: View = values[self.page.view]
        project = self.page.need_project(view)
        frame, found = self.form.changes(values)
        if found:
            self.plans.change(view, project, lambda plan: changed(plan, frame, found))
            view.local.update({"merge.said": "", "merge.failed": False})

    def _take(self, view: View, plan: MergeSettings) -> Updates:
        """Loaded settings replace the plan."""
        self.plans.change(view, self.page.need_project(view), lambda _: plan)
        return self.form.show(view, *self._plan(view))

    def _reset(self, view: View) -> Updates:
        """The shown frames get the look of the defaults, the merge its other defaults; key frames and rules stay."""
        frame = self._plan(view)[1]
        fresh = MergeSettings().model_dump(exclude={"model", "keys", "faces"})
        return self._change(view, lambda plan: changed(plan, frame, fresh))

    def _baseline(self, view: View) -> tuple[Settings, str]:
        return MergeSettings(model=self._plan(view)[0].model), ""

    # -- what is shown

    def _told(self, view: View) -> Updates:
        """What the present frame and the present plan change; the form follows."""
        return {**self.viewer.told(view), **self._to_follow(view)}

    def _to_follow(self, view: View) -> Updates:
        """Lets the form follow when it has to, by a value that it never had before."""
        if not self.form.due(view, *self._plan(view)):
            return {}
        view.local["merge.follows"] = view.local.get("merge.follows", 0) + 1
        return {self.follow: f"{view.project} {view.local['merge.follows']}"}

    def _follow(self, view: View) -> Any:
        project = self.page.project(view)
        return (self._tick_look(view, project) if project else {}) or gr.skip()

    def _tick_look(self, view: View, project: Project) -> Updates:
        """The form, and the lines about the look, the networks and the command line, as far as they changed."""
        plan, frame = self._plan(view)
        clip = self.viewer.clips.get(project, busy=True)
        found = networks(self.page, project)
        last = clip.count if clip else 1
        held = plan.look_at(frame)
        words = look_words(plan, frame, last) if clip and clip.count else ""
        problem = self.plans.problem(project)
        command = self._command_html(view, plan, project)
        shown: Updates = {}
        if view.changed("merge.words", (words, problem, command)):
            shown |= {self.look: _look_html(words, problem), self.command: command}
        if view.changed("merge.networks", (found, held.mask_mode)):
            shown[self.form.notes["super_resolution"]] = enhancer_note(found)
            shown[self.form.notes["mask_mode"]] = mask_note(found)
            shown[self.form.widgets["super_resolution"]] = gr.update(interactive=bool(found.enhancer))
            shown[self.form.widgets["mask_mode"]] = gr.update(choices=mask_choices(found.segmentation, held.mask_mode))
        return joined(joined(shown, self.form.show(view, plan, frame)), self._tick_acting(view))

    def _tick_merged(self, view: View, project: Project) -> Updates:
        clip = self.viewer.clips.get(project, busy=True)
        if clip is None:
            return {}
        facts = self.viewer.merged.standing(project, clip, self._plan(view)[0]).facts
        record = self.panel.record(view)
        done = result_words(record) if record and record.status.state is JobState.DONE else ""
        words = [f"{done}." if done else "", standing_words(facts)]
        if not view.changed("merge.standing", (facts, done)):
            return {}
        note = "".join(f'<p class="lk-note">{html.escape(line)}</p>' for line in words if line)
        return {self.note: note, self.again: gr.update(visible=bool(facts.merged and facts.stale))}

    def _tick_acting(self, view: View) -> Updates:
        """Settings that do something only with some models or modes, when they come or go."""
        plan, frame = self._plan(view)
        project = self.page.project(view)
        info = ModelFolder(project.model_dir(plan.model)).info() if project and plan.model else None
        morphs = info is not None and (info.model_class == "amp" or bool(info.settings.get("morph")))
        channels = int(info.settings.get("channels", 3)) if info else 3
        found = acting(plan.look_at(frame), morphs, channels)
        if not view.changed("merge.acting", found):
            return {}
        return {self.form.widgets[name]: gr.update(visible=acts) for name, acts in found.items()}

    def _command_html(self, view: View, plan: MergeSettings, project: Project) -> str:
        root = self.page.shown_root or Path("workspace")
        path = root / plan_path(project).relative_to(self.page.workspace.root)
        return command_html(command_line("merge", view.project, plan, self.page.shown_root, path))

    # -- jobs

    def _missing(self, view: View) -> str:
        return merge_missing(self.page.project(view))

    def _begin(self, values: Mapping[Any, Any]) -> Updates:
        view: View = values[self.page.view]
        self.panel.require_free(view)
        self._apply(values)
        self.page.submit(view, "merge", self._plan(view)[0])
        return {self.form.error: ""}


def _look_html(words: str, problem: str) -> str:
    notice = f'<p class="lk-notice">{html.escape(problem)} The next change replaces it.</p>' if problem else ""
    return f'{notice}<p class="lk-card-title">{html.escape(words)}</p>' if words else notice


def build_merge_tab(page: PageContext) -> TabHandles:
    """Make the tab."""
    return MergeTab(page).handles
