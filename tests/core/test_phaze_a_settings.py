"""Settings of the model builder: sizes, presets, what is refused and what is warned of."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import ValidationError

from backend.core.settings import PhazeASettings
from backend.core.settings.phaze_a_presets import PHAZE_A_PRESETS
from ui_tabs.labels_train import TRAIN_LABELS

MAPPED = ("original", "lightweight", "dfaker", "iae", "dfl-h128", "dfl-sae-df", "dfl-sae-liae", "dfl-saehd-df")
PRESETS = (*MAPPED, "dfl-saehd-liae", "stojo", "sym384", "dny256", "dny512", "dny1024")
CLIPS = ("clipfaker128", "clipfaker256", "clipfaker448")

# preset -> input px, dense nodes, decoder's start, its filters
SIZES = {
    "original": (64, (16_384,), (8, 512), (256, 128, 64)),
    "lightweight": (64, (8_192,), (8, 256), (512, 256, 128)),
    "dfaker": (64, (16_384,), (8, 512), (512, 256, 128, 64)),
    "iae": (64, (8_192,), (4, 1024), (512, 256, 128, 64)),
    "dfl-h128": (128, (32_768,), (16, 512), (512, 256, 128)),
    "dfl-sae-df": (128, (32_768,), (16, 512), (504, 248, 128)),
    "dfl-sae-liae": (128, (32_768,), (16, 1024), (504, 248, 128)),
    "dfl-saehd-df": (128, (16_384,), (16, 256), (512, 256, 128)),
    "dfl-saehd-liae": (128, (32_768,), (16, 1024), (512, 256, 128)),
    "stojo": (224, (81_920,), (16, 1280), (640, 400, 256, 160)),
    "sym384": (384, (13_824,), (3, 1536), (1536, 768, 384, 192, 96, 48, 24)),
    "dny256": (256, (), (4, 512), (512, 256, 128, 64, 32, 16)),
    "dny512": (512, (), (4, 512), (512, 512, 256, 128, 64, 32, 16)),
    "dny1024": (1024, (), (4, 512), (512, 512, 512, 256, 128, 64, 32, 16)),
    "clipfaker128": (64, (16_384,), (8, 512), (512, 256, 128, 64)),
    "clipfaker256": (128, (16_384,), (8, 512), (1024, 512, 256, 128, 64)),
    "clipfaker448": (224, (18_816,), (14, 1024), (1024, 512, 256, 128, 64)),
}

# options that do not fit together -> labels that the refusal names
REFUSED: tuple[tuple[dict[str, Any], tuple[str, ...]], ...] = (
    ({"fc_dimensions": 16, "fc_upsamples": 4}, ("Dimensions", "Upsamples")),
    ({"output_size": 208, "fc_max_filters": 160, "fc_upsamples": 0}, ("Max filters",)),
    ({"output_size": 208, "fc_depth": 2, "fc_min_filters": 160, "fc_upsamples": 0}, ("Min filters",)),
    ({"output_size": 208, "fc_upsampler": "subpixel", "fc_upsample_filters": 128, "fc_dimensions": 2}, (
        "Upsample filters",
    )),
    ({"fc_depth": 0}, ("Bottleneck size", "Depth", "Max filters", "Dimensions")),
    ({"fc_depth": 0, "bottleneck_type": "average_pooling"}, ("Bottleneck type", "Depth")),
    ({"fc_depth": 0, "bottleneck_type": "max_pooling", "enc_architecture": "vgg16"}, ("Bottleneck type", "Depth")),
    ({"fc_depth": 0, "bottleneck_type": "flatten", "enc_architecture": "resnet50"}, ("Bottleneck type", "Depth")),
    ({"fc_depth": 0, "bottleneck_type": "flatten", "enc_architecture": "clipv_vit-l-14"}, ("Bottleneck type", "Depth")),
    ({"dec_upscales_in_fc": 5}, ("Upscales in the hidden part",)),
    ({"enable_gblock": False, "split_gblock": True}, ("G-Block", "Split G-Block")),
    ({"enc_architecture": "clipv_vit-b-16", "bottleneck_type": "max_pooling"}, ("Bottleneck type",)),
    ({"enc_architecture": "mobilenet", "mobilenet_dropout": 1.0}, ("MobileNet dropout",)),
    ({"fs_original_depth": 7}, ("fs_original depth", "Encoder scaling")),
    ({"fs_original_use_alt": True, "fs_original_depth": 6}, ("fs_original depth", "Encoder scaling")),
    ({"dec_norm": "group", "dec_min_filters": 16}, ("Decoder norm", "Decoder min filters", "Decoder slope")),
)  # fmt: skip

# options -> fields that are warned of
WARNED: tuple[tuple[dict[str, Any], set[str]], ...] = (
    ({}, set()),
    ({"split_fc": False}, {"split_decoders"}),
    ({"split_fc": False, "split_gblock": True}, {"split_decoders"}),
    ({"split_fc": False, "split_decoders": True}, set()),
    ({"split_fc": False, "split_decoders": True, "shared_fc": "full", "enable_gblock": False}, {"shared_fc"}),
    ({"shared_fc": "half"}, {"enable_gblock"}),
    ({"fc_min_filters": 512}, {"fc_min_filters"}),
    ({"fc_depth": 2, "fc_min_filters": 512}, set()),
    ({"enc_scaling": 25}, {"enc_scaling"}),
    ({"enc_architecture": "vgg16", "enc_scaling": 40, "fs_original_depth": 3}, {"fs_original_depth"}),
    ({"mobilenet_width": 0.5}, {"mobilenet_width"}),
    ({"enc_architecture": "mobilenet_v2", "enc_scaling": 40, "mobilenet_width": 0.5}, set()),
    ({"fs_original_min_filters": 2048}, {"fs_original_min_filters"}),
    ({"dec_min_filters": 512, "dec_max_filters": 256}, {"dec_min_filters"}),
    ({"learn_mask": False}, {"learn_mask"}),
    ({"output_size": 192, "fc_max_filters": 1024}, {"fc_max_filters"}),
    ({"fc_dimensions": 16, "fc_upsamples": 3}, {"fc_upsamples"}),
    ({"bottleneck_type": "flatten", "fc_dimensions": 8, "fc_max_filters": 1280, "fc_min_filters": 1280}, {
        "bottleneck_type",
    }),
    ({"dec_upscales_in_fc": 1, "dec_min_filters": 64}, {"dec_skip_last_residual"}),
    ({"fc_dimensions": 16, "fc_upsamples": 2}, {"dec_skip_last_residual"}),
    ({"enc_architecture": "efficientnet_b4", "enc_scaling": 60, "bottleneck_type": "flatten", "output_size": 256}, {
        "bottleneck_type",
    }),
)  # fmt: skip


@pytest.mark.parametrize("name", SIZES)
def test_sizes_of_the_presets(name: str) -> None:
    sizes = PhazeASettings(**PHAZE_A_PRESETS[name]).layout()
    assert (sizes.input_px, sizes.fc_nodes, sizes.decoder_start, sizes.decoder_filters) == SIZES[name]


def test_all_presets_with_every_option() -> None:
    assert set(PHAZE_A_PRESETS) == {*PRESETS, *CLIPS}
    assert PhazeASettings.PRESETS is PHAZE_A_PRESETS
    for name, values in PHAZE_A_PRESETS.items():
        assert len(values) == 48, name
        built = PhazeASettings(**values)
        assert {field: getattr(built, field) for field in values} == dict(values), name
        assert not dict(built.cautions()).keys() - {"dec_skip_last_residual"}, name


def test_some_values_of_presets() -> None:
    """From each column of the tables some that differ from the others."""
    presets = PHAZE_A_PRESETS
    where = {
        "shared_fc": {"full": ("iae",), "half": ("dfl-sae-liae", "dfl-saehd-liae")},
        "enable_gblock": {True: ("stojo",)},
        "split_fc": {True: ("iae", "dfl-sae-liae", "dfl-saehd-liae", "stojo")},
        "split_decoders": {False: ("iae", "dfl-sae-liae", "dfl-saehd-liae", "stojo")},
        "bottleneck_in_encoder": {False: ("iae", "dfl-sae-liae", "dfl-saehd-df", "dfl-saehd-liae")},
        "bottleneck_type": {"flatten": CLIPS, "max_pooling": ("sym384",)},
        "fc_depth": {0: ("dny256", "dny512", "dny1024")},
        "fc_upsamples": {0: ("iae", "sym384"), 2: ("dny256", "dny512", "dny1024")},
        "dec_upscales_in_fc": {1: ("dny256",), 2: ("sym384", "dny512", "dny1024")},
        "dec_res_blocks": {2: ("dfl-sae-df", "dfl-sae-liae")},
        "dec_gaussian": {True: ("stojo", "sym384")},
        "dec_output_kernel": {3: ("stojo", "sym384")},
        "dec_skip_last_residual": {True: ("dfaker", "sym384", *CLIPS)},
        "enc_load_weights": {True: ("stojo", "sym384", *CLIPS)},
        "dec_slope_mode": {"cap_min": CLIPS, "cap_max": ("sym384", "dny256", "dny512", "dny1024")},
        "fs_original_min_filters": {126: ("dfl-sae-df", "dfl-sae-liae")},
    }
    for option, table in where.items():
        for value, names in table.items():
            assert {name for name, values in presets.items() if values[option] == value} == set(names), option
    assert presets["dfl-saehd-df"]["bottleneck_size"] == presets["dfl-saehd-liae"]["bottleneck_size"] == 256
    assert presets["dfl-sae-df"]["dec_max_filters"] == 504
    assert presets["dfaker"]["dec_filter_slope"] == presets["iae"]["dec_filter_slope"] == -0.45


def test_every_option_has_a_label() -> None:
    assert set(PHAZE_A_PRESETS["original"]) <= set(TRAIN_LABELS)


def test_the_guides_own_example() -> None:
    sizes = PhazeASettings(
        output_size=192,
        fc_dimensions=8,
        fc_min_filters=1280,
        fc_max_filters=1280,
        fc_upsampler="resize_images",
        fc_upsample_filters=1280,
        dec_min_filters=128,
        dec_filter_slope=-0.5,
    ).layout()
    assert sizes.fc_nodes == (81_792,)
    assert sizes.fc_end == (16, 1278)
    assert sizes.decoder_start == sizes.decoder_input == (12, 2272)
    assert sizes.decoder_filters == (512, 280, 176, 128)
    assert sizes.fc_gblock_nodes == (512, 512, 512)


@pytest.mark.parametrize(("scaling", "px"), [(7, 64), (13, 128), (25, 256), (50, 512), (100, 1024)])
def test_input_sizes(scaling: int, px: int) -> None:
    assert PhazeASettings(enc_scaling=scaling).layout().input_px == px


def test_upscales_of_the_decoder_in_the_hidden_part() -> None:
    sizes = PhazeASettings(**{**PHAZE_A_PRESETS["dny512"], "shared_fc": "full"}).layout()
    assert sizes.decoder_start == (4, 512)
    assert sizes.decoder_input == (16, 1024)


def test_the_hybrid_gives_even_widths() -> None:
    odd = {"fc_upsampler": "upscale_hybrid", "fc_upsample_filters": 513}
    assert PhazeASettings(**odd).layout().fc_end == (8, 514)
    assert PhazeASettings(**{**odd, "output_size": 192, "fc_dimensions": 8}).layout().fc_end == (16, 504)


@pytest.mark.parametrize(("options", "labels"), REFUSED, ids=",".join)
def test_what_cannot_be_built_is_refused(options: dict[str, Any], labels: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError) as caught:
        PhazeASettings(**options)
    (fault,) = caught.value.errors()
    named = set(re.findall(r"'([^']+)'", fault["msg"]))
    assert set(labels) <= named
    assert named <= {label for label, _ in TRAIN_LABELS.values()}


def test_an_unknown_encoder_is_refused() -> None:
    with pytest.raises(ValidationError, match="there is no encoder 'resnet9'"):
        PhazeASettings(enc_architecture="resnet9")


@pytest.mark.parametrize(("options", "fields"), WARNED, ids=lambda x: ",".join(x) or "none")
def test_what_is_odd_is_warned_of(options: dict[str, Any], fields: set[str]) -> None:
    cautions = PhazeASettings(**options).cautions()
    assert {field for field, _ in cautions} == fields
    assert all(sentence.endswith(".") and field in PhazeASettings.model_fields for field, sentence in cautions)


def test_a_dropout_beyond_all_is_taken_where_it_does_nothing() -> None:
    """faceswap's range ends at 2, and presets for other encoders may hold that."""
    assert PhazeASettings(mobilenet_dropout=2.0).mobilenet_dropout == 2
    assert PhazeASettings(enc_architecture="mobilenet_v2", mobilenet_dropout=2.0).mobilenet_dropout == 2
    assert PhazeASettings(enc_architecture="mobilenet", mobilenet_dropout=0.999).mobilenet_dropout == 0.999


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"enc_architecture": "efficientnet_b4", "enc_scaling": 60, "bottleneck_type": "flatten"}, 49 * 1792),
        ({"enc_architecture": "convnext_base", "enc_scaling": 22, "bottleneck_type": "flatten"}, 1024),
        ({"enc_architecture": "mobilenet_v2", "enc_scaling": 22, "bottleneck_type": "flatten"}, 4 * 1280),
        ({"enc_architecture": "vgg16", "bottleneck_type": "max_pooling"}, 512),
        ({"enc_architecture": "vgg16", "bottleneck_type": "flatten"}, None),
        ({"enc_architecture": "mobilenet_v2", "bottleneck_type": "max_pooling", "mobilenet_width": 0.5}, None),
        ({"enc_architecture": "clipv_vit-l-14", "bottleneck_type": "flatten"}, 768),
        ({"enc_architecture": "vgg16"}, 1024),
    ],
    ids=str,
)
def test_what_a_backbones_bottleneck_gives(options: dict[str, Any], code: int | None) -> None:
    assert PhazeASettings(**options).layout().code == code


def test_sizes_off_the_steps_are_taken() -> None:
    sizes = PhazeASettings(dec_max_filters=504, fs_original_min_filters=126, fs_original_max_filters=1008).layout()
    assert sizes.encoder_filters == (126, 252, 504, 1008)
    assert sizes.decoder_filters[0] == 504
