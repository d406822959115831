from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backend.core.errors import BadInputError, DiskFullError, StopRequested
from backend.core.settings import TimelapseSettings
from backend.pipeline import timelapse
from backend.pipeline.stages import load_stage
from backend.storage import atomic
from backend.storage.model_folder import ModelFolder
from backend.storage.results import read_sidecar
from backend.storage.video import decode, frame_times, probe
from backend.storage.video_mark import SENTENCE, read_xmp
from backend.storage.workspace import Project
from tests.pipeline.stage_bench import bench, stop_after
from tests.storage.models import jpeg, make_model
from tests.storage.test_model_operations import Usage


def model_with_previews(project: Project, count: int = 7, page: str = "faces") -> ModelFolder:
    folder = make_model(project, "anna", 1)
    for path in folder.history_dir.iterdir():
        path.unlink()
    for i in range(count):
        (folder.history_dir / f"{1000 * (i + 1):07d}_{page}.jpg").write_bytes(jpeg(40 + 20 * i, 301, 101))
    return folder


def test_every_preview_is_a_frame(tmp_path: Path) -> None:
    project, ctx, reports = bench(tmp_path)
    model_with_previews(project)
    result = load_stage("timelapse")(TimelapseSettings(model="anna", fps=10), ctx)
    video = project.path / result["video"]
    assert project.results() == [video]
    assert video.name == "anna-faces-timelapse.mp4"
    info = probe(video)
    assert (info.frame_count, info.fps, info.width, info.height) == (7, 10, 302, 130)
    assert info.has_audio is False
    np.testing.assert_allclose(frame_times(video), np.arange(7) / 10, atol=1e-3)
    frames = [frame.frame_bgr for frame in decode(video)]
    for i, frame in enumerate(frames):
        assert abs(float(frame[:95, :295].mean()) - (40 + 20 * i)) < 3
        assert frame[104:, :200].max() > 150, "the iteration is not written below"
        assert frame[104:, 220:].max() < 60
    assert np.abs(frames[0][104:].astype(int) - frames[1][104:]).max() > 60, "two frames name the same iteration"
    assert (result["frames"], result["first_iteration"], result["last_iteration"]) == (7, 1000, 7000)
    assert reports.of("progress")[-1]["done"] == 7


def test_it_is_marked_and_has_a_sidecar(tmp_path: Path) -> None:
    project, ctx, _ = bench(tmp_path)
    model_with_previews(project, 2, "morph")
    run = load_stage("timelapse")
    result = run(TimelapseSettings(model="anna", page="morph"), ctx)
    video = project.path / result["video"]
    assert "compositeWithTrainedAlgorithmicMedia" in read_xmp(video)
    assert SENTENCE.encode() in video.read_bytes()
    told = read_sidecar(video)
    assert (told["model"], told["model_class"], told["ai_manipulated"], told["frames"]) == ("anna", "saehd", True, 2)
    assert (told["file"], told["bytes"], told["consent"]) == (video.name, video.stat().st_size, "All agreed.")
    assert run(TimelapseSettings(model="anna", page="morph"), ctx)["video"] == "results/anna-morph-timelapse-2.mp4"


def test_sizes_may_differ_and_damaged_pictures_are_left_out(tmp_path: Path) -> None:
    project, ctx, reports = bench(tmp_path)
    folder = model_with_previews(project, 3)
    (folder.history_dir / "0009000_faces.jpg").write_bytes(jpeg(200, 80, 60))
    (folder.history_dir / "0009500_faces.jpg").write_bytes(jpeg(200)[:-200])
    result = load_stage("timelapse")(TimelapseSettings(model="anna"), ctx)
    frames = [frame.frame_bgr for frame in decode(project.path / result["video"])]
    assert len(frames) == 4
    assert (abs(float(frames[3][:55, :75].mean()) - 200) < 3, float(frames[3][70:95, 90:].mean()) < 40) == (True, True)
    assert "0009500_faces.jpg" in reports.words()


def test_too_few_previews(tmp_path: Path) -> None:
    project, ctx, _ = bench(tmp_path)
    run = load_stage("timelapse")
    with pytest.raises(BadInputError, match="no model 'anna'"):
        run(TimelapseSettings(model="anna"), ctx)
    model_with_previews(project, 1)
    with pytest.raises(BadInputError, match="1 saved previews"):
        run(TimelapseSettings(model="anna"), ctx)
    with pytest.raises(BadInputError, match="no previews of the page 'morph'"):
        run(TimelapseSettings(model="anna", page="morph"), ctx)
    assert list(project.results_dir.iterdir()) == []


def test_a_stop_or_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project, _, _ = bench(tmp_path)
    model_with_previews(project)
    for calls in (0, 9):
        _, ctx, _ = bench(tmp_path, stop_after(calls))
        with pytest.raises(StopRequested):
            timelapse.run(TimelapseSettings(model="anna"), ctx)
    _, ctx, _ = bench(tmp_path)
    monkeypatch.setattr(atomic.shutil, "disk_usage", lambda path: Usage(1 << 40, 0, 1 << 20))
    with pytest.raises(DiskFullError):
        timelapse.run(TimelapseSettings(model="anna"), ctx)
    assert list(project.results_dir.iterdir()) == []
