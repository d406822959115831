from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from backend.core.errors import BadInputError, DiskFullError, StopRequested
from backend.core.faces import FaceType
from backend.core.settings import ResizeFacesSettings
from backend.ops.align import face_matrix, invert, transform_points, warp_face
from backend.ops.recrop import decode_mask, encode_mask
from backend.pipeline import resize_faces
from backend.storage import jpeg, safe_pickle
from backend.storage.face_file import read_face, write_face, write_face_image
from backend.storage.image import read_image
from backend.storage.tool_undo import can_undo, take_back
from backend.storage.workspace import Project, SideFiles
from tests.pipeline.faceset_project import bytes_of, context, fill_side, make_project, stop_after


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path)


@pytest.fixture
def side(project: Project) -> SideFiles:
    return project.side("src")


def settings(**more) -> ResizeFacesSettings:
    return ResizeFacesSettings(**({"image_size": 96, "face_type": "f"} | more))


def drop_frames(side: SideFiles) -> None:
    for path in side.frames_dir.glob("*.png"):
        path.unlink()


def test_faces_are_cut_from_their_frames_again(project: Project, side: SideFiles) -> None:
    paths = fill_side(side)
    before = {path.name: read_face(path) for path in paths}
    result = resize_faces.run(settings(face_type="head", image_size=160), context(project))
    assert result == {
        "faces": 3,
        "from_frames": 3,
        "from_aligned": 0,
        "black_border": 0,
        "unchanged": 0,
        "left": 0,
    }
    for path in paths:
        face, old = read_face(path), before[path.name]
        expected = face_matrix(old.source_landmarks, 160, FaceType.HEAD)
        np.testing.assert_allclose(face.image_to_face_mat, expected, atol=1e-6)
        np.testing.assert_allclose(face.landmarks, transform_points(old.source_landmarks, expected), atol=1e-6)
        assert np.array_equal(face.source_landmarks, old.source_landmarks)
        assert (face.source_filename, face.face_type, face.detector) == (old.source_filename, FaceType.HEAD, "drawn")
        frame = read_image(side.frames_dir / face.source_filename)
        wanted = warp_face(frame, expected, 160, cv2.INTER_LANCZOS4).astype(int)
        assert np.abs(read_image(path).astype(int) - wanted).mean() < 4


def test_without_frames_a_wider_type_shows_black(project: Project, side: SideFiles) -> None:
    paths = fill_side(side, 2, face_type=FaceType.FULL)
    drop_frames(side)
    made = context(project)
    result = resize_faces.run(settings(face_type="wf", image_size=128), made)
    assert (result["from_aligned"], result["black_border"]) == (2, 2)
    assert any("black" in warning for warning in made.emit.warnings())
    image, face = read_image(paths[0]), read_face(paths[0])
    assert image[:4].max() <= 8
    assert image[tuple(np.rint(face.landmarks[30]).astype(int)[::-1])].max() > 60


def test_a_narrower_type_without_frames_has_no_border(project: Project, side: SideFiles) -> None:
    fill_side(side, 2)
    drop_frames(side)
    result = resize_faces.run(settings(), context(project))
    assert (result["from_aligned"], result["black_border"]) == (2, 0)


