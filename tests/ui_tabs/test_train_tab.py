"""What the Train tab and its neighbours do with a press, without a browser."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

import webui
from backend.core.errors import BadInputError
from backend.core.settings import SaehdSettings
from backend.storage.model_folder import ModelFolder, ModelInfo
from ui_tabs import page as page_module
from ui_tabs.context import View
from ui_tabs.train_tab import TrainTab


@pytest.fixture
def train(tmp_path, monkeypatch):
    """(Train tab, its page) of a project with one model at iteration 100."""
    made = []

    def build(page):
        made.append(TrainTab(page))
        return made[0].handles

    builders = tuple(build if b.__name__ == "build_train_tab" else b for b in page_module.BUILDERS)
    monkeypatch.setattr(page_module, "BUILDERS", builders)
    _, manager = webui.build(tmp_path / "workspace")
    project = manager.workspace.create("film", "Ann agreed.")
    settings = SaehdSettings(model="anna").model_dump(mode="json")
    folder = ModelFolder(project.model_dir("anna"))
    folder.path.mkdir(parents=True)
    folder.write_info(ModelInfo(model_class="saehd", name="anna", settings=settings, iteration=100))
    return made[0], manager


def values_of(tab, view, **changes):
    settings = SaehdSettings()
    found = {widget: changes.get(name, getattr(settings, name)) for name, widget in tab.form.widgets.items()}
    return {**found, tab.page.view: view}


def test_a_preset_leaves_name_and_device_as_they_were_typed(train):
    tab, _ = train
    shown = tab._apply_preset("First look (CPU)")
    assert tab.form.widgets["resolution"] in shown
    assert not {tab.form.widgets["model"], tab.form.widgets["device"]} & set(shown)


@pytest.mark.parametrize("name", ["../evil", "a<b>", "", "con"])
def test_a_name_that_no_folder_can_have_is_refused_at_the_field(train, name):
    tab, _ = train
    with pytest.raises(BadInputError, match=r"Model name: .*cannot be the name of a model"):
        tab.form.read(values_of(tab, View(project="film"), model=name), model_class="saehd")


def test_a_target_that_is_reached_already_is_refused_before_the_start(train):
    tab, manager = train
    view = View(project="film", local={"train.pick": "anna"})
    with pytest.raises(BadInputError, match="has reached 100 already"):
        tab._begin(values_of(tab, view, model="anna", target_iterations=100))
    tab._begin(values_of(tab, view, model="anna", target_iterations=101))
    assert len(manager.jobs("film")) == 1


def test_a_second_press_does_not_start_a_second_job(train):
    tab, manager = train
    tab._begin(values_of(tab, View(project="film"), model="bea"))
    with pytest.raises(BadInputError, match="already"):
        tab._begin(values_of(tab, View(project="film"), model="cleo"))
    assert len(manager.jobs("film")) == 1


def test_a_failed_start_is_not_forgotten_by_a_reload(train):
    tab, manager = train
    job = tab.page.submit(View(project="film"), "train", SaehdSettings(model="bea", batch_size=17))
    manager.stop("film", job)
    shown = tab.fill(View(project="film"))
    assert shown[tab.form.widgets["batch_size"]]["value"] == 17


def test_the_history_follows_again_once_it_is_back_at_now(train, tmp_path):
    tab, _ = train
    view = View(project="film", local={"train.at": 2})
    pictures = [tmp_path / f"{at:07d}_faces.jpg" for at in range(3)]
    for picture in pictures:
        picture.touch()
    model = SimpleNamespace(name="anna", previews=lambda masked: pictures[:2], preview=lambda masked: pictures[-1])
    tab.result._tick_preview(view, model)
    view.local["train.at"] = 2
    tab.result._tick_preview(view, model)
    model.previews = lambda masked: pictures
    shown = tab.result._tick_preview(view, model)
    assert shown[tab.result.at]["value"] == 3


def test_a_notice_goes_when_the_tab_works_again(train, monkeypatch):
    tab, _ = train
    parts = {"tick": lambda view: {}}
    ask = page_module._Dispatcher(tab.page, SimpleNamespace(outputs=[]), [])
    view = View(project="film", tab="train")

    def broken(view):
        raise BadInputError("The model cannot be read.")

    notice = tab.page.notices["train"]
    assert "cannot be read" in ask._told(view, ("train", "tick"), broken)[notice]
    assert ask._told(view, ("train", "tick"), broken) == {}
    assert ask._told(view, ("train", "tick"), parts["tick"]) == {notice: ""}
