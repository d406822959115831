from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backend.core.errors import BadInputError, DiskFullError, StopRequested
from backend.core.faces import FILLED, MANUAL, Detection
from backend.core.settings import ExtractFacesSettings
from backend.ops.align import crop_corners
from backend.ops.draw import draw_landmarks
from backend.ops.pose import LANDMARKS_3D
from backend.pipeline import extract_faces
from backend.pipeline.context import StageContext
from backend.pipeline.extract_faces import REPORT_FILE
from backend.pipeline.face_tools import Tools
from backend.storage.image import read_image, write_image
from backend.storage.workspace import Project, Workspace

POINTS = (LANDMARKS_3D[:, :2] * 0.8 + (160, 130)).astype(np.float32)
STEMS = ("clip_a_0001", "clip_a_0002", "clip_a_0003", "clip_a_0004", "clip_b_0001", "clip_b_0002")


class Finder:
    """Detector and landmarker in one: finds a face where the frame's first pixel is bright; notes what it was shown."""

    name = "fake"

    def __init__(self) -> None:
        self.shown: list[int] = []
        self.shake = 0.0

    def detect(self, frame_bgr: np.ndarray) -> list[Detection]:
        self.shown.append(int(frame_bgr[0, 1, 0]))
        return [Detection(np.array([100, 80, 220, 210], np.float32), 0.9)] if frame_bgr[0, 0, 0] > 200 else []

    def landmarks(self, frame_bgr: np.ndarray, detection: Detection) -> np.ndarray:
        number = int(frame_bgr[0, 1, 0])
        return POINTS + self.shake * np.random.default_rng(number).normal(size=2).astype(np.float32)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Workspace(tmp_path / "workspace").create("film", "Nobody is shown.")


@pytest.fixture
def finder(monkeypatch: pytest.MonkeyPatch) -> Finder:
    finder = Finder()
    monkeypatch.setattr(extract_faces, "choose_tools", lambda settings, ctx: Tools(finder, finder))
    return finder


def show(project: Project, number: int, face: bool) -> None:
    frame = np.full((300, 320, 3), 90, np.uint8)
    frame[0, 0], frame[0, 1] = 255 if face else 0, number
    write_image(project.side("dst").frames_dir / f"{STEMS[number]}.png", frame)


def extract(project: Project, seen: list[str] | None = None, **more) -> dict:
    def emit(kind: str, data: dict) -> None:
        if seen is not None and kind == "log":
            seen.append(data["message"])

    settings = {"side": "dst", "image_size": 64, "device": "cpu", "rotations": "0", "fill_gaps": 0, "smooth": "off"}
    context = StageContext(project=project, job_dir=project.path, emit=emit)
    return extract_faces.run(ExtractFacesSettings(**(settings | more)), context)


def faces(project: Project) -> dict[str, tuple[int | None, str]]:
    """File name -> track and origin."""
    records = project.side("dst").faceset().records()
    return {record.path.name: (record.face.track, record.face.origin) for record in records}


def test_missing_frames_only(project: Project, finder: Finder) -> None:
    for number in range(6):
        show(project, number, number in (0, 1, 4, 5))
    extract(project)
    before = {path: path.read_bytes() for path in project.side("dst").aligned_dir.glob("*.jpg")}
    show(project, 2, True)
    finder.shown.clear()
    result = extract(project, existing="missing")
    assert sorted(finder.shown) == [2, 3]
    assert (result["frames"], result["faces"], result["without_face"]) == (2, 1, ["clip_a_0004.png"])
    assert "clip_a_0003_0.jpg" in faces(project)
    assert all(path.read_bytes() == data for path, data in before.items())
    assert project.side("dst").faceset().trashed() == []


def test_what_is_found_later_joins_the_track_and_fills_its_gaps(project: Project, finder: Finder) -> None:
    for number in range(6):
        show(project, number, number in (0, 1, 4, 5))
    extract(project)
    assert {track for track, _ in faces(project).values()} == {0}
    show(project, 2, True)
    result = extract(project, existing="missing", fill_gaps=3)
    assert (result["faces"], result["filled"]) == (2, 1)
    assert faces(project)["clip_a_0003_0.jpg"] == (0, "")
    assert faces(project)["clip_a_0004_0.jpg"] == (0, FILLED)


