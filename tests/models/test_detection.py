from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from backend.core.errors import BadInputError, DamagedFileError
from backend.core.faces import Detection, FaceType
from backend.core.settings import ExtractFacesSettings
from backend.models.detection import build as build_module
from backend.models.detection import yunet as yunet_module
from backend.models.detection.build import (
    DETECTORS,
    LANDMARKERS,
    RECOGNISERS,
    WITH_HEATMAPS,
    DetectorOptions,
    LandmarkerOptions,
    build_detector,
    build_landmarker,
    build_recogniser,
)
from backend.models.detection.find import find_faces, turn_back
from backend.models.detection.points5 import landmarks_from_points
from backend.models.detection.second_pass import SecondPass
from backend.ops.align import face_matrix, transform_points
from backend.ops.pose import LANDMARKS_3D
from backend.storage.video import decode
from backend.storage.weights import CATALOG, obtain
from tests.models.detection_tools import EYES, PORTRAIT_BOX, portrait, shifted, smaller

FIVE = [slice(36, 42), slice(42, 48), slice(30, 31), slice(48, 49), slice(54, 55)]


@pytest.fixture(scope="module")
def mtcnn():
    return build_detector("mtcnn", obtain("mtcnn", Path("nowhere")))


def five_of(landmarks: np.ndarray) -> np.ndarray:
    return np.stack([landmarks[part].mean(axis=0) for part in FIVE])


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    size = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return float(size.prod() / (sum(areas) - size.prod()))


def test_every_name_of_the_catalogue_can_be_built() -> None:
    kinds: dict[str, set[str]] = {}
    for name, entry in CATALOG.items():
        kinds.setdefault(entry.kind, set()).add(name)
    assert kinds == {"detector": set(DETECTORS), "landmarker": set(LANDMARKERS), "recogniser": set(RECOGNISERS)}
    assert set(WITH_HEATMAPS) < set(LANDMARKERS)


def test_mtcnn_finds_the_portrait(mtcnn) -> None:
    (found,) = mtcnn.detect(portrait())
    assert found.score > 0.99
    assert overlap(found.box_xyxy, np.array(PORTRAIT_BOX)) > 0.75
    assert found.points5.shape == (5, 2)
    np.testing.assert_allclose(found.points5[:2], EYES, atol=4)
    left_eye, right_eye, nose, left_mouth, right_mouth = found.points5
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_mouth[0] < right_mouth[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])


def test_mtcnn_follows_a_shift_and_a_change_of_size(mtcnn) -> None:
    (plain,) = mtcnn.detect(portrait())
    (moved,) = mtcnn.detect(shifted(portrait(), 211, 37, (900, 600)))
    np.testing.assert_allclose(moved.points5 - (211, 37), plain.points5, atol=2.5)
    (small,) = mtcnn.detect(smaller(portrait(), 0.6))
    np.testing.assert_allclose(small.points5 / 0.6, plain.points5, atol=5)


def test_mtcnn_finds_all_faces_largest_first(mtcnn) -> None:
    image = shifted(portrait(), 0, 0, (1100, 520))
    half = smaller(portrait(), 0.55)
    image[100 : 100 + half.shape[0], 700 : 700 + half.shape[1]] = half
    found = mtcnn.detect(image)
    assert len(found) == 2
    assert found[0].box_xyxy[0] < 512 < found[1].box_xyxy[0]


def test_mtcnn_keeps_to_the_smallest_face_and_the_score(mtcnn) -> None:
    files = obtain("mtcnn", Path("nowhere"))
    assert build_detector("mtcnn", files, DetectorOptions(min_face_px=200)).detect(portrait()) == []
    assert build_detector("mtcnn", files, DetectorOptions(score=0.99999)).detect(portrait()) == []


@pytest.mark.parametrize("shape_hw", [(1, 1), (11, 300), (40, 40), (700, 12)])
def test_mtcnn_takes_any_size(mtcnn, shape_hw: tuple[int, int], rng: np.random.Generator) -> None:
    for image in (np.zeros((*shape_hw, 3), np.uint8), rng.integers(0, 256, (*shape_hw, 3), dtype=np.uint8)):
        assert mtcnn.detect(image) == []


