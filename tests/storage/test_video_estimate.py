from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backend.core.settings import ExtractFramesSettings
from backend.pipeline import extract_frames
from backend.storage import frame_estimate
from backend.storage.atomic import MIN_FREE_BYTES
from backend.storage.frame_estimate import estimate, frame_bytes, frames_expected
from backend.storage.image import write_image
from backend.storage.video import frame_near, probe
from tests.pipeline.stage_bench import bench
from tests.tiny_clips import Clip, gray_of, make_clip


@pytest.mark.parametrize(
    ("start_s", "end_s", "fps"), [(0, 0, 0), (0.4, 1.4, 0), (0.4, 1.4, 5), (0, 0, 50), (1.0, 99.0, 0), (5.0, 0, 0)]
)
def test_the_number_of_frames_is_as_extracted(tmp_path: Path, start_s: float, end_s: float, fps: float) -> None:
    clip = make_clip(tmp_path / "clip.mp4", Clip(frames=50))
    expected = frames_expected(probe(clip), start_s, end_s, fps)
    times = np.arange(50) / 25
    wanted = ExtractFramesSettings(start_s=start_s, end_s=end_s, fps=fps)
    assert expected == extract_frames.frames_to_keep(times, wanted).sum()


@pytest.mark.parametrize("image_format", ["png", "jpg"])
def test_frames_that_are_there_are_measured(tmp_path: Path, image_format: str) -> None:
    project, ctx, _ = bench(tmp_path)
    noise = np.random.default_rng(0)

    def draw(number: int, width: int, height: int) -> np.ndarray:
        return noise.integers(0, 90, (height, width, 3), dtype=np.uint8)

    clip = project.import_video("dst", make_clip(tmp_path / "clip.mp4", Clip(frames=30, size=(96, 64)), draw))
    folder, info = project.side("dst").frames_dir, probe(clip)
    guess, measured = frame_bytes(info, image_format, folder)
    assert not measured
    extract_frames.run(ExtractFramesSettings.model_validate({"side": "dst", "image_format": image_format}), ctx)
    real = sum(path.stat().st_size for path in folder.glob(f"*.{image_format}"))
    need = estimate(info, 30, image_format, folder)
    assert need.measured
    assert need.bytes == pytest.approx(real, rel=0.2)
    assert 30 * guess == pytest.approx(real, rel=1.5)
    write_image(folder / f"00001.{image_format}", np.zeros((10, 10, 3), np.uint8))
    assert not estimate(info, 30, image_format, folder).measured


def test_it_fits_only_with_the_reserve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = probe(make_clip(tmp_path / "clip.mp4", Clip(frames=30)))
    need = estimate(info, 30, "png", tmp_path / "frames").bytes
    for spare, fits in ((0, True), (-1, False)):
        monkeypatch.setattr(frame_estimate, "free_bytes", lambda path, spare=spare: need + MIN_FREE_BYTES + spare)
        assert estimate(info, 30, "png", tmp_path / "frames").fits is fits


@pytest.mark.parametrize(("time_s", "index"), [(0.0, 0), (0.41, 10), (1.0, 25), (99.0, 49)])
def test_a_frame_near_a_time(tmp_path: Path, time_s: float, index: int) -> None:
    clip = make_clip(tmp_path / "clip.mp4", Clip(frames=50, keys_every=12))
    at_s, picture = frame_near(clip, time_s, 32)
    assert at_s == pytest.approx(index / 25, abs=0.041)
    assert picture.shape == (24, 32, 3)
    assert abs(int(picture[-2, -2, 0]) - gray_of(round(at_s * 25))) <= 4