def test_an_edited_face_is_not_replaced_by_its_frame(project: Project, side: SideFiles) -> None:
    paths = fill_side(side, 2)
    inverted = 255 - read_image(paths[0])
    write_face_image(paths[0], inverted, read_face(paths[0]), 95)
    result = resize_faces.run(settings(face_type="same"), context(project))
    assert (result["from_frames"], result["from_aligned"]) == (1, 1)
    small = cv2.resize(inverted, (96, 96), interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(read_image(paths[0]).astype(int) - small).mean() < 6


def test_mask_polygons_and_foreign_keys_come_along(project: Project, side: SideFiles) -> None:
    (path,) = fill_side(side, 1)
    old = read_face(path)
    mask = np.zeros((64, 64), np.uint8)
    x, y = np.rint(old.landmarks[30] / 2).astype(int)
    mask[y - 6 : y + 6, x - 6 : x + 6] = 255
    square = np.float32([[20, 30], [100, 30], [100, 110], [20, 110]])
    write_face(path, dataclasses.replace(old, xseg_mask=encode_mask(mask), seg_ie_polys=((1, square),), sharpness=1.0))
    stored = safe_pickle.loads(jpeg.read_payload(path.read_bytes()))
    path.write_bytes(jpeg.with_payload(path.read_bytes(), safe_pickle.dumps(stored | {"relighted": True})))
    resize_faces.run(settings(), context(project))
    face = read_face(path)
    to_frame = transform_points(square, invert(old.image_to_face_mat))
    np.testing.assert_allclose(face.seg_ie_polys[0][1], transform_points(to_frame, face.image_to_face_mat), atol=0.01)
    moved = decode_mask(face.xseg_mask)
    centre = np.argwhere(moved > 0).mean(axis=0)[::-1] * (96 / moved.shape[0])
    assert np.abs(centre - face.landmarks[30]).max() < 2
    assert face.sharpness not in (None, 1.0)
    assert safe_pickle.loads(jpeg.read_payload(path.read_bytes()))["relighted"] is True


def test_nothing_to_do_changes_nothing(project: Project, side: SideFiles) -> None:
    fill_side(side, 2)
    before = bytes_of(side.aligned_dir)
    result = resize_faces.run(settings(face_type="same", image_size=128), context(project))
    assert result["unchanged"] == 2
    assert bytes_of(side.aligned_dir) == before
    assert side.faceset().trashed() == []


def test_undo_brings_the_old_set_back(project: Project, side: SideFiles) -> None:
    fill_side(side, 2)
    side.faceset().set_order(["00002_0.jpg", "00001_0.jpg"], "blur")
    side.faceset().set_persons({"00002_0.jpg": 4}, "looks")
    before, job = bytes_of(side.aligned_dir), context(project)
    resize_faces.run(settings(), job)
    assert side.faceset().names() == ["00002_0.jpg", "00001_0.jpg"]
    assert side.faceset().persons() == {"00002_0.jpg": 4}
    assert bytes_of(side.aligned_dir) != before
    assert can_undo(job.job_dir, side)
    assert take_back(job.job_dir, side) == "2 faces are back."
    assert bytes_of(side.aligned_dir) == before
    assert not can_undo(job.job_dir, side)
    with pytest.raises(BadInputError):
        take_back(job.job_dir, side)


def test_unusable_files_stay_where_they_are(project: Project, side: SideFiles) -> None:
    paths = fill_side(side, 3)
    picture = paths[1].read_bytes()
    scan = jpeg.read_header(picture).scan_start
    paths[1].write_bytes(picture[: scan + 40] + b"\xff\xd9")
    (side.aligned_dir / "broken.jpg").write_bytes(b"no picture")
    wide = read_face(paths[2])
    write_face_image(paths[2], np.zeros((128, 140, 3), np.uint8), wide)
    before = bytes_of(side.aligned_dir)
    result = resize_faces.run(settings(face_type="same"), context(project))
    assert result["left"] >= 1
    assert bytes_of(side.aligned_dir)["broken.jpg"] == b"no picture"
    assert bytes_of(side.aligned_dir)[paths[2].name] == before[paths[2].name]
    assert len(bytes_of(side.aligned_dir)) == 4


def test_gray_faces_stay_gray(project: Project, side: SideFiles) -> None:
    (path,) = fill_side(side, 1)
    write_face_image(path, read_image(path, 1), read_face(path), 95)
    result = resize_faces.run(settings(), context(project))
    assert result["from_aligned"] == 1
    assert read_image(path, None).shape == (96, 96)


def test_a_stop_leaves_everything_as_it_was(project: Project, side: SideFiles) -> None:
    fill_side(side, 4)
    before, things = bytes_of(side.aligned_dir), sorted(p.name for p in side.frames_dir.iterdir())
    with pytest.raises(StopRequested):
        resize_faces.run(settings(), context(project, stop_requested=stop_after(2)))
    assert bytes_of(side.aligned_dir) == before
    assert sorted(p.name for p in side.frames_dir.iterdir()) == things


def test_a_full_disk_is_told_before_the_start(
    project: Project, side: SideFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_side(side, 1)
    monkeypatch.setattr("backend.storage.atomic.free_bytes", lambda path: 1 << 20)
    with pytest.raises(DiskFullError):
        resize_faces.run(settings(), context(project))


def test_no_faces(project: Project) -> None:
    with pytest.raises(BadInputError, match="no dst faces"):
        resize_faces.run(settings(side="dst"), context(project))


def test_leftovers_of_a_killed_run_are_removed(project: Project, side: SideFiles) -> None:
    fill_side(side, 1)
    old = side.frames_dir / ".staged-0123"
    old.mkdir()
    os.utime(old, (1, 1))
    resize_faces.run(settings(), context(project))
    assert not list(side.frames_dir.glob(".staged-*"))


def test_golden_faces_land_where_their_own_matrix_says(project: Project, side: SideFiles, golden: Path) -> None:
    side.aligned_dir.mkdir(parents=True)
    for path in (golden / "dfl_faceset").glob("*.jpg"):
        shutil.copy(path, side.aligned_dir)
    result = resize_faces.run(settings(image_size=160), context(project))
    assert (result["faces"], result["from_aligned"], result["left"]) == (12, 12, 0)
    for record in side.faceset().records():
        original = golden / "dfl_faceset" / record.path.name
        old, picture = read_face(original), read_image(original)
        direct = face_matrix(old.landmarks, 160, FaceType.FULL)
        expected = warp_face(picture, direct, 160, cv2.INTER_LANCZOS4).astype(int)
        assert np.abs(read_image(record.path).astype(int) - expected).mean() < 2.5
        np.testing.assert_allclose(record.face.landmarks, transform_points(old.landmarks, direct), atol=0.05)
        np.testing.assert_allclose(record.face.source_landmarks, old.source_landmarks)
        assert (record.face.xseg_mask is None) == (old.xseg_mask is None)
        assert len(record.face.seg_ie_polys) == len(old.seg_ie_polys)
