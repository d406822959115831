"""The plan of a project's merge: read from the disk when it changed there, changed under one lock, saved at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from backend.core.settings import MergeSettings
from backend.storage.merge_plan import load_plan, plan_path, plan_problem, save_plan
from backend.storage.project import Project
from ui_tabs.context import PageContext, View
from ui_tabs.gallery import modified

AGE_S = 2.0
"""Without a stored plan the newest merge is looked for this seldom, seconds."""


@dataclass(frozen=True)
class _Known:
    """A plan, the modification time of its file (0 without one), and when it was read (s, monotonic)."""

    stamp: int
    read_at: float
    plan: MergeSettings


class PlanBook:
    """The plans of all projects, shared by all browser tabs: what one of them changes the others show.

    Args:
        page: the page's context.
    """

    def __init__(self, page: PageContext) -> None:
        self._page = page
        self._lock = threading.RLock()
        self._known: dict[Path, _Known] = {}
        self._problems: dict[Path, tuple[int, str]] = {}

    def get(self, view: View, project: Project) -> MergeSettings:
        """The stored plan, else that of the newest merge, else the defaults; with a model that there is."""
        with self._lock:
            stamp = modified(plan_path(project))
            known = self._known.get(project.path)
            if known is None or known.stamp != stamp or (not stamp and time.monotonic() > known.read_at + AGE_S):
                known = self._known[project.path] = _Known(stamp, time.monotonic(), self._read(view, project))
        plan, names = known.plan, project.models()
        return plan.model_copy(update={"model": names[-1]}) if names and plan.model not in names else plan

    def change(self, view: View, project: Project, how: Callable[[MergeSettings], MergeSettings]) -> MergeSettings:
        """Change the plan and save it; nothing is written when nothing changes in a stored one."""
        with self._lock:
            before = self.get(view, project)
            after = how(before)
            if after != before or not plan_path(project).exists():
                save_plan(project, after)
                self._known[project.path] = _Known(modified(plan_path(project)), time.monotonic(), after)
            return after

    def problem(self, project: Project) -> str:
        """Why a stored plan cannot be used, a sentence; "" when it can, or when there is none."""
        stamp = modified(plan_path(project))
        with self._lock:
            known = self._problems.get(project.path)
            if known is None or known[0] != stamp:
                known = self._problems[project.path] = (stamp, plan_problem(project) if stamp else "")
            return known[1]

    def _read(self, view: View, project: Project) -> MergeSettings:
        stored = load_plan(project)
        if stored is not None:
            return stored
        last = self._page.last_settings(view, "merge", MergeSettings, {})
        return last.model_copy(update={"redo": False}) if isinstance(last, MergeSettings) else MergeSettings()
