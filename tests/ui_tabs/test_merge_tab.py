"""The Merge tab: the form follows the frame, changes go to the right frames, and the child is asked once."""

from __future__ import annotations

import json
import threading
import time

import gradio as gr
import pytest

from backend.core.errors import BadInputError
from backend.core.jobs import JobState
from backend.core.settings import AmpSettings, MergeLook, MergeSettings, SaehdSettings
from backend.storage.image import list_images
from backend.storage.presets import PresetShelf
from tests.ui_tabs.merge_page import Bench, Desk, event, read
from tests.ui_tabs.train_page import make_model
from ui_tabs.merge_form import acting, mask_choices
from ui_tabs.merge_markup import KEYS, viewer_html
from ui_tabs.merge_presets import BUILT_IN


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        yield Bench(tmp_path_factory.mktemp("merge"), patch)


@pytest.fixture
def desk(bench):
    return Desk(bench, bench.project())


# -- frames and looks


def test_it_stands_at_the_first_frame_and_says_what_it_shows(desk):
    stands = desk.ask(do="go", frame=1, ask=7)
    assert (stands["frame"], stands["count"], stands["stem"], stands["answered"]) == (1, 5, "00001", 7)
    assert stands["look"] == "Look of all 5 frames"
    assert [item["frame"] for item in stands["strip"]] == [1, 2, 3, 4, 5]
    assert stands["able"] == {
        "first": False, "prev": False, "next": True, "last": True, "key": False, "unkey": False,
        "before": False, "after": False, "change-prev": False, "change-next": False,
    }  # fmt: skip


def test_the_form_shows_the_look_of_the_frame(desk):
    desk.ask(do="go", frame=3)
    stands = desk.ask(do="key")
    assert (stands["keys"], stands["look"]) == ([3], "Look of frames 3 to 5")
    desk.edit(mode="seamless", erode_mask=9)
    desk.ask(do="go", frame=2)
    assert (desk.value("mode"), desk.value("erode_mask")) == ("overlay", 0)
    desk.ask(do="go", frame=5)
    assert (desk.value("mode"), desk.value("erode_mask")) == ("seamless", 9)
    plan = desk.plan()
    assert (plan["mode"], plan["erode_mask"]) == ("overlay", 0)
    assert [(key["frame"], key["look"]["mode"], key["look"]["erode_mask"]) for key in plan["keys"]] == [
        (3, "seamless", 9)
    ]


def test_going_to_a_frame_with_the_same_look_leaves_the_form_alone(desk):
    tab = desk.tab
    desk.edit(mode="seamless")
    desk.ask(do="go", frame=2)
    tab.viewer.ask(desk.view, {"do": "go", "frame": 4})
    assert tab._to_follow(desk.view) == {}
    tab.viewer.ask(desk.view, {"do": "key"})
    assert tab.follow in tab._to_follow(desk.view)  # what is typed now belongs to frame 4
    followed = tab._follow(desk.view)
    assert tab.form.token in followed
    assert not set(tab.form.widgets.values()) & set(followed)


def test_going_back_to_an_earlier_picture_wants_it_again(desk):
    tab = desk.tab
    first = tab.viewer.told(desk.view)[tab.viewer.want]
    desk.edit(erode_mask=9)
    desk.take(tab._reset(desk.view))
    assert desk.shown[tab.viewer.want] != first
    assert desk.stands()["want"] == first.partition(" ")[0]
    assert tab.viewer.shot in tab.viewer.render(desk.view)


def test_a_change_made_before_the_form_followed_belongs_to_the_frame_it_was_made_for(desk):
    desk.ask(do="go", frame=4)
    desk.ask(do="key")
    late = dict(desk.values())
    late[desk.tab.form.widgets["blur_mask"]] = 99  # typed at frame 4
    desk.ask(do="go", frame=1)
    desk.tab._edited(late)
    plan = desk.plan()
    assert (plan["blur_mask"], plan["keys"][0]["look"]["blur_mask"]) == (40, 99)
    desk.ask(do="go", frame=4)
    assert desk.value("blur_mask") == 99


