from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from backend.core.errors import BadInputError, DiskFullError, StopRequested
from backend.core.settings import ExtractFramesSettings
from backend.pipeline import extract_frames
from backend.pipeline.extract_frames import frames_to_keep
from backend.storage import atomic
from backend.storage.frame_table import load_frame_table
from backend.storage.image import list_images, read_image
from tests.pipeline.stage_bench import bench, stop_after
from tests.tiny_clips import Clip, gray_of, make_clip

NTSC = Fraction(30000, 1001)
UNEVEN = (0.0, 0.04, 0.1, 0.5, 0.52, 0.9)


def prepared(tmp_path: Path, clip: Clip, **kwargs):
    project, ctx, reports = bench(tmp_path, **kwargs)
    project.import_video("dst", make_clip(tmp_path / "clip.mp4", clip))
    return project, ctx, reports


def names(folder: Path) -> list[str]:
    return [path.name for path in list_images(folder)]


def test_every_frame_and_its_time(tmp_path: Path) -> None:
    project, ctx, reports = prepared(tmp_path, Clip(frames=40, fps=NTSC))
    result = extract_frames.run(ExtractFramesSettings(side="dst"), ctx)
    side = project.side("dst")
    assert names(side.frames_dir) == [f"{n:05d}.png" for n in range(1, 41)]
    assert result["frames"] == 40
    assert result["fps"] == pytest.approx(29.97, abs=0.001)
    table = load_frame_table(side)
    assert table is not None
    assert [f.file for f in table.frames] == names(side.frames_dir)
    assert [f.index for f in table.frames] == list(range(40))
    np.testing.assert_allclose([f.time_s for f in table.frames], np.arange(40) / float(NTSC), atol=1e-4)
    assert table.end_s == pytest.approx(40 / float(NTSC), abs=1e-4)
    assert abs(int(read_image(side.frames_dir / "00008.png")[40, 50, 0]) - gray_of(7)) <= 3
    assert reports.of("progress")[-1]["done"] == 40
    assert not [p for p in project.path.iterdir() if p.name.startswith(".data")]


def test_rotated_uneven_clip_as_jpg(tmp_path: Path) -> None:
    project, ctx, _ = prepared(tmp_path, Clip(frames=6, times_s=UNEVEN, rotation=-90.0))
    extract_frames.run(ExtractFramesSettings(side="dst", image_format="jpg"), ctx)
    side = project.side("dst")
    assert names(side.frames_dir) == [f"{n:05d}.jpg" for n in range(1, 7)]
    assert read_image(side.frames_dir / "00001.jpg").shape == (64, 48, 3)
    table = load_frame_table(side)
    assert table is not None
    np.testing.assert_allclose([f.time_s for f in table.frames], UNEVEN, atol=1e-4)
    assert (table.video.width, table.video.height) == (48, 64)


def test_a_range_at_a_lower_rate(tmp_path: Path) -> None:
    project, ctx, _ = prepared(tmp_path, Clip(frames=50))
    settings = ExtractFramesSettings(side="dst", fps=5, start_s=0.4, end_s=1.4)
    assert extract_frames.run(settings, ctx)["frames"] == 5
    table = load_frame_table(project.side("dst"))
    assert table is not None
    assert [f.index for f in table.frames] == [10, 15, 20, 25, 30]
    assert table.end_s == pytest.approx(1.4)


@pytest.mark.parametrize(("fps", "count"), [(0, 100), (50, 100), (25, 100), (10, 40), (12, 48), (1, 4)])
def test_grid(fps: float, count: int) -> None:
    times = np.arange(100) / 25
    kept = frames_to_keep(times, ExtractFramesSettings(fps=fps))
    assert kept.sum() == count
    if 0 < fps < 25:
        np.testing.assert_allclose(times[kept], np.arange(count) / fps, atol=0.021)


def test_new_frames_replace_old_ones_and_nothing_else(tmp_path: Path) -> None:
    project, ctx, reports = prepared(tmp_path, Clip(frames=6))
    side = project.side("dst")
    extract_frames.run(ExtractFramesSettings(side="dst"), ctx)
    side.aligned_dir.mkdir()
    (side.aligned_dir / "00001_0.jpg").write_bytes(b"a face")
    extract_frames.run(ExtractFramesSettings(side="dst", image_format="jpg", end_s=0.12), ctx)
    assert names(side.frames_dir) == ["00001.jpg", "00002.jpg", "00003.jpg"]
    assert (side.aligned_dir / "00001_0.jpg").exists()
    assert "extract the faces again" in reports.words()


def test_a_stop_or_a_bad_range_keeps_the_old_frames(tmp_path: Path) -> None:
    project, ctx, _ = prepared(tmp_path, Clip(frames=30))
    side = project.side("dst")
    extract_frames.run(ExtractFramesSettings(side="dst", end_s=0.2), ctx)
    table = load_frame_table(side)
    _, stopping, _ = bench(tmp_path, stop_after(7))
    with pytest.raises(StopRequested):
        extract_frames.run(ExtractFramesSettings(side="dst"), stopping)
    with pytest.raises(BadInputError, match=r"clip lasts 1\.20 s"):
        extract_frames.run(ExtractFramesSettings(side="dst", start_s=5), ctx)
    assert len(names(side.frames_dir)) == 5
    assert load_frame_table(side) == table
    assert not [p for p in project.path.iterdir() if p.name.startswith(".data")]


def test_missing_clip_wrong_order_and_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, ctx, _ = bench(tmp_path)
    with pytest.raises(BadInputError, match="no src clip"):
        extract_frames.run(ExtractFramesSettings(side="src"), ctx)
    with pytest.raises(ValidationError, match="after its start"):
        ExtractFramesSettings(start_s=3, end_s=2)
    _, ctx, _ = prepared(tmp_path, Clip(frames=3))
    monkeypatch.setattr(atomic, "free_bytes", lambda path: 1 << 20)
    with pytest.raises(DiskFullError):
        extract_frames.run(ExtractFramesSettings(side="dst"), ctx)


def test_more_frames_than_five_digits_still_sort() -> None:
    from backend.storage.frame_folder import frame_name

    assert frame_name(7, 99_999, "png") == "00007.png"
    assert frame_name(7, 100_000, "jpg") == "000007.jpg"


def test_a_damaged_clip_is_told(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 255, (40, 48, 64, 3)).astype(np.uint8)
    clip = make_clip(tmp_path / "clip.mp4", Clip(frames=40), lambda number, width, height: noise[number])
    data = bytearray(clip.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = bytes(rng.integers(0, 255, 3000).astype(np.uint8))
    clip.write_bytes(bytes(data))
    project, ctx, reports = bench(tmp_path)
    project.import_video("src", clip)
    result = extract_frames.run(ExtractFramesSettings(side="src"), ctx)
    assert result["broken_packets"] + result["damaged_frames"] > 0
    assert "damage" in reports.words()


def test_real_clip(assets: Path, tmp_path: Path) -> None:
    project, ctx, _ = bench(tmp_path)
    project.import_video("dst", assets / "data" / "concert.mp4")
    result = extract_frames.run(ExtractFramesSettings(side="dst", image_format="jpg"), ctx)
    assert (result["frames"], result["fps"]) == (275, 29.97)
