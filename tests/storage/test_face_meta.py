"""meta.dat goes both ways, and pictures are never encoded again."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from backend.core.errors import BadInputError, DamagedFileError
from backend.storage import jpeg, pickle_writer
from backend.storage.face_file import read_face, write_face_image
from backend.storage.face_meta import META_NAME, read_meta, restore_meta, save_meta
from backend.storage.image import encode_image, read_image
from tests.storage import layouts
from tests.storage.faces import fill, make_face, names_in, picture
from tests.storage.layouts import foreign_pickle
from tests.storage.test_safe_pickle import same

NAMES = ["00001_0.jpg", "00002_0.jpg", "00003_0.jpg"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three faces of 64 px."""
    fill(tmp_path / "aligned", 3)
    return tmp_path / "aligned"


def edit(path: Path, side: int = 64) -> None:
    """What an image editor does: another picture, perhaps of another size, without face data."""
    path.write_bytes(encode_image(cv2.resize(255 - read_image(path), (side, side)), ".jpg"))


def test_the_golden_file_is_read_in_full(golden: Path) -> None:
    stored = list(read_meta(golden / META_NAME))
    assert len(stored) == 6
    for name, shape, values in stored:
        assert shape == (192, 192)
        payload = layouts.face_data((golden / "dfl_faceset" / name).read_bytes())
        assert same(values, layouts.strict_loads(payload))


def test_saving_the_golden_faces_gives_the_golden_file(golden: Path, tmp_path: Path) -> None:
    names = [name for name, _, _ in read_meta(golden / META_NAME)]
    for name in names:
        (tmp_path / name).write_bytes((golden / "dfl_faceset" / name).read_bytes())
    assert save_meta(tmp_path) == 6
    assert (tmp_path / META_NAME).read_bytes() == (golden / META_NAME).read_bytes()


def test_restoring_the_golden_file_gives_the_golden_faces(golden: Path, tmp_path: Path) -> None:
    (tmp_path / META_NAME).write_bytes((golden / META_NAME).read_bytes())
    names = tuple(name for name, _, _ in read_meta(golden / META_NAME))
    for name in names:
        bare = jpeg.with_payload((golden / "dfl_faceset" / name).read_bytes(), None)
        (tmp_path / name).write_bytes(bare)
    result = restore_meta(tmp_path)
    assert (result.names, result.failed, result.gone) == (names, (), ())
    for name in names:
        assert (tmp_path / name).read_bytes() == (golden / "dfl_faceset" / name).read_bytes()
    assert names_in(tmp_path) == sorted(names)


def test_ours_is_read_from_the_layout_alone(folder: Path) -> None:
    (folder / "plain.jpg").write_bytes(encode_image(picture(), ".jpg"))
    told: list[tuple[int, int]] = []
    assert save_meta(folder, lambda done, total: told.append((done, total))) == 3
    stored = layouts.strict_loads((folder / META_NAME).read_bytes())
    assert list(stored) == NAMES
    for name, (shape, values) in stored.items():
        assert shape == (64, 64, 3)
        assert same(values, layouts.strict_loads(layouts.face_data((folder / name).read_bytes())))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_untouched_files_stay_untouched(folder: Path) -> None:
    before = {name: (folder / name).stat().st_mtime_ns for name in NAMES}
    save_meta(folder)
    assert restore_meta(folder).names == tuple(NAMES)
    assert {name: (folder / name).stat().st_mtime_ns for name in NAMES} == before
    assert not (folder / META_NAME).exists()


def test_edited_pictures_get_their_data_and_keep_their_pixels(folder: Path) -> None:
    faces = {name: read_face(folder / name) for name in NAMES}
    save_meta(folder)
    edit(folder / NAMES[0])
    edit(folder / NAMES[1], 160)
    edited = {name: (folder / name).read_bytes() for name in NAMES[:2]}
    assert restore_meta(folder).names == tuple(NAMES)
    assert np.array_equal(read_face(folder / NAMES[0]).landmarks, faces[NAMES[0]].landmarks)
    enlarged, before = read_face(folder / NAMES[1]), faces[NAMES[1]]
    assert np.allclose(enlarged.landmarks, before.landmarks * 2.5)
    assert enlarged.image_to_face_mat is not None
    assert np.allclose(enlarged.image_to_face_mat, np.asarray(before.image_to_face_mat) * 2.5)
    assert np.array_equal(enlarged.source_landmarks, before.source_landmarks)
    for name, data in edited.items():
        assert jpeg.with_payload((folder / name).read_bytes(), None) == data


def test_what_cannot_be_restored_keeps_the_file(folder: Path) -> None:
    save_meta(folder)
    (folder / NAMES[0]).write_bytes(encode_image(picture()[:40], ".jpg"))
    (folder / NAMES[1]).unlink()
    (folder / "00002_0.png").write_bytes(encode_image(picture(), ".png"))
    (folder / NAMES[2]).write_bytes(b"damaged")
    result = restore_meta(folder)
    assert result.names == result.gone == ()
    reasons = dict(result.failed)
    assert "cropped" in reasons[NAMES[0]]
    assert "no JPEG" in reasons[NAMES[1]]
    assert "no JPEG" in reasons[NAMES[2]]
    assert (folder / META_NAME).exists()


