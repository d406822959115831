"""The two ways to export: the merged frames as they are, or merge and export in one go by the plan of the Merge tab."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from backend.core.errors import BadInputError
from backend.core.settings import ExportSettings, MergeSettings, RenderSettings
from backend.core.settings.export import result_name
from backend.jobs.command import command_line
from backend.storage.merge_plan import plan_path
from backend.storage.model_folder import ModelFolder
from backend.storage.project import Project
from ui_tabs.context import OPEN_STATES, PageContext, View
from ui_tabs.job_panel import command_html
from ui_tabs.merge_clip import MergeClips
from ui_tabs.merge_plans import PlanBook
from ui_tabs.merge_strip import MergedFrames, standing_words
from ui_tabs.steps import count, merge_missing

STAGES = ("export", "render")


@dataclass(frozen=True)
class RunState:
    """What a Start button would do.

    Attributes:
        reason: why it cannot start, "" when it can.
        note: what it takes.
    """

    reason: str = ""
    note: str = ""


class ExportRuns:
    """What can be exported of a project, and with what.

    Args:
        page: the page's context.
    """

    def __init__(self, page: PageContext) -> None:
        self.page = page
        self._plans = PlanBook(page)
        self._clips = MergeClips()
        self._merged = MergedFrames()

    def export_state(self, view: View, project: Project | None) -> RunState:
        """Whether merged frames can be exported, and how they stand against the plan."""
        if project is None:
            return RunState("No project is open.")
        merging = any(r.status.state in OPEN_STATES for r in self.page.jobs(view, ("merge", "render")))
        if project.status().merged == 0:
            if merging:
                return RunState(note="Frames are being merged; the export waits for them.")
            return RunState("There are no merged frames yet. Make them in the Merge tab, or merge and export below.")
        clip = self._clips.get(project, busy=True)
        if clip is None:
            return RunState()
        facts = self._merged.standing(project, clip, self._plans.get(view, project)).facts
        words = standing_words(facts)
        missing = f" {facts.missing:,} are missing." if facts.missing else ""
        again = " Merge them in the Merge tab, or merge and export below." if facts.stale or facts.missing else ""
        return RunState(note=f"{words}{missing}{again}")

    def render_state(self, view: View, project: Project | None) -> RunState:
        """Whether merge and export can start, and what it takes."""
        missing = merge_missing(project)
        if project is None or missing:
            return RunState(missing)
        problem = self._plans.problem(project)
        if problem:
            return RunState(f"{problem} Change a setting in the Merge tab to replace it.")
        return RunState(note=plan_words(project, self._plans.get(view, project)))

    def render_settings(self, view: View, export: ExportSettings, keep_frames: bool) -> RenderSettings:
        """The plan of the Merge tab as it is now with what the form says; the form's range counts.

        Raises:
            BadInputError: merge and export cannot start.
        """
        project = self.page.need_project(view)
        state = self.render_state(view, project)
        if state.reason:
            raise BadInputError(state.reason)
        plan = self._plans.get(view, project)
        return RenderSettings.model_validate({**plan.model_dump(), **export.model_dump(), "keep_frames": keep_frames})

    def last(self, view: View) -> ExportSettings | None:
        """Settings of the newest export of either kind; None when there is none that can be read."""
        for record in self.page.jobs(view, STAGES):
            given = record.request.settings
            try:
                if record.request.stage == "render":
                    return RenderSettings.model_validate(given).export_settings()
                return ExportSettings.model_validate(given)
            except ValueError:
                continue
        return None

    def commands_html(self, view: View, settings: ExportSettings) -> str:
        """The command lines of both runs."""
        project = self.page.project(view)
        if project is None:
            return ""
        root = self.page.shown_root
        export = command_html(command_line("export", view.project, settings, root))
        if self.render_state(view, project).reason:
            return export
        config = (root or Path("workspace")) / plan_path(project).relative_to(self.page.workspace.root)
        both = self.render_settings(view, settings, False)
        return export + command_html(command_line("render", view.project, both, root, config))


def plan_words(project: Project, plan: MergeSettings) -> str:
    """Which model merging takes, and how many key frames and rules."""
    info = ModelFolder(project.model_dir(plan.model)).info()
    at = f" at iteration {info.iteration:,}" if info else ""
    parts = [f"model {plan.model}{at}"]
    others = len(plan.model_names()) - 1
    parts += [count(others, "other model")] if others else []
    parts += [count(len(plan.keys), "key frame")] if plan.keys else ["no key frames"]
    parts += [count(len(plan.faces), "rule") + " for faces"] if plan.faces else []
    return f"Takes the plan of the Merge tab as it is now: {', '.join(parts)}."


def name_note(project: Project | None, settings: ExportSettings) -> str:
    """That a result of this name is there already; "" when there is none."""
    if project is None:
        return ""
    name = result_name(settings.name, settings.container)
    if not (project.results_dir / name).exists():
        return ""
    return f"There is a result named {name} already. It stays; the new one gets a number behind its name."
