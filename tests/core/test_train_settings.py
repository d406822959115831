"""What training's own settings refuse and how names of parts may be written."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from backend.core.settings import TRAIN_SETTINGS, PhazeASettings, SaehdSettings, TrainSettings
from backend.storage.model_folder import resume_settings


@pytest.mark.parametrize("kind", [SaehdSettings, PhazeASettings])
@pytest.mark.parametrize(
    "written",
    [("encoder", "inter"), ["encoder", "inter", "encoder"], "encoder, inter", "encoder inter", ["encoder,inter"]],
)
def test_names_of_parts_may_be_one_text(kind: type[TrainSettings], written: Any) -> None:
    settings = kind.model_validate({"freeze_layers": written, "load_layers": written})
    assert settings.freeze_layers == settings.load_layers == ("encoder", "inter")
    stored = settings.model_dump(mode="json")
    assert stored["freeze_layers"] == ["encoder", "inter"]
    assert resume_settings(stored, settings) == settings
    assert resume_settings(stored, kind(freeze_layers=("decoder",))).freeze_layers == ("decoder",)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"autoclip": True, "clip_gradients": True}, "one way at a time; switch off Clip gradients or Autoclip"),
        ({"freeze_weights": True, "freeze_layers": ()}, "choose Frozen parts"),
        ({"load_weights": "other", "load_layers": " , "}, "choose Parts that begin so"),
        ({"load_weights": "../other"}, "cannot be the name of a model"),
        ({"freeze_layers": "--all"}, "'--all' cannot be the name of a part"),
        ({"freeze_layers": 3}, "valid tuple"),
        ({"lr_finder_iterations": 150}, "multiple of 100"),
    ],
)
def test_what_cannot_be_is_refused_with_the_way_out(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        SaehdSettings.model_validate(changes)


@pytest.mark.parametrize("kind", TRAIN_SETTINGS.values(), ids=TRAIN_SETTINGS)
def test_every_family_can_look_for_its_rate_and_hold_parts_still(kind: type[TrainSettings]) -> None:
    settings = kind.model_validate({"lr_finder": "plot_and_set", "freeze_weights": True, "snapshot_every": 10})
    assert (settings.lr_finder, settings.snapshot_every) == ("plot_and_set", 10)
