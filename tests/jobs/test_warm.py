from __future__ import annotations

import io
import json
import time
from pathlib import Path

import pytest

from backend.core.settings import MergeSettings
from backend.jobs import face_child, warm_child, warm_serve
from backend.jobs.warm import WarmError, WarmFace, WarmFaceFixer, WarmPreview
from backend.pipeline import model_shelf
from backend.storage.model_stamp import model_stamp
from backend.storage.workspace import Project, Workspace
from tests.pipeline.merge_project import FlatModel, make_destination
from tests.pipeline.stored_model import store_model, tiny_amp
from tests.ui_tabs.fix_project import make_fix_project


@pytest.fixture
def preview(workspace: Workspace):
    """A client whose child is the stand-in."""
    made = WarmPreview(workspace, module="tests.jobs.warm_fake")
    yield made
    made.close()


def test_the_child_stays_for_the_next_question(preview: WarmPreview) -> None:
    first = preview.render("film", MergeSettings(), 0)
    second = preview.render("film", MergeSettings(), 0)
    assert first.after == second.after
    assert first.seconds == 0.1
    assert first.faces[0] == WarmFace(
        "00001_0.jpg", None, "anna", "model", "merged", ((0, 0), (9, 0), (9, 9), (0, 9)), (1, 2, 3, 4)
    )


def test_a_refusal_is_told(preview: WarmPreview) -> None:
    with pytest.raises(WarmError, match=r"no frame 4"):
        preview.render("film", MergeSettings(), 3)
    preview.render("film", MergeSettings(), 0)


def test_a_crash_is_told_and_the_child_starts_anew(preview: WarmPreview) -> None:
    before = preview.render("film", MergeSettings(), 0)
    with pytest.raises(WarmError, match="ended unexpectedly"):
        preview.render("film", MergeSettings(), 1)
    assert preview.render("film", MergeSettings(), 0).after != before.after


def test_a_child_that_hangs_is_ended(preview: WarmPreview) -> None:
    begun = time.monotonic()
    with pytest.raises(WarmError, match="longer than"):
        preview.render("film", MergeSettings(), 2, timeout_s=1.0)
    assert time.monotonic() - begun < 10
    preview.render("film", MergeSettings(), 0)


def test_a_child_that_was_killed_is_started_anew(preview: WarmPreview) -> None:
    pid = int(str(preview.render("film", MergeSettings(), 0).after))
    preview.close()
    assert int(str(preview.render("film", MergeSettings(), 0).after)) != pid


def test_the_real_child_says_what_is_missing(workspace: Workspace) -> None:
    workspace.create("film", "Drawn people agreed.", "")
    real = WarmPreview(workspace)
    with pytest.raises(WarmError, match="no destination frames"):
        real.render("film", MergeSettings(device="cpu"), 0, timeout_s=120)
    real.close()


def ask(server: warm_child.PreviewServer, frame: int, project: str = "film", **settings) -> dict:
    values = MergeSettings(**settings).model_dump(mode="json")
    return server.answer(json.dumps({"id": 1, "project": project, "frame": frame, "settings": values}))


@pytest.fixture
def drawn(tmp_path: Path) -> Project:
    return make_destination(tmp_path / "projects")


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> list[FlatModel]:
    """Every model that was loaded."""
    loaded: list[FlatModel] = []

    def load(project: Project, name: str, device: str) -> FlatModel:
        loaded.append(FlatModel(stamp=model_stamp(project.model_dir(name))))
        return loaded[-1]

    monkeypatch.setattr(model_shelf, "load_model", load)
    return loaded


