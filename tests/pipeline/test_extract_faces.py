from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from backend.core.errors import BadInputError, DeviceError, DiskFullError, StopRequested, WeightsMissingError
from backend.core.faces import Detection, FaceType
from backend.core.settings import ExtractFacesSettings
from backend.models.detection.points5 import landmarks_from_points
from backend.ops.align import face_matrix, transform_points
from backend.ops.pose import LANDMARKS_3D
from backend.pipeline import extract_faces
from backend.pipeline.context import StageContext
from backend.pipeline.extract_faces import REPORT_FILE
from backend.pipeline.extract_report import Jitter
from backend.pipeline.face_tools import Tools
from backend.storage.face_file import read_face
from backend.storage.image import read_image, write_image
from backend.storage.workspace import Project, Workspace
from tests.models.detection_tools import portrait, smaller

FRONT = (LANDMARKS_3D[:, :2] * 0.8 + (160, 130)).astype(np.float32)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.delenv("LOOKALIKE_WEIGHTS", raising=False)
    return Workspace(tmp_path / "workspace").create("film", "The portrait is in the public domain.")


class Recorder:
    def __init__(self) -> None:
        self.events: list[tuple[str, dict]] = []

    def __call__(self, kind: str, data: dict) -> None:
        self.events.append((kind, data))

    def of(self, kind: str) -> list[dict]:
        return [data for found, data in self.events if found == kind]


def context(project: Project, **more) -> StageContext:
    return StageContext(project=project, job_dir=project.path, **({"emit": lambda kind, data: None} | more))


def settings(**more) -> ExtractFacesSettings:
    return ExtractFacesSettings(
        **({"image_size": 128, "device": "cpu", "detector": "mtcnn", "landmarker": "points5"} | more)
    )


def write_frames(project: Project, count: int = 3, step: int = 6) -> list[Path]:
    """Frames in which the portrait moves to the right."""
    picture = smaller(portrait(), 0.6)
    folder = project.side("src").frames_dir
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number + 1:05d}.png" for number in range(count)]
    for number, path in enumerate(paths):
        frame = np.zeros((310, 360, 3), np.uint8)
        frame[: picture.shape[0], step * number : step * number + picture.shape[1]] = picture
        write_image(path, frame)
    return paths


class FakeFinder:
    """Detector and landmarker in one: the frame's first pixel says how many faces it has."""

    name = "fake"

    def detect(self, frame_bgr: np.ndarray) -> list[Detection]:
        box = np.array([100, 80, 220, 210], np.float32)
        return [Detection(box - 10 * i, 0.9) for i in range(int(frame_bgr[0, 0, 0]))] if frame_bgr[0, 0, 2] else []

    def landmarks(self, frame_bgr: np.ndarray, detection: Detection) -> np.ndarray:
        return FRONT + detection.box_xyxy[:2] - (100, 80)


def fake_frames(project: Project, faces: list[int]) -> list[Path]:
    folder = project.side("src").frames_dir
    paths = [folder / f"{number + 1:05d}.png" for number in range(len(faces))]
    for path, count in zip(paths, faces, strict=True):
        frame = np.full((320, 320, 3), 90, np.uint8)
        frame[0, 0] = (count, 0, 255)
        write_image(path, frame)
    return paths


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract_faces, "choose_tools", lambda s, ctx: Tools(FakeFinder(), FakeFinder(), ("A reason.",)))


def aligned(project: Project) -> list[str]:
    return sorted(path.name for path in project.side("src").aligned_dir.glob("*.jpg"))


def test_the_portrait_is_found_in_every_frame(project: Project) -> None:
    paths = write_frames(project)
    seen = Recorder()
    result = extract_faces.run(settings(debug_images=True), context(project, emit=seen))
    assert (result["frames"], result["faces"]) == (3, 3)
    assert (result["without_face"], result["several"], result["unreadable"]) == ([], [], [])
    assert (result["detector"], result["landmarker"]) == ("mtcnn", "points5")
    assert result["jitter"] < 0.03
    assert aligned(project) == ["00001_0.jpg", "00002_0.jpg", "00003_0.jpg"]
    stored = json.loads((project.side("src").aligned_dir / REPORT_FILE).read_text())
    assert stored == result
    debug = read_image(project.side("src").debug_dir / "00001.jpg")
    assert debug.shape == read_image(paths[0]).shape
    assert np.abs(debug.astype(int) - read_image(paths[0])).max() > 100
    assert seen.of("progress")[-1]["done"] == 3


