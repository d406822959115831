from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from backend.core.errors import BadInputError, DamagedFileError
from backend.core.settings import PhazeASettings
from backend.core.settings.phaze_a_presets import PHAZE_A_PRESETS
from backend.storage.faceswap_preset import preset_options, read_faceswap_preset, write_faceswap_preset

META = {"__filetype": "faceswap_preset", "__section": "train|model|phaze_a"}


def written(folder: Path, **values: Any) -> Path:
    path = folder / "preset.json"
    path.write_text(json.dumps(values), encoding="utf-8")
    return path


def test_a_preset_has_the_48_options_of_faceswap() -> None:
    assert len(preset_options()) == 48
    assert {"output_size", "freeze_layers", "load_layers", "mobilenet_minimalistic"} <= set(preset_options())
    assert not {"model_class", "learn_mask", "batch_size", "loss_function"} & set(preset_options())


def test_what_is_written_is_read_again_and_has_faceswaps_keys(tmp_path: Path) -> None:
    settings = PhazeASettings(output_size=256, enc_architecture="efficientnet_b4", freeze_layers=("encoder", "fc_a"))
    path = tmp_path / "own.json"
    write_faceswap_preset(path, settings.model_dump())
    stored = json.loads(path.read_text(encoding="utf-8"))
    assert len(stored) == 50
    assert {name: stored[name] for name in META} == META
    assert stored["freeze_layers"] == ["encoder", "fc_a"]
    found = read_faceswap_preset(path)
    assert not found.left_out
    assert PhazeASettings.model_validate(found.values).model_dump(include=set(preset_options())) == settings.model_dump(
        include=set(preset_options())
    )


def test_missing_options_are_missing_and_numbers_off_the_step_are_taken(tmp_path: Path) -> None:
    found = read_faceswap_preset(written(tmp_path, **META, fs_original_min_filters=126, dec_max_filters=504.0))
    assert dict(found.values) == {"fs_original_min_filters": 126, "dec_max_filters": 504}
    assert not found.left_out


def test_old_files_write_lists_as_words(tmp_path: Path) -> None:
    found = read_faceswap_preset(written(tmp_path, **META, freeze_layers="keras_encoder, fc_a", load_layers="encoder"))
    assert found.values == {"freeze_layers": ("keras_encoder", "fc_a"), "load_layers": ("encoder",)}


def test_what_does_not_fit_is_told(tmp_path: Path) -> None:
    path = written(
        tmp_path, **META, output_size=128, lowmem=True, fc_depth=99, enc_architecture="vgg99", dec_norm="odd"
    )
    found = read_faceswap_preset(path)
    assert dict(found.values) == {"output_size": 128}
    told = "; ".join(found.left_out)
    assert "lowmem: there is no such option" in told
    assert "fc_depth: 99 has to be at most 16" in told
    assert "there is no encoder vgg99" in told
    assert "dec_norm: odd has to be one of" in told


@pytest.mark.parametrize(
    ("meta", "words"),
    [
        ({"__filetype": "faceswap_preset", "__section": "train|model|dfl_sae"}, "a preset for train|model|dfl_sae"),
        ({}, "no preset of faceswap"),
    ],
)
def test_a_preset_of_something_else_is_read_as_far_as_it_goes(tmp_path: Path, meta: dict[str, str], words: str) -> None:
    found = read_faceswap_preset(written(tmp_path, **meta, output_size=192, architecture="df"))
    assert dict(found.values) == {"output_size": 192}
    assert words in found.left_out[0]


def test_what_is_no_preset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no option of Phaze-A"):
        read_faceswap_preset(written(tmp_path, **META))
    with pytest.raises(BadInputError, match="cannot be read"):
        read_faceswap_preset(tmp_path / "nowhere.json")
    (tmp_path / "list.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(BadInputError, match="no options by name"):
        read_faceswap_preset(tmp_path / "list.json")
    (tmp_path / "text.json").write_text("output_size = 64", encoding="utf-8")
    with pytest.raises(DamagedFileError, match="no JSON"):
        read_faceswap_preset(tmp_path / "text.json")
    (tmp_path / "big.json").write_text("[" + "1," * (1 << 20) + "1]", encoding="utf-8")
    with pytest.raises(BadInputError, match="too big"):
        read_faceswap_preset(tmp_path / "big.json")


@pytest.mark.parametrize("name", PHAZE_A_PRESETS)
def test_a_preset_of_the_17_comes_back_as_it_was(tmp_path: Path, name: str) -> None:
    wanted = PhazeASettings.model_validate(PHAZE_A_PRESETS[name])
    write_faceswap_preset(tmp_path / "x.json", wanted.model_dump())
    found = read_faceswap_preset(tmp_path / "x.json")
    options = set(preset_options())
    assert not found.left_out
    assert set(found.values) == options
    assert PhazeASettings.model_validate(found.values).model_dump(include=options) == wanted.model_dump(include=options)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("enc_architecture", ["fs_original"]),
        ("enc_architecture", None),
        ("output_size", True),
        ("output_size", {"a": 1}),
        ("dec_filter_slope", float("nan")),
        ("output_size", float("inf")),
        ("output_size", "many"),
        ("shared_fc", 3),
        ("split_fc", "perhaps"),
        ("freeze_layers", [["encoder"]]),
    ],
)
def test_a_value_of_another_kind_is_told_and_left_out(tmp_path: Path, name: str, value: Any) -> None:
    found = read_faceswap_preset(written(tmp_path, **META, fc_depth=2, **{name: value}))
    assert found.values == {"fc_depth": 2}
    assert [words.partition(":")[0] for words in found.left_out] == [name]


def test_brackets_without_end_are_no_preset(tmp_path: Path) -> None:
    (tmp_path / "deep.json").write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(DamagedFileError, match="no JSON"):
        read_faceswap_preset(tmp_path / "deep.json")