def test_mtcnn_gives_points_for_a_known_box(mtcnn) -> None:
    points = mtcnn.points(portrait(), np.array(PORTRAIT_BOX, np.float32))
    np.testing.assert_allclose(points, mtcnn.detect(portrait())[0].points5, atol=6)
    outside = mtcnn.points(portrait(), np.array([480, 480, 560, 560], np.float32))
    assert np.isfinite(outside).all()


def test_mtcnn_refuses_other_files(tmp_path: Path) -> None:
    files = obtain("mtcnn", tmp_path)
    with pytest.raises(DamagedFileError):
        build_detector("mtcnn", (files[0], files[0], files[2]))


@pytest.mark.parametrize(("pitch", "yaw", "roll"), [(0, 0, 0), (0.2, 0.5, 0.3), (-0.2, -0.6, 1.0), (0, 0.3, 3.1)])
def test_points5_recovers_a_posed_face(pitch: float, yaw: float, roll: float) -> None:
    camera = np.array([[2000, 0, 320], [0, 2000, 240], [0, 0, 1]], dtype=np.float64)
    turn = cv2.Rodrigues(np.array([0.0, 0.0, roll]))[0] @ cv2.Rodrigues(np.array([pitch, yaw, 0.0]))[0]
    shown = cv2.projectPoints(LANDMARKS_3D, cv2.Rodrigues(turn)[0], np.array([10.0, 5, 2500]), camera, None)[0][:, 0]
    found = landmarks_from_points(five_of(shown))
    assert found.shape == (68, 2)
    eyes = np.linalg.norm(shown[36] - shown[45])
    assert np.linalg.norm(found - shown, axis=1).max() < 0.06 * eyes


def test_points5_survives_points_that_are_no_face(rng: np.random.Generator) -> None:
    mirrored = five_of(LANDMARKS_3D[:, :2])[[1, 0, 2, 4, 3]]
    for points in (mirrored, rng.uniform(0, 100, (5, 2)), np.array([(0, 0), (1, 0), (2, 0), (3, 0), (4, 0)])):
        assert np.isfinite(landmarks_from_points(points)).all()


def test_points5_lies_on_the_portrait(mtcnn) -> None:
    (detection,) = mtcnn.detect(portrait())
    landmarks = build_landmarker("points5", ()).landmarks(portrait(), detection)
    np.testing.assert_allclose(five_of(landmarks), detection.points5, atol=6)
    aligned = transform_points(landmarks, face_matrix(landmarks, 256, FaceType.WHOLE))
    assert (aligned > 0).all()
    assert (aligned < 256).all()
    assert landmarks[0, 0] < landmarks[16, 0]
    assert landmarks[8, 1] == landmarks[:, 1].max()


def test_points5_asks_mtcnn_when_a_detector_gave_no_points(mtcnn) -> None:
    bare = Detection(np.array(PORTRAIT_BOX, np.float32), 0.9)
    with pytest.raises(BadInputError, match="five points"):
        build_landmarker("points5", ()).landmarks(portrait(), bare)
    landmarks = build_landmarker("points5", (), points_files=obtain("mtcnn", Path("nowhere"))).landmarks(
        portrait(), bare
    )
    np.testing.assert_allclose(five_of(landmarks)[:2], EYES, atol=7)


@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_points_are_turned_back(quarter: int, rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (30, 50, 3), dtype=np.uint8)
    turned = np.rot90(image, quarter)
    for x, y in ((0, 0), (7, 3), (19, 29)):
        back_x, back_y = turn_back(np.array([[x, y]], np.float32), quarter, (30, 50))[0].astype(int)
        np.testing.assert_array_equal(image[back_y, back_x], turned[y, x])


