from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.core.errors import BadInputError, DiskFullError, StopRequested
from backend.core.settings import DenoiseFramesSettings, ExtractFramesSettings
from backend.pipeline import denoise_frames, extract_frames
from backend.storage import atomic, frames_before
from backend.storage.frames_before import FramesBefore
from backend.storage.image import list_images, read_image, write_image
from tests.pipeline.stage_bench import bench, stop_after
from tests.tiny_clips import Clip, make_clip

COUNT = 9


def clean(number: int) -> np.ndarray:
    y, x = np.mgrid[0:48, 0:64]
    return np.stack([120 + 60 * np.sin((x + 2 * number) / 9 + c) * np.cos(y / 7) for c in range(3)], 2)


def prepared(tmp_path: Path, suffix: str = "png", count: int = COUNT, **kwargs):
    project, ctx, reports = bench(tmp_path, **kwargs)
    folder = project.side("dst").frames_dir
    rng = np.random.default_rng(5)
    for number in range(count):
        image = np.clip(clean(number) + rng.normal(0, 8, (48, 64, 3)), 0, 255).round().astype(np.uint8)
        write_image(folder / f"{number + 1:05d}.{suffix}", image, 98)
    return project, ctx, reports


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in list_images(folder)}


def error(folder: Path) -> float:
    apart = [read_image(path) - clean(int(path.stem) - 1) for path in list_images(folder)]
    return float(np.sqrt(np.mean(np.square(apart))))


def wanted(**changes: Any) -> DenoiseFramesSettings:
    return DenoiseFramesSettings.model_validate({"side": "dst", "factor": 9, **changes})


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_noise_goes_and_undo_brings_every_byte_back(tmp_path: Path, suffix: str) -> None:
    project, ctx, reports = prepared(tmp_path, suffix)
    folder = project.side("dst").frames_dir
    before, noise = files(folder), error(folder)
    result = denoise_frames.run(wanted(), ctx)
    assert result["frames"] == COUNT
    assert error(folder) < 0.5 * noise
    assert result["noise_after"] < 0.5 * result["noise_before"]
    assert sorted(files(folder)) == sorted(before)
    assert reports.of("progress")[-1]["done"] == COUNT
    assert denoise_frames.run(wanted(undo=True), ctx) == {"undone": COUNT}
    assert files(folder) == before
    assert not (folder / frames_before.FOLDER).exists()
    with pytest.raises(BadInputError, match="no earlier state"):
        denoise_frames.run(wanted(undo=True), ctx)


def test_a_second_time_starts_from_the_originals(tmp_path: Path) -> None:
    project, ctx, reports = prepared(tmp_path)
    folder = project.side("dst").frames_dir
    before = files(folder)
    denoise_frames.run(wanted(factor=15), ctx)
    denoise_frames.run(wanted(factor=3), ctx)
    twice = files(folder)
    assert "starts from the frames as they were" in reports.words()
    denoise_frames.run(wanted(undo=True), ctx)
    assert files(folder) == before
    denoise_frames.run(wanted(factor=3), ctx)
    assert files(folder) == twice


def test_without_originals_a_second_time_says_that_it_adds(tmp_path: Path) -> None:
    project, ctx, reports = prepared(tmp_path)
    folder = project.side("dst").frames_dir
    denoise_frames.run(wanted(keep_originals=False), ctx)
    once = files(folder)
    assert FramesBefore(folder).kept() == []
    with pytest.raises(BadInputError):
        denoise_frames.run(wanted(undo=True), ctx)
    denoise_frames.run(wanted(), ctx)
    assert "not kept: this adds to it" in reports.words()
    denoise_frames.run(wanted(undo=True), ctx)
    assert files(folder) == once