def test_a_second_window_changes_only_what_its_user_changed(bench, desk):
    other = Desk(bench, desk.project)
    desk.edit(erode_mask=11)
    other.edit(blur_mask=77)
    plan = desk.plan()
    assert (plan["erode_mask"], plan["blur_mask"]) == (11, 77)
    other.take(other.tab.tick(other.view))
    assert (other.value("erode_mask"), other.value("blur_mask")) == (11, 77)


def test_the_plan_comes_back_as_it_was(bench, desk):
    desk.ask(do="go", frame=2)
    desk.ask(do="key")
    desk.edit(color_transfer="lct", smooth_mask=30, last_frame=4)
    again = Desk(bench, desk.project)
    again.ask(do="go", frame=3)
    assert (again.value("color_transfer"), again.value("smooth_mask"), again.value("last_frame")) == ("lct", 30, 4)
    assert again.stands()["keys"] == [2]


def test_a_contradiction_is_said_and_changes_nothing(desk):
    desk.edit(first_frame=3)
    said = desk.edit(last_frame=2)
    assert list(said) == [desk.tab.form.error]
    assert "last frame" in said[desk.tab.form.error]
    assert (desk.plan()["first_frame"], desk.plan()["last_frame"]) == (3, 0)


def test_refusals_are_sentences(desk):
    for asked, words in (
        ({"do": "unkey"}, "first look"),
        ({"do": "mode", "mode": "?"}, "has to be one of"),
        ({"do": "dance"}, "not understood"),
        ({}, "not understood"),
    ):
        stands = desk.ask(**asked)
        assert stands["failed"], asked
        assert words in stands["said"]
    assert not (desk.project.path / "merge_plan.json").exists()


def test_a_plan_that_cannot_be_read_is_named_and_kept(desk):
    path = desk.project.path / "merge_plan.json"
    path.write_text("{")
    shown = desk.take(desk.tab.tick(desk.view))
    assert "merge_plan.json" in shown[desk.tab.look]
    desk.edit(erode_mask=4)
    assert desk.plan()["erode_mask"] == 4
    assert path.with_name("merge_plan.json.damaged").read_text() == "{"


# -- the picture


def test_one_change_is_one_render_with_the_look_of_the_frame(bench, desk):
    desk.ask(do="go", frame=3)
    desk.ask(do="key")
    shown = desk.edit(mode="seamless")
    shot = read(shown[desk.tab.viewer.shot])
    assert shot["want"] == read(shown[desk.tab.viewer.data])["want"]
    assert (shot["frame"], shot["before"].partition("?")[0]) == (3, f"/gradio_api/file={bench.child.picture}")
    (settings, index) = bench.child.asked[-1]
    assert (settings.look_at(index + 1).mode, index) == ("seamless", 2)
    asked = len(bench.child.asked)
    assert desk.tab.viewer.render(desk.view) == {}
    desk.edit(last_frame=5, workers=2)  # changes no pixel
    assert len(bench.child.asked) == asked


def test_a_slow_picture_follows_the_answer(bench, desk, monkeypatch):
    monkeypatch.setattr("ui_tabs.merge_view.PATIENCE_S", 0.0)
    go = threading.Event()
    render = bench.tab.viewer.warm.render
    monkeypatch.setattr(bench.tab.viewer.warm, "render", lambda *args: go.wait(20) and render(*args))
    viewer = desk.tab.viewer
    shown = desk.edit(mode="seamless")
    assert viewer.shot not in shown
    assert shown[viewer.want].startswith(desk.stands()["want"])
    go.set()
    (wanted,) = [fn.fn for fn in bench.demo.fns.values() if getattr(fn.fn, "__name__", "") == "wanted"]
    assert read(wanted(desk.view)[viewer.shot])["want"] == desk.stands()["want"]
    assert viewer.shot not in wanted(desk.view)  # it came once