def test_pictures_are_written_with_new_names(
    drawn: Project, models: list[FlatModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm_child, "KEPT_RENDERS", 3)
    server = warm_child.PreviewServer(Workspace(drawn.path.parent))
    answers = [ask(server, 0, erode_mask=erode) for erode in range(8)]
    assert all(answer["ok"] for answer in answers)
    assert len({answer["after"] for answer in answers}) == 8
    assert len({answer["before"] for answer in answers}) == 1
    assert Path(answers[-1]["after"]).parent == drawn.jobs_dir / ".warm"
    assert all(Path(answers[-1][name]).stat().st_size > 500 for name in ("before", "after", "mask", "alpha"))
    assert len(list((drawn.jobs_dir / ".warm").glob("*.jpg"))) == 3 * 3 + 1
    assert sum(count for model in models for count, _ in model.batches) == 2
    others = [ask(server, frame) for frame in (1, 3, 4, 5)]
    assert len({answer["before"] for answer in others}) == 4
    assert Path(ask(server, 0)["before"]).exists()
    assert len(models) == 1


def test_what_became_of_each_face_is_told(drawn: Project, models: list[FlatModel]) -> None:
    server = warm_child.PreviewServer(Workspace(drawn.path.parent))
    rules = ({"person": "anna", "action": "leave"},)
    left, swapped = map(WarmFace.from_json, ask(server, 1, faces=rules)["faces"])
    assert (left.person, left.outcome, left.model, left.corners) == ("anna", "left", "", ())
    assert (swapped.name, swapped.track, swapped.outcome, len(swapped.corners)) == ("00002_1.jpg", 1, "merged", 4)
    assert swapped.box_xyxy[0] < swapped.box_xyxy[2]


def test_a_model_that_was_trained_on_is_loaded_again(drawn: Project, models: list[FlatModel]) -> None:
    server = warm_child.PreviewServer(Workspace(drawn.path.parent))
    rules = ({"track": 0, "model": "other"},)
    for frame in (0, 1, 0):
        ask(server, frame, faces=rules)
    assert len(models) == 2
    store_model(drawn, tiny_amp(model="other"))
    ask(server, 0, faces=rules)
    ask(server, 1, faces=rules)
    assert len(models) == 3


def test_two_projects_keep_their_models(drawn: Project, models: list[FlatModel], tmp_path: Path) -> None:
    second = make_destination(tmp_path / "elsewhere")
    second.path.rename(drawn.path.parent / "second")
    server = warm_child.PreviewServer(Workspace(drawn.path.parent))
    folders = [Path(ask(server, 0, name)["after"]).parents[2].name for name in ("film", "second", "film", "second")]
    assert folders == ["film", "second", "film", "second"]
    assert len(models) == 2


def test_a_bad_question_gets_an_answer(drawn: Project, models: list[FlatModel]) -> None:
    server = warm_child.PreviewServer(Workspace(drawn.path.parent))
    for line in ("", "{", "[]", "{}", '{"id": 4, "project": "../..", "frame": 0, "settings": {}}'):
        assert server.answer(line)["ok"] is False
    wrong = server.answer(json.dumps({"id": 4, "project": "film", "frame": 0, "settings": {"mode": "x"}}))
    assert (wrong["id"], wrong["ok"]) == (4, False)
    assert "mode" in wrong["error"]
    assert "no frame" in ask(server, 1000)["error"]


def test_the_child_ends_with_its_input_or_after_silence(drawn: Project) -> None:
    server = warm_child.PreviewServer(Workspace(drawn.path.parent))
    answers = io.StringIO()
    warm_serve.serve(server, io.StringIO("{}\n"), answers)
    assert json.loads(answers.getvalue())["ok"] is False

    class Silent(io.StringIO):
        def __iter__(self):
            time.sleep(30)
            yield from ()

    begun = time.monotonic()
    warm_serve.serve(server, Silent(), io.StringIO(), idle_s=0.2)
    assert time.monotonic() - begun < 5


BOX = {"do": "place", "frame": "00003.png", "box": [60, 60, 180, 200]}


def test_the_children_share_one_way_of_talking(workspace: Workspace) -> None:
    project = make_fix_project(workspace.root)
    fixer = WarmFaceFixer(workspace)
    try:
        made = fixer.fix(project, "dst", BOX, 120)
        assert made.names == ("00003_0.jpg",)
        assert (project.side("dst").aligned_dir / "00003_0.jpg").exists()
        with pytest.raises(WarmError, match="no dst frame"):
            fixer.fix(project, "dst", {**BOX, "frame": "00009.png"}, 120)
        begun = time.monotonic()
        fixer.fix(project, "dst", BOX, 120)
        assert time.monotonic() - begun < 5
    finally:
        fixer.close()


def test_a_landmarker_is_loaded_ahead_once(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(face_child.Landmarkers, "_load", lambda self, name, device: loaded.append(name))
    server = face_child.FaceServer(workspace)
    for name in ("none", "facemesh", "facemesh"):
        assert server.answer(json.dumps({"id": 1, "load": name, "device": "cpu"}))["ok"] is True
    assert loaded == ["facemesh"]


def test_a_bad_correction_gets_an_answer(workspace: Workspace) -> None:
    make_fix_project(workspace.root)
    server = face_child.FaceServer(workspace)
    asked = {"id": 4, "project": "film", "side": "dst"}
    wrong = server.answer(json.dumps({**asked, "fix": {**BOX, "box": [0, 0, "x", 1]}}))
    assert (wrong["id"], wrong["ok"]) == (4, False)
    assert "box" in wrong["error"]
    missing = server.answer(json.dumps({**asked, "fix": {**BOX, "refine": "fan2d"}}))
    assert missing["ok"] is False
    assert "fan2d" in missing["error"].lower()
