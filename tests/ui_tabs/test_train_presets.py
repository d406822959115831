"""Presets of training: those of each family, those of the user, and files of them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from backend.core.errors import BadInputError
from backend.core.settings import TRAIN_SETTINGS, AmpSettings, PhazeASettings, SaehdSettings
from backend.storage.faceswap_preset import read_faceswap_preset
from backend.storage.model_folder import ModelFolder
from backend.storage.presets import PresetShelf
from tests.ui_tabs.train_page import make_model, make_tab, values_of
from ui_tabs.context import View
from ui_tabs.preset_words import THUMBNAIL_BYTES, write_thumbnail
from ui_tabs.train_presets import DEFAULT_PRESET, built_in, free_name


@pytest.fixture
def train(tmp_path, monkeypatch):
    """(Train tab, its manager, a view) of a project with one model."""
    tab, manager = make_tab(tmp_path, monkeypatch)
    return tab, manager, View(project="film")


def field(tab, family, name):
    return tab.forms.form.widgets_of(family)[name]


def press(tab, view, settings, **given):
    """What a handler of the panel gets."""
    panel = tab.forms.presets
    parts = {"choice": DEFAULT_PRESET, "name": "", "note": "", **given}
    return {**values_of(tab, view, settings), **{getattr(panel, name): value for name, value in parts.items()}}


@pytest.mark.parametrize("family", TRAIN_SETTINGS)
def test_every_family_has_presets_with_words(family):
    found = built_in(family)
    assert next(iter(found)) == DEFAULT_PRESET
    assert all(preset.note for name, preset in found.items() if name != DEFAULT_PRESET)


def test_a_preset_fills_the_form_and_leaves_name_and_device(train):
    tab, _, view = train
    data = {**dict(PhazeASettings()), "model": "bea", "device": "cpu", "batch_size": 3, "output_size": 192}
    view.local["train.family"] = "phaze_a"
    shown = tab.forms.presets.apply(view, "dfaker", data)
    assert shown[field(tab, "phaze_a", "split_decoders")]["value"] is True
    assert shown[field(tab, "phaze_a", "output_size")]["value"] == 128
    assert shown[field(tab, "phaze_a", "batch_size")]["value"] == PhazeASettings().batch_size
    assert shown[field(tab, "phaze_a", "model")]["value"] == "bea"
    assert shown[field(tab, "phaze_a", "device")]["value"] == "cpu"
    assert "left out" not in shown[tab.forms.presets.about]


def test_of_a_model_that_exists_only_what_can_change_is_taken(train):
    tab, manager, view = train
    make_model(manager.workspace.open("film"), "bea", settings=PhazeASettings(model="bea"))
    tab._choose(view, "bea")
    data = {**dict(PhazeASettings(model="bea")), "batch_size": 3}
    shown = tab.forms.presets.apply(view, "original", data)
    assert shown[field(tab, "phaze_a", "output_size")]["value"] == 128
    assert shown[field(tab, "phaze_a", "output_size")]["interactive"] is False
    assert shown[field(tab, "phaze_a", "freeze_layers")]["value"] == ["encoder"]
    assert shown[field(tab, "phaze_a", "batch_size")]["value"] == 3
    assert "Output size 64 (this model has 128)" in shown[tab.forms.presets.about]


def test_own_presets_are_kept_with_note_and_picture_and_deleted(train):
    tab, manager, view = train
    panel, preview = tab.forms.presets, ModelFolder(manager.workspace.open("film").model_dir("anna")).preview_path()
    preview.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (900, 300), "red").save(preview)
    tab._choose(view, "anna")
    values = press(tab, view, SaehdSettings(model="anna", ae_dims=100), name="mine", note="For <small> faces")
    shown = panel._save(values)
    assert "mine" in shown[panel.choice]["choices"]
    assert "For &lt;small&gt; faces" in shown[panel.about]
    assert "mine.jpg" in shown[panel.about]
    stored = json.loads(panel.shelf("saehd").path("mine").read_text())["values"]
    assert stored["ae_dims"] == 100
    assert not {"model", "device", "load_weights", "pretrain_faces"} & set(stored)
    tab._choose(view, "")
    shown = panel.apply(view, "mine", dict(SaehdSettings()))
    assert shown[field(tab, "saehd", "ae_dims")]["value"] == 100
    assert shown[panel.delete]["interactive"] is True
    shown = panel._delete(view, "mine")
    assert "mine" not in shown[panel.choice]["choices"]
    assert not list(panel.shelf("saehd").folder.iterdir())
    with pytest.raises(BadInputError, match="comes with the program"):
        panel._delete(view, "First look (CPU)")


def test_the_picture_is_small_and_shows_the_first_rows(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (1200, 600, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "preview.png")
    assert write_thumbnail(tmp_path / "preview.png", tmp_path / "small.jpg")
    assert (tmp_path / "small.jpg").stat().st_size <= THUMBNAIL_BYTES
    with Image.open(tmp_path / "small.jpg") as small:
        assert small.size == (480, 360)
    (tmp_path / "bad.png").write_bytes(b"nothing")
    assert not write_thumbnail(tmp_path / "bad.png", tmp_path / "other.jpg")
    assert not (tmp_path / "other.jpg").exists()


def test_a_preset_of_faceswap_comes_in_and_goes_out(train, tmp_path):
    tab, _, view = train
    panel, file = tab.forms.presets, tmp_path / "original.json"
    given = {"__filetype": "faceswap_preset", "__section": "train|model|phaze_a", "output_size": 192, "nonsense": 1}
    file.write_text(json.dumps({**given, "dec_filter_slope": -0.33, "freeze_layers": ["fc_a"]}))
    shown = panel._bring_in({**press(tab, view, PhazeASettings()), panel.bring: str(file)})
    assert shown[panel.choice]["value"] == "original 2"
    assert "nonsense" in shown[panel.said]
    assert shown[field(tab, "phaze_a", "output_size")]["value"] == 192
    assert shown[field(tab, "phaze_a", "freeze_layers")]["value"] == ["fc_a"]
    link = panel._give_faceswap(press(tab, view, PhazeASettings(output_size=192), choice="original 2"))
    written = next((tab.page.workspace.root / "presets").rglob("faceswap/*.json"))
    assert written.name in link
    assert read_faceswap_preset(written).values["output_size"] == 192


def test_a_preset_of_faceswap_needs_its_family(train, tmp_path):
    tab, _, view = train
    file = tmp_path / "a.json"
    file.write_text('{"__filetype": "faceswap_preset", "__section": "train|model|phaze_a", "output_size": 192}')
    with pytest.raises(BadInputError, match="Phaze-A"):
        tab.forms.presets._bring_in({**press(tab, view, SaehdSettings()), tab.forms.presets.bring: str(file)})


def test_our_own_file_goes_out_and_comes_in(train):
    tab, _, view = train
    panel = tab.forms.presets
    panel._give(press(tab, view, AmpSettings(model="bea", ae_dims=64)))
    file = next((tab.page.workspace.root / "presets").rglob("bea.json"))
    shown = panel._bring_in({**press(tab, view, AmpSettings()), panel.bring: str(file)})
    assert shown[panel.choice]["value"] == "bea"
    assert shown[field(tab, "amp", "ae_dims")]["value"] == 64


@pytest.mark.parametrize("content", ["[]", "{", '{"values": {}}'])
def test_a_file_of_something_else_is_refused(train, tmp_path, content):
    tab, _, view = train
    file = tmp_path / "a.json"
    file.write_text(content)
    with pytest.raises(Exception, match=r"a\.json"):
        tab.forms.presets._bring_in({**press(tab, view, AmpSettings()), tab.forms.presets.bring: str(file)})
    assert not PresetShelf(tab.page.workspace.root, "train-amp").names()


def test_another_window_learns_of_a_new_preset(train):
    tab, _, view = train
    panel = tab.forms.presets
    panel.show(view, "saehd", False)
    assert panel.tick(view) == {}
    panel.shelf("saehd").save("mine", {"ae_dims": 64})
    assert "mine" in panel.tick(view)[panel.choice]["choices"]


def test_a_free_name_is_found():
    assert free_name("mine", ["Mine", "mine 2"]) == "mine 3"
    assert free_name("mine", []) == "mine"
