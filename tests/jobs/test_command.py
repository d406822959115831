from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from backend.core.settings import (
    TRAIN_SETTINGS,
    AmpSettings,
    CreateSettings,
    MergeSettings,
    PhazeASettings,
    SaehdSettings,
    SummarySettings,
)
from backend.jobs.arguments import parse_arguments, parse_description
from backend.jobs.command import command_line


def test_only_what_differs_is_written() -> None:
    assert command_line("merge", "film", MergeSettings()) == "python -m backend merge --project film"
    settings = SaehdSettings(batch_size=4, masked_training=False, eyes_mouth_priority=True)
    assert command_line("train", "my film", settings, Path("/data/it's")) == (
        "python -m backend train --project 'my film' --workspace '/data/it'\"'\"'s'"
        " --batch-size 4 --no-masked-training --eyes-mouth-priority"
    )


def test_the_command_line_reads_back(tmp_path: Path) -> None:
    cases = [
        ("merge", MergeSettings(erode_mask=-20, face_scale=-5, mask_mode="learned-prd", model="a b")),
        ("train", SaehdSettings(learning_rate=3e-5, channels=1, archi="df-ud", random_warp=False, precision="bf16")),
        ("train", SaehdSettings(freeze_weights=True, freeze_layers=("encoder", "inter"), load_layers=())),
        ("train", SaehdSettings(lr_finder="set", autoclip=True, load_weights="a b", snapshot_every=100, beta_1=0.5)),
        ("train", AmpSettings(batch_size=2)),
        ("train", PhazeASettings(freeze_weights=True)),
        ("create", CreateSettings(src=Path("/a b/c.mp4"), consent="I agreed; it's fine.", notes="-x")),
    ]
    for stage, settings in cases:
        words = shlex.split(command_line(stage, "film", settings, tmp_path))
        parsed = parse_arguments(stage, words[4:])
        assert parsed.settings == settings
        assert (parsed.project, parsed.workspace) == ("film", tmp_path)


def test_names_of_parts_are_separate_words_and_may_have_commas(tmp_path: Path) -> None:
    settings = SaehdSettings(freeze_layers=("inter", "encoder"))
    assert command_line("train", "film", settings).endswith("--freeze-layers inter encoder")
    common = ["--project", "film", "--workspace", str(tmp_path)]
    for words in (["--freeze-layers", "inter,encoder"], ["--freeze-layers=inter,encoder", "--batch-size", "2"]):
        parsed = parse_arguments("train", [*common, *words]).settings
        assert isinstance(parsed, SaehdSettings)
        assert parsed.freeze_layers == ("inter", "encoder")


@pytest.mark.parametrize("family", TRAIN_SETTINGS)
def test_the_command_of_a_description_has_the_flags_of_training(family: str, tmp_path: Path) -> None:
    """Without a model it stands alone; with one it says all that was asked for, whatever is stored."""
    train = TRAIN_SETTINGS[family](batch_size=3, freeze_layers=("encoder", "inter")).model_dump(mode="json")
    alone = shlex.split(command_line("summary", "film", SummarySettings(train=train), tmp_path))
    assert "--project" not in alone
    assert parse_description(alone[4:]).settings.model_dump(mode="json") == train
    words = shlex.split(command_line("summary", "film", SummarySettings(model="a b", train=train), tmp_path))
    parsed = parse_description(words[4:])
    assert (parsed.project, parsed.workspace) == ("film", tmp_path)
    assert parsed.settings.model_dump(mode="json") == {**train, "model": "a b"}


def test_the_command_of_a_description_that_failed_fails_alike() -> None:
    line = command_line("summary", "film", SummarySettings(train={"archi": "df-d", "resolution": 80, "odd": 3}))
    assert line == "python -m backend summary --archi df-d --resolution 80 --odd 3"
    only = SummarySettings(model="anna")
    assert command_line("summary", "film", only) == "python -m backend summary --project film --model anna"
