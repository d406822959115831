"""The frame viewer: what it shows, and what becomes of what the browser asks for."""

from __future__ import annotations

import html
import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from backend.core.faces import FILLED
from backend.core.jobs import JobState
from backend.jobs.warm import WarmError, WarmFaces
from backend.pipeline.fix_session import FixSession, Landmarkers
from backend.storage.face_file import read_face, write_face
from tests.ui_tabs import fix_page
from tests.ui_tabs.fix_project import make_fix_project
from ui_tabs.context import View
from ui_tabs.fix_data import LARGE_PX, extraction_values, pick_refine, refine_choices


class Here:
    """The child's work, done in this process."""

    def __init__(self) -> None:
        self.asked: list[dict] = []

    def prepare(self, landmarker: str, device: str) -> None:
        self.prepared = landmarker

    def fix(self, project, side: str, request: dict, timeout_s: float) -> WarmFaces:
        from backend.core.fixing import FixRequest

        self.asked.append(request)
        files = project.side(side)
        plain = {**request, "refine": "none"}
        done = FixSession(files, Landmarkers(files.frames_dir)).fix(FixRequest.model_validate(plain))
        return WarmFaces(done.names, 0.01)


class Desk:
    """One browser tab on a viewer."""

    def __init__(self, root) -> None:
        self.project = make_fix_project(root)
        _, self.viewer, self.page = fix_page.build(root)
        self.child = self.viewer.fixer = Here()
        self.side = self.project.side("dst")
        self.view = View(project="film")
        while self.viewer.maps.get(self.side, False) is None:  # each look waits a little
            pass

    def ask(self, **asked) -> dict:
        return read(self.viewer._asked(self.view, SimpleNamespace(_data=asked)))

    def look(self) -> dict:
        return read(self.viewer.tick(self.view))


def read(updates) -> dict:
    (text,) = updates.values()
    return json.loads(html.unescape(text.removeprefix("<div hidden>").removesuffix("</div>")))


@pytest.fixture
def desk(tmp_path, monkeypatch) -> Desk:
    monkeypatch.delenv("LOOKALIKE_WEIGHTS", raising=False)
    return Desk(tmp_path / "workspace")


def files(desk):
    return {path.name: path.read_bytes() for path in desk.side.aligned_dir.glob("*.jpg")}


def test_a_frame_is_shown_with_its_faces(desk) -> None:
    shown = desk.look()
    assert (shown["frame"], shown["index"], shown["count"]) == ("00001.png", 0, 5)
    assert (shown["width"], shown["height"]) == (240, 240)
    (face,) = shown["faces"]
    stored = read_face(desk.side.aligned_dir / "00001_0.jpg")
    assert np.allclose(face["points"], stored.source_landmarks, atol=0.01)
    corner = np.array([0.0, 0.0, 1.0])
    inverse = np.linalg.inv(np.vstack([stored.image_to_face_mat, [0, 0, 1]]))
    assert np.allclose(face["quad"][0], (inverse @ corner)[:2], atol=0.01)
    assert [tile["faces"] for tile in shown["strip"]] == [1, 1, 0, 1, 1]
    for _ in range(20):  # the strip is made beside the page, and the faceset notes its index
        if not desk.viewer.tick(desk.view):
            break
    assert desk.viewer.tick(desk.view) == {}


def test_frames_are_reached_one_by_one_and_by_what_is_wrong(desk) -> None:
    assert desk.ask(do="go", index=3, ask=7)["frame"] == "00004.png"
    assert desk.view.local["fix.answered"] == 7
    assert desk.ask(do="jump", step=1)["frame"] == "00003.png"  # without a face, round the end
    assert desk.ask(do="choose", kind="several")["counts"]["several"] == 0
    refused = desk.ask(do="jump", step=1)
    assert refused["failed"] and "no frame with several faces" in refused["said"]
    desk.ask(do="choose", kind="score")
    assert desk.ask(do="choose", threshold=0.65)["counts"]["score"] == 2
    assert desk.ask(do="jump", step=1)["frame"] == "00001.png"
    assert desk.ask(do="jump", step=-1)["frame"] == "00002.png"
    assert desk.ask(do="go", index=99)["frame"] == "00005.png"
    stored = read_face(desk.side.aligned_dir / "00002_0.jpg")
    write_face(desk.side.aligned_dir / "00002_0.jpg", type(stored)(**{**stored.__dict__, "origin": FILLED}))
    desk.ask(do="choose", kind="filled")
    assert desk.ask(do="jump", step=1)["frame"] == "00002.png"


