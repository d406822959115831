"""The right side of the Train tab: numbers, events, previews, curves, reports."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from backend.core.errors import BadInputError
from backend.core.jobs import Event, JobState
from backend.core.settings import AmpSettings, SaehdSettings
from backend.jobs.events import EventWriter
from backend.storage.evaluation import write_evaluation
from backend.storage.image import encode_image
from backend.storage.lr_curve import LrCurve, write_lr_curve
from backend.storage.model_folder import ModelFolder, ModelInfo
from tests.ui_tabs.train_page import make_model, make_tab
from ui_tabs.context import View
from ui_tabs.loss_plot import Line, Plot, loss_plot
from ui_tabs.network_summary import Described, read_layers, summary_html
from ui_tabs.train_curve import POINTS, part_colours, smoothed
from ui_tabs.train_report import evaluation_html
from ui_tabs.train_tab import MERGES_ONLY
from ui_tabs.train_words import events_html, numbers_html

METRIC = {
    "iteration": 41200,
    "src_loss": 0.5,
    "dst_loss": 0.25,
    "step_s": 0.5,
    "images_per_s": 16.0,
    "loader_wait_s": 0.01,
    "memory_mb": 900.0,
    "learning_rate": 5e-5,
}


CURVE = {
    "rates": (1e-6, 1e-4, 1e-2),
    "losses": (2.0, 1.0, 3.0),
    "smoothed": (2.0, 1.5, 2.5),
    "best": 1e-4,
    "strength": "default",
    "chosen": 1e-5,
    "iteration": 3,
}


@pytest.fixture
def train(tmp_path, monkeypatch):
    """(Train tab, its manager, a view on the model "anna")."""
    tab, manager = make_tab(tmp_path, monkeypatch)
    return tab, manager, View(project="film", local={"train.pick": "anna"})


def milestone(what, **data):
    return Event(seq=1, time=1e9, kind="milestone", data={"what": what, "message": "", **data})


# -- numbers and events


def test_the_numbers_say_what_the_loader_costs():
    shown = numbers_html(METRIC, True)
    assert "<b>41,200</b>" in shown
    assert "<b>2</b><span>% of it waiting for faces</span>" in shown
    assert "<b>5e-05</b><span>learning rate now</span>" in shown
    assert "skipped" not in shown
    assert "<b>3</b><span>skipped steps</span>" in numbers_html({**METRIC, "skipped": 3}, True)


def test_numbers_of_an_older_training_leave_out_what_they_lack():
    shown = numbers_html({"iteration": 5, "step_s": 0.0, "loader_wait_s": 0.0}, False)
    assert "waiting" not in shown
    assert 'data-running="false"' in shown


@pytest.mark.parametrize(
    ("what", "word"), [("settings", "settings changed"), ("rolled back", "rolled back"), ("batch", "made smaller")]
)
def test_events_have_words(what, word):
    assert word in events_html([milestone(what)])


def test_a_resumed_training_says_where_it_goes_on(train):
    tab, manager, view = train
    job = tab.page.submit(view, "train", SaehdSettings(model="anna"))
    store = manager.store("film")
    store.update(job, state=JobState.RUNNING)
    assert "not done yet" in tab.result.tick(view)[tab.result.numbers]
    write = EventWriter(store.path(job) / "events.jsonl")
    write("milestone", {"what": "resumed", "message": "", "iteration": 1200})
    assert "Going on from iteration 1,200." in tab.result.tick(view)[tab.result.numbers]
    write("metric", METRIC)
    assert "41,200" in tab.result.tick(view)[tab.result.numbers]


# -- previews


def history(model, page, count):
    model.history_dir.mkdir(exist_ok=True)
    picture = encode_image(np.zeros((8, 8, 3), np.uint8), ".jpg", 90)
    for at in range(count):
        (model.history_dir / f"{at:07d}_{page}.jpg").write_bytes(picture)
    model.preview_path(page).write_bytes(picture)


def test_the_history_follows_again_once_it_is_back_at_now(train):
    tab, _, view = train
    model = tab.shown_model(view)
    history(model, "faces", 2)
    tab.result._tick_preview(view, model)
    view.local["train.at"] = 2
    tab.result._tick_preview(view, model)
    history(model, "faces", 3)
    assert tab.result._tick_preview(view, model)[tab.result.at]["value"] == 3


def test_the_pages_that_exist_can_be_chosen(train):
    tab, manager, _ = train
    model = make_model(manager.workspace.open("film"), "morphs", settings=AmpSettings(model="morphs"))
    view = View(project="film", local={"train.pick": "morphs", "train.page": "masked"})
    history(model, "faces", 2)
    assert tab.result.tick(view)[tab.result.pages]["visible"] is False
    for page in ("masked", "morph"):
        history(model, page, 2)
    shown = tab.result.tick(view)
    assert [name for _, name in shown[tab.result.pages]["choices"]] == ["faces", "masked", "morph"]
    assert "preview_masked.jpg" in shown[tab.result.preview]


def test_a_video_is_made_of_the_page_that_is_shown(train):
    tab, manager, view = train
    history(tab.shown_model(view), "masked", 3)
    view.local["train.page"] = "masked"
    tab.result._make_film(view)
    [record] = manager.jobs("film")
    assert (record.request.stage, record.request.settings["page"]) == ("timelapse", "masked")
    with pytest.raises(BadInputError, match="being made"):
        tab.result._make_film(view)
    (record.path.parents[1] / "results").mkdir(exist_ok=True)
    (record.path.parents[1] / "results" / "film.mp4").touch()
    manager.store("film").update(record.id, state=JobState.DONE, result={"video": "results/film.mp4"})
    assert 'download="film.mp4"' in tab.result.tick(view)[tab.result.video]


# -- curves


def test_the_curve_marks_sessions_and_breaks_at_gaps():
    raw = [1.0, 0.5, math.nan, 0.25, 0.2]
    plot = Plot([1.0, 2.0, 3.0, 4.0, 5.0], [Line("GAN", "part-0", raw, smoothed(raw))], 5, [(0, "one"), (3, "two")])
    shown = loss_plot(plot, True)
    assert shown.count('class="session"') == 1
    assert "<title>two</title>" in shown
    assert shown.count('<polyline class="part-0 raw"') == 2
    assert "nan" not in shown.lower().replace("nance", "")


def test_a_line_that_is_off_at_the_end_says_so():
    raw = [1.0, 0.5, math.nan]
    assert "GAN off" in loss_plot(Plot([1.0, 2.0, 3.0], [Line("GAN", "part-0", raw, smoothed(raw))], 3), False)


@pytest.mark.parametrize("logarithmic", [True, False])
def test_losses_of_zero_are_drawn_too(logarithmic):
    plot = Plot([1.0, 2.0, 3.0], [Line("GAN", "part-0", [0.0, 0.0, 0.0], [0.0, 0.0, 0.0])], 3)
    assert "polyline" in loss_plot(plot, logarithmic)


def test_smoothing_begins_without_a_bias():
    assert smoothed([2.0] * 200) == pytest.approx([2.0] * 200)


def test_parts_of_the_loss_can_be_chosen_once_there_are_some(train):
    tab, _, view = train
    model, card = tab.shown_model(view), tab.result.curve
    model.losses.append([(i, 1.0, 2.0, 1e9 + i) for i in range(1, 2001)])
    assert [name for _, name in card.tick(view, model)[card.lines]["choices"]] == ["total"]
    for i in range(10, 2001, 10):
        model.terms.append(i, {"structure_src": 0.5, "structure_dst": 0.7, "gan": 0.1, "gan_d": 0.2})
    shown = card.tick(view, model)
    assert [name for _, name in shown[card.lines]["choices"]] == ["total", "parts", "structure", "gan"]
    assert 'class="src smooth"' in shown[card.curve]
    view.local["train.lines"] = "gan"
    assert "GAN discriminator 0.2000" in card.tick(view, model)[card.curve]
    view.local["train.lines"] = "parts"
    drawn = card.tick(view, model)[card.curve]
    assert drawn.count("smooth") - drawn.count("smoothed") == 4
    assert max(len(line.split()) for line in drawn.split('points="')[1:]) <= POINTS + 4


def test_the_whole_history_can_be_taken_along(train, tmp_path):
    tab, _, view = train
    card = tab.result.curve
    with pytest.raises(BadInputError, match="no losses yet"):
        card._write_table(view)
    tab.shown_model(view).losses.append([(1, 1.0, 2.0, 1e9), (2, 0.5, 1.0, 1e9)])
    found = card._write_table(view)
    assert found["visible"] is True
    assert Path(found["value"]).read_text(encoding="utf-8").startswith("iteration,time,src,dst\n")


def test_chosen_losses_take_the_colours_that_are_free():
    own = ("structure_src", "pixel_src", "mask_src", "eyes_mouth_src")
    assert part_colours(own) == {"structure": 0, "pixel": 1, "mask": 2, "eyes_mouth": 3}
    chosen = part_colours(("mask_src", "ssim_src", "ssim_dst", "mse_src", "ffl_dst"))
    assert chosen["mask"] == 2
    assert len(set(chosen.values())) == len(chosen) == 4


# -- reports

SUMMARY = {
    "parts": [{"name": "encoder", "output": [512, 8, 8], "parameters": 1234567, "megabytes": 4.9}],
    "parameters": 1234567,
    "need_mb": 900.0,
    "free_mb": 4000.0,
    "largest_batch": 16,
    "gflop": 12.5,
    "device": "cpu",
}


def test_a_summary_says_what_fits():
    settings = SaehdSettings(model="bea", batch_size=8).model_dump(mode="json")
    shown = summary_html(Described(settings, SUMMARY), "")
    assert "Network of bea, SAEHD, liae-ud, 128 px" in shown
    assert "512 x 8 x 8" in shown
    assert "1,234,567" in shown
    assert "does not fit" not in shown
    short = summary_html(Described(settings, {**SUMMARY, "largest_batch": 4}), "")
    assert "A batch of 8 does not fit. Set it to 4 or less." in short


def test_a_summary_shows_layers_facts_and_cautions(tmp_path):
    file = tmp_path / "layers.json"
    layer = {"name": "convs.0", "kind": "Conv 5x5 / 2", "output": "128 x 32 x 32", "parameters": 9728, "source": ""}
    file.write_text(json.dumps({"encoder": [layer]}), encoding="utf-8")
    result = {
        **SUMMARY,
        "trained": 0,
        "facts": {"Encoder input": "64 px"},
        "cautions": [{"field": "fc_min_filters", "sentence": "It has <no> effect."}],
    }
    settings = {"model": "cleo", "model_class": "phaze_a", "output_size": 192, "batch_size": 2}
    shown = summary_html(Described(settings, result, read_layers(file)), "/file/summary.txt")
    assert "cleo, Phaze-A, 192 px" in shown
    for words in ("Layers of encoder: 1", "Conv 5x5 / 2", "9,728", "<dt>Encoder input</dt><dd>64 px</dd>"):
        assert words in shown
    assert "Min filters: It has &lt;no&gt; effect." in shown
    assert "<b>0</b><span>of them learn</span>" in shown
    assert 'href="/file/summary.txt"' in shown
    assert read_layers(tmp_path / "gone.json") == {} == read_layers(None)


def test_the_network_is_described_from_the_form_without_a_start(train):
    tab, manager, view = train
    tab.report.describe(view, SaehdSettings(model="anna", resolution=192))
    [record] = manager.jobs("film")
    assert (record.request.stage, record.request.settings["train"]["resolution"]) == ("summary", 192)
    with pytest.raises(BadInputError, match="being described"):
        tab.report.describe(view, SaehdSettings(model="anna"))
    manager.store("film").update(record.id, state=JobState.DONE, result=SUMMARY)
    assert "encoder" in tab.report.tick(view)[tab.report.summary]


def test_an_evaluation_names_what_is_better():
    rows = [
        {"name": "SSIM", "src": 0.91234, "dst": 0.95, "swap": None, "unit": "", "better": "higher"},
        {"name": "pose error", "src": None, "dst": None, "swap": 2.5, "unit": "°", "better": "lower"},
        {"name": "jitter", "swap": 1.2, "better": "nearer 1"},
    ]
    shown = evaluation_html({"rows": rows, "note": "Seen <before>.", "iteration": 1200}, "")
    for words in (
        "more is better",
        "less is better",
        "nearer 1 is better",
        "pose error, °",
        "0.9123",
        "&lt;before&gt;",
    ):
        assert words in shown
    assert "<img" not in shown


def test_the_last_evaluation_of_the_model_is_shown(train):
    tab, manager, view = train
    assert "appears here" in tab.report.tick(view)[tab.report.evaluation]
    folder = tab.shown_model(view).path
    write_evaluation(folder, {"rows": [{"name": "SSIM", "src": 0.9}], "iteration": 7}, b"jpeg")
    shown = tab.report.tick(view)[tab.report.evaluation]
    assert "Iteration 7." in shown
    assert "evaluation.jpg" in shown
    assert tab.report.evaluation not in tab.report.tick(view)
    tab.report._evaluate(view)
    with pytest.raises(BadInputError, match="already"):
        tab.report._evaluate(view)
    [record] = manager.jobs("film")
    assert record.request.settings["model"] == "anna"


def test_several_devices_are_for_training_only(train):
    tab, manager, _ = train
    settings = SaehdSettings(model="wide", device="cuda:0,cuda:1")
    make_model(manager.workspace.open("film"), "wide", settings=settings)
    tab.report._evaluate(View(project="film", local={"train.pick": "wide"}))
    assert manager.jobs("film")[0].request.settings["device"] == "best"


def test_there_is_nothing_to_evaluate_without_a_model(train):
    tab, _, _ = train
    assert tab.report.tick(View(project="film"))[tab.report.evaluate]["interactive"] is False


def test_changed_settings_are_told_by_their_labels():
    facts = {
        "what": "settings",
        "message": "Changed while training: learning_rate 5e-05 -> 0.0002, gan_power 0.0 -> 0.1.",
    }
    told = events_html([Event(seq=1, kind="milestone", time=0.0, data=facts)])
    assert "Changed while training: Learning rate 5e-05 to 0.0002, GAN power 0.0 to 0.1." in told


def test_events_of_another_model_are_not_shown(train):
    tab, manager, view = train
    job = tab.page.submit(view, "train", SaehdSettings(model="anna"))
    EventWriter(manager.store("film").path(job) / "events.jsonl")("milestone", {"what": "saved", "message": "Saved."})
    model, record = tab.shown_model(view), tab.panel.record(view)
    assert "Saved." in tab.result._events_html(model, record)
    assert tab.result._events_html(None, record) == ""


def test_a_learning_rate_that_was_only_tried_is_drawn(train):
    tab, manager, view = train
    view.local["train.pick"] = ""
    assert not tab.report.tick(view).get(tab.report.rates)
    job = tab.page.submit(view, "train", SaehdSettings(model="tried", lr_finder="plot"))
    folder = manager.workspace.open("film").model_dir("tried")
    folder.mkdir(parents=True)
    write_lr_curve(folder, LrCurve(**{**CURVE, "best": 1e-3}))
    manager.store("film").update(job, state=JobState.DONE)
    shown = tab.report.tick(view)[tab.report.rates]
    assert "Learning rate finder" in shown
    assert "1.00e-04" in shown


def test_a_dfm_file_says_that_it_cannot_be_trained(train):
    tab, manager, view = train
    folder = ModelFolder(manager.workspace.open("film").model_dir("live"))
    folder.path.mkdir(parents=True)
    (folder.path / "model.dfm").write_bytes(b"x")
    folder.write_info(ModelInfo(model_class="dfm", settings={"resolution": 224, "face_type": "wf"}))
    shown = tab._choose(view, "live")
    assert "DFM file, 224 px" in shown[tab.forms.card]
    assert tab._missing(view) == MERGES_ONLY
