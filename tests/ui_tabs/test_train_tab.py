"""What the Train tab and its neighbours do with a press, without a browser."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from backend.core.errors import BadInputError
from backend.core.settings import TRAIN_SETTINGS, AmpSettings, PhazeASettings, Quick96Settings, SaehdSettings
from backend.storage.model_folder import DFM_CLASS, DFM_FILE, ModelFolder, ModelInfo
from tests.ui_tabs.train_page import make_model, make_tab, values_of
from ui_tabs import page as page_module
from ui_tabs.context import View
from ui_tabs.form import fields_of
from ui_tabs.labels import group_of


@pytest.fixture
def train(tmp_path, monkeypatch):
    """(Train tab, its manager) of a project with one model at iteration 100."""
    return make_tab(tmp_path, monkeypatch)


def widgets(tab, family="saehd"):
    return tab.forms.form.widgets_of(family)


def visible(tab, shown):
    """The families whose fields, and no others, an update shows."""
    seen = {widget for widget in tab.forms.form.inputs if shown[widget]["visible"]}
    return [family for family in TRAIN_SETTINGS if seen == set(widgets(tab, family).values())]


@pytest.mark.parametrize("name", ["../evil", "a<b>", "", "con"])
def test_a_name_that_no_folder_can_have_is_refused_at_the_field(train, name):
    tab, _ = train
    view = View(project="film")
    with pytest.raises(BadInputError, match=r"Model name: .*cannot be the name of a model"):
        tab.forms.read(values_of(tab, view, model=name))


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
    job = tab.page.submit(View(project="film"), "train", AmpSettings(model="bea", batch_size=17))
    manager.stop("film", job)
    shown = tab.fill(View(project="film"))
    assert visible(tab, shown) == ["amp"]
    assert shown[widgets(tab, "amp")["batch_size"]]["value"] == 17


@pytest.mark.parametrize("family", TRAIN_SETTINGS)
def test_one_click_starts_each_family(train, family):
    tab, manager = train
    view = View(project="film")
    view.local["train.family"] = "amp" if family != "amp" else "saehd"
    shown = tab.forms.switch(view, family, {})
    assert family in visible(tab, shown)
    assert tab.forms.chosen(view) == family
    tab._begin(values_of(tab, view, TRAIN_SETTINGS[family](), model="bea"))
    [record] = manager.jobs("film")
    assert record.request.settings == TRAIN_SETTINGS[family](model="bea").model_dump(mode="json")


@pytest.mark.parametrize("family", TRAIN_SETTINGS)
def test_a_family_shows_its_fields_and_no_others(train, family):
    tab, _ = train
    view = View(project="film", local={"train.family": "amp" if family != "amp" else "saehd"})
    shown = tab.forms.switch(view, family, {})
    own = set(widgets(tab, family).values())
    assert {widget for widget in tab.forms.form.inputs if shown[widget]["visible"]} == own
    assert set(widgets(tab, family)) == set(fields_of(TRAIN_SETTINGS[family]))
    for group, fold in tab.forms.form.groups.items():
        assert shown[fold]["visible"] == any(group_of("train", name) == group for name in widgets(tab, family))


def test_all_families_share_the_widgets_of_what_they_have_in_common(train):
    tab, _ = train
    every = sum(len(widgets(tab, family)) for family in TRAIN_SETTINGS)
    names = {name for family in TRAIN_SETTINGS for name in widgets(tab, family)}
    assert len(tab.forms.form.inputs) < 1.25 * len(names) < every / 2
    assert len({widgets(tab, family)["batch_size"] for family in TRAIN_SETTINGS}) == 1
    ids = [widget.elem_id for widget in tab.forms.form.inputs]
    assert len(set(ids)) == len(ids)
    assert {f"train-{name}" for name in widgets(tab)} <= set(ids)


def test_what_is_fixed_has_no_widget(train):
    tab, _ = train
    own = widgets(tab, "quick96")
    assert not {"resolution", "face_type", "optimizer", "model_class", "gan_power", "mask_weight"} & set(own)
    assert {"model", "batch_size", "channels", "learning_rate"} <= set(own)


def test_a_model_that_exists_shows_its_family_and_what_cannot_change(train):
    tab, manager = train
    make_model(manager.workspace.open("film"), "quick", settings=Quick96Settings(model="quick", channels=1))
    view = View(project="film")
    shown = tab._choose(view, "quick")
    assert tab.forms.chosen(view) == "quick96"
    own = widgets(tab, "quick96")
    assert (shown[own["channels"]]["value"], shown[own["channels"]]["interactive"]) == (1, False)
    assert shown[own["batch_size"]]["interactive"] is True
    assert shown[tab.forms.family]["visible"] is False


def test_another_family_keeps_what_was_typed_name_and_device_but_no_grey_fields(train):
    tab, _ = train
    view = View(project="film")
    tab._choose(view, "anna")
    tab._choose(view, "")
    typed = {**dict(SaehdSettings()), "ae_dims": 100, "model": "bea"}
    shown = tab.forms.switch(view, "amp", typed)
    assert shown[widgets(tab, "amp")["model"]]["value"] == "bea"
    assert shown[widgets(tab, "amp")["ae_dims"]]["value"] == AmpSettings().ae_dims
    back = tab.forms.switch(view, "saehd", {**dict(AmpSettings()), "model": "cleo"})
    assert back[widgets(tab)["ae_dims"]]["value"] == 100
    assert back[widgets(tab)["model"]]["value"] == "cleo"
    assert back[widgets(tab)["resolution"]]["interactive"] is True


def test_a_choice_that_is_told_twice_counts_once(train):
    tab, _ = train
    view = View(project="film")
    typed = dict(SaehdSettings())
    shown = tab.forms.switch(view, "phaze_a", typed)
    assert shown[widgets(tab, "phaze_a")["eye_multiplier"]]["value"] == 3
    assert tab.forms.switch(view, "phaze_a", typed) == {}
    tab.forms.switch(view, "saehd", dict(PhazeASettings()))
    back = tab.forms.switch(view, "phaze_a", typed)
    assert back[widgets(tab, "phaze_a")["eye_multiplier"]]["value"] == 3


def test_labels_follow_the_family(train):
    tab, _ = train
    view = View(project="film")
    shown = tab.forms.switch(view, "quick96", {})
    assert "default 4" in shown[widgets(tab, "quick96")["batch_size"]]["label"]
    assert "default 8" in tab.forms.switch(view, "saehd", {})[widgets(tab)["batch_size"]]["label"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"archi": "df-ud", "resolution": 144}, "needs a resolution that is a multiple of 32"),
        ({"archi": "liae-ud", "true_face_power": 0.01}, "true face needs a df architecture"),
        ({"pretrain": True}, "retraining needs a folder of faces"),
        ({"channels": 1, "color_transfer": "rct"}, "can only match brightness"),
        ({"gan_power": 0.1, "gan_patch_size": 400}, "area has to be 3 to 128 px"),
    ],
)
def test_contradictions_are_told_at_the_form(train, changes, reason):
    tab, _ = train
    view = View(project="film")
    with pytest.raises(BadInputError, match=f"(?i){reason}"):
        tab.forms.read(values_of(tab, view, **changes))


def test_synthetic_faces_and_pretraining_need_no_faceset(train):
    tab, _ = train
    view = View(project="film")
    assert "No faces of the source and the destination" in tab._missing(view)
    for settings in (SaehdSettings(synthetic=True), SaehdSettings(pretrain=True, pretrain_faces="/faces")):
        tab._checked(view, settings)
        assert tab._missing(view) == ""
        tab._checked(view, SaehdSettings())
        assert tab._missing(view)


def test_the_facesets_of_other_projects_are_offered_for_pretraining(train):
    tab, manager = train
    other = manager.workspace.create("crowd", "They agreed.")
    folder = other.side("dst").aligned_dir
    folder.mkdir(parents=True)
    (folder / "00001_0.jpg").touch()
    assert tab.page.facesets(View(project="film")) == [("crowd, destination faces", str(folder))]
    assert tab.page.facesets(View(project="crowd")) == []


def test_all_devices_together_are_named(train, monkeypatch):
    tab, _ = train
    one, two = (SimpleNamespace(name=f"cuda:{i}", label="A GPU", unverified=False) for i in range(2))
    monkeypatch.setattr(tab.page.manager, "devices", lambda: [one, two])
    choices = tab.page.training_devices()
    assert ("all together (cuda:0, cuda:1)", "all") in choices
    assert [value for _, value in choices] == ["best", "all", "cuda:0", "cuda:1", "cpu"]
    monkeypatch.setattr(tab.page.manager, "devices", lambda: [one])
    assert [value for _, value in tab.page.training_devices()] == ["best", "cuda:0", "cpu"]


def test_a_model_that_went_away_is_not_the_chosen_one(train):
    tab, _ = train
    view = View(project="film", local={"train.pick": "gone"})
    assert tab._tick_models(view)[tab.pick]["value"] == ""


def test_a_model_that_begins_is_chosen_unless_the_user_chose_meanwhile(train):
    tab, manager = train
    view = View(project="film")
    tab._begin(values_of(tab, view, SaehdSettings(model="bea", synthetic=True)))
    make_model(manager.workspace.open("film"), "bea")
    other = View(project="film", local=dict(view.local))
    tab._choose(other, "")
    tab._tick_models(other)
    assert tab._picked(other) == ""
    tab._tick_models(view)
    assert tab._picked(view) == "bea"


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


def test_a_model_that_is_not_saved_yet_shows_what_its_training_was_started_with(train):
    tab, manager = train
    view = View(project="film")
    settings = SaehdSettings(model="bea", resolution=64)
    tab._begin(values_of(tab, view, settings))
    manager.workspace.open("film").model_dir("bea").mkdir(parents=True)
    view.local["train.pick"] = "bea"
    shown, reason = tab._baseline(view)
    assert (shown.model, shown.resolution) == ("bea", 64)
    assert reason


def test_the_job_is_named_where_another_model_is_chosen(train):
    tab, _ = train
    view = View(project="film")
    tab._begin(values_of(tab, view, model="bea"))
    assert "bea" in tab.panel.tick(view)[tab.panel.box]
    view.local["train.pick"] = "bea"
    assert "bea" not in tab.panel.tick(view)[tab.panel.box]


def test_a_model_that_only_merges_is_not_trained_nor_begun_with(train):
    tab, manager = train
    project = manager.workspace.open("film")
    folder = project.model_dir("live")
    ModelFolder(folder).write_info(ModelInfo(model_class=DFM_CLASS, settings={"resolution": 64, "face_type": "wf"}))
    (folder / DFM_FILE).write_bytes(b"")
    view = View(project="film", local={"train.pick": "live"})
    assert "DFM file, 64 px" in tab._card_html(view)
    assert tab._baseline(view)[0].model == "live"
    assert "live" in [name for _, name in tab._choices(view)]
    with pytest.raises(BadInputError, match="'live' is a DFM file"):
        tab._begin(values_of(tab, view, model="anna", target_iterations=500))
    assert not manager.jobs("film")
    shown = tab.forms.offer(view)[widgets(tab)["load_weights"]]
    assert [name for _, name in shown["choices"]] == ["", "anna"]