def test_continuing_begins_behind_the_last_face(project: Project, finder: Finder) -> None:
    for number in range(4):
        show(project, number, number != 1)
    extract(project)
    for number in (4, 5):
        show(project, number, True)
    finder.shown.clear()
    result = extract(project, existing="continue")
    assert sorted(finder.shown) == [4, 5]
    assert (result["frames"], result["faces"]) == (2, 2)
    assert faces(project)["clip_b_0002_0.jpg"] == (0, "")
    assert project.side("dst").faceset().trashed() == []


def test_new_tracks_get_new_numbers(project: Project, finder: Finder, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        show(project, number, True)
    extract(project)
    show(project, 3, True)
    elsewhere = [Detection(np.array([10, 8, 60, 60], np.float32), 0.9)]
    monkeypatch.setattr(Finder, "detect", lambda self, frame: elsewhere)
    extract(project, existing="continue")
    assert (faces(project)["clip_a_0004_0.jpg"][0] or 0) > 0


def test_nothing_to_search_is_no_error(project: Project, finder: Finder) -> None:
    show(project, 0, True)
    extract(project)
    finder.shown.clear()
    report = (project.side("dst").aligned_dir / REPORT_FILE).read_text()
    for existing in ("continue", "missing"):
        assert extract(project, existing=existing)["frames"] == 0
    assert finder.shown == []
    assert (project.side("dst").aligned_dir / REPORT_FILE).read_text() == report
    assert list(faces(project)) == ["clip_a_0001_0.jpg"]


def test_without_faces_these_modes_search_everything_and_finding_none_is_no_error(
    project: Project, finder: Finder
) -> None:
    for number in range(2):
        show(project, number, False)
    for existing in ("continue", "missing"):
        result = extract(project, existing=existing)
        assert (result["frames"], result["faces"]) == (2, 0)


def test_frames_whose_debug_image_was_deleted(project: Project, finder: Finder) -> None:
    for number in range(6):
        show(project, number, number < 4)
    extract(project, debug_images=True)
    side = project.side("dst")
    for stem in (STEMS[1], STEMS[2], STEMS[5]):
        (side.debug_dir / f"{stem}.jpg").unlink()
    show(project, 2, False)
    finder.shown.clear()
    result = extract(project, existing="debug")
    assert sorted(finder.shown) == [1, 2, 5]
    assert (result["frames"], result["faces"]) == (3, 1)
    assert sorted(faces(project)) == [f"{STEMS[number]}_0.jpg" for number in (0, 1, 3)]
    assert len(side.faceset().trash_batches()) == 1
    assert len(side.faceset().trashed()) == 2
    assert {path.stem for path in side.debug_dir.iterdir()} == set(STEMS)
    assert sorted(side.faceset().undo())[1] == f"{STEMS[2]}_0.jpg"


@pytest.mark.parametrize("empty", [True, False])
def test_without_debug_images_there_is_nothing_to_go_by(project: Project, finder: Finder, empty: bool) -> None:
    show(project, 0, True)
    extract(project)
    if empty:
        project.side("dst").debug_dir.mkdir()
    with pytest.raises(BadInputError, match="no debug images") as caught:
        extract(project, existing="debug")
    assert "debug images switched on" in caught.value.fix
    assert len(faces(project)) == 1


def test_starting_over_names_the_hand_made_ones(project: Project, finder: Finder) -> None:
    for number in range(3):
        show(project, number, True)
    extract(project)
    faceset = project.side("dst").faceset()
    record = faceset.records()[1]
    faceset.replace(record.path.name, replace(record.face, origin=MANUAL))
    seen: list[str] = []
    extract(project, seen)
    assert any(sentence.startswith("1 faces made by hand") for sentence in seen)
    assert not any(origin for _, origin in faces(project).values())
    assert len(faceset.trash_batches()) == 1
    assert len(faceset.undo()) == 3


def test_hand_made_faces_count_as_found(project: Project, finder: Finder) -> None:
    for number in range(3):
        show(project, number, True)
    extract(project)
    faceset = project.side("dst").faceset()
    record = faceset.records()[1]
    faceset.replace(record.path.name, replace(record.face, origin=MANUAL, track=None))
    finder.shown.clear()
    extract(project, existing="missing")
    assert finder.shown == []
    assert faces(project)[record.path.name] == (None, MANUAL)


def test_a_taken_name_is_not_overwritten(project: Project, finder: Finder) -> None:
    show(project, 0, True)
    extract(project)
    side = project.side("dst")
    old = side.aligned_dir / f"{STEMS[0]}_0.jpg"
    old.rename(side.aligned_dir / f"{STEMS[1]}_0.jpg")
    show(project, 1, True)
    extract(project, existing="missing")
    assert sorted(faces(project)) == [f"{STEMS[1]}_0.jpg", f"{STEMS[1]}_1.jpg"]


def test_starting_over_leaves_no_debug_image_of_the_old_faces(project: Project, finder: Finder) -> None:
    for number in range(3):
        show(project, number, True)
    side = project.side("dst")
    extract(project, debug_images=True)
    (side.debug_dir / "note.txt").write_text("mine", encoding="utf-8")
    for number in range(3):
        show(project, number, False)
    with pytest.raises(BadInputError, match="No face"):
        extract(project, debug_images=True)
    assert len(list(side.debug_dir.glob("*.jpg"))) == 3
    assert len(faces(project)) == 3
    show(project, 1, True)
    extract(project)
    assert [path.name for path in side.debug_dir.iterdir()] == ["note.txt"]
    assert not list(side.debug_dir.parent.glob(".aligned_debug*"))


def test_jitter_before_and_after_and_the_debug_images_follow(project: Project, finder: Finder) -> None:
    side = project.side("dst")
    for number in range(30):
        frame = np.full((300, 320, 3), 90, np.uint8)
        frame[0, 0], frame[0, 1] = 255, number
        write_image(side.frames_dir / f"{number:05d}.png", frame)
    finder.shake = 3.0
    rough = extract(project, debug_images=True)
    assert rough["jitter"] == rough["jitter_before"] > 0.005
    shaken = read_image(side.debug_dir / "00015.jpg")
    calm = extract(project, smooth="on", smoothing=1.0, debug_images=True)
    assert calm["jitter_before"] == rough["jitter"]
    assert calm["jitter"] < 0.3 * calm["jitter_before"]
    face = next(r.face for r in side.faceset().records() if r.face.source_filename == "00015.png")
    assert face.image_to_face_mat is not None
    frame = read_image(side.frames_dir / "00015.png")
    quad = crop_corners(face.image_to_face_mat, 64)
    wanted = draw_landmarks(frame, face.source_landmarks, face.source_rect, quad).astype(int)
    assert np.abs(wanted - read_image(side.debug_dir / "00015.jpg")).mean() < 0.7 * np.abs(wanted - shaken).mean()


def test_a_stop_leaves_no_hole(project: Project, finder: Finder) -> None:
    side = project.side("dst")
    for number in range(60):
        frame = np.full((120, 120, 3), 90, np.uint8)
        frame[0, 0] = 255
        write_image(side.frames_dir / f"{number:05d}.png", frame)
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 30

    context = StageContext(project=project, job_dir=project.path, emit=lambda kind, data: None, stop_requested=stop)
    settings = ExtractFacesSettings(side="dst", image_size=64, device="cpu")
    with pytest.raises(StopRequested):
        extract_faces.run(settings, context)
    names = sorted(faces(project))
    assert 5 < len(names) < 60
    assert names == [f"{number:05d}_0.jpg" for number in range(len(names))]
    extract(project, existing="continue")
    assert len(faces(project)) == 60


def test_long_clips_need_room_for_their_faces(
    project: Project, finder: Finder, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def room(path: Path, need_bytes: int = 0) -> None:
        asked.append(need_bytes)
        if need_bytes > 2 << 30:
            raise DiskFullError("The disk is nearly full.")

    monkeypatch.setattr(extract_faces, "require_free_disk", room)
    monkeypatch.setattr(extract_faces, "MIN_FREE_BYTES", 1)
    for number in range(4):
        show(project, number, True)
    extract(project, image_size=512, jpeg_quality=90)
    assert 4 * 60_000 < asked[0] < 4 * 200_000
    extract(project, image_size=512, jpeg_quality=90, debug_images=True)
    assert sorted(asked)[-1] > asked[0]