def test_faces_are_outlined_with_what_became_of_them(desk):
    shot = read(desk.tab.viewer.render(desk.view)[desk.tab.viewer.shot])
    swapped, left = shot["faces"]
    assert (swapped["label"], swapped["fine"], len(swapped["points"])) == ("track 4, model anna", True, 27)
    assert (left["label"], left["fine"]) == ("Bert, left as it is", False)
    assert left["points"] == [[20, 20], [30, 20], [30, 30], [20, 30]]


def test_what_the_child_says_is_shown_until_it_is_asked_again(bench, desk):
    bench.child.refuses = "The preview process ended."
    shot = read(desk.tab.viewer.render(desk.view)[desk.tab.viewer.shot])
    assert shot["error"] == "The preview process ended."
    assert "before" not in shot
    bench.child.refuses = ""
    desk.ask(do="again")
    assert "error" not in read(desk.tab.viewer.render(desk.view)[desk.tab.viewer.shot])


def test_a_tick_wants_a_picture_when_the_model_was_saved_and_else_says_nothing(desk):
    desk.take(desk.tab.tick(desk.view))
    time.sleep(0.01)
    quiet = desk.tab.tick(desk.view)
    while quiet.pop(desk.tab.viewer.data, None):  # small pictures come one by one
        quiet = desk.tab.tick(desk.view)
    assert quiet == {}
    (desk.project.model_root / "anna" / "model.json").touch()
    assert desk.tab.viewer.want in desk.tab.tick(desk.view)


def test_an_empty_project_says_what_is_missing(bench):
    bench.manager.workspace.create("bare", "yes")
    desk = Desk.__new__(Desk)
    desk.tab, desk.project = bench.tab, bench.manager.workspace.open("bare")
    desk.view = type(Desk(bench, bench.project()).view)(project="bare", tab="merge")
    desk.shown = {}
    desk.take(desk.tab.fill(desk.view))
    shown = desk.take(desk.tab.tick(desk.view))
    assert "no trained model yet" in desk.stands()["empty"]
    assert shown[desk.tab.start]["interactive"] is False
    make_model(desk.project, "anna")
    desk.take(desk.tab.tick(desk.view))
    assert "Extract tab" in desk.stands()["empty"]
    assert desk.tab.viewer.render(desk.view) == {}


# -- what can be chosen


def test_only_what_does_something_is_offered(desk):
    desk.view.seen.pop("merge.acting")
    shown = desk.tab._tick_acting(desk.view)
    hidden = {name for name, widget in desk.tab.form.widgets.items() if shown.get(widget, {}).get("visible") is False}
    assert hidden == {
        "morph_factor", "gray_face", "hist_match_threshold", "masked_hist_match", "steady_seamless", "sharpen_amount",
    }  # fmt: skip
    make_model(desk.project, "amp", settings=AmpSettings(model="amp"))
    make_model(desk.project, "gray", settings=SaehdSettings(model="gray", channels=1))
    desk.edit(model="amp")
    amp = desk.edit(mode="hist-match")
    assert desk.tab._tick_acting(desk.view) == {}
    assert amp[desk.tab.form.widgets["hist_match_threshold"]]["visible"]
    assert desk.edit(mode="overlay")[desk.tab.form.widgets["hist_match_threshold"]]["visible"] is False
    gray = desk.edit(model="gray")
    assert gray[desk.tab.form.widgets["gray_face"]]["visible"]
    assert gray[desk.tab.form.widgets["morph_factor"]]["visible"] is False
    assert acting(MergeLook(mode="seamless", sharpen_mode="box"), False, 3)["sharpen_amount"]


