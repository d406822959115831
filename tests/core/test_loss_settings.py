"""Which losses are added up, and what is said about it at the field."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from backend.core.settings import AmpSettings, PhazeASettings, Quick96Settings, SaehdSettings
from backend.core.settings.losses import chosen_losses, loss_cautions


def cautions(**values: Any) -> dict[str, str]:
    """Field -> sentence of a SAEHD with these settings."""
    return dict(loss_cautions(SaehdSettings(**values)))


def test_slots_become_shares() -> None:
    assert chosen_losses(SaehdSettings()) == {}
    assert chosen_losses(PhazeASettings()) == {"ssim": 1.0, "mse": 1.0}
    settings = SaehdSettings(loss_function="mae", loss_function_3="flip", loss_weight_3=40, loss_function_4="ffl")
    assert chosen_losses(settings) == {"mae": 1.0, "flip": 0.4}
    assert chosen_losses(SaehdSettings(loss_function_4="gmsd", loss_weight_4=10)) == {"gmsd": 0.1}


def test_the_later_of_two_equal_losses_counts() -> None:
    settings = {"loss_function": "ssim", "loss_function_2": "mae", "loss_function_4": "ssim", "loss_weight_4": 30}
    assert chosen_losses(SaehdSettings(**settings)) == {"ssim": 0.3, "mae": 1.0}
    assert "twice" in cautions(**settings)["loss_function_4"]


def test_nothing_to_compare_is_refused() -> None:
    with pytest.raises(ValidationError, match="no loss is left: mse"):
        SaehdSettings(loss_function="mse", loss_function_2="mse", loss_weight_2=0)
    assert SaehdSettings(loss_function_2="mse", loss_weight_2=0).loss_function == "own"


def test_usual_choices_need_no_words() -> None:
    for settings in (SaehdSettings(), AmpSettings(), Quick96Settings(), PhazeASettings()):
        assert loss_cautions(settings) == ()
    usual = {"loss_function": "ssim", "loss_function_2": "lpips_alex", "loss_weight_2": 20, "eye_multiplier": 3}
    assert cautions(**usual) == {}


@pytest.mark.parametrize(
    ("values", "field", "words"),
    [
        ({"loss_function_2": "lpips_vgg16", "loss_weight_2": 26}, "loss_function_2", "25%"),
        ({"loss_function": "flip"}, "loss_function", "alone"),
        ({"loss_function_3": "mae"}, "loss_function_3", "third weight is 0 %"),
        ({"loss_function": "ms_ssim"}, "loss_function", "(7 px here)"),
        ({"loss_function_2": "ms_ssim", "resolution": 64}, "loss_function_2", "(3 px here)"),
        ({"loss_function": "mse", "eye_multiplier": 3, "masked_training": False}, "eye_multiplier", "Masked training"),
        ({"mouth_multiplier": 2}, "mouth_multiplier", "chosen losses"),
        ({"loss_function": "mse", "pixel_weight": 20}, "pixel_weight", "no effect"),
        ({"loss_function": "mse", "structure_weight": 0}, "structure_weight", "no effect"),
    ],
)
def test_what_is_probably_not_meant_is_said(values: dict[str, Any], field: str, words: str) -> None:
    found = cautions(**values)
    assert list(found) == [field]
    assert words in found[field]
    assert (field, found[field]) in SaehdSettings(**values).cautions()
    assert found[field].endswith(".")


def test_ms_ssim_has_its_whole_window_from_176_px() -> None:
    assert cautions(loss_function="ms_ssim", resolution=192) == {}


def test_parts_are_apart_only_where_they_count() -> None:
    assert not SaehdSettings().parts_apart
    assert SaehdSettings(eye_multiplier=2).parts_apart
    assert PhazeASettings().parts_apart
    assert not PhazeASettings(masked_training=False).parts_apart
    assert not PhazeASettings(eye_multiplier=1, mouth_multiplier=1).parts_apart
