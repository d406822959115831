from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest

from backend.core.errors import BadInputError, DiskFullError, StopRequested
from backend.core.settings import MergeKey, MergeLook, RenderSettings
from backend.pipeline import merge, model_shelf, render
from backend.pipeline.context import StageContext
from backend.pipeline.export_job import ExportJob
from backend.storage.image import read_image
from backend.storage.video import decode
from backend.storage.workspace import Project
from tests.pipeline.merge_project import FlatModel, make_destination

PLAIN: dict[str, Any] = {"color_transfer": "none", "device": "cpu"}


class Recorder:
    """Stands for the encoder: keeps what it is given."""

    needs_original = True
    needs_mask = True
    full_at = 10**6

    def __init__(self, settings: Any, ctx: Any, size_wh: Any, first_index: int, table: Any, count: int) -> None:
        self.size_wh, self.first_index, self.count = size_wh, first_index, count
        self.frames: list[tuple[Any, Any, Any]] = []
        self.ended_by: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        self.ended_by = kind

    def write(self, merged_bgr: Any, mask: Any, original_bgr: Any) -> None:
        if len(self.frames) == self.full_at:
            raise DiskFullError("The disk became full while the video was written.")
        self.frames.append((merged_bgr.copy(), mask.copy(), original_bgr.copy()))

    def finish(self, merge_facts: dict[str, Any]) -> dict[str, Any]:
        return {"video": "results/result.mp4", "seconds": 0.24, "facts": merge_facts}


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[Recorder]:
    """Every encoder that was opened."""
    opened: list[Recorder] = []

    def open_one(*args: Any) -> Recorder:
        opened.append(Recorder(*args))
        return opened[-1]

    monkeypatch.setattr(render, "ExportJob", open_one)
    flat = FlatModel()
    monkeypatch.setattr(model_shelf, "load_model", lambda project, name, device: flat)
    return opened


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_destination(tmp_path / "workspace")


def context(project: Project, said: list[str] | None = None, stop: Any = lambda: False) -> StageContext:
    def emit(kind: str, data: dict[str, Any]) -> None:
        if kind == "log" and said is not None:
            said.append(data["message"])

    return StageContext(project, project.path, emit, stop_requested=stop)


def run(project: Project, said: list[str] | None = None, **settings: Any) -> dict[str, Any]:
    return render.run(RenderSettings(**{**PLAIN, **settings}), context(project, said))


def test_the_encoder_gets_what_the_folders_would(project: Project, jobs: list[Recorder]) -> None:
    result = run(project)
    assert (result["frames"], result["merged"], result["passed_through"]) == (6, 5, 1)
    assert (result["video"], result["facts"]["model"]) == ("results/result.mp4", "model")
    assert not project.merged_dir.exists() or not list(project.merged_dir.iterdir())
    merge.run(RenderSettings(**PLAIN).merge_settings(), context(project))
    job = jobs[0]
    assert (job.size_wh, job.first_index, len(job.frames)) == ((344, 160), 0, 6)
    for number, (merged, mask, original) in enumerate(job.frames, start=1):
        name = f"{number:05d}.png"
        assert np.array_equal(merged, read_image(project.merged_dir / name))
        assert np.array_equal(mask, read_image(project.merged_mask_dir / name, 1))
        assert np.array_equal(original, read_image(project.side("dst").frames_dir / name))


