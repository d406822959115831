"""The whole path through the command line, on the clips of the sample project, with a tiny network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import av
import pytest

ROOT = Path(__file__).resolve().parents[2]
TINY = ["--resolution", "64", "--archi", "df", "--ae-dims", "32", "--e-dims", "16", "--d-dims", "16"]
TINY += ["--d-mask-dims", "8", "--face-type", "wf", "--batch-size", "4", "--device", "cpu"]


def backend(*words: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
    """Run ``python -m backend`` as a user would."""
    done = subprocess.run(
        [sys.executable, "-m", "backend", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env={**os.environ, "COLUMNS": "120"},
    )
    assert done.returncode == expect, f"{words}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose project "sample" holds the two made-up clips."""
    workspace = tmp_path_factory.mktemp("clips")
    backend("sample", "--project", "sample", "--workspace", str(workspace), "--seconds", "2")
    return workspace / "sample"


def test_from_two_clips_to_a_film(clips: Path, tmp_path: Path) -> None:
    """Create, extract, sort, train, merge and export; the film has the clip's frames and its sound."""
    film = walk(tmp_path, clips / "data_src.mp4", clips / "data_dst.mp4")
    with av.open(str(film)) as made:
        assert len(made.streams.audio) == 1


def test_real_clips_to_a_film(assets: Path, tmp_path: Path) -> None:
    """The same path with real people; every frame of the destination has a face and is merged."""
    walk(tmp_path, assets / "data" / "painting.mp4", assets / "data" / "address.mp4")
    facts = json.loads((tmp_path / "film" / "data_dst" / "aligned" / ".extract.json").read_text(encoding="utf-8"))
    assert facts["without_face"] == []


@pytest.mark.slow
def test_a_real_clip_with_several_people(assets: Path, tmp_path: Path) -> None:
    here = ["--project", "concert", "--workspace", str(tmp_path)]
    backend("create", *here, "--src", str(assets / "data" / "concert.mp4"), "--consent", "public recording")
    backend("extract-frames", *here, "--image-format", "jpg")
    backend("extract-faces", *here, "--image-size", "160")
    facts = json.loads((tmp_path / "concert" / "data_src" / "aligned" / ".extract.json").read_text(encoding="utf-8"))
    assert facts["frames"] == 275
    assert facts["unreadable"] == []
    assert len(facts["without_face"]) <= 27


def walk(tmp_path: Path, src: Path, dst: Path) -> Path:
    """Walk every stage; the film, which has as many frames as the destination clip."""
    here = ["--project", "film", "--workspace", str(tmp_path)]
    backend("create", *here, "--src", str(src), "--dst", str(dst), "--consent", "both agreed")
    for side in ("src", "dst"):
        backend("extract-frames", *here, "--side", side, "--image-format", "jpg")
        backend("extract-faces", *here, "--side", side, "--image-size", "160", "--landmarker", "points5")
    backend("sort", *here, "--side", "src", "--by", "yaw")
    backend("train", *here, "--model", "tiny", *TINY, "--target-iterations", "6", "--holdout-every", "8")
    backend("merge", *here, "--model", "tiny")
    backend("export", *here, "--speed", "ultrafast")

    film = tmp_path / "film" / "results" / "result.mp4"
    with av.open(str(film)) as made, av.open(str(dst)) as given:
        assert sum(1 for _ in made.decode(video=0)) == sum(1 for _ in given.decode(video=0))
        assert len(made.streams.audio) == len(given.streams.audio)
    sidecar = json.loads(film.with_suffix(".json").read_text(encoding="utf-8"))
    assert "both agreed" in json.dumps(sidecar)
    states = {json.loads(p.read_text())["state"] for p in (tmp_path / "film" / "jobs").glob("*/state.json")}
    assert states == {"done"}
    return film


def test_a_refusal_is_one_line(clips: Path, tmp_path: Path) -> None:
    """What cannot work ends with exit code 1 and one sentence."""
    here = ["--project", "film", "--workspace", str(tmp_path)]
    not_a_video = tmp_path / "letter.mp4"
    not_a_video.write_text("this is a letter")
    done = backend("create", *here, "--src", str(not_a_video), "--dst", str(clips / "data_dst.mp4"), expect=1)
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stdout + done.stderr
    done = backend("train", *here, "--model", "m", "--resolution", "100", expect=1)
    assert "resolution" in done.stderr.lower()


@pytest.mark.parametrize("stage", ["create", "extract-frames", "extract-faces", "sort", "train", "merge", "render"])
def test_help_shows_every_setting(stage: str) -> None:
    """Each setting that has a flag stands in the help with its sentence."""
    from backend.core.settings import is_hidden, settings_class

    text = " ".join(backend(stage, "--help").stdout.split())
    for name, field in settings_class(stage).model_fields.items():
        if is_hidden(field):
            assert f"--{name}" not in text
            continue
        assert name.replace("_", "-") in text
        first_words = " ".join((field.description or "").split()[:3])
        assert first_words in text.replace("│ ", ""), (name, first_words)
