from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from backend import cli
from backend.core.errors import BadInputError
from backend.core.jobs import JobState, JobStatus
from backend.core.settings import STAGE_SETTINGS, AmpSettings, ExportSettings, ModelFileSettings, SaehdSettings
from backend.jobs import foreground
from backend.jobs.arguments import parse_arguments, read_config
from backend.jobs.demo import closing_lines, demo_steps
from backend.jobs.foreground import bar_text
from backend.jobs.store import JobStore
from backend.storage.model_folder import ModelFolder, ModelInfo
from backend.storage.workspace import Workspace
from tests.drawn_faces import write_faceset
from tests.jobs.conftest import LAUNCH, wait_for

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "workspace").mkdir()
    made = Workspace(tmp_path / "workspace")
    made.create("film", "Drawn people agreed.", "")
    return made


@pytest.fixture
def small_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line runs the small stages of tests.jobs."""
    monkeypatch.setattr(cli, "ForegroundJob", partial(foreground.ForegroundJob, launch=LAUNCH))


def backend(*words: str, **more) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: PLW1510
        [sys.executable, "-m", "backend", *words], cwd=ROOT, capture_output=True, text=True, timeout=120, **more
    )


def parsed(stage: str, *words: str):
    return parse_arguments(stage, ["--project", "film", *words])


def test_help_shows_every_stage_and_setting() -> None:
    ended = backend("--help")
    assert ended.returncode == 0
    assert all(stage in ended.stdout for stage in (*STAGE_SETTINGS, "demo", "devices"))
    ended = backend("train", "--help")
    assert ended.returncode == 0
    for name in SaehdSettings.model_fields:
        assert f"--{name.replace('_', '-')}" in ended.stdout
    assert "[1..512]" in ended.stdout
    assert "--preset" in ended.stdout


def test_a_real_stage_runs_as_a_job(workspace: Workspace) -> None:
    project = workspace.open("film")
    write_faceset(project.side("src").aligned_dir, 4)
    ended = backend("sort", "--project", "film", "--workspace", str(workspace.root), "--by", "yaw")
    assert ended.returncode == 0, ended.stderr
    assert "faces: 4" in ended.stdout
    assert "done" in ended.stdout
    (record,) = JobStore(project).list()
    assert (record.status.state, record.request.foreground) == (JobState.DONE, True)
    assert record.request.settings["by"] == "yaw"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("fly",), "There is no stage 'fly'."),
        (("sort", "--project", "nobody"), "nobody"),
        (("sort",), "--project"),
        (("sort", "--project", "film", "--by", "magic"), "magic"),
        (("sort", "--project", "film", "--colour", "3"), "--colour"),
        (("train", "--project", "film", "--batch-size", "9999"), "batch_size"),
        (("train", "--project", "film", "--batch-size", "many"), "many"),
        (("train", "--project", "film", "--archi", "xyz"), "archi"),
        (("train", "--project", "film", "--preset", "fast"), "First look (CPU)"),
        (("train", "--project", "film", "--model-class", "x"), "model class"),
        (("extract-frames", "--project", "film", "--start-s", "5", "--end-s", "3"), "after its start"),
        (("sort", "--project", "film", "--config", "nowhere.json"), "nowhere.json"),
        (("sort", "--project", "film"), "There are no src faces"),
        (("train", "--project", "film", "--resolution", "100"), "error: resolution: has to be a multiple of 16."),
        (("train", "--project", "film", "--batch-size", "0"), "error: batch_size: has to be at least 1."),
        (("train", "--project", "film", "--d-mask-dims", "2"), "mask decoder's width has to be at least 4, or 0."),
    ],
)
def test_a_fault_is_one_line(
    words: tuple[str, ...], sentence: str, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (*words, "--workspace", str(workspace.root)) if len(words) > 1 else words
    assert cli.main(words) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert sentence in said
    assert len(said.splitlines()) == 1
    assert "Traceback" not in said


def test_flags_override_the_file_and_the_file_the_preset(tmp_path: Path) -> None:
    file = tmp_path / "saved.yaml"
    file.write_text("batch_size: 6\nlearning-rate: 0.001\n")
    words = ("--preset", "First look (CPU)", "--config", str(file), "--batch_size", "3", "--no-random-warp")
    settings = parsed("train", *words).settings
    assert isinstance(settings, SaehdSettings)
    assert (settings.resolution, settings.archi) == (96, "df-ud")
    assert (settings.learning_rate, settings.batch_size, settings.random_warp) == (0.001, 3, False)


def test_flags_put_right_what_the_defaults_lack(tmp_path: Path) -> None:
    ended = backend("model", "--help")
    assert "--fp16" in ended.stdout
    settings = parsed("model", "--action", "dfm", "--model", "anna").settings
    assert isinstance(settings, ModelFileSettings)
    assert (settings.action, settings.model) == ("dfm", "anna")
    with pytest.raises(BadInputError, match="choose a model"):
        parsed("model")
    file = tmp_path / "saved.json"
    file.write_text('{"content": "alpha", "certificate": "chain.pem"}')
    settings = parsed("export", "--config", str(file), "--container", "mov").settings
    assert isinstance(settings, ExportSettings)
    assert (settings.chosen_codec, settings.certificate) == ("prores4444", Path("chain.pem").absolute())
    file.write_text('{"crf": 99}')
    with pytest.raises(BadInputError, match="crf"):
        parsed("export", "--config", str(file))


def test_files_of_several_shapes(tmp_path: Path) -> None:
    for content in ({"by": "yaw"}, {"sort": {"by": "yaw"}}, {"stage": "sort", "settings": {"by": "yaw"}}):
        file = tmp_path / "saved.json"
        file.write_text(json.dumps(content))
        assert read_config(file, "sort") == {"by": "yaw"}
    for content in ("[1]", "{", '{"stage": "merge", "settings": {}}'):
        file.write_text(content)
        with pytest.raises(BadInputError):
            read_config(file, "sort")


def test_an_existing_model_gives_the_defaults(workspace: Workspace) -> None:
    folder = workspace.open("film").model_dir("anna")
    folder.mkdir(parents=True)
    saved = SaehdSettings(model="anna", resolution=96, archi="df", batch_size=5).model_dump(mode="json")
    info = ModelInfo(model_class="saehd", settings=saved, iteration=10)
    (ModelFolder(folder).path / "model.json").write_text(info.model_dump_json())
    where = ("--workspace", str(workspace.root))
    settings = parsed("train", "--model", "anna", "--batch-size", "7", *where).settings
    assert isinstance(settings, SaehdSettings)
    assert (settings.resolution, settings.archi, settings.batch_size) == (96, "df", 7)
    assert parsed("train", *where).settings == SaehdSettings()


def test_the_family_is_that_of_the_file_or_of_the_stored_model(workspace: Workspace, tmp_path: Path) -> None:
    saved = AmpSettings(model="anna", inter_dims=64, freeze_layers=("encoder", "inter_src"))
    file = tmp_path / "train-amp.json"
    file.write_text(saved.model_dump_json())
    assert parsed("train", "--config", str(file)).settings == saved
    with pytest.raises(BadInputError, match="inter_dims"):
        parsed("train", "--config", str(file), "--model-class", "saehd")
    with pytest.raises(BadInputError, match="no preset 'First look"):
        parsed("train", "--config", str(file), "--preset", "First look (CPU)")

    folder = workspace.open("film").model_dir("anna")
    folder.mkdir(parents=True)
    info = ModelInfo(model_class="amp", settings=saved.model_dump(mode="json"), iteration=10)
    (ModelFolder(folder).path / "model.json").write_text(info.model_dump_json())
    where = ("--workspace", str(workspace.root))
    assert parsed("train", "--model", "anna", *where).settings == saved
    file.write_text('{"model": "anna", "batch_size": 3}')
    assert parsed("train", "--config", str(file), *where).settings == saved.model_copy(update={"batch_size": 3})


def test_create_and_sample_make_the_project(
    tmp_path: Path, small_stages: None, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "new").mkdir()
    words = ["create", "--project", "fresh", "--workspace", str(tmp_path / "new"), "--consent", "We agreed."]
    assert cli.main(words) == 0, capsys.readouterr().err
    assert "count: 4" in capsys.readouterr().out
    assert Workspace(tmp_path / "new").open("fresh").consent == "We agreed."


def test_progress_is_a_bar() -> None:
    assert bar_text(JobStatus(order=0.0)) == ""
    assert bar_text(JobStatus(order=0.0, done=1, total=4), width=8) == "[##......] "


def test_without_consent_no_project_is_made(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["create", "--project", "fresh", "--workspace", str(workspace.root), "--consent", " "]
    assert cli.main(words) == 1
    assert "consent" in capsys.readouterr().err
    assert "fresh" not in workspace.projects()


def test_a_failing_job_ends_with_its_sentence(
    workspace: Workspace, small_stages: None, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", "--project", "film", "--workspace", str(workspace.root), "--name", "type"]
    assert cli.main(words) == 1
    assert capsys.readouterr().err == "error: Unexpected error: TypeError: not this type\n"


def test_ctrl_c_lets_the_job_save_and_end(workspace: Workspace) -> None:
    program = (
        "import sys; from functools import partial; from backend import cli; from backend.jobs import foreground;"
        "from tests.jobs.conftest import LAUNCH;"
        "cli.ForegroundJob = partial(foreground.ForegroundJob, launch=LAUNCH); sys.exit(cli.main(sys.argv[1:]))"
    )
    words = [sys.executable, "-c", program, "sort", "--project", "film", "--workspace", str(workspace.root)]
    child = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    store = JobStore(workspace.open("film"))
    wait_for(lambda: [record for record in store.list() if record.status.done > 0])
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=30)
    assert child.returncode == 130, err
    assert store.list()[0].status.state is JobState.STOPPED
    assert "being saved" in out


def test_a_killed_worker_is_one_line(
    workspace: Workspace, small_stages: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[int] = []
    wait = foreground.ForegroundJob.wait

    def wait_and_kill(job, show):
        pid = wait_for(lambda: foreground.read_status(job.path).pid)
        os.kill(pid, signal.SIGKILL)
        killed.append(pid)
        return wait(job, show)

    monkeypatch.setattr(foreground.ForegroundJob, "wait", wait_and_kill)
    assert cli.main(["sort", "--project", "film", "--workspace", str(workspace.root)]) == 1
    assert killed
    assert "ended without finishing" in capsys.readouterr().err

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(foreground, "update_status", refuse)
    assert cli.main(["sort", "--project", "film", "--workspace", str(workspace.root)]) == 1
    said = capsys.readouterr().err
    assert "could not be written: No space left on device. The worker ended without finishing" in said


def test_devices_are_json() -> None:
    ended = backend("devices")
    assert ended.returncode == 0
    assert json.loads(ended.stdout)[0]["name"] == "cpu"


def test_the_demo_walks_the_whole_path() -> None:
    stages = [stage for stage, _ in demo_steps(4.0)]
    assert stages[0] == "sample"
    assert stages[-3:] == ["train", "merge", "export"]
    train = dict(demo_steps(4.0))["train"]
    assert isinstance(train, SaehdSettings)
    assert (train.time_limit_min, train.resolution, train.holdout_every) == (4.0, 96, 8)
    results = {"train": {"ssim_src": 0.97, "ssim_dst": None, "iteration": 1800}, "export": {"video": "results/v.mp4"}}
    assert closing_lines(results, 300, Path("/w/sample")) == [
        "time: 5 min 0 s",
        "iterations: 1,800",
        "SSIM of held-out faces: src-src 0.970",
        "video: /w/sample/results/v.mp4",
    ]


def test_the_command_line_starts_quickly() -> None:
    begun = time.monotonic()
    backend("--help")
    assert time.monotonic() - begun < 3
