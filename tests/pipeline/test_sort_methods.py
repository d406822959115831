from __future__ import annotations

import dataclasses
import itertools
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from backend.core.errors import BadInputError
from backend.pipeline import sort, sort_measures
from backend.pipeline.sort_methods import METHODS
from backend.storage.face_file import read_face, write_face_image
from backend.storage.image import encode_image, read_image, write_image
from backend.storage.project import Project
from backend.storage.sort_values import read_values
from tests.drawn_faces import BRUNO, write_faceset
from tests.pipeline.sort_project import change, new_project, order, sorted_by


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return new_project(tmp_path)


@pytest.fixture
def folder(project: Project) -> Path:
    return project.side("src").aligned_dir


def repaint(path: Path, image: np.ndarray, quality: int = 97) -> None:
    write_face_image(path, image.astype(np.uint8), dataclasses.replace(read_face(path), sharpness=None), quality)


def values(folder: Path) -> list[float]:
    return list(read_values(folder)[1].values())


@pytest.mark.parametrize("by", ["blur", "motion-blur"])
def test_sharpest_first(project: Project, folder: Path, rng, by: str) -> None:
    paths = write_faceset(folder, 4, size=256)
    texture = cv2.resize(rng.integers(60, 220, (32, 32, 3), np.uint8), (256, 256), interpolation=cv2.INTER_NEAREST)
    for path, sigma in zip(paths, (1.5, 0.4, 3.0, 0.8), strict=True):
        repaint(path, cv2.GaussianBlur(texture, (0, 0), sigma))
    sorted_by(project, by)
    assert order(project) == [paths[i].name for i in (1, 3, 0, 2)]
    assert values(folder) == sorted(values(folder), reverse=True)


def test_motion_blur_is_the_variance_of_the_whole_masked_picture(folder: Path, project: Project) -> None:
    write_faceset(folder, 2, size=256)
    for record in project.side("src").faceset().records():
        picture = sort_measures.load(record)
        masked = picture.image * picture.hull[:, :, None]
        expected = cv2.Laplacian(masked, cv2.CV_64F, ksize=11).var() * 2.0 ** (-2 * 14)
        assert sort_measures.motion_blur(record) == pytest.approx(expected, rel=1e-3)


def test_largest_source_first(project: Project, folder: Path) -> None:
    paths = write_faceset(folder, 3)
    for path, rect in zip(paths, ([0, 0, 20, 20], [5, 5, 45, 35], [9, 9, 19, 79]), strict=True):
        change(path, source_rect=np.array(rect))
    sorted_by(project, "rect-size")
    assert order(project) == [paths[i].name for i in (1, 2, 0)]
    assert values(folder) == [1200, 700, 400]


def test_brightness_hue_and_black(project: Project, folder: Path) -> None:
    paths = write_faceset(folder, 3)
    plain = [np.full((128, 128, 3), colour, np.uint8) for colour in ((0, 0, 200), (100, 90, 90), (20, 150, 20))]
    for path, image in zip(paths, plain, strict=True):
        repaint(path, image, 100)
    sorted_by(project, "brightness")
    assert order(project) == [paths[i].name for i in (0, 2, 1)]
    assert values(folder) == pytest.approx([200, 150, 100], abs=3)
    sorted_by(project, "hue")
    assert order(project) == [paths[i].name for i in (1, 2, 0)]
    assert values(folder)[0] == pytest.approx(120, abs=3)
    plain[1][:64] = 0
    repaint(paths[1], plain[1], 100)
    repaint(paths[0], plain[0] + 5, 100)
    sorted_by(project, "black")
    assert order(project)[-1] == paths[1].name
    assert values(folder)[-1] == pytest.approx(0.5, abs=0.02)


