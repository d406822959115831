from __future__ import annotations

import socket
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from backend.core.errors import StopRequested
from backend.core.settings import SampleSettings
from backend.pipeline import sample
from backend.storage.video import decode, probe
from tests.pipeline.stage_bench import bench, stop_after


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[np.ndarray]]:
    """Frames of both clips, made once."""
    project, ctx, _ = bench(tmp_path_factory.mktemp("sample"))
    sample.run(SampleSettings(seconds=2), ctx)
    return {side: [f.frame_bgr for f in decode(project.side(side).video)] for side in ("src", "dst")}


def test_two_clips_with_sound_and_consent(tmp_path: Path, offline: None) -> None:
    project, ctx, reports = bench(tmp_path)
    project.set_consent("")
    result = sample.run(SampleSettings(seconds=2), ctx)
    assert result["frames"] == 50
    for side, has_audio in (("src", False), ("dst", True)):
        clip = project.side(side).video
        assert clip is not None
        info = probe(clip)
        assert (info.frame_count, info.fps, info.has_audio) == (50, 25, has_audio)
        assert info.duration_s == pytest.approx(2.0)
    assert "public domain" in project.consent
    assert reports.of("progress")[-1]["done"] == 100
    assert not list(ctx.job_dir.iterdir())


def test_a_stop_leaves_no_half_clip(tmp_path: Path) -> None:
    _, ctx, _ = bench(tmp_path, stop_after(5))
    with pytest.raises(StopRequested):
        sample.run(SampleSettings(seconds=2), ctx)
    assert ctx.project.side("src").video is None
    assert not list(ctx.job_dir.iterdir())


def test_the_heads_move_smoothly(frames: dict[str, list[np.ndarray]]) -> None:
    for images in frames.values():
        small = [cv2.resize(i, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA).astype(np.float32) for i in images]
        steps = [np.abs(a - b).mean() for a, b in pairwise(small)]
        assert np.abs(small[0] - small[25]).mean() > 4 * np.median(steps)
        assert max(steps) < 6 * np.median(steps)
        assert min(steps) > 0


def test_the_two_people_differ_in_colour(frames: dict[str, list[np.ndarray]]) -> None:
    means = [np.mean([i.mean(axis=(0, 1)) for i in images], axis=0) for images in frames.values()]
    assert np.abs(means[0] - means[1]).max() > 15


def test_the_offline_detector_finds_both(frames: dict[str, list[np.ndarray]]) -> None:
    from importlib.util import find_spec

    from backend.models.detection.mtcnn import Mtcnn

    package = find_spec("mtcnn")
    assert package is not None
    folder = Path(package.submodule_search_locations[0]) / "assets" / "weights"
    detector = Mtcnn([folder / f"{name}.lz4" for name in ("pnet", "rnet", "onet")])
    for side, images in frames.items():
        # Now and then the collar of the shirt counts as a small, doubtful face.
        found = [[d for d in detector.detect(image) if d.score >= 0.8] for image in images[::3]]
        assert all(len(f) == 1 for f in found), side
        sides = [f[0].box_xyxy[2] - f[0].box_xyxy[0] for f in found if f]
        assert min(sides) > 90