def test_the_face_record(project: Project) -> None:
    write_frames(project, 1)
    extract_faces.run(settings(face_type="f", image_size=256), context(project))
    path = project.side("src").aligned_dir / "00001_0.jpg"
    face, image = read_face(path), read_image(path)
    assert image.shape == (256, 256, 3)
    assert face.source_filename == "00001.png"
    assert face.face_type is FaceType.FULL
    assert (face.detector, face.landmarker) == ("mtcnn", "points5")
    assert face.provenance["software"].startswith("Lookalike")
    assert face.sharpness > 0
    assert all(abs(angle) < 0.5 for angle in face.pose_rad)
    matrix = face_matrix(face.source_landmarks, 256, FaceType.FULL)
    np.testing.assert_allclose(face.image_to_face_mat, matrix, atol=1e-6)
    np.testing.assert_allclose(face.landmarks, transform_points(face.source_landmarks, matrix), atol=1e-3)
    left, top, right, bottom = face.source_rect
    assert face.source_rect.dtype == np.int64
    assert left < face.source_landmarks[30, 0] < right
    assert top < face.source_landmarks[30, 1] < bottom
    frame = read_image(project.side("src").frames_dir / "00001.png")
    again = cv2.warpAffine(frame, matrix, (256, 256), flags=cv2.INTER_CUBIC)
    assert np.abs(image.astype(int) - again).mean() < 3


def test_frames_are_needed(project: Project) -> None:
    with pytest.raises(BadInputError, match="no src frames"):
        extract_faces.run(settings(), context(project))


def test_auto_says_what_it_took_and_how_to_get_better(project: Project) -> None:
    write_frames(project, 1)
    seen = Recorder()
    result = extract_faces.run(settings(detector="auto", landmarker="auto"), context(project, emit=seen))
    assert (result["detector"], result["landmarker"]) == ("mtcnn", "points5")
    assert len(result["reasons"]) == 2
    assert "s3fd-619a316812.pth" in result["reasons"][0]
    assert "FaceMesh.onnx" in result["reasons"][1]
    assert str(project.path.parent / "weights") in result["reasons"][1]
    assert [event["message"] for event in seen.of("log")][:2] == result["reasons"]


