"""What is said beside the fields of a training."""

from __future__ import annotations

import pytest

from backend.core import encoders
from backend.core.settings import TRAIN_SETTINGS, AmpSettings, PhazeASettings, Quick96Settings, SaehdSettings
from ui_tabs import train_remarks
from ui_tabs.train_remarks import encoder_missing, moot_fields, network_parts, part_choices, remarks_of

SMALL = {"resolution": 64, "e_dims": 16, "d_dims": 16, "ae_dims": 32}


def said(settings, kind, exists=False):
    return {remark.field: remark.sentence for remark in remarks_of(settings, exists) if remark.kind == kind}


@pytest.mark.parametrize("family", TRAIN_SETTINGS)
def test_the_defaults_of_every_family_can_be_remarked_on(family):
    settings = TRAIN_SETTINGS[family]()
    moot = moot_fields(settings)
    assert {"lr_decay", "autoclip_history", "freeze_layers", "load_layers"} <= set(moot)
    assert set(moot) <= set(TRAIN_SETTINGS[family].model_fields)
    assert not set(said(settings, "caution")) & set(moot)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"enc_architecture": "resnet50"}, "fs_original_depth"),
        ({}, "mobilenet_width"),
        ({"enc_architecture": "mobilenet_v2"}, "mobilenet_dropout"),
        ({"enable_gblock": False}, "fc_gblock_depth"),
        ({"enable_gblock": False}, "split_gblock"),
        ({}, "fc_min_filters"),
        ({"bottleneck_type": "flatten"}, "bottleneck_size"),
        ({"dec_res_blocks": 0}, "dec_skip_last_residual"),
        ({}, "fc_upsample_filters"),
    ],
)
def test_what_has_no_effect_says_why(changes, field):
    assert field in moot_fields(PhazeASettings(**changes))


def test_what_has_an_effect_is_not_grey():
    settings = PhazeASettings(enc_architecture="mobilenet", fc_depth=3, fc_upsampler="subpixel")
    acting = {"mobilenet_width", "mobilenet_dropout", "fc_min_filters", "fc_filter_slope", "fc_upsample_filters"}
    assert not acting & set(moot_fields(settings))


def test_what_counts_for_new_models_only_is_grey_later():
    settings = SaehdSettings(load_weights="other")
    assert "load_weights" not in moot_fields(settings)
    assert "load_weights" in moot_fields(settings, exists=True)


def test_the_encoders_picture_is_said_in_px():
    assert "64 x 64 px" in said(PhazeASettings(), "fact")["enc_scaling"]
    assert "128 x 128 px" in said(PhazeASettings(enc_scaling=13), "fact")["enc_scaling"]


def test_an_encoder_that_is_not_installed_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(encoders.importlib.util, "find_spec", lambda name: None)
    settings = PhazeASettings(enc_architecture="vgg16")
    assert "pip install timm" in encoder_missing(settings)
    assert "pip install timm" in said(settings, "fault")["enc_architecture"]
    assert encoder_missing(PhazeASettings()) == encoder_missing(SaehdSettings()) == ""


def test_cautions_are_said_and_those_of_grey_fields_are_not():
    assert "cannot be swapped" in said(PhazeASettings(split_fc=False), "caution")["split_decoders"]
    assert "fs_original_depth" not in said(PhazeASettings(enc_architecture="resnet50", fs_original_depth=3), "caution")


def test_a_part_that_the_network_lacks_is_told():
    settings = PhazeASettings(freeze_weights=True)
    assert "no keras_encoder" in said(settings, "caution")["freeze_layers"]
    assert "keras_encoder" in part_choices(settings, "freeze_layers")
    assert "keras_encoder" not in part_choices(settings, "load_layers")


def test_empty_fields_do_not_break_it():
    assert remarks_of(PhazeASettings.model_construct(fc_depth=None, enc_scaling=None, dec_max_filters=None), False)


@pytest.mark.parametrize(
    "settings",
    [
        SaehdSettings(**SMALL, archi="df-ud"),
        SaehdSettings(**SMALL, archi="liae-ud"),
        Quick96Settings(),
        AmpSettings(**SMALL, inter_dims=32),
        PhazeASettings.model_validate({**PhazeASettings.PRESETS["original"]}),
        PhazeASettings.model_validate({**PhazeASettings.PRESETS["dfl-saehd-liae"]}),
        PhazeASettings(output_size=64, split_gblock=True, shared_fc="full"),
    ],
)
def test_the_parts_are_those_of_the_network(settings):
    torch = pytest.importorskip("torch")
    from backend.models.registry import MODELS

    with torch.device("meta"):
        network = MODELS[settings.model_class].build(settings.resolved())
    assert set(network_parts(settings)) == set(network.freezable())


def test_no_rule_is_for_a_setting_that_does_not_exist():
    every = {name for kind in TRAIN_SETTINGS.values() for name in kind.model_fields}
    older = {"pixel_loss"}
    assert set(train_remarks._RULES) <= every | older
