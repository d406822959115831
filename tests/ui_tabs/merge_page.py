"""A Merge tab on a page, over projects of drawn faces, with a stand-in for the warm child."""

from __future__ import annotations

import html
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import webui
from backend.core.settings import MergeLook
from backend.jobs.warm import WarmError, WarmFace, WarmImages
from tests.ui_tabs.fix_project import make_fix_project
from tests.ui_tabs.train_page import make_model
from ui_tabs import page as page_module
from ui_tabs.context import View
from ui_tabs.merge_tab import MergeTab


class Child:
    """Renders nothing, but notes what it was asked for."""

    def __init__(self, folder: Path) -> None:
        self.asked = []
        self.refuses = ""
        self.picture = folder / "picture.jpg"
        self.picture.write_bytes(b"a picture")

    def render(self, project, settings, frame_index):
        self.asked.append((settings, frame_index))
        if self.refuses:
            raise WarmError(self.refuses)
        name = f"{frame_index + 1:05d}_0.jpg"
        face = WarmFace(name, 4, "", settings.model, "merged", ((1, 1), (9, 1), (9, 9), (1, 9)), (2, 2, 8, 8))
        left = WarmFace("other.jpg", None, "Bert", "", "left", (), (20, 20, 30, 30))
        return WarmImages(*[self.picture] * 4, faces=(face, left), seconds=0.01)


class Bench:
    """One page, and a fresh project for each test."""

    def __init__(self, root: Path, monkeypatch) -> None:
        made = []

        def build(page):
            made.append(MergeTab(page))
            return made[0].handles

        monkeypatch.setattr(page_module, "BUILDERS", (page_module.build_project_tab, build))
        self.demo, self.manager = webui.build(root / "workspace")
        self.tab: MergeTab = made[0]
        self.child = self.tab.viewer.warm = Child(root)
        film = make_fix_project(self.manager.workspace.root)
        make_model(film, "anna")
        self._first = film.path
        self._count = 0

    def project(self):
        """A copy of the first project."""
        self._count += 1
        name = f"film{self._count}"
        shutil.copytree(self._first, self._first.parent / name)
        self.child.asked.clear()
        self.child.refuses = ""
        return self.manager.workspace.open(name)


class Desk:
    """One browser tab: what it shows, and what a user does there."""

    def __init__(self, bench: Bench, project) -> None:
        self.tab = bench.tab
        self.project = project
        self.view = View(project=project.name, tab="merge")
        self.shown = {}
        while self.tab.viewer.clips.get(project) is None:  # each look waits a little
            pass
        self.take(self.tab.fill(self.view))

    def take(self, updates):
        """Put updates on the page, as the browser does."""
        for part, new in updates.items():
            is_update = isinstance(new, dict) and new.get("__type__") == "update"
            if not is_update:
                self.shown[part] = new
            elif "value" in new:
                self.shown[part] = new["value"]
        return updates

    def ask(self, **asked):
        """A question of the viewer; where it stands then."""
        self.tab.viewer.ask(self.view, asked)
        self.take(self.tab.viewer.stand(self.view))
        self.take(self.tab._follow(self.view) or {})
        return self.stands()

    def edit(self, **changes):
        """Values typed into the form, one after the other; what is shown of the last one."""
        shown = {}
        for name, value in changes.items():
            widget = self.tab.form.widgets[name]
            self.shown[widget] = value
            alone = name in MergeLook.model_fields
            kept = {widget, self.tab.form.token, self.tab.page.view}
            values = {part: given for part, given in self.values().items() if not alone or part in kept}
            shown = self.take(self.tab._edited(values))
        return shown

    def values(self):
        form = self.tab.form
        known = {part: self.shown.get(part) for part in {*form.inputs, form.token}}
        return {**known, self.tab.page.view: self.view}

    def stands(self):
        return read(self.shown[self.tab.viewer.data])

    def value(self, name):
        """What a field of the form shows."""
        return self.shown[self.tab.form.widgets[name]]

    def plan(self):
        """The plan on the disk."""
        return json.loads((self.project.path / "merge_plan.json").read_text())


def event(**data):
    """What a handler gets of an event."""
    return SimpleNamespace(_data=data)


def read(text):
    """JSON of a hidden element."""
    return json.loads(html.unescape(text.removeprefix("<div hidden>").removesuffix("</div>")))
