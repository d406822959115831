"""The frame table of folders that other programs filled, and damaged tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backend.core.errors import BadInputError, DamagedFileError
from backend.storage.frame_table import frame_table_for, load_frame_table
from backend.storage.image import write_image
from backend.storage.workspace import Project
from tests.tiny_clips import Clip, make_clip

UNEVEN = (0.0, 0.04, 0.1, 0.5, 0.52, 0.9)


def filled(root: Path, count: int) -> Project:
    project = Project(root)
    project.side("dst").frames_dir.mkdir()
    for number in range(1, count + 1):
        write_image(project.side("dst").frames_dir / f"{number:05d}.png", np.zeros((48, 64, 3), np.uint8))
    return project


def test_frames_get_the_times_of_the_clip(tmp_path: Path) -> None:
    project = filled(tmp_path, len(UNEVEN))
    project.import_video("dst", make_clip(tmp_path / "clip.mp4", Clip(frames=len(UNEVEN), times_s=UNEVEN)))
    side = project.side("dst")
    assert load_frame_table(side) is None
    table = frame_table_for(side)
    np.testing.assert_allclose([f.time_s for f in table.frames], UNEVEN, atol=1e-4)
    assert table.end_s > UNEVEN[-1]
    assert load_frame_table(side) is None


def test_another_number_of_frames_is_spread_evenly(tmp_path: Path) -> None:
    project = filled(tmp_path, 4)
    project.import_video("dst", make_clip(tmp_path / "clip.mp4", Clip(frames=30)))
    table = frame_table_for(project.side("dst"))
    np.testing.assert_allclose([f.time_s for f in table.frames], [0, 0.04, 0.08, 0.12])
    assert table.end_s == pytest.approx(0.16)


def test_frames_without_a_clip(tmp_path: Path) -> None:
    table = frame_table_for(filled(tmp_path, 3).side("dst"))
    assert (table.video.width, table.video.height, table.video.fps) == (64, 48, 25)
    assert table.end_s == pytest.approx(0.12)


def test_no_frames_and_damaged_tables(tmp_path: Path) -> None:
    side = filled(tmp_path, 0).side("dst")
    with pytest.raises(BadInputError, match="no frames"):
        frame_table_for(side)
    for text in ("{", '{"frames": 3}'):
        side.frame_table_path.write_text(text)
        with pytest.raises(DamagedFileError):
            load_frame_table(side)