def test_a_stopped_run_goes_on_and_can_be_undone(tmp_path: Path) -> None:
    project, ctx, reports = prepared(tmp_path)
    folder = project.side("dst").frames_dir
    before = files(folder)
    denoise_frames.run(wanted(), ctx)
    whole = files(folder)
    denoise_frames.run(wanted(undo=True), ctx)
    _, stopping, _ = bench(tmp_path, stop_after(6))
    with pytest.raises(StopRequested):
        denoise_frames.run(wanted(), stopping)
    part = files(folder)
    assert part != before
    assert part["00009.png"] == before["00009.png"]
    note = FramesBefore(folder).note()
    assert note is not None
    assert 0 < note.done < COUNT
    denoise_frames.run(wanted(), ctx)
    assert f"behind the {note.done} frames" in reports.words()
    assert files(folder) == whole
    denoise_frames.run(wanted(undo=True), ctx)
    assert files(folder) == before


def test_a_crash_leaves_frames_that_can_be_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process dies between keeping a frame and writing it, and undoing dies in the middle as well."""
    project, ctx, _ = prepared(tmp_path)
    folder = project.side("dst").frames_dir
    before = files(folder)
    real = denoise_frames.write_image

    def dies(path: Path, *rest: Any) -> None:
        if path.stem == "00005":
            raise OSError(errno.EIO, "gone")
        real(path, *rest)

    monkeypatch.setattr(denoise_frames, "write_image", dies)
    with pytest.raises(OSError, match="gone"):
        denoise_frames.run(wanted(), ctx)
    assert len(files(folder)) == COUNT
    _, stopping, _ = bench(tmp_path, stop_after(2))
    with pytest.raises(StopRequested):
        denoise_frames.run(wanted(undo=True), stopping)
    denoise_frames.run(wanted(undo=True), ctx)
    assert files(folder) == before


def test_new_frames_forget_the_old_ones(tmp_path: Path) -> None:
    project, ctx, _ = prepared(tmp_path)
    denoise_frames.run(wanted(), ctx)
    project.import_video("dst", make_clip(tmp_path / "clip.mp4", Clip(frames=4)))
    extract_frames.run(ExtractFramesSettings(side="dst"), ctx)
    with pytest.raises(BadInputError, match="no earlier state"):
        denoise_frames.run(wanted(undo=True), ctx)
    assert not [path for path in project.path.iterdir() if path.name.startswith(".data")]


def test_the_originals_do_not_count_as_frames(tmp_path: Path) -> None:
    project, ctx, _ = prepared(tmp_path)
    denoise_frames.run(wanted(), ctx)
    assert project.status().dst.frames == COUNT


def test_what_cannot_be_done_is_said_before_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project, ctx, _ = prepared(tmp_path)
    folder = project.side("dst").frames_dir
    before = files(folder)
    with pytest.raises(BadInputError, match="no src frames"):
        denoise_frames.run(wanted(side="src"), ctx)
    monkeypatch.setattr(atomic, "free_bytes", lambda path: 1 << 20)
    with pytest.raises(DiskFullError):
        denoise_frames.run(wanted(), ctx)
    monkeypatch.undo()
    assert files(folder) == before


def test_a_damaged_frame_stays_and_does_not_stop_the_others(tmp_path: Path) -> None:
    project, ctx, reports = prepared(tmp_path)
    folder = project.side("dst").frames_dir
    (folder / "00004.png").write_bytes(b"no picture")
    before = files(folder)
    result = denoise_frames.run(wanted(), ctx)
    assert (result["frames"], result["unreadable"]) == (COUNT, 1)
    assert [name for name, data in files(folder).items() if data == before[name]] == ["00004.png"]
    assert "00004.png stays as it is" in reports.words()
    assert denoise_frames.run(wanted(undo=True), ctx) == {"undone": COUNT - 1}
    assert files(folder) == before


def test_the_noise_is_measured_however_few_frames_are_left(tmp_path: Path) -> None:
    project, ctx, _ = prepared(tmp_path)
    _, stopping, _ = bench(tmp_path, stop_after(COUNT - 1))
    with pytest.raises(StopRequested):
        denoise_frames.run(wanted(), stopping)
    done = FramesBefore(project.side("dst").frames_dir).note()
    assert done is not None
    assert done.done > 0
    result = denoise_frames.run(wanted(), ctx)
    assert result["noise_after"] < result["noise_before"]
