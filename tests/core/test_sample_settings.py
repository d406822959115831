"""What the settings of samples refuse, warn of and switch off."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from backend.core.settings import Quick96Settings, SaehdSettings, TrainSettings


def test_a_grayscale_model_has_lightness_and_contrast_but_no_colours() -> None:
    settings = SaehdSettings(channels=1, color_lightness=30, color_clahe_chance=50)
    assert settings.color_lightness == 30
    with pytest.raises(ValidationError, match="set the random colour shifts to 0"):
        SaehdSettings(channels=1, color_ab=8)


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({}, []),
        ({"warp_to_landmarks": True}, []),
        ({"warp_to_landmarks": True, "random_warp": False}, ["warp_to_landmarks"]),
        ({"sort_by_yaw": True, "random_src_flip": False, "random_dst_flip": True}, ["sort_by_yaw"]),
        ({"sort_by_yaw": True, "random_src_flip": True, "random_dst_flip": True}, []),
    ],
)
def test_what_is_probably_not_meant_is_said_at_its_field(changes: dict[str, bool], fields: list[str]) -> None:
    assert [field for field, _ in SaehdSettings.model_validate(changes).cautions()] == fields


def test_pretraining_leaves_shapes_and_colours_as_they_are() -> None:
    wanted = {"color_lightness": 30, "color_ab": 8, "color_clahe_chance": 50, "src_scale": 10}
    shapes = {"warp_to_landmarks": True, "sort_by_yaw": True}
    chosen = SaehdSettings.model_validate({**wanted, **shapes, "pretrain": True, "pretrain_faces": "/faces"})
    effective, default = chosen.effective(), SaehdSettings()
    for name in (*wanted, *shapes):
        assert getattr(effective, name) == getattr(default, name)
        assert getattr(chosen, name) != getattr(default, name)


def test_quick96_scales_less_than_others_do() -> None:
    assert Quick96Settings.RANDOM_SCALE < TrainSettings.RANDOM_SCALE == SaehdSettings.RANDOM_SCALE