@pytest.mark.parametrize("quarter", [1, 2])
def test_a_face_in_a_turned_picture(mtcnn, quarter: int) -> None:
    image = np.ascontiguousarray(portrait()[:, :480])
    lying = np.ascontiguousarray(np.rot90(image, quarter))
    landmarker = build_landmarker("points5", ())
    ((detection, landmarks),) = find_faces(lying, mtcnn, landmarker)
    ((_, upright),) = find_faces(image, mtcnn, landmarker)
    expected = turn_back(upright, -quarter, lying.shape[:2])
    assert np.linalg.norm(landmarks - expected, axis=1).mean() < 5
    left, top, right, bottom = detection.box_xyxy
    inside = (landmarks[17:] > (left, top)) & (landmarks[17:] < (right, bottom))
    assert inside.mean() > 0.9


class Upright:
    """Finds a sure face in the frame whose left-top corner is white, and places one point there."""

    name = "upright"

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []

    def detect(self, frame):
        self.seen.append(frame.shape[:2])
        return [Detection(np.array([0, 0, 9, 9], np.float32), 1.0)] if frame[0, 0, 0] else []

    def landmarks(self, frame, detection):
        return np.zeros((68, 2), np.float32)


@pytest.mark.parametrize(("rotations", "tried"), [("0", 1), ("0,180", 2), ("0,90,270", 3), ("0,90,270,180", 4)])
def test_only_the_wanted_rotations_are_tried(rotations: str, tried: int) -> None:
    settings = ExtractFacesSettings(rotations=rotations)
    assert ",".join(str(degrees) for degrees in settings.rotation_degrees) == rotations
    finder = Upright()
    assert find_faces(np.zeros((20, 30, 3), np.uint8), finder, finder, 0, settings.rotation_degrees) == []
    assert len(finder.seen) == tried


@pytest.mark.parametrize(("degrees", "corner_xy"), [(0, (0, 0)), (90, (0, 19)), (180, (29, 19)), (270, (29, 0))])
def test_rotations_are_clockwise(degrees: int, corner_xy: tuple[int, int]) -> None:
    frame = np.zeros((20, 30, 3), np.uint8)
    frame[corner_xy[1], corner_xy[0]] = 255
    finder = Upright()
    ((_, landmarks),) = find_faces(frame, finder, finder, 0, (degrees,))
    np.testing.assert_array_equal(landmarks[0], corner_xy)
    with pytest.raises(ValueError, match="45 degrees"):
        find_faces(frame, finder, finder, 0, (45,))


class Doubtful:
    """Detections by the turn of a picture whose left-top corner is white; all points lie in a corner."""

    name = "doubtful"

    def __init__(self, **found: list[tuple[tuple[int, ...], float]]) -> None:
        self.found = found
        self.searches = 0

    def detect(self, frame_bgr):
        self.searches += 1
        corners = {"up": (0, 0), "quarter": (0, -1), "over": (-1, -1)}
        turn = next((turn for turn, corner in corners.items() if frame_bgr[corner].all()), "")
        return [Detection(np.array(box, np.float32), score) for box, score in self.found.get(turn, [])]

    def landmarks(self, frame_bgr, detection):
        return np.repeat(detection.box_xyxy[None, :2], 68, axis=0)


def found_by(finder: Doubtful, at_most: int = 0) -> list[tuple[list[float], float]]:
    frame = np.zeros((40, 60, 3), np.uint8)
    frame[0, 0] = frame[8, 17] = 255  # corners of the frame and of what is around the faces below
    return [(d.box_xyxy.tolist(), d.score) for d, _ in find_faces(frame, finder, finder, at_most)]


def test_a_sure_face_in_the_turned_frame_beats_a_doubtful_upright_one() -> None:
    finder = Doubtful(up=[((22, 13, 32, 23), 0.9), ((40, 13, 45, 18), 0.8)], over=[((15, 4, 25, 14), 0.995)])
    assert found_by(finder) == [([22, 13, 32, 23], 0.995), ([40, 13, 45, 18], 0.8)]
    assert found_by(finder, 1) == [([22, 13, 32, 23], 0.995)]


