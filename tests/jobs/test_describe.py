from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from backend.cli import main
from backend.core.errors import BadInputError
from backend.core.jobs import JobState, JobStatus
from backend.core.settings import TRAIN_SETTINGS, SaehdSettings, Settings, SummarySettings, TrainSettings
from backend.jobs.describe import run_describe
from backend.storage.model_folder import DFM_CLASS, ModelFolder, ModelInfo
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


GUIDE = (
    "--model-class phaze_a --output-size 192 --bottleneck-size 512 --fc-dimensions 8 --fc-min-filters 1280"
    " --fc-max-filters 1280 --fc-upsampler resize_images --fc-upsample-filters 1280"
    " --dec-upscale-method resize_images --dec-min-filters 128 --dec-filter-slope=-0.5 --no-dec-skip-last-residual"
    " --dec-output-kernel 3 --learn-mask"
)
"""Flags of the network whose summary faceswap's guide to Phaze-A prints."""


def test_the_summary_of_the_guide(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", *GUIDE.split()]) == 0
    said = capsys.readouterr().out
    totals = {"encoder": 25_603_840, "fc_a": 71_360_964, "fc_b": 71_360_964, "fc_gblock": 787_968}
    totals |= {"g_block_both": 36_081_216, "decoder_both": 56_617_012}
    parts = said.split("Part: ")[1:]
    assert [part.partition("\n")[0] for part in parts] == list(totals)
    for part, total in zip(parts, totals.values(), strict=True):
        assert f"Total {total:,} parameters, {total:,} learn, 0 hold still." in part
    network = said.partition("Network: phaze_a")[2]
    assert "Total 261,811,964 parameters, 261,811,964 learn, 0 hold still." in network
    rows = {line.split()[0]: line for line in network.splitlines() if line.split()[:1] and line.split()[0] in totals}
    assert rows["encoder"].endswith("src, dst")
    assert rows["fc_gblock"].endswith("encoder")
    assert rows["g_block_both"].endswith("fc_a, fc_b, fc_gblock")
    assert rows["decoder_both"].endswith("g_block_both")
    assert "Decoder filters: 512, 280, 176, 128" in network


class TestModelsOfAProject:
    """The words behind summary, with a project."""

    @pytest.fixture
    def say(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
        workspace = Workspace(tmp_path)
        workspace.create("film", "drawn")

        def run_stage(workspace: Workspace, project: Project, stage: str, settings: Settings) -> JobStatus:
            assert isinstance(settings, SummarySettings)
            (project.path / "said.txt").write_text(f"{settings.train['model_class']}", encoding="utf-8")
            return JobStatus(state=JobState.DONE, result={"text": "said.txt"})

        def say(*words: str) -> str:
            run_describe(["--project", "film", "--workspace", str(tmp_path), *words], run_stage)
            return capsys.readouterr().out

        return say

    @pytest.mark.parametrize("family", TRAIN_SETTINGS)
    def test_a_stored_model_of_each_family(self, say: Callable[..., str], tmp_path: Path, family: str) -> None:
        store(tmp_path, TRAIN_SETTINGS[family](model="anna"))
        assert say("--model", "anna") == family
        file = tmp_path / "saved.json"
        file.write_text(json.dumps(TRAIN_SETTINGS[family](model="new").model_dump(mode="json")), encoding="utf-8")
        assert say("--config", str(file)) == family

    @pytest.mark.parametrize(("preset", "family"), [("First look (CPU)", "saehd"), ("stojo", "phaze_a")])
    def test_a_preset_brings_its_family(self, say: Callable[..., str], preset: str, family: str) -> None:
        assert say("--preset", preset) == family

    def test_a_model_that_is_not_there_yet_is_said(self, say: Callable[..., str]) -> None:
        said = say("--model", "ana", "--model-class", "h64")
        assert said == "The project 'film' has no model 'ana' yet; training would begin it like this.\n\nh64"

    def test_what_contradicts_the_model_is_refused(self, say: Callable[..., str], tmp_path: Path) -> None:
        store(tmp_path, SaehdSettings(model="anna"))
        for words in (["--preset", "stojo"], ["--model-class", "phaze_a"]):
            with pytest.raises(BadInputError, match="family saehd, and phaze_a was asked for"):
                say("--model", "anna", *words)

    def test_a_model_that_only_merges_is_refused(self, say: Callable[..., str], tmp_path: Path) -> None:
        info = ModelInfo(model_class=DFM_CLASS, settings={"resolution": 64, "face_type": "wf"})
        ModelFolder(tmp_path / "film" / "model" / "live").write_info(info)
        with pytest.raises(BadInputError, match="'live' is a DFM file"):
            say("--model", "live")


def store(root: Path, settings: TrainSettings) -> None:
    info = ModelInfo(model_class=settings.model_class, settings=settings.model_dump(mode="json"))
    ModelFolder(Workspace(root).open("film").model_dir(settings.model)).write_info(info)
