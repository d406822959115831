from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from backend.core.errors import BadInputError
from backend.core.faces import Face, FaceType
from backend.ops.align import face_matrix, transform_points, warp_face
from backend.ops.pose import estimate_pose
from backend.storage.image import write_image
from backend.training import dataset
from backend.training.dataset import CacheBudget, FaceCache, LoadReport, load_faces
from backend.training.face_crop import FaceShape
from tests.drawn_faces import draw_face

SHAPE = FaceShape(64, 3, FaceType.WHOLE)


@dataclass(frozen=True)
class Item:
    path: Path
    face: Face


def aligned(face_type: FaceType, size: int, seed: int = 0) -> tuple[np.ndarray, Face, np.ndarray]:
    """An aligned drawn face, its record, and the frame it came from."""
    frame, landmarks = draw_face(256, np.random.default_rng(seed))
    matrix = face_matrix(landmarks, size, face_type)
    face = Face(
        source_filename="00001.png",
        source_rect=np.zeros(4, np.int64),
        source_landmarks=landmarks,
        landmarks=transform_points(landmarks, matrix),
        image_to_face_mat=matrix,
        face_type=face_type,
    )
    return warp_face(frame, matrix, size), face, frame


def items(folder: Path, count: int, face_type: FaceType = FaceType.WHOLE) -> list[Item]:
    folder.mkdir(exist_ok=True)
    found = []
    for i in range(count):
        image, face, _ = aligned(face_type, 96, i)
        write_image(folder / f"{i:05d}_0.jpg", image)
        found.append(Item(folder / f"{i:05d}_0.jpg", face))
    return found


def budget(tmp_path: Path, megabytes: int = 64) -> CacheBudget:
    return CacheBudget(megabytes << 20, tmp_path / "cache")


def test_bad_faces_are_skipped_and_listed(tmp_path: Path) -> None:
    faces = items(tmp_path / "src", 6)
    faces[1].path.write_bytes(b"no picture")
    faces[4] = Item(faces[4].path, replace(faces[4].face, face_type=FaceType.HALF))
    src, dst = load_faces(faces, items(tmp_path / "dst", 4), SHAPE, budget(tmp_path))
    assert src.usable.tolist() == [0, 2, 3, 5]
    assert [name for name, _ in src.skipped] == ["00001_0.jpg", "00004_0.jpg"]
    assert "shows less" in src.skipped[1][1]
    assert dst.skipped == ()


def test_memory_and_disk_hold_the_same(tmp_path: Path) -> None:
    faces = items(tmp_path / "src", 4)
    shape = replace(SHAPE, resolution=128)
    in_memory = load_faces(faces, list(faces), shape, budget(tmp_path))[0]
    mapped = load_faces(faces, faces, shape, CacheBudget(1 << 16, tmp_path / "cache"))[0]
    assert isinstance(mapped.images, np.memmap)
    assert not isinstance(in_memory.images, np.memmap)
    assert np.array_equal(mapped.images, in_memory.images)
    assert np.array_equal(mapped.masks, in_memory.masks)
    assert list((tmp_path / "cache").iterdir()) == []


TOO_FEW = [
    (0, "no src faces.*Extract more src faces in the Extract tab"),
    (1, "There is only 1 src face; training needs at least 4.*Extract more"),
    (3, "There are only 3 src faces; training needs at least 4"),
]


@pytest.mark.parametrize(("count", "sentence"), TOO_FEW)
def test_too_few_faces(tmp_path: Path, count: int, sentence: str) -> None:
    with pytest.raises(BadInputError, match=sentence):
        load_faces(items(tmp_path / "src", count), items(tmp_path / "dst", 4), SHAPE, budget(tmp_path))


def test_faces_that_show_too_little(tmp_path: Path) -> None:
    narrow = items(tmp_path / "dst", 4, FaceType.FULL)
    with pytest.raises(BadInputError, match=r"4 of 4 dst faces show less.*whole_face.*Extract the dst faces again"):
        load_faces(items(tmp_path / "src", 4), narrow, SHAPE, budget(tmp_path))


