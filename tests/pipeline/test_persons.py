from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from backend.core.errors import BadInputError, WeightsMissingError
from backend.core.faces import FaceType
from backend.core.settings import ExtractFacesSettings, PersonsSettings
from backend.models.detection import recognition
from backend.ops.pose import LANDMARKS_3D
from backend.pipeline import extract_faces, persons
from backend.pipeline.context import StageContext
from backend.pipeline.face_maker import FaceMaker, FoundFace
from backend.pipeline.persons import Way, tracks_of
from backend.storage.face_file import write_face_image
from backend.storage.image import write_image
from backend.storage.workspace import Project, Workspace

SIZE = 128
POINTS = LANDMARKS_3D[:, :2] * 0.5 + (64, 80)
LIGHT, DARK = (150, 180, 230), (50, 80, 130)
BLACK, BLOND = (20, 20, 22), (120, 190, 220)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("LOOKALIKE_WEIGHTS", str(tmp_path / "weights"))
    return Workspace(tmp_path / "workspace").create("film", "Drawn faces.")


def context(project: Project, **more) -> StageContext:
    return StageContext(project=project, job_dir=project.path, **({"emit": lambda kind, data: None} | more))


def drawn(skin: tuple[int, int, int], hair: tuple[int, int, int], light: float) -> np.ndarray:
    image = np.full((SIZE, SIZE, 3), hair, np.uint8)
    cv2.ellipse(image, (64, 84), (38, 46), 0, 0, 360, skin, -1)
    return cv2.GaussianBlur((image * light).astype(np.uint8), (3, 3), 0)


def put(project: Project, name: str, frame: str, look: tuple, track: int | None = None, light: float = 1.0) -> None:
    """A face file of a person."""
    folder = project.side("src").aligned_dir
    folder.mkdir(parents=True, exist_ok=True)
    maker = FaceMaker(FaceType.WHOLE, SIZE, 95)
    face = maker.face(FoundFace(np.array([0, 0, 128, 128.0]), POINTS, 0.9, track), frame)
    assert face is not None
    face = replace(face, landmarks=POINTS, landmarker="facemesh")
    write_face_image(folder / name, drawn(*look, light), face, 95)


ANNA, BORIS = (LIGHT, BLOND), (DARK, BLACK)


def two_people(project: Project) -> None:
    """Anna in four frames, in two tracks and one face without; Boris in three."""
    put(project, "a0.jpg", "1.png", ANNA, 0)
    put(project, "a1.jpg", "2.png", ANNA, 0, light=0.8)
    put(project, "a2.jpg", "7.png", ANNA, 2, light=0.9)
    put(project, "a3.jpg", "9.png", ANNA, None, light=0.7)
    for number in range(3):
        put(project, f"b{number}.jpg", f"{number + 1}.png", BORIS, 1, light=1 + 0.1 * number)


def test_people_are_told_apart_and_stored(project: Project) -> None:
    two_people(project)
    result = persons.run(PersonsSettings(), context(project))
    assert (result["faces"], result["persons"], result["sizes"]) == (7, 2, [4, 3])
    assert (result["method"], result["trashed"], result["damaged"]) == ("looks", 0, 0)
    assert "face_recognition_sface" in result["reason"]
    faceset = project.side("src").faceset()
    assert faceset.persons() == {f"a{n}.jpg": 0 for n in range(4)} | {f"b{n}.jpg": 1 for n in range(3)}
    assert faceset.persons_by == "looks"


def test_strictness_decides(project: Project) -> None:
    put(project, "a.jpg", "1.png", ANNA)
    put(project, "b.jpg", "2.png", ((130, 165, 215), (90, 160, 200)))
    assert persons.run(PersonsSettings(strictness=0.0), context(project))["persons"] == 1
    assert persons.run(PersonsSettings(strictness=1.0), context(project))["persons"] == 2


def test_faces_of_one_frame_are_different_people(project: Project) -> None:
    put(project, "a.jpg", "1.png", ANNA)
    put(project, "twin.jpg", "1.png", ANNA)
    assert persons.run(PersonsSettings(strictness=0.0), context(project))["persons"] == 2


def test_only_the_people_of_the_examples_stay(project: Project) -> None:
    two_people(project)
    result = persons.run(PersonsSettings(examples=" b1.jpg, "), context(project))
    assert (result["kept"], result["trashed"]) == (3, 4)
    faceset = project.side("src").faceset()
    assert sorted(faceset.names()) == ["b0.jpg", "b1.jpg", "b2.jpg"]
    assert faceset.trash_batches()[0].reason == "faces of other persons"
    faceset.undo()
    assert len(faceset.names()) == 7


