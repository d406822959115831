"""Presets of training by name."""

from __future__ import annotations

import pytest

from backend.core.errors import BadInputError
from backend.core.settings import TRAIN_SETTINGS
from backend.jobs.arguments import parse_arguments
from backend.jobs.named_presets import built_in_presets, find_preset, preset_kind
from backend.storage.presets import PresetShelf

EVERY = [(family, name) for family in TRAIN_SETTINGS for name in built_in_presets(family)]


@pytest.mark.parametrize(("family", "name"), EVERY)
def test_a_preset_names_its_family_and_fits_it(tmp_path, family, name):
    found, values = find_preset(name, "", tmp_path)
    assert found == family
    settings = parse_arguments("train", ["--project", "film", "--preset", name]).settings
    assert isinstance(settings, TRAIN_SETTINGS[family])
    for field, value in values.items():
        assert getattr(settings, field) == value


def test_a_preset_of_the_user_is_found_in_the_workspace(tmp_path):
    PresetShelf(tmp_path, preset_kind("amp")).save("mine", {"ae_dims": 64})
    words = ["--project", "film", "--workspace", str(tmp_path), "--preset", "mine", "--batch-size", "3"]
    settings = parse_arguments("train", words).settings
    assert (settings.model_class, settings.ae_dims, settings.batch_size) == ("amp", 64, 3)


def test_an_unknown_preset_lists_those_of_the_family(tmp_path):
    PresetShelf(tmp_path, preset_kind("phaze_a")).save("mine", {})
    with pytest.raises(BadInputError, match=r"original, .*mine") as caught:
        find_preset("none", "phaze_a", tmp_path)
    assert "First look" not in str(caught.value)


def test_a_preset_of_another_family_is_not_taken(tmp_path):
    with pytest.raises(BadInputError, match="no preset 'dfaker'"):
        parse_arguments("train", ["--project", "film", "--model-class", "saehd", "--preset", "dfaker"])