def test_narrow_faces_beside_good_ones_are_counted(tmp_path: Path) -> None:
    faces = items(tmp_path / "src", 5) + items(tmp_path / "narrow", 3, FaceType.FULL)
    src, _ = load_faces(faces, items(tmp_path / "dst", 4), SHAPE, budget(tmp_path))
    assert src.reasons == {"it shows less (full_face) than the model needs (whole_face)": 3}
    assert len(src.usable) == 5


def test_one_set_for_both_sides_is_held_once(tmp_path: Path) -> None:
    faces = items(tmp_path / "faces", 5)
    told: list[tuple[int, int]] = []
    src, dst = load_faces(faces, faces, SHAPE, budget(tmp_path), LoadReport(lambda *done: told.append(done)))
    assert src is dst
    assert told[-1] == (5, 5)
    few = faces[:3]
    with pytest.raises(BadInputError, match=r"only 3 pretraining faces.*pretraining folder"):
        load_faces(few, few, SHAPE, budget(tmp_path))


def test_a_file_that_vanished_is_left_out(tmp_path: Path) -> None:
    faces = items(tmp_path / "src", 5)
    faces[2].path.unlink()
    src, _ = load_faces(faces, items(tmp_path / "dst", 4), SHAPE, budget(tmp_path))
    assert src.skipped == (("00002_0.jpg", "it is no longer there"),)


def test_yaws_are_those_of_the_records_or_measured_now(tmp_path: Path) -> None:
    faces = items(tmp_path / "src", 5)
    faces[1] = Item(faces[1].path, replace(faces[1].face, pose_rad=(0.1, 0.7, 0.0)))
    src, _ = load_faces(faces, items(tmp_path / "dst", 4), SHAPE, budget(tmp_path))
    yaws = src.yaws(np.array([1, 3]))
    assert yaws[0] == np.float32(0.7)
    assert yaws[1] == pytest.approx(estimate_pose(faces[3].face.landmarks, 96)[1], abs=1e-3)


def named(names: list[str]) -> FaceCache:
    """A cache of faces that have names and nothing else."""
    blank = np.zeros((len(names), 1, 1, 3), np.uint8)
    return FaceCache(blank, blank[..., :2], tuple(names), np.arange(len(names)))


def held_names(cache: FaceCache, holdout_every: int) -> set[str]:
    return {cache.names[entry] for entry in cache.split(holdout_every)[1]}


@pytest.mark.parametrize("every", [2, 8, 10, 50])
def test_about_one_face_in_n_is_held_out(every: int) -> None:
    cache = named([f"{frame:05d}_0.jpg" for frame in range(5000)])
    trained, held = cache.split(every)
    assert len(held) == pytest.approx(5000 / every, rel=0.2)
    assert sorted([*trained, *held]) == list(range(5000))


def test_what_is_held_out_does_not_depend_on_the_other_faces() -> None:
    names = [f"{frame:05d}_0.jpg" for frame in range(400)]
    held = held_names(named(names), 8)
    fewer = [name for name in reversed(names) if int(name[:5]) % 3]
    assert held_names(named(fewer), 8) == held & set(fewer)


@pytest.mark.parametrize(("faces", "every", "held"), [(12, 0, 0), (12, 1, 0), (4, 2, 0), (7, 8, 0)])
def test_small_sets_keep_enough_to_learn_from(faces: int, every: int, held: int) -> None:
    assert len(named([f"{frame:05d}_0.jpg" for frame in range(faces)]).split(every)[1]) == held


def test_some_of_a_small_set_are_held_out_though_their_digests_say_none() -> None:
    names = [f"{frame:05d}_0.jpg" for frame in range(500)]
    none = [name for name in names if dataset._digest(name) % 8][:16]
    smallest = sorted(none, key=dataset._digest)[:2]
    assert held_names(named(none), 8) == held_names(named(none[::-1]), 8) == set(smallest)
    all_ = [name for name in names if dataset._digest(name) % 8 == 0][:16]
    assert held_names(named(all_), 8) == set(sorted(all_, key=dataset._digest)[:2])
