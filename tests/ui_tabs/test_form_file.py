"""Settings that come back into a form from a file."""

from __future__ import annotations

import json

import pytest
import yaml

from backend.core.errors import BadInputError
from backend.core.settings import AmpSettings, ExportSettings, Quick96Settings, SaehdSettings
from ui_tabs.form_file import MAX_BYTES, fit, read_settings


def shown(settings):
    return {name: getattr(settings, name) for name in type(settings).model_fields if name != "model_class"}


@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_saved_settings_come_back(tmp_path, suffix):
    wanted = SaehdSettings(model="bea", batch_size=3, learning_rate=2e-4, archi="df-ud")
    file = tmp_path / f"train.{suffix}"
    values = wanted.model_dump(mode="json")
    file.write_text(json.dumps(values) if suffix == "json" else yaml.safe_dump(values))
    found = fit(SaehdSettings, "train", read_settings(file, "train"), shown(SaehdSettings()))
    assert SaehdSettings(**{**shown(SaehdSettings()), **found.values}) == wanted
    assert "left out" not in found.said


def test_one_sentence_names_what_was_left_out():
    given = {"batch_size": 1000, "nonsense": 1, "preview_interval": 77}
    found = fit(SaehdSettings, "train", given, shown(SaehdSettings()))
    assert found.values == {"preview_interval": 77}
    assert found.said == "1 setting loaded; left out: nonsense (not known here), Batch size 1000 (does not fit)."


def test_a_model_that_exists_keeps_what_cannot_change():
    given = {"resolution": 192, "archi": "liae-ud", "model": "other", "batch_size": 5}
    found = fit(SaehdSettings, "train", given, shown(SaehdSettings(model="anna")), frozen=True)
    assert found.values == {"batch_size": 5}
    assert found.said == "1 setting loaded; left out: Resolution 192 (this model has 128)."


def test_fixed_settings_that_differ_are_told():
    found = fit(Quick96Settings, "train", {"resolution": 128, "batch_size": 2}, {"batch_size": 4})
    assert found.values == {"batch_size": 2}
    assert "Resolution 128 (always 96 here)" in found.said


def test_a_contradiction_is_left_to_the_form():
    found = fit(SaehdSettings, "train", {"true_face_power": 0.01, "archi": "liae-ud"}, shown(SaehdSettings()))
    assert found.values["true_face_power"] == 0.01


def test_another_family_is_refused():
    with pytest.raises(BadInputError, match="settings of the family AMP"):
        fit(SaehdSettings, "train", AmpSettings().model_dump(), shown(SaehdSettings()))


@pytest.mark.parametrize("content", ["[1, 2]", "{", ""])
def test_a_file_of_something_else_is_refused_by_its_name(tmp_path, content):
    file = tmp_path / "mine.json"
    file.write_text(content)
    with pytest.raises(BadInputError, match=r"mine\.json") as caught:
        read_settings(file, "train")
    assert str(tmp_path) not in str(caught.value)


def test_a_huge_file_is_not_read(tmp_path):
    file = tmp_path / "film.json"
    file.write_bytes(b" " * (MAX_BYTES + 1))
    with pytest.raises(BadInputError, match="too big"):
        read_settings(file, "train")


def test_a_jobs_request_is_a_file_of_settings_too(tmp_path):
    file = tmp_path / "request.json"
    file.write_text(json.dumps({"stage": "export", "settings": {"crf": 30}}))
    given = read_settings(file, "export")
    assert fit(ExportSettings, "export", given, shown(ExportSettings())).values == {"crf": 30}