def test_unknown_examples_change_nothing(project: Project) -> None:
    two_people(project)
    with pytest.raises(BadInputError, match=r"no src face named c\.jpg"):
        persons.run(PersonsSettings(examples="a0.jpg, c.jpg"), context(project))
    assert len(project.side("src").faceset().names()) == 7


def test_no_faces_and_damaged_ones(project: Project) -> None:
    with pytest.raises(BadInputError, match="no src faces"):
        persons.run(PersonsSettings(), context(project))
    two_people(project)
    path = project.side("src").aligned_dir / "a3.jpg"
    path.write_bytes(path.read_bytes()[:2000])
    result = persons.run(PersonsSettings(), context(project))
    assert (result["faces"], result["damaged"], result["persons"]) == (6, 1, 2)


def test_a_track_number_twice_in_a_frame_is_not_believed(project: Project) -> None:
    put(project, "a.jpg", "1.png", ANNA, 0)
    put(project, "b.jpg", "1.png", BORIS, 0)
    put(project, "c.jpg", "2.png", BORIS, 1)
    put(project, "d.jpg", "3.png", BORIS, 1)
    items = tracks_of(project.side("src").faceset().records())
    assert sorted([record.path.name for record in item] for item in items) == [["a.jpg"], ["b.jpg"], ["c.jpg", "d.jpg"]]


def test_the_network_is_asked_for_when_it_is_wanted(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    two_people(project)

    def no_network(*args, **more) -> None:
        raise OSError("no network")

    monkeypatch.setattr("backend.storage.download.urllib.request.urlopen", no_network)
    with pytest.raises(WeightsMissingError, match="sface"):
        persons.run(PersonsSettings(method="embedding"), context(project))


class FakeNetwork:
    """Sees nothing but how light the chin is."""

    def __init__(self, file: Path) -> None:
        assert file.name == "face_recognition_sface_2021dec.onnx"

    def embed(self, image_bgr: np.ndarray, points: np.ndarray) -> np.ndarray:
        x, y = points[8].astype(int)
        angle = image_bgr[min(y, len(image_bgr) - 1), x].mean() / 100
        return np.array([np.cos(angle), np.sin(angle)], np.float32)


def test_auto_takes_the_network_when_its_file_is_there(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    two_people(project)
    monkeypatch.setattr(recognition, "SFace", FakeNetwork)
    weights = project.path.parent.parent / "weights"
    weights.mkdir()
    (weights / "face_recognition_sface_2021dec.onnx").write_bytes(b"x")
    monkeypatch.setattr(persons, "obtain", lambda name, folder: (folder / "face_recognition_sface_2021dec.onnx",))
    result = persons.run(PersonsSettings(), context(project))
    assert (result["method"], result["sizes"]) == ("embedding", [4, 3])
    assert project.side("src").faceset().persons_by == "embedding"
    assert persons.run(PersonsSettings(method="looks"), context(project))["method"] == "looks"


def test_the_embedding_compares_directions(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recognition, "SFace", FakeNetwork)
    monkeypatch.setattr(persons, "obtain", lambda name, folder: (Path("face_recognition_sface_2021dec.onnx"),))
    ways: list[Way] = [
        persons.choose_way(PersonsSettings(method="embedding", strictness=strictness), Path("weights"))
        for strictness in (0.0, 0.5, 1.0)
    ]
    cosines = [1 - way.apart**2 / 2 for way in ways]
    assert cosines == pytest.approx([0.163, 0.363, 0.563])
    mean = ways[0].joined(np.array([[1, 0], [0, 1]], np.float32))
    assert np.linalg.norm(mean) == pytest.approx(1)


@pytest.mark.slow
def test_real_people_in_three_shots(project: Project, assets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A singer in two shots, with another man between, then four listeners."""
    monkeypatch.setenv("LOOKALIKE_WEIGHTS", str(assets / "models"))
    reader = cv2.VideoCapture(str(assets / "data" / "concert.mp4"))
    number = 0
    while (grabbed := reader.read())[0]:
        number += 1
        if number in (*range(10, 20), *range(100, 110), *range(240, 250)):
            write_image(project.side("src").frames_dir / f"{number:05d}.png", grabbed[1])
    settings = ExtractFacesSettings(device="cpu", detector="mtcnn", landmarker="facemesh", rotations="0")
    extract_faces.run(settings, context(project))
    persons.run(PersonsSettings(), context(project))
    faceset = project.side("src").faceset()
    found = faceset.persons()
    shots: list[set[int]] = [set(), set(), set()]
    for record in faceset.records():
        shots[(int(record.face.source_filename[:5]) > 50) + (int(record.face.source_filename[:5]) > 200)].add(
            found[record.path.name]
        )
    assert shots[0] == {0}
    assert 0 in shots[1]
    assert 0 not in shots[2]
    assert len(shots[2]) == 4
