from __future__ import annotations

from pathlib import Path

import pytest

from backend.core.errors import BadInputError
from backend.core.settings import CreateSettings
from backend.pipeline import create
from tests.pipeline.stage_bench import bench
from tests.tiny_clips import Clip, Sound, make_clip


def test_clips_and_consent_are_taken(tmp_path: Path) -> None:
    src = make_clip(tmp_path / "one.mp4", Clip(frames=10))
    dst = make_clip(tmp_path / "two.mkv", Clip(frames=10, size=(80, 60), sound=Sound(0.4)))
    project, ctx, reports = bench(tmp_path)
    result = create.run(CreateSettings(src=src, dst=dst, consent="Both agreed.", notes="A test."), ctx)
    assert (result["src"]["width"], result["dst"]["width"]) == (64, 80)
    assert result["dst"]["has_audio"]
    assert [project.side(s).video.name for s in ("src", "dst")] == ["data_src.mp4", "data_dst.mkv"]
    assert (project.consent, project.info().notes) == ("Both agreed.", "A test.")
    assert "80 x 60" in reports.words()
    assert src.exists()


def test_one_clip_at_a_time_keeps_the_rest(tmp_path: Path) -> None:
    project, ctx, _ = bench(tmp_path)
    create.run(CreateSettings(src=make_clip(tmp_path / "one.mp4", Clip(frames=3))), ctx)
    assert project.side("dst").video is None
    assert project.consent == "All agreed."


def test_a_bad_clip_changes_nothing(tmp_path: Path) -> None:
    project, ctx, _ = bench(tmp_path)
    good = make_clip(tmp_path / "one.mp4", Clip(frames=3))
    bad = tmp_path / "two.mp4"
    bad.write_text("no video")
    with pytest.raises(BadInputError, match=r"two\.mp4 is not a video"):
        create.run(CreateSettings(src=good, dst=bad, consent="Changed."), ctx)
    assert project.side("src").video is None
    assert project.consent == "All agreed."


def test_high_dynamic_range_is_said(tmp_path: Path) -> None:
    project, ctx, reports = bench(tmp_path)
    clip = make_clip(tmp_path / "one.mp4", Clip(frames=3, transfer=18))
    assert create.run(CreateSettings(dst=clip), ctx)["dst"]["hdr"] == "HLG"
    assert "high dynamic range, HLG; its tones are mapped to BT.709" in reports.words()
    assert project.side("dst").video is not None


def test_consent_is_needed(tmp_path: Path) -> None:
    project, ctx, _ = bench(tmp_path)
    project.set_consent("")
    with pytest.raises(BadInputError, match="consent"):
        create.run(CreateSettings(consent="  "), ctx)