def test_networks_that_are_missing_are_named_with_their_place(bench, desk, monkeypatch, tmp_path):
    monkeypatch.setattr("ui_tabs.merge_networks.weights_folder", lambda: tmp_path)
    form = desk.tab.form
    other = Desk(bench, desk.project)
    shown = other.tab._tick_look(other.view, other.project)
    assert str(tmp_path / "enhancers") in shown[form.notes["super_resolution"]]
    assert str(tmp_path / "xseg") in shown[form.notes["mask_mode"]]
    assert shown[form.widgets["super_resolution"]]["interactive"] is False
    assert not [value for _, value in shown[form.widgets["mask_mode"]]["choices"] if "xseg" in value]
    for folder, name in (("enhancers", "sharp.onnx"), ("xseg", "XSeg_model.onnx")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_bytes(b"x")
    shown = other.tab._tick_look(other.view, other.project)
    assert "Used: sharp.onnx." in shown[form.notes["super_resolution"]]
    assert shown[form.widgets["super_resolution"]]["interactive"] is True
    assert "xseg-dst" in [value for _, value in shown[form.widgets["mask_mode"]]["choices"]]
    assert "learned*xseg" in [value for _, value in mask_choices("", "learned*xseg")]


# -- looks with a name


@pytest.mark.parametrize("name", BUILT_IN)
def test_looks_that_come_with_the_program_are_valid(name):
    preset = BUILT_IN[name]
    assert MergeLook.model_validate(dict(preset.values)).super_resolution == 0
    assert preset.note.endswith(".")
    assert "xseg" not in str(preset.values)


def test_a_look_with_a_name_is_used_saved_and_deleted(desk):
    panel = desk.tab.presets
    desk.ask(do="go", frame=4)
    desk.ask(do="key")
    desk.edit(morph_factor=0.5, denoise=200)
    desk.take(panel._use(desk.view, "Seamless"))
    look = desk.plan()["keys"][0]["look"]
    assert (look["mode"], look["denoise"], look["morph_factor"]) == ("seamless", 0, 0.5)
    desk.edit(sharpen_mode="box", sharpen_amount=7)
    shown = panel._save(desk.view, " Mine ")
    assert shown[panel.names]["value"] == "Mine"
    assert PresetShelf(desk.tab.page.workspace.root, "merge").load("Mine")["sharpen_amount"] == 7
    desk.ask(do="go", frame=1)
    desk.take(panel._use(desk.view, "Mine"))
    assert (desk.plan()["mode"], desk.plan()["sharpen_amount"], desk.plan()["morph_factor"]) == ("seamless", 7, 0.5)
    assert "Mine" not in panel._delete("Mine")[panel.names]["choices"]
    for wrong in ("", "Seamless", "a/b"):
        with pytest.raises(BadInputError):
            panel._save(desk.view, wrong)
    panel.shelf.save("Bad", {"mode": "sideways"})
    with pytest.raises(BadInputError, match="does not fit"):
        panel._use(desk.view, "Bad")
    panel.shelf.delete("Bad")


# -- faces


def test_rules_for_persons_are_written_into_the_plan(desk):
    side = desk.project.side("dst")
    names = side.faceset().names()
    side.faceset().set_persons({name: int(name > names[1]) for name in names}, "by hand", {0: "Ann", 1: "Bert"})
    (side.aligned_dir / names[0]).touch()
    side.frames_dir.touch()
    clip = None
    while clip is None or not clip.persons:
        clip = desk.tab.viewer.clips.get(desk.project)
    desk.tab.faces._chosen(desk.view, event(track=-1, person="Bert", choice="leave"))
    assert desk.plan()["faces"] == [{"person": "Bert", "track": -1, "action": "leave", "model": ""}]
    plan = desk.tab.plans.get(desk.view, desk.project)
    shown = desk.tab.faces.tick(desk.view, desk.project, clip, plan)
    assert "Bert" in shown[desk.tab.faces.list]
    assert desk.tab.faces.tick(desk.view, desk.project, None, plan) == {}
    with pytest.raises(BadInputError):
        desk.tab.faces._chosen(desk.view, event(track="x"))


# -- files and jobs


def test_a_plan_is_saved_and_loaded_with_its_key_frames(desk, tmp_path):
    form = desk.tab.form
    desk.ask(do="go", frame=3)
    desk.ask(do="key")
    desk.edit(erode_mask=5)
    assert "settings/merge.json" in form._saved(desk.tab.page, desk.view, MergeSettings())
    saved = json.loads((desk.project.path / "settings" / "merge.json").read_text())
    assert saved["keys"][0]["look"]["erode_mask"] == 5
    saved["keys"].append({"frame": 5, "look": {"mode": "original"}})
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(saved))
    shown = desk.take(form._loaded({**desk.values(), form.load: str(file)}, False))
    assert "with 2 key frames" in shown[form.said]
    assert not file.exists()
    assert desk.ask(do="go", frame=5)["keys"] == [3, 5]
    assert desk.value("mode") == "original"
    file.write_text(json.dumps({"erode_mask": 9999}))
    with pytest.raises(BadInputError, match="Erode mask"):
        form._loaded({**desk.values(), form.load: str(file)}, False)