def test_another_tab_of_the_page_can_choose_the_frame(desk) -> None:
    desk.look()
    desk.view.local["fix.frame"] = "00004.png"
    assert desk.look()["frame"] == "00004.png"


def test_a_placed_face_is_saved_counted_and_taken_back(desk) -> None:
    before = files(desk)
    desk.ask(do="go", index=2)
    shown = desk.ask(do="place", frame="00003.png", points=[[80, 100], [150, 100], [115, 170]])
    assert [face["name"] for face in shown["faces"]] == ["00003_0.jpg"]
    assert (shown["selected"], shown["undo"], shown["failed"]) == ("00003_0.jpg", "New face", False)
    assert (shown["counts"]["none"], shown["counts"]["hand"]) == (0, 1)
    asked = desk.child.asked[0]
    assert (asked["face_type"], asked["image_size"]) == ("wf", 96)  # as the nearest face
    shown = desk.ask(do="undo")
    assert files(desk) == before
    assert (shown["frame"], shown["undo"], shown["redo"]) == ("00003.png", "", "New face")
    assert View(project="film").local == {}
    assert [face["name"] for face in desk.ask(do="redo")["faces"]] == ["00003_0.jpg"]
    refused = desk.ask(do="redo")
    assert refused["failed"] and "nothing to redo" in refused["said"]


def test_a_drag_is_saved_as_it_is_and_a_refinement_is_refined(desk) -> None:
    face = desk.look()["faces"][0]
    target = {"frame": "00001.png", "name": face["name"], "seen": face["seen"], "landmarks": face["points"]}
    desk.view.local["fix.refine"] = "points5"
    desk.ask(do="place", plain=True, **target)
    assert desk.child.asked[-1]["refine"] == "none"
    late = desk.ask(do="place", **target)
    assert desk.child.asked[-1]["refine"] == "points5"
    assert late["failed"] and "meanwhile" in late["said"]


def test_delete_goes_to_the_trash(desk) -> None:
    shown = desk.ask(do="delete", frame="00002.png", name="00002_0.jpg")
    assert not shown["failed"]
    assert desk.side.faceset().trashed() == ["00002_0.jpg"]
    again = desk.ask(do="delete", frame="00002.png", name="00002_0.jpg")
    assert again["failed"] and "no face 00002_0.jpg" in again["said"]


def test_faces_are_copied_from_the_neighbours(desk) -> None:
    assert [face["name"] for face in desk.ask(do="copy", frame="00003.png", step=-1)["faces"]] == ["00003_0.jpg"]
    assert desk.child.asked[0]["other_frame"] == "00002.png"
    refused = desk.ask(do="copy", frame="00001.png", step=-1)
    assert refused["failed"] and "no previous frame" in refused["said"]


def test_gaps_are_filled_from_the_marked_face_or_the_last_hand_made_one(desk) -> None:
    refused = desk.ask(do="between", frame="00005.png", name="00005_0.jpg")
    assert refused["failed"] and "Mark a face" in refused["said"]
    face = desk.ask(do="go", index=0)["faces"][0]
    moved = (np.array(face["points"]) + 1).tolist()
    desk.ask(do="place", frame="00001.png", name=face["name"], landmarks=moved, plain=True)
    shown = desk.ask(do="between", frame="00005.png", name="00005_0.jpg")
    assert not shown["failed"], shown["said"]
    assert shown["counts"]["filled"] == 3
    desk.ask(do="undo")
    assert desk.ask(do="mark", frame="00002.png", name="00002_0.jpg")["mark"] == "00002_0.jpg"
    shown = desk.ask(do="between", frame="00005.png", name="00005_0.jpg")
    assert (shown["counts"]["filled"], shown["mark"]) == (2, "")


NONSENSE = (
    {},
    {"do": "explode"},
    {"do": "go", "index": "x"},
    {"do": "go", "index": float("inf")},
    {"do": "place", "frame": "00001.png", "landmarks": [[float("nan"), 0]] * 68},
    {"do": "place", "frame": "../../project.json", "box": [0, 0, 50, 50]},
    {"do": "place", "frame": "00001.png", "name": "../00001_0.jpg", "box": [0, 0, 50, 50]},
    {"do": "place", "frame": "00001.png", "box": [0, 0, 1e12, 50]},
    {"do": "delete", "frame": "00001.png", "name": "../../../project.json"},
    {"do": "copy", "frame": "00001.png", "step": None},
)


