"""A Train tab on a page, over a project with one model, and values as its forms would send them."""

from __future__ import annotations

import webui
from backend.core.settings import SaehdSettings
from backend.storage.model_folder import ModelFolder, ModelInfo, Session
from ui_tabs import page as page_module
from ui_tabs.train_tab import TrainTab


def make_model(project, name, iteration=100, settings=None, **facts):
    """A model's folder with a model.json, as a training leaves it."""
    settings = settings or SaehdSettings(model=name)
    folder = ModelFolder(project.model_dir(name))
    folder.path.mkdir(parents=True)
    info = ModelInfo(
        model_class=settings.model_class,
        settings=settings.model_dump(mode="json"),
        iteration=iteration,
        sessions=(Session(started=1e9, ended=1e9 + 60, first_iteration=0, last_iteration=iteration),),
        **facts,
    )
    folder.write_info(info)
    return folder


def make_tab(folder, monkeypatch):
    """(Train tab, its manager) in a fresh workspace with the project "film" and its model "anna" at iteration 100."""
    made = []

    def build(page):
        made.append(TrainTab(page))
        return made[0].handles

    builders = tuple(build if b.__name__ == "build_train_tab" else b for b in page_module.BUILDERS)
    monkeypatch.setattr(page_module, "BUILDERS", builders)
    _, manager = webui.build(folder / "workspace")
    make_model(manager.workspace.create("film", "Ann agreed."), "anna")
    return made[0], manager


def values_of(tab, view, settings=None, **changes):
    """Component -> value of every form; the form of ``settings`` shows them, with changes."""
    settings = settings or SaehdSettings()
    found = {tab.page.view: view}
    for form in tab.forms.forms.values():
        shown = settings if isinstance(settings, form.kind) else form.kind()
        given = changes if isinstance(settings, form.kind) else {}
        found.update({widget: given.get(name, getattr(shown, name)) for name, widget in form.widgets.items()})
    return found
