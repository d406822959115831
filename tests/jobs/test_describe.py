from __future__ import annotations

from pathlib import Path

import pytest

from backend.cli import main
from backend.core.errors import BadInputError
from backend.core.jobs import JobState, JobStatus
from backend.core.settings import Settings, SummarySettings
from backend.jobs.describe import run_describe
from backend.storage.workspace import Project, Workspace


def test_a_network_is_described_without_a_project(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--archi", "df", "--resolution", "64", "--e-dims", "16", "--d-dims", "16", "--ae-dims", "32"]
    assert main(["summary", *flags]) == 0
    said = capsys.readouterr().out
    assert said.index("Part: encoder") < said.index("Part: decoder_dst") < said.index("Network: saehd")
    assert "Conv 5x5 / 2" in said
    assert "src, dst" in said


def test_contradictions_are_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", "--archi", "df-d", "--resolution", "80"]) == 1
    assert "multiple of 32" in capsys.readouterr().err


def test_the_flags_of_training_and_its_presets_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[tuple[str, Settings]] = []
    workspace = Workspace(tmp_path)
    workspace.create("film", "drawn")

    def run_stage(workspace: Workspace, project: Project, stage: str, settings: Settings) -> JobStatus:
        (project.path / "said.txt").write_text("the text", encoding="utf-8")
        asked.append((project.name, settings))
        return JobStatus(state=JobState.DONE, result={"text": "said.txt"})

    preset = ["--preset", "First look (CPU)", "--batch-size", "3"]
    run_describe(["--project", "film", "--workspace", str(tmp_path), *preset], run_stage)
    name, settings = asked[0]
    assert name == "film"
    assert isinstance(settings, SummarySettings)
    assert {key: settings.train[key] for key in ("resolution", "batch_size")} == {"resolution": 96, "batch_size": 3}
    assert capsys.readouterr().out == "the text"
    with pytest.raises(BadInputError, match="no preset 'none'"):
        run_describe(["--preset", "none"], run_stage)