def test_reset_gives_the_shown_frames_the_defaults(desk):
    desk.edit(erode_mask=5, smooth_mask=20)
    desk.ask(do="go", frame=3)
    desk.ask(do="key")
    desk.edit(erode_mask=8)
    desk.take(desk.tab._reset(desk.view))
    plan = desk.plan()
    assert (plan["erode_mask"], plan["keys"][0]["look"]["erode_mask"], plan["smooth_mask"]) == (5, 0, 0)
    assert plan["model"] == "anna"


def test_a_merge_gets_the_whole_plan_once(bench, desk, monkeypatch):
    submitted = []
    monkeypatch.setattr(desk.tab.page, "submit", lambda view, stage, settings: submitted.append((stage, settings)))
    desk.ask(do="go", frame=3)
    desk.ask(do="key")
    desk.shown[desk.tab.form.widgets["erode_mask"]] = 6  # typed, and Start pressed at once
    desk.tab._begin(desk.values())
    ((stage, settings),) = submitted
    assert (stage, settings.look_at(3).erode_mask, settings.look_at(2).erode_mask) == ("merge", 6, 0)
    command = desk.tab._command_html(desk.view, settings, desk.project)
    assert f"{desk.project.name}/merge_plan.json" in command


def test_frames_out_of_date_offer_to_merge_again(desk, monkeypatch):
    monkeypatch.setattr("ui_tabs.merge_strip.REST", 0.0)
    tab = desk.tab
    shown = tab.tick(desk.view)
    assert (shown[tab.note], shown[tab.again]["visible"]) == ("", False)
    desk.project.merged_dir.mkdir(parents=True)
    frame = list_images(desk.project.side("dst").frames_dir)[0]
    (desk.project.merged_dir / frame.name).write_bytes(frame.read_bytes())
    shown = tab.tick(desk.view)
    assert "1 of 5 frames are merged. 1 of them with other settings." in shown[tab.note]
    assert shown[tab.again]["visible"]
    assert read(shown[tab.viewer.data])["runs"] == [[1, 1, "stale"]]


def test_what_a_merge_came_to_is_said_beside_it(bench, desk):
    store = bench.manager.store(desk.project.name)
    job = store.create("merge", MergeSettings(model="anna"), lane="cpu")
    result = {
        "frames": 5, "merged": 3, "passed_through": 0, "reused": 2, "iteration": 100,
        "flicker": {"measured": 3, "mask_before": 3.25, "mask_after": 1.0, "color_before": 0.5, "color_after": 0.125},
    }  # fmt: skip
    store.update(job, state=JobState.DONE, result=result)
    said = desk.tab.tick(desk.view)[desk.tab.note]
    assert "3 frames merged, 2 up to date already, model at iteration 100" in said
    assert "flicker of the masks 3.25 % before, 1.00 % after; of the colours 0.50 before, 0.12 after." in said


def test_every_key_of_the_help_is_in_the_viewer():
    page = viewer_html()
    assert page.count("<dt>") == len(KEYS)
    assert "data-stage" in page


def test_every_event_of_the_tab_stays_private(bench):
    names = {"asked", "_edited", "_follow", "wanted"}
    fns = [fn for fn in bench.demo.fns.values() if getattr(fn.fn, "__name__", "") in names]
    assert {fn.fn.__name__ for fn in fns} == names
    assert {fn.api_visibility for fn in fns} == {"private"}
    assert isinstance(bench.demo, gr.Blocks)