def test_nonsense_from_a_browser_changes_nothing(desk) -> None:
    before = files(desk)
    for asked in NONSENSE:
        shown = desk.ask(**asked)
        assert shown["failed"] and shown["said"], asked
        assert files(desk) == before
    assert (desk.project.path / "project.json").exists()


def test_a_threshold_is_kept_in_range(desk) -> None:
    assert desk.ask(do="choose", threshold=float("nan"))["threshold"] == 0.9
    assert desk.ask(do="choose", threshold=7)["threshold"] == 1.0


def test_what_the_child_says_is_shown(desk, monkeypatch) -> None:
    def refuse(*asked):
        raise WarmError("The corrections process ended unexpectedly.", "Try again.")

    monkeypatch.setattr(desk.child, "fix", refuse)
    shown = desk.ask(do="place", frame="00001.png", box=[0, 0, 90, 90])
    assert shown["failed"] and shown["said"] == "The corrections process ended unexpectedly. Try again."


def test_nothing_is_changed_while_a_job_writes_the_faces(desk, monkeypatch) -> None:
    def job(stage, side):
        request = SimpleNamespace(stage=stage, settings={"side": side})
        return SimpleNamespace(request=request, status=SimpleNamespace(state=JobState.RUNNING))

    running = [job("resize-faces", "src")]
    monkeypatch.setattr(desk.page, "jobs", lambda view, stages=(): running)
    monkeypatch.setattr(desk.page, "last_settings", lambda *given: None)
    assert desk.look()["busy"] == ""
    running[0] = job("resize-faces", "dst")
    before = files(desk)
    for asked in ({"do": "place", "box": [0, 0, 90, 90]}, {"do": "delete", "name": "00001_0.jpg"}, {"do": "undo"}):
        shown = desk.ask(frame="00001.png", **asked)
        assert shown["failed"] and shown["said"].startswith("A job is changing these faces.")
    assert files(desk) == before and shown["busy"]


def test_nothing_is_changed_without_a_consent_statement(desk) -> None:
    desk.project.set_consent("")
    assert "consent" in desk.ask(do="delete", frame="00001.png", name="00001_0.jpg")["said"]


def test_large_frames_are_shown_as_a_smaller_copy(desk) -> None:
    Image.new("RGB", (2000, 900)).save(desk.side.frames_dir / "00009.png")
    shown = desk.ask(do="go", index=5)
    assert (shown["frame"], shown["width"], shown["height"]) == ("00009.png", 2000, 900)
    path = shown["url"].partition("file=")[2].partition("?")[0]
    with Image.open(path) as opened:
        assert max(opened.size) == LARGE_PX
    (desk.side.frames_dir / "00010.png").write_bytes(b"nothing")
    assert "cannot be read" in desk.ask(do="go", index=6)["problem"]


def test_only_what_is_present_can_refine(desk, monkeypatch, tmp_path) -> None:
    choices = {choice["value"]: choice["why"] for choice in refine_choices(desk.page)}
    assert "FaceMesh.onnx" in choices["facemesh"] and not choices["none"]
    assert pick_refine(refine_choices(desk.page), "facemesh") == "points5"
    monkeypatch.setenv("LOOKALIKE_WEIGHTS", str(tmp_path))
    (tmp_path / "FaceMesh.onnx").write_bytes(b"x")
    assert pick_refine(refine_choices(desk.page), "") == "facemesh"
    assert pick_refine(refine_choices(desk.page), "none") == "none"


def test_new_faces_are_made_as_the_last_extraction_made_them(desk) -> None:
    for path in desk.side.aligned_dir.glob("*.jpg"):
        path.unlink()
    (desk.side.aligned_dir / ".extract.json").write_text('{"face_type": "f", "image_size": 320}')
    desk.look()
    frames = desk.viewer.maps.need(desk.side)
    values = extraction_values(desk.page, desk.view, desk.side, frames, 0)
    assert (values["face_type"], values["image_size"], values["jpeg_quality"]) == ("f", 320, 90)


def test_without_frames_the_viewer_says_what_will_appear(desk) -> None:
    for path in desk.side.frames_dir.glob("*.png"):
        path.unlink()
    assert "once they were extracted" in desk.look()["empty"]
    assert desk.ask(do="go", index=0)["empty"]
    assert read(desk.viewer.tick(View()))["empty"] == "No project is open."