def test_missing_weights_fail_before_anything_is_touched(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    write_frames(project, 1)
    extract_faces.run(settings(), context(project))

    def no_network(*args, **more) -> None:
        raise OSError("no network")

    monkeypatch.setattr("backend.storage.download.urllib.request.urlopen", no_network)
    for choice in ({"detector": "s3fd"}, {"landmarker": "fan2d"}, {"landmarker": "facemesh"}):
        with pytest.raises(WeightsMissingError, match="no network"):
            extract_faces.run(settings(**choice), context(project))
    assert aligned(project) == ["00001_0.jpg"]


def test_an_unknown_device_is_refused(project: Project) -> None:
    write_frames(project, 1)
    with pytest.raises(DeviceError):
        extract_faces.run(settings(device="cuda:77"), context(project))


def test_counting_without_several_and_unreadable(project: Project, fake: None) -> None:
    paths = fake_frames(project, [1, 0, 2, 1, 1, 1])
    paths[3].write_bytes(paths[3].read_bytes()[:200])
    seen = Recorder()
    result = extract_faces.run(settings(fill_gaps=0), context(project, emit=seen))
    assert (result["frames"], result["faces"]) == (6, 5)
    assert result["without_face"] == ["00002.png"]
    assert result["several"] == ["00003.png"]
    assert result["unreadable"] == ["00004.png"]
    assert result["jitter"] is None
    assert result["reasons"] == ["A reason."]
    assert aligned(project) == ["00001_0.jpg", "00003_0.jpg", "00003_1.jpg", "00005_0.jpg", "00006_0.jpg"]
    assert any("00004.png is left out" in event["message"] for event in seen.of("log"))


def test_the_largest_faces_are_kept(project: Project, fake: None) -> None:
    fake_frames(project, [5, 3])
    result = extract_faces.run(settings(max_faces=2), context(project))
    assert result["faces"] == 4
    assert aligned(project) == ["00001_0.jpg", "00001_1.jpg", "00002_0.jpg", "00002_1.jpg"]


def test_frames_of_one_stem_count_once(project: Project, fake: None) -> None:
    (path,) = fake_frames(project, [1])
    path.with_suffix(".jpg").write_bytes(path.read_bytes())
    seen = Recorder()
    assert extract_faces.run(settings(), context(project, emit=seen))["frames"] == 1
    assert any("same name" in event["message"] for event in seen.of("log"))


def test_a_crop_much_larger_than_the_detection_is_dropped(
    project: Project, fake: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_frames(project, [1])
    tiny = [Detection(np.array([100, 80, 140, 120], np.float32), 0.9)]
    monkeypatch.setattr(FakeFinder, "detect", lambda self, frame: tiny)
    with pytest.raises(BadInputError, match="No face"):
        extract_faces.run(settings(face_type="f"), context(project))
    assert extract_faces.run(settings(face_type="wf"), context(project))["faces"] == 1


def test_old_faces_go_to_the_trash_as_one_batch(project: Project, fake: None) -> None:
    fake_frames(project, [1, 1, 1])
    extract_faces.run(settings(), context(project))
    extract_faces.run(settings(image_size=64), context(project))
    faceset = project.side("src").faceset()
    assert len(faceset.trashed()) == 3
    assert read_image(project.side("src").aligned_dir / "00001_0.jpg").shape[0] == 64
    assert len(faceset.undo()) == 3


def test_without_any_face_the_old_ones_come_back(project: Project, fake: None) -> None:
    paths = fake_frames(project, [1, 1])
    extract_faces.run(settings(), context(project))
    faceset = project.side("src").faceset()
    faceset.set_order(["00002_0.jpg", "00001_0.jpg"], "blur")
    for path in paths:
        write_image(path, np.zeros((320, 320, 3), np.uint8))
    with pytest.raises(BadInputError, match="No face was found in 2 src frames"):
        extract_faces.run(settings(), context(project))
    assert faceset.names() == ["00002_0.jpg", "00001_0.jpg"]
    assert faceset.order_by == "blur"
    assert faceset.trashed() == []
    for path in paths:
        path.write_bytes(b"damaged")
    with pytest.raises(BadInputError, match="can be read"):
        extract_faces.run(settings(), context(project))
    assert len(faceset.names()) == 2


def test_stop_keeps_what_was_written(project: Project, fake: None) -> None:
    fake_frames(project, [1] * 40)
    seen: list[int] = []

    def stop() -> bool:
        seen.append(1)
        return len(seen) > 20

    with pytest.raises(StopRequested):
        extract_faces.run(settings(), context(project, stop_requested=stop))
    assert 10 <= len(aligned(project)) < 40
    assert all(read_face(project.side("src").aligned_dir / name) for name in aligned(project))


def test_a_full_disk_is_refused_before_the_start(project: Project, fake: None, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_frames(project, [1])
    extract_faces.run(settings(), context(project))

    def full(path: Path, need_bytes: int = 0) -> None:
        raise DiskFullError("The disk is nearly full.")

    monkeypatch.setattr(extract_faces, "require_free_disk", full)
    with pytest.raises(DiskFullError):
        extract_faces.run(settings(), context(project))
    assert aligned(project) == ["00001_0.jpg"]


def test_jitter_is_the_median_second_difference() -> None:
    def measured(crops: list[tuple[int, int, float]]) -> float | None:
        jitter = Jitter()
        for track, frame, x in crops:
            jitter.add(track, frame, (x, 5.0, 100.0))
        return jitter.value()

    assert measured([(0, i, 10.0 * i) for i in range(6)]) == 0.0
    assert measured([(0, i, 10.0 * i + i % 2) for i in range(6)]) == pytest.approx(0.02)
    assert measured([(track, i, 50.0 * track + 10 * i) for i in range(6) for track in (0, 1)]) == 0.0
    assert measured([(0, 0, 0.0), (0, 2, 5.0), (0, 3, 0.0)]) is None
    assert measured([]) is None


def test_the_fake_face_is_one() -> None:
    five = [FRONT[36:42].mean(axis=0), FRONT[42:48].mean(axis=0), FRONT[30], FRONT[48], FRONT[54]]
    assert np.linalg.norm(landmarks_from_points(np.stack(five)) - FRONT, axis=1).max() < 6


@pytest.mark.slow
@pytest.mark.parametrize(("clip", "share"), [("address", 1.0), ("painting", 1.0), ("concert", 0.9)])
def test_real_clips(clip: str, share: float, project: Project, assets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOKALIKE_WEIGHTS", str(assets / "models"))
    reader = cv2.VideoCapture(str(assets / "data" / f"{clip}.mp4"))
    number = 0
    while (grabbed := reader.read())[0]:
        number += 1
        write_image(project.side("src").frames_dir / f"{number:05d}.png", grabbed[1])
    result = extract_faces.run(settings(landmarker="auto", smooth="on"), context(project))
    assert result["landmarker"] == "facemesh"
    assert result["jitter"] < 0.75 * result["jitter_before"]
    assert 1 - len(result["without_face"]) / number >= share
    if clip != "concert":
        assert result["jitter_before"] < 0.004
        assert result["tracks"] == 1
        assert result["faces"] <= 1.02 * number