def test_faces_that_were_removed_do_not_keep_it(folder: Path) -> None:
    save_meta(folder)
    (folder / NAMES[1]).unlink()
    result = restore_meta(folder)
    assert (result.names, result.gone) == ((NAMES[0], NAMES[2]), (NAMES[1],))
    assert not (folder / META_NAME).exists()


def test_without_anything_to_do(tmp_path: Path) -> None:
    for action in (save_meta, restore_meta):
        with pytest.raises(BadInputError):
            action(tmp_path)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_is_read(folder: Path, protocol: int) -> None:
    values = layouts.strict_loads(layouts.face_data((folder / NAMES[0]).read_bytes()))
    legacy = {**values, "ie_polys": [(0, [[1, 2]])], "pitch_yaw_roll": (1.0, 2.0, 3.0)}
    (folder / META_NAME).write_bytes(foreign_pickle({NAMES[0]: ((64, 64, 3), legacy)}, protocol, layouts.NUMPY_2))
    edit(folder / NAMES[0])
    assert restore_meta(folder).names == (NAMES[0],)
    assert same(layouts.strict_loads(layouts.face_data((folder / NAMES[0]).read_bytes())), legacy)


def test_a_file_where_faces_share_a_part_is_refused(folder: Path) -> None:
    values = layouts.strict_loads(layouts.face_data((folder / NAMES[0]).read_bytes()))
    (folder / META_NAME).write_bytes(foreign_pickle(dict.fromkeys(NAMES, ((64, 64, 3), values))))
    with pytest.raises(DamagedFileError, match="share"):
        restore_meta(folder)


def test_memory_stays_small_however_many_faces(tmp_path: Path) -> None:
    """75 MB, of which a thousand faces are held together: they come in batches of that many."""
    values = {"xseg_mask": np.zeros(30_000, np.uint8)}
    with (tmp_path / META_NAME).open("wb") as file:
        pickle_writer.dump_dict(((f"{n}.jpg", ((64, 64, 3), values)) for n in range(2500)), 2500, file.write)
    assert (tmp_path / META_NAME).stat().st_size > 75_000_000
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_meta(tmp_path / META_NAME)) == 2500
        assert tracemalloc.get_traced_memory()[1] < 40_000_000
    finally:
        tracemalloc.stop()


GOOD: dict[str, Any] = {"landmarks": make_face("a.png").landmarks.tolist()}


@pytest.mark.parametrize(
    "obj",
    [
        [],
        5,
        {1: ((64, 64, 3), GOOD)},
        {"../../evil.jpg": ((64, 64, 3), GOOD)},
        {"notes.txt": ((64, 64, 3), GOOD)},
        {"a.jpg": GOOD},
        {"a.jpg": ((64, 64, 3),)},
        {"a.jpg": ((64,), GOOD)},
        {"a.jpg": ((64, 0, 3), GOOD)},
        {"a.jpg": ((64, 1.5, 3), GOOD)},
        {"a.jpg": ((64, 10**30, 3), GOOD)},
        {"a.jpg": ((64, 64, 3), [1])},
        {"a.jpg": (layouts.FaceType.HEAD, GOOD)},
    ],
)
def test_what_is_no_metadata_gives_one_clear_error(folder: Path, obj: object) -> None:
    (folder / META_NAME).write_bytes(foreign_pickle(obj))
    before = names_in(folder)
    with pytest.raises(DamagedFileError):
        restore_meta(folder)
    assert names_in(folder) == before


def test_data_that_makes_no_sense_reaches_no_file(folder: Path) -> None:
    before = (folder / NAMES[0]).read_bytes()
    (folder / META_NAME).write_bytes(foreign_pickle({NAMES[0]: ((64, 64, 3), {"landmarks": [1]})}))
    assert "makes no sense" in dict(restore_meta(folder).failed)[NAMES[0]]
    assert (folder / NAMES[0]).read_bytes() == before


def test_too_much_data_for_a_file_is_said(folder: Path) -> None:
    values = {**GOOD, "face_type": "mark_only", "later": bytes(70_000)}
    (folder / META_NAME).write_bytes(foreign_pickle({NAMES[0]: ((64, 64, 3), values)}))
    assert "65,533" in dict(restore_meta(folder).failed)[NAMES[0]]


def test_a_face_of_our_own_survives(folder: Path) -> None:
    face = make_face("x.png", 5)
    full = type(face)(**{**vars(face), "sharpness": 2.5, "track": 3, "provenance": {"project": "film"}})
    write_face_image(folder / NAMES[0], picture(), full)
    save_meta(folder)
    edit(folder / NAMES[0], 128)
    restore_meta(folder)
    read = read_face(folder / NAMES[0])
    assert (read.sharpness, read.track, read.provenance) == (2.5, 3, {"project": "film"})
    assert np.allclose(read.landmarks, face.landmarks * 2)
