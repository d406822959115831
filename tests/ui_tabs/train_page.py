"""A Train tab on a page, over a project with one model, and values as its forms would send them."""

from __future__ import annotations

import gradio as gr

from backend.core.settings import SaehdSettings
from backend.jobs.manager import JobManager
from backend.storage.model_folder import ModelFolder, ModelInfo, Session
from backend.storage.workspace import Workspace
from ui_tabs.context import PageContext
from ui_tabs.form_widgets import shown_value
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
    """(Train tab, its manager) in a fresh workspace with the project "film" and its model "anna" at iteration 100.

    The other tabs are not made: they take most of the time.
    """
    manager = JobManager(Workspace(folder / "workspace"))
    with gr.Blocks(), gr.Tabs():
        tab = TrainTab(PageContext(manager, manager.workspace))
    make_model(manager.workspace.create("film", "Ann agreed."), "anna")
    return tab, manager


def values_of(tab, view, settings=None, **changes):
    """Component -> value of every field; those of the family of ``settings`` show them, with changes."""
    settings = settings or SaehdSettings()
    form = tab.forms.form
    found = {tab.page.view: view, **{widget: widget.value for widget in form.inputs}}
    view.local["train.family"] = settings.model_class
    for name, widget in form.widgets_of(settings.model_class).items():
        found[widget] = shown_value(changes.get(name, getattr(settings, name)))
    return found
