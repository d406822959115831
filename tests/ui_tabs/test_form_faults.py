"""What speaks against the values of a form, and at which fields it is said."""

from __future__ import annotations

import gradio as gr
import pytest
from pydantic import ValidationError

from backend.core.settings import ExtractFramesSettings, PhazeASettings, SaehdSettings
from ui_tabs.form import SettingsForm
from ui_tabs.form_faults import FieldsError, Remark, faults_html, faults_of, remarks_html


def faults(kind, **values):
    with pytest.raises(ValidationError) as caught:
        kind(**values)
    return faults_of("train", caught.value, kind.model_fields)


def test_a_wrong_value_is_said_at_its_field():
    [found] = faults(SaehdSettings, batch_size=0)
    assert found.fields == ("batch_size",)
    assert found.sentence == "Has to be at least 1."
    assert found.named == "Batch size: has to be at least 1."


@pytest.mark.parametrize(
    ("kind", "values", "fields"),
    [
        (PhazeASettings, {"fc_dimensions": 16, "fc_upsamples": 4}, ("fc_dimensions", "fc_upsamples")),
        (PhazeASettings, {"dec_upscales_in_fc": 6}, ("dec_upscales_in_fc",)),
        (PhazeASettings, {"enable_gblock": False, "split_gblock": True}, ("enable_gblock", "split_gblock")),
        (PhazeASettings, {"fs_original_depth": 9}, ("fs_original_depth", "enc_scaling")),
        (
            PhazeASettings,
            {"enc_architecture": "clipv_vit-b-16", "enc_scaling": 100, "bottleneck_type": "max_pooling"},
            ("bottleneck_type",),
        ),
        (SaehdSettings, {"archi": "df-ud", "resolution": 144}, ("archi", "resolution")),
        (SaehdSettings, {"gan_power": 0.1, "gan_patch_size": 400}, ("resolution",)),
    ],
)
def test_a_contradiction_is_said_at_the_fields_it_names(kind, values, fields):
    [found] = faults(kind, **values)
    assert found.fields == fields
    assert found.named == found.sentence


def test_the_markup_names_fields_and_groups_and_escapes():
    [found] = faults(PhazeASettings, fc_dimensions=16, fc_upsamples=4)

    def spot(name):
        return f"x-{name}", "x-group"

    shown = faults_html([found], spot)
    assert 'data-at="x-fc_dimensions x-fc_upsamples"' in shown
    assert 'data-in="x-group"' in shown
    assert "&#x27;Dimensions&#x27;" in shown
    assert "<b>" not in remarks_html([Remark("caution", "a", "<b>")], spot)


def test_every_form_says_faults_at_its_fields():
    with gr.Blocks():
        form = SettingsForm(ExtractFramesSettings, "extract-frames", "test")
    values = {widget: widget.value for widget in form.widgets.values()}
    values[form.widgets["start_s"]] = -5
    with pytest.raises(FieldsError) as caught:
        form.read(values)
    assert 'data-at="test-start_s"' in faults_html(caught.value.faults, form.spot)
