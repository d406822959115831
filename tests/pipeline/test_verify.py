"""Stage verify: any readable file gives a report, from the project or from elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backend.core.errors import BadInputError, StopRequested
from backend.core.settings import VerifySettings
from backend.pipeline import verify
from backend.storage.video_mark import SENTENCE
from tests.pipeline.stage_bench import bench
from tests.storage.marked_files import make_file


def test_a_marked_video_from_anywhere(tmp_path: Path) -> None:
    _, ctx, reports = bench(tmp_path)
    result = verify.run(VerifySettings(file=make_file(tmp_path, "mp4")), ctx)
    assert json.loads(json.dumps(result)) == result
    assert (result["kind"], result["ai_manipulated"], result["tags"]["comment"]) == ("mp4", True, SENTENCE)
    assert result["verdict"] in reports.words()
    assert reports.of("progress")[-1] == {
        "done": 1,
        "total": 1,
        "unit": "MB",
        "rate": 0.0,
        "message": "Reading the file",
    }


def test_a_result_is_found_by_its_name(tmp_path: Path) -> None:
    project, ctx, _ = bench(tmp_path)
    project.results_dir.mkdir(exist_ok=True)
    make_file(project.results_dir, "gif")
    for name in ("film.gif", "results/film.gif"):
        assert verify.run(VerifySettings(file=Path(name)), ctx)["kind"] == "gif"


def test_a_text_and_an_empty_file_are_not_refused(tmp_path: Path) -> None:
    _, ctx, reports = bench(tmp_path)
    for content in (b"", b"words"):
        path = tmp_path / "a.mp4"
        path.write_bytes(content)
        assert verify.run(VerifySettings(file=path), ctx)["ai_manipulated"] is False
    assert "The file is empty." in reports.words()


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    _, ctx, _ = bench(tmp_path)
    for path in (tmp_path / "no.mp4", tmp_path / ("x" * 300), tmp_path, None):
        with pytest.raises(BadInputError):
            verify.run(VerifySettings(file=path), ctx)


def test_it_stops_when_asked(tmp_path: Path) -> None:
    _, ctx, _ = bench(tmp_path, stop=lambda: True)
    with pytest.raises(StopRequested):
        verify.run(VerifySettings(file=make_file(tmp_path, "png")), ctx)
