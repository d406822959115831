"""DeepFaceLab's options as our settings, and back."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from backend.core.errors import BadInputError
from backend.core.settings import AmpSettings, Quick96Settings, SaehdSettings
from backend.pipeline.dfl_options import FACES_TO_NAME, options_of, settings_of

SIZES = {"resolution": 128, "face_type": "wf", "archi": "df-ud", "ae_dims": 128, "e_dims": 64, "d_dims": 64}
EVERYTHING = {
    **SIZES,
    "d_mask_dims": 22,
    "autobackup_hour": 3,
    "write_preview_history": True,
    "target_iter": 5000,
    "random_src_flip": True,
    "random_dst_flip": False,
    "batch_size": 12,
    "masked_training": False,
    "eyes_mouth_prio": True,
    "uniform_yaw": True,
    "blur_out_mask": True,
    "models_opt_on_gpu": False,
    "adabelief": False,
    "lr_dropout": "cpu",
    "random_warp": False,
    "random_hsv_power": 0.05,
    "gan_power": 0.1,
    "gan_patch_size": 48,
    "gan_dims": 32,
    "true_face_power": 0.01,
    "face_style_power": 1.0,
    "bg_style_power": 2.0,
    "ct_mode": "sot",
    "clipgrad": True,
    "pretrain": False,
}


def made(options: dict[str, Any], kind: str = "SAEHD", **known: Any) -> tuple[Any, str]:
    settings, notes = settings_of(kind, {**SIZES, **options}, "anna", known)
    return settings, " ".join(notes)


def test_every_option_that_maps() -> None:
    settings, notes = made(EVERYTHING)
    wanted = SaehdSettings(
        model="anna",
        **{**SIZES, "d_mask_dims": 22},
        backup_every_h=3,
        target_iterations=5000,
        random_src_flip=True,
        random_dst_flip=False,
        batch_size=12,
        masked_training=False,
        eyes_mouth_priority=True,
        uniform_yaw=True,
        blur_out_mask=True,
        optimizer_on_cpu=True,
        optimizer="rmsprop",
        lr_dropout=True,
        random_warp=False,
        random_hsv_power=0.05,
        gan_power=0.1,
        gan_patch_size=48,
        gan_dims=32,
        true_face_power=0.01,
        face_style_power=1.0,
        bg_style_power=2.0,
        color_transfer="sot",
        clip_gradients=True,
    )
    assert settings == wanted
    assert not notes


@pytest.mark.parametrize("pretrain", [False, True])
def test_the_way_back_is_the_same(pretrain: bool) -> None:
    settings, _ = made({**EVERYTHING, "pretrain": pretrain})
    options, notes = options_of(settings)
    assert options == {**EVERYTHING, "pretrain": pretrain, "write_preview_history": False, "lr_dropout": "y"}
    assert not notes
    assert settings_of("SAEHD", options, "anna", {})[0] == settings


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"random_flip": True}, {"random_src_flip": True, "random_dst_flip": True}),
        ({"random_flip": False}, {"random_src_flip": False, "random_dst_flip": False}),
        ({"random_flip": True, "random_src_flip": False}, {"random_src_flip": False, "random_dst_flip": True}),
        ({"eyes_prio": True}, {"eyes_mouth_priority": True}),
        ({"eyes_prio": False, "mouth_prio": True}, {"eyes_mouth_priority": True}),
        ({"lr_dropout": True}, {"lr_dropout": True}),
        ({"lr_dropout": "n"}, {"lr_dropout": False}),
        ({"optimizer_mode": 2}, {"optimizer_on_cpu": True}),
        ({"optimizer_mode": 1}, {"optimizer_on_cpu": False}),
        ({"ct_mode": "sot-m"}, {"color_transfer": "sot"}),
        ({"archi": "DF-UDD"}, {"archi": "df-ud"}),
        ({"face_type": "whole_face"}, {"face_type": "wf"}),
        ({"archi": "liae-ud", "true_face_power": 0.01}, {"true_face_power": 0.0}),
        ({"learn_mask": True, "lr": 1e-4}, {"learning_rate": 1e-4}),
        ({"masked_training": 1}, {"masked_training": True}),
        ({"batch_size": None}, {"batch_size": 8}),
    ],
)
def test_older_spellings(old: dict[str, Any], new: dict[str, Any]) -> None:
    settings, notes = made(old)
    assert {name: getattr(settings, name) for name in new} == new
    assert not notes


@pytest.mark.parametrize(
    ("given", "field", "value", "words"),
    [
        ({"batch_size": 0}, "batch_size", 1, "batch_size was 0"),
        ({"batch_size": 4096}, "batch_size", 512, "batch_size was 4096"),
        ({"gan_power": 10.0}, "gan_power", 5.0, "gan_power was 10.0; 5"),
        ({"ct_mode": "fs-aug"}, "color_transfer", "none", "color_transfer was fs-aug"),
        ({"gan_power": 0.1, "gan_patch_size": 300}, "gan_patch_size", 0, "gan_patch_size was 300"),
        ({"cpu_cap": 8, "random_shadow": "src", "morph_factor": 1}, "model", "anna", "Left out.*: random_shadow."),
        ({"pretrain": True}, "pretrain_faces", FACES_TO_NAME, "was in pretraining"),
        ({"batch_size": math.nan}, "batch_size", 8, "batch_size was nan, which is no number; 8 now"),
        ({"lr": math.inf}, "learning_rate", 5e-5, "learning_rate was inf, which is no number"),
        ({"ct_mode": "a list"}, "color_transfer", "none", "color_transfer was a list"),
    ],
)
def test_what_is_fitted_is_said(given: dict[str, Any], field: str, value: Any, words: str) -> None:
    settings, notes = made(given)
    assert getattr(settings, field) == value
    assert re.search(words, notes)


@pytest.mark.parametrize(
    "given",
    [{"resolution": 1024}, {"ae_dims": 8}, {"archi": "hd"}, {"face_type": "nose"}, {"e_dims": "many"}, {"d_dims": 31}],
)
def test_a_network_that_cannot_be_built_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(BadInputError, match=f"cannot be built here .{next(iter(given))}"):
        made(given)


def test_other_families() -> None:
    amp, notes = settings_of(
        "AMP", {"resolution": 96, "inter_dims": 64, "morph_factor": 0.3, "gan_power": 0.1}, "a", {}
    )
    assert isinstance(amp, AmpSettings)
    assert (amp.inter_dims, amp.morph_factor, amp.gan_power, notes) == (64, 0.3, 0.1, [])
    options, _ = options_of(amp)
    assert settings_of("AMP", options, "a", {})[0] == amp.resolved().model_copy(update={"gan_patch_size": 12})
    quick, _ = settings_of("Quick96", {"batch_size": 6, "resolution": 96}, "a", {"channels": 3})
    assert quick == Quick96Settings(model="a", batch_size=6)
    assert options_of(quick)[0] == {"batch_size": 6}


def test_what_deepfacelab_does_not_have_is_said() -> None:
    settings = SaehdSettings(optimizer="lion", learning_rate=1e-5)
    options, notes = options_of(settings)
    assert options["adabelief"] is True
    assert "no lion" in notes[0]
    assert "always takes 5e-05" in notes[1]