def test_kept_frames_are_taken_again(project: Project, jobs: list[Recorder]) -> None:
    run(project, keep_frames=True)
    (project.merged_dir / "00004.png").unlink()
    result = run(project, keep_frames=True, smooth_mask=0)
    assert (result["reused"], result["merged"], result["frames"]) == (5, 1, 6)
    for first, second in zip(jobs[0].frames, jobs[1].frames, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert merge.run(RenderSettings(**PLAIN).merge_settings(), context(project))["reused"] == 6


def test_kept_frames_are_taken_again_beside_steadied_ones(project: Project, jobs: list[Recorder]) -> None:
    run(project, keep_frames=True, smooth_mask=70)
    (project.merged_dir / "00005.png").unlink()
    assert run(project, keep_frames=True, smooth_mask=70)["reused"] == 5
    for first, second in zip(jobs[0].frames, jobs[1].frames, strict=True):
        assert np.array_equal(first[0], second[0])


def test_a_part_of_the_range_or_of_its_time(project: Project, jobs: list[Recorder]) -> None:
    assert run(project, first_frame=2, last_frame=4)["frames"] == 3
    assert jobs[0].first_index == 1
    assert run(project, first_frame=2, preview_s=0.08)["frames"] == 2
    assert run(project, first_frame=2, preview_s=60)["frames"] == 5


def test_predicted_squares_make_a_video_of_squares_or_none(project: Project, jobs: list[Recorder]) -> None:
    keys = (MergeKey(frame=3, look=MergeLook(mode="raw-predict")),)
    with pytest.raises(BadInputError, match="a video has one size"):
        run(project, keys=keys)
    assert not jobs
    run(project, keys=keys, first_frame=3)
    assert jobs[0].size_wh == (64, 64)
    assert {merged.shape for merged, _, _ in jobs[0].frames} == {(64, 64, 3)}


def test_a_real_file_is_made_and_nothing_stays_of_one_that_was_stopped(
    project: Project, jobs: list[Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render, "ExportJob", ExportJob)
    result = run(project, container="mkv", rate="lossless", codec="ffv1", content="compare", last_frame=4)
    assert (result["frames"], result["merged"], result["faces"], result["model"]) == (4, 3, 6, "model")
    assert result["frames_per_s"] > 0
    decoded = list(decode(project.path / result["video"]))
    assert len(decoded) == 4
    merge.run(RenderSettings(**PLAIN).merge_settings(), context(project))
    for number, each in enumerate(decoded, start=1):
        original = read_image(project.side("dst").frames_dir / f"{number:05d}.png")
        merged = read_image(project.merged_dir / f"{number:05d}.png")
        shown = np.concatenate([original, merged], axis=1)
        assert np.abs(each.frame_bgr.astype(int) - shown).max() <= 2
    made = set(project.results_dir.iterdir())
    calls = [0]

    def stop() -> bool:
        calls[0] += 1
        return calls[0] > 6

    with pytest.raises(StopRequested):
        render.run(RenderSettings(**PLAIN, name="other"), context(project, stop=stop))
    assert set(project.results_dir.iterdir()) == made


def test_what_ended_it_and_how_far_it_got_is_said(
    project: Project, jobs: list[Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(Recorder, "full_at", 3)
    with pytest.raises(DiskFullError):
        run(project, said)
    assert jobs[0].ended_by is DiskFullError
    assert not said  # the error says how far it got
    with pytest.raises(StopRequested):
        render.run(RenderSettings(**PLAIN), context(project, said, stop=lambda: True))
    assert jobs[1].ended_by is StopRequested
    assert said[-1] == "It got to frame 0 of 6; the unfinished video was removed."


def test_only_the_encoder_reports_progress(project: Project, jobs: list[Recorder]) -> None:
    kinds: list[str] = []
    for keep in (False, True, True):
        ctx = StageContext(project, project.path, lambda kind, data: kinds.append(kind))
        render.run(RenderSettings(**PLAIN, keep_frames=keep), ctx)
    assert "progress" not in kinds
    assert len(jobs) == 3


def test_a_video_that_never_began_is_not_said_to_be_removed(
    project: Project, jobs: list[Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any) -> Any:
        raise BadInputError("This encoder does not work here.")

    monkeypatch.setattr(render, "ExportJob", refuse)
    said: list[str] = []
    with pytest.raises(BadInputError, match="does not work here"):
        run(project, said)
    assert not said
