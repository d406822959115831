"""Settings model <-> widgets."""

from __future__ import annotations

import gradio as gr
import pytest
from pydantic import ValidationError

from backend.core.errors import BadInputError
from backend.core.settings import (
    STAGE_SETTINGS,
    TRAIN_SETTINGS,
    ExportSettings,
    ExtractFacesSettings,
    ExtractFramesSettings,
    SaehdSettings,
    is_hidden,
)
from ui_tabs.form import SettingsForm, full_label, help_sentence, make_widget, sentences
from ui_tabs.labels import LABELS, MAIN, layout

EVERY_SETTING = [
    (stage, kind, name)
    for stage, kind in [*STAGE_SETTINGS.items(), *(("train", kind) for kind in TRAIN_SETTINGS.values())]
    for name, facts in kind.model_fields.items()
    if not is_hidden(facts)
]


def form_of(kind, stage, **options):
    with gr.Blocks():
        return SettingsForm(kind, stage, "test", **options)


def values_of(form, **changes):
    settings = form.kind()
    return {widget: changes.get(name, getattr(settings, name)) for name, widget in form.widgets.items()}


@pytest.mark.parametrize(("stage", "kind", "name"), EVERY_SETTING)
def test_every_setting_has_words(stage, kind, name):
    assert name in LABELS[stage], f"{stage}.{name} has no label"


@pytest.mark.parametrize("stage", [stage for stage in STAGE_SETTINGS if stage not in ("create", "render")])
def test_few_settings_are_visible_at_first(stage):
    kind = TRAIN_SETTINGS["saehd"] if stage == "train" else STAGE_SETTINGS[stage]
    groups = dict(layout(stage, [name for name, facts in kind.model_fields.items() if not is_hidden(facts)]))
    shown = set(groups[MAIN]) - {"side"}  # chosen above the form
    assert 1 <= len(shown) <= 6


def test_layout_puts_the_main_group_first_and_loses_no_field():
    names = list(SaehdSettings.model_fields)
    groups = layout("train", names)
    assert groups[0][0] == MAIN
    assert sorted(name for _, group in groups for name in group) == sorted(names)


@pytest.mark.parametrize("kind", [SaehdSettings, ExtractFacesSettings, ExportSettings])
def test_the_widgets_show_the_defaults_and_read_them_back(kind):
    stage = {SaehdSettings: "train", ExtractFacesSettings: "extract-faces", ExportSettings: "export"}[kind]
    form = form_of(kind, stage)
    shown = {widget: widget.value for widget in form.widgets.values()}
    assert form.read(shown) == kind()


def test_excluded_fields_come_from_the_tab():
    form = form_of(ExtractFramesSettings, "extract-frames", exclude=("side",))
    assert "side" not in form.widgets
    assert form.read(values_of(form), side="dst").side == "dst"


def test_a_value_out_of_range_names_the_label():
    form = form_of(SaehdSettings, "train")
    with pytest.raises(BadInputError, match=r"Batch size: has to be at most 512\."):
        form.read(values_of(form, batch_size=1000))


def test_an_empty_number_names_the_label():
    form = form_of(SaehdSettings, "train")
    with pytest.raises(BadInputError, match="Save every: needs a number"):
        form.read(values_of(form, save_interval_min=None))


def test_a_contradiction_between_fields_is_told_in_words():
    form = form_of(ExtractFramesSettings, "extract-frames")
    with pytest.raises(BadInputError, match="The end of the range has to lie after its start"):
        form.read(values_of(form, start_s=5.0, end_s=2.0))


def test_whole_numbers_may_arrive_as_floats():
    form = form_of(SaehdSettings, "train")
    assert form.read(values_of(form, resolution=192.0)).resolution == 192


def test_frozen_fields_turn_grey_with_the_reason():
    form = form_of(SaehdSettings, "train")
    shown = form.updates(SaehdSettings(resolution=192), "Model 'anna' exists.")
    assert shown[form.widgets["resolution"]] == gr.update(value=192, interactive=False)
    assert shown[form.widgets["batch_size"]]["interactive"] is True
    assert "Model &#x27;anna&#x27; exists." in shown[form.note]


def test_labels_carry_unit_and_default():
    facts = SaehdSettings.model_fields
    assert full_label("train", "resolution", facts["resolution"]) == "Resolution, px (default 128)"
    assert full_label("train", "random_warp", facts["random_warp"]) == "Random warp (default on)"
    assert full_label("extract-faces", "face_type", ExtractFacesSettings.model_fields["face_type"]).endswith(
        "(default whole face)"
    )


def test_help_tells_the_range_in_words():
    assert help_sentence(SaehdSettings.model_fields["resolution"]).endswith("64 to 640, in steps of 16.")
    assert "[" not in help_sentence(SaehdSettings.model_fields["batch_size"])


@pytest.mark.parametrize(
    ("name", "widget"),
    [
        ("resolution", gr.Slider),
        ("learning_rate", gr.Number),
        ("target_iterations", gr.Number),
        ("masked_training", gr.Checkbox),
        ("optimizer", gr.Dropdown),
        ("channels", gr.Radio),
        ("precision", gr.Dropdown),
        ("archi", gr.Textbox),
    ],
)
def test_the_type_decides_the_widget(name, widget):
    with gr.Blocks():
        made = make_widget("train", name, SaehdSettings.model_fields[name], f"x-{name}")
    assert type(made) is widget


def test_text_with_choices_can_still_be_typed():
    form = form_of(SaehdSettings, "train", choices={"device": [("best", "best")]})
    assert form.widgets["device"].allow_custom_value


def test_every_fault_becomes_a_sentence():
    with pytest.raises(ValidationError) as caught:
        SaehdSettings(batch_size=0, resolution=100, precision="fp8", face_type="f", target_iterations="many")
    found = sentences("train", caught.value)
    assert len(found) == 4
    assert all(sentence.endswith(".") and ":" in sentence for sentence in found)
