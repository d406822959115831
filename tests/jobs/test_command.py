from __future__ import annotations

import shlex
from pathlib import Path

from backend.core.settings import CreateSettings, MergeSettings, SaehdSettings
from backend.jobs.arguments import parse_arguments
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
        ("create", CreateSettings(src=Path("/a b/c.mp4"), consent="I agreed; it's fine.", notes="-x")),
    ]
    for stage, settings in cases:
        words = shlex.split(command_line(stage, "film", settings, tmp_path))
        parsed = parse_arguments(stage, words[4:])
        assert parsed.settings == settings
        assert (parsed.project, parsed.workspace) == ("film", tmp_path)