def test_doubtful_upright_faces_count_when_no_turn_is_sure() -> None:
    finder = Doubtful(up=[((22, 13, 32, 23), 0.9)], quarter=[((4, 4, 14, 14), 0.98)])
    assert found_by(finder) == [([22, 13, 32, 23], 0.9)]
    assert finder.searches == 4


def test_a_sure_upright_face_ends_the_search() -> None:
    finder = Doubtful(up=[((22, 13, 32, 23), 0.99), ((40, 13, 45, 18), 0.8)], over=[((15, 4, 25, 14), 1.0)])
    assert [score for _, score in found_by(finder)] == [0.99, 0.8]
    assert finder.searches == 1


def test_upside_down_clips_are_not_taken_for_upright(mtcnn, assets: Path) -> None:
    """MTCNN sees a face in this frame as it is, with the mouth where the eyes are."""
    frames = [frame.frame_bgr for frame in decode(assets / "data" / "address.mp4", 1.0, 2.0)][::4]
    landmarker = build_landmarker("points5", ())
    mistaken = 0
    for frame in frames:
        over = np.ascontiguousarray(frame[::-1, ::-1])
        mistaken += bool(mtcnn.detect(over))
        for _, points in find_faces(over, mtcnn, landmarker):
            assert points[36:48, 1].mean() > points[48:, 1].mean()
    assert mistaken


def test_find_faces_keeps_the_largest(mtcnn) -> None:
    image = shifted(portrait(), 600, 0, (1112, 520))
    half = smaller(portrait(), 0.55)
    image[100 : 100 + half.shape[0], 20 : 20 + half.shape[1]] = half
    landmarker = build_landmarker("points5", ())
    assert len(find_faces(image, mtcnn, landmarker)) == 2
    ((detection, _),) = find_faces(image, mtcnn, landmarker, at_most=1)
    assert detection.box_xyxy[0] > 600
    assert find_faces(np.zeros((200, 200, 3), np.uint8), mtcnn, landmarker) == []


def test_yunet_reads_its_rows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    row = np.array([10, 20, 50, 60, *range(100, 110), 0.9], np.float32)
    tiny = np.array([10, 20, 5, 6, *range(10), 0.8], np.float32)
    lying = np.array([90, 20, 50, 60, 120, 30, 120, 60, 110, 45, 100, 30, 100, 60, 0.9], np.float32)

    class Network:
        def setInputSize(self, size_wh):  # noqa: N802
            assert size_wh == (320, 240)

        def detect(self, frame):
            return 1, np.stack([tiny, lying, row])

    monkeypatch.setattr(yunet_module.cv2.FaceDetectorYN, "create", lambda *args: Network())
    (tmp_path / "yunet.onnx").write_bytes(b"x")
    (found,) = build_detector("yunet", (tmp_path / "yunet.onnx",)).detect(np.zeros((240, 320, 3), np.uint8))
    np.testing.assert_array_equal(found.box_xyxy, [10, 20, 60, 80])
    np.testing.assert_array_equal(found.points5, np.arange(100, 110).reshape(5, 2))
    assert found.score == pytest.approx(0.9)


@pytest.mark.parametrize("name", ["yunet", "facemesh", "s3fd", "fan2d", "sface"])
def test_a_file_that_is_no_network_is_refused(name: str, tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"no network at all")
    builders = ((DETECTORS, build_detector), (LANDMARKERS, build_landmarker), (RECOGNISERS, build_recogniser))
    (build,) = (build for names, build in builders if name in names)
    with pytest.raises(DamagedFileError, match="cannot be used"):
        build(name, (file,))


def test_a_second_pass_is_for_landmarkers_with_heatmaps() -> None:
    options = LandmarkerOptions(second_pass=True)
    assert type(build_landmarker("points5", (), options)).__name__ == "Points5"


def test_a_second_pass_needs_a_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_module, "LANDMARKERS", {"fan2d": lambda files, options: Upright()})
    options = LandmarkerOptions(second_pass=True)
    assert isinstance(build_landmarker("fan2d", (), options, detector=Upright()), SecondPass)
    with pytest.raises(ValueError, match="detector"):
        build_landmarker("fan2d", (), options)
