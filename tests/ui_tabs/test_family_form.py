"""One form for all families: filling it, the filter curves, the sign of the slope."""

from __future__ import annotations

import pytest

from backend.core.settings import AmpSettings, PhazeASettings, SaehdSettings
from tests.ui_tabs.train_page import make_tab, values_of
from ui_tabs.context import View
from ui_tabs.family_form import SLOPE
from ui_tabs.form_faults import FieldsError


@pytest.fixture
def form(tmp_path, monkeypatch):
    """(form, Train tab) of a project with one model."""
    tab, _ = make_tab(tmp_path, monkeypatch)
    return tab.forms.form, tab


@pytest.fixture
def view():
    return View(project="film")


def test_filling_a_form_says_everything_at_once(form, view):
    form, tab = form
    shown = form.show(view, "phaze_a", dict(PhazeASettings(model="bea")))
    assert "512, 256, 128, 64" in shown[form.plots[SLOPE]]
    assert "64 x 64 px" in shown[form.told]
    assert "--model bea" in shown[tab.command]
    assert shown[form.error] == ""
    assert view.local["train.checked"] == PhazeASettings(model="bea")


def test_a_contradiction_is_shown_at_its_fields_while_the_rest_goes_on(form, view):
    form, tab = form
    values = values_of(tab, view, PhazeASettings(), fc_dimensions=16, fc_upsamples=4, enc_scaling=13)
    with pytest.raises(FieldsError):
        form.read(values)
    beside = form.beside(values)
    assert "128 x 128 px" in beside[form.told]
    assert form.told not in form.beside(values)
    shown = form.show(view, "phaze_a", {**dict(PhazeASettings()), "fc_dimensions": 16, "fc_upsamples": 4})
    assert 'data-at="train-fc_dimensions train-fc_upsamples"' in shown[form.error]
    assert 'data-in="train-group-hidden-layers"' in shown[form.error]


def test_the_parts_to_choose_from_follow_the_network(form, view):
    form, tab = form
    widget = form.widgets_of("phaze_a")["freeze_layers"]
    form.show(view, "phaze_a", dict(PhazeASettings()))
    assert widget not in form.beside(values_of(tab, view, PhazeASettings()))
    shown = form.beside(values_of(tab, view, PhazeASettings(), split_decoders=True))[widget]
    assert {"decoder_a", "decoder_b", "fc_a", "g_block_both"} <= set(shown["choices"])
    shown = form.beside(values_of(tab, view, SaehdSettings()))[widget]
    assert {"inter_AB", "inter_B"} <= set(shown["choices"])


def test_lists_are_read_as_chosen(form, view):
    form, tab = form
    values = values_of(tab, view, AmpSettings(), freeze_layers=["encoder", " decoder "])
    assert form.read(values).freeze_layers == ("encoder", "decoder")
    assert form.read({**values, form.widgets_of("amp")["freeze_layers"]: None}).freeze_layers == ()


def test_the_guides_sign_turns_what_is_shown_and_not_what_is_kept(form, view):
    form, tab = form
    slope = form.widgets_of("phaze_a")[SLOPE]
    turned = form._turned(view, True, -0.45)
    assert turned["value"] == 0.45
    assert "guide" in turned["label"]
    values = values_of(tab, view, PhazeASettings(), **{SLOPE: 0.45})
    assert form.read(values).dec_filter_slope == -0.45
    assert "512, 256, 128, 64" in form._drawn(values)[form.plots[SLOPE]]
    assert form.show(view, "phaze_a", dict(PhazeASettings(dec_filter_slope=-0.33)))[slope]["value"] == 0.33
    assert form._turned(view, False, 0.45)["value"] == -0.45
    assert form.read({**values, slope: -0.45}).dec_filter_slope == -0.45
    assert form.show(view, "phaze_a", dict(PhazeASettings(dec_filter_slope=-0.33)))[slope]["value"] == -0.33


def test_an_empty_number_leaves_the_curve_as_it_is(form, view):
    form, tab = form
    values = values_of(tab, view, PhazeASettings(), dec_max_filters=None)
    assert form.plots[SLOPE] not in form._drawn(values)
    form.beside(values)
    with pytest.raises(FieldsError, match="Decoder max filters"):
        form.read(values)


def test_a_saved_file_comes_back_with_the_sign_that_is_shown(form, view, tmp_path):
    form, tab = form
    form._turned(view, True, -0.45)
    file = tmp_path / "mine.json"
    file.write_text('{"model_class": "phaze_a", "dec_filter_slope": -0.75, "freeze_layers": ["fc_a"]}')
    shown = form._loaded({**values_of(tab, view, PhazeASettings()), form.load: str(file)}, False)
    own = form.widgets_of("phaze_a")
    assert shown[own[SLOPE]]["value"] == 0.75
    assert shown[own["freeze_layers"]]["value"] == ["fc_a"]
    assert "2 settings loaded" in shown[form.said]


def test_reset_shows_the_family_that_is_chosen(form, view):
    form, tab = form
    tab.forms.switch(view, "amp", {})
    shown = form.restored(view, *tab._baseline(view))
    assert shown[form.widgets_of("amp")["resolution"]]["value"] == 224
    assert tab.forms.chosen(view) == "amp"


def test_the_values_of_one_group_are_enough_to_judge_them_all(form, view):
    form, _ = form
    form.show(view, "phaze_a", {**dict(PhazeASettings()), "fc_upsamples": 4, "batch_size": 3})
    own = form.widgets_of("phaze_a")
    some = {form.page.view: view, own["fc_dimensions"]: 16, own["fc_depth"]: 2}
    with pytest.raises(FieldsError):
        form.read(form.known(some))
    again = form.known({form.page.view: view, own["output_size"]: 256})
    settings = form.read(again)
    assert (settings.fc_dimensions, settings.output_size, settings.batch_size) == (16, 256, 3)


def test_another_family_forgets_the_values_of_the_one_before(form, view):
    form, tab = form
    form.known(values_of(tab, view, SaehdSettings(), batch_size=3))
    tab.forms.switch(view, "amp", {})
    assert form.read(form.known({form.page.view: view})) == AmpSettings()