def test_rare_colours_first(project: Project, folder: Path) -> None:
    paths = write_faceset(folder, 5, seed=2)
    repaint(paths[3], 255 - read_image(paths[3]) // 3)
    sorted_by(project, "hist-dissim")
    assert order(project)[0] == paths[3].name


@pytest.mark.parametrize(("by", "changes"), [("absdiff", 1), ("absdiff-dissim", 7)])
def test_pictures_alike_or_unlike_follow_each_other(project: Project, folder: Path, by: str, changes: int) -> None:
    paths = write_faceset(folder, 8, seed=2)
    for path in paths[::2]:
        repaint(path, read_image(path) // 4)
    dark = {path.name for path in paths[::2]}
    sorted_by(project, by)
    is_dark = [name in dark for name in order(project)]
    assert sum(a != b for a, b in itertools.pairwise(is_dark)) == changes


def test_least_masked_first(project: Project, folder: Path) -> None:
    paths = write_faceset(folder, 4)
    half, third = np.zeros((64, 64), np.uint8), np.zeros((128, 128), np.uint8)
    half[:, :32], third[:, :40] = 255, 255
    change(paths[0], xseg_mask=np.frombuffer(encode_image(third, ".png"), np.uint8))
    change(paths[1], xseg_mask=np.frombuffer(encode_image(half, ".png"), np.uint8))
    cut = np.array([(0, 0), (128, 0), (128, 50), (0, 50)], np.float32)
    change(paths[2], seg_ie_polys=((0, cut),))
    sorted_by(project, "mask")
    assert order(project) == [paths[i].name for i in (3, 2, 1, 0)]
    assert values(folder)[0] == 1.0
    assert values(folder)[2] == pytest.approx(0.5, abs=0.15)
    drawn = np.array([(0, 0), (128, 0), (128, 128), (0, 128)], np.float32)
    change(paths[2], seg_ie_polys=((1, drawn), (0, drawn)))
    sorted_by(project, "mask")
    assert values(folder)[-1] == 0.0


def test_a_mask_of_absurd_size_leaves_its_face_out(project: Project, folder: Path) -> None:
    paths = write_faceset(folder, 2)
    huge = bytearray(encode_image(np.zeros((4, 4), np.uint8), ".png"))
    huge[16:24] = (100_000).to_bytes(4, "big") * 2
    huge[29:33] = zlib.crc32(huge[12:29]).to_bytes(4, "big")
    change(paths[0], xseg_mask=np.frombuffer(bytes(huge), np.uint8))
    result = sorted_by(project, "mask")
    assert (result["faces"], result["damaged"]) == (1, 1)


@pytest.mark.parametrize("by", ["person", "match-poses"])
def test_what_is_missing_is_said_before_anything_is_measured(
    project: Project, folder: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    write_faceset(folder, 1)
    measured: list[object] = []
    monkeypatch.setitem(vars(sort), "METHODS", {by: METHODS[by]._replace(measure=measured.append)})
    with pytest.raises(BadInputError):
        sorted_by(project, by)
    assert measured == []


def test_each_person_by_track_and_frame(project: Project, folder: Path) -> None:
    paths = write_faceset(folder, 6)
    with pytest.raises(BadInputError, match="not told apart"):
        sorted_by(project, "person")
    for path, track in zip(paths, (1, 0, 1, None, 0, 1), strict=True):
        change(path, track=track)
    persons = {paths[i].name: person for i, person in enumerate((0, 1, 0, 0, 0))}
    project.side("src").faceset().set_persons(persons, "test")
    sorted_by(project, "person")
    assert order(project) == [paths[i].name for i in (4, 0, 2, 3, 1, 5)]
    assert values(folder) == [0, 0, 0, 0, 1]


def test_outliers_go_with_their_reasons(project: Project, folder: Path) -> None:
    paths = write_faceset(folder, 8)
    landmarks = [read_face(path).landmarks for path in paths]
    landmarks[1][17:27] += (0, 40)
    landmarks[4][48:68] += (14, -8)
    for number in (1, 4):
        change(paths[number], landmarks=landmarks[number])
    change(paths[2], source_rect=np.array([900, 900, 950, 950]))
    beyond = read_face(paths[6])
    change(paths[6], source_landmarks=beyond.source_landmarks + 400, source_rect=beyond.source_rect + 400)
    write_image(project.side("src").frames_dir / "00001.png", np.zeros((256, 256, 3), np.uint8))
    result = sorted_by(project, "outliers")
    assert result["reasons"] == {
        "the brows lie below the eyes": 1,
        "the proportions are not those of a face": 1,
        "the landmarks lie beside the detected face": 1,
        "much of the face lies outside the frame": 1,
    }
    assert sorted(order(project)) == [paths[i].name for i in (0, 3, 5, 7)]
    assert len(project.side("src").faceset().trash_batches()) == 1


def test_near_duplicates_leave_the_sharpest(project: Project, folder: Path) -> None:
    paths = write_faceset(folder, 6, seed=5)
    image, face = read_image(paths[0]), read_face(paths[0])
    for path, shift in ((paths[1], 3), (paths[2], -4)):
        blurred = cv2.GaussianBlur(image, (0, 0), 0.3 + abs(shift) / 20)
        write_face_image(path, np.clip(blurred.astype(int) + shift, 0, 255).astype(np.uint8), face, 90)
    result = sorted_by(project, "duplicates")
    assert result["left_out"] == 2
    assert order(project) == [paths[i].name for i in (0, 3, 4, 5)]


@pytest.mark.parametrize("by", ["best", "best-by-size"])
def test_the_best_ten_of_a_pose_are_candidates_for_one_place(project: Project, folder: Path, by: str) -> None:
    paths = write_faceset(folder, 13, size=192)
    for number, path in enumerate(paths):
        bad = number in (3, 7)
        if bad and by == "best":
            repaint(path, cv2.GaussianBlur(read_image(path), (0, 0), 4) // 2)
        rect = np.array([0, 0, 10, 9 if bad and by == "best-by-size" else 30])
        change(path, pose_rad=(0.0, -0.3 if number == 12 else 0.3, 0.0), source_rect=rect)
    result = sorted_by(project, by, target=128)
    assert (result["faces"], result["reasons"]) == (2, {"others of this pose are better": 11})
    first, second = order(project)
    assert first not in (paths[3].name, paths[7].name, second)
    assert second == paths[12].name


def test_poses_of_the_other_side(project: Project, folder: Path) -> None:
    paths = write_faceset(folder, 5)
    with pytest.raises(BadInputError, match="no dst faces"):
        sorted_by(project, "match-poses")
    others = write_faceset(project.side("dst").aligned_dir, 4, BRUNO)
    for path, yaw in zip(paths, (0.05, 0.05, 0.05, 0.45, -0.45), strict=True):
        change(path, pose_rad=(0.05, yaw, 0.0))
    for path, yaw in zip(others, (0.05, 0.05, 0.45, 0.95), strict=True):
        change(path, pose_rad=(0.05, yaw, 0.0))
    result = sorted_by(project, "match-poses", target=3)
    assert len(order(project)) == 3
    assert paths[3].name in order(project)
    assert result["reasons"] == {"enough others have this pose": 1, "the other side has no face of this pose": 1}
    assert result["missing_poses"] == 1
    assert result["missing"] == [{"pitch_deg": 3, "yaw_deg": 54, "faces": 1}]


@pytest.mark.parametrize(
    ("side", "wanted", "decoded"), [(128, 128, 128), (512, 128, 128), (300, 128, 150), (200, 1000, 200)]
)
def test_pictures_are_decoded_no_larger_than_needed(project: Project, folder: Path, side, wanted, decoded) -> None:
    write_faceset(folder, 1, size=side)
    (record,) = project.side("src").faceset().records()
    colour, gray = sort_measures.load(record, wanted), sort_measures.load(record, wanted, gray=True)
    assert colour.image.shape == (decoded, decoded, 3)
    assert gray.image.shape == (decoded, decoded)
    whole = cv2.resize(read_image(record.path), (decoded, decoded), interpolation=cv2.INTER_AREA)
    assert np.abs(whole.astype(int) - colour.image).mean() < 4
    np.testing.assert_allclose(colour.landmarks * side / decoded, record.face.landmarks, atol=2)
