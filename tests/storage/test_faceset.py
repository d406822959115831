"""A faceset: quick to read again, ordered without touching files, and nothing in it is ever lost."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from backend.core.errors import BadInputError, DamagedFileError
from backend.storage import face_index, jpeg, renaming
from backend.storage.face_file import read_face, write_face
from backend.storage.faceset import Faceset
from backend.storage.folder_lock import LockOwner, locked
from backend.storage.image import encode_image, read_image
from tests.storage.faces import fill, make_face, names_in, picture
from tests.storage.test_face_file import equal


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with five faces."""
    fill(tmp_path / "aligned", 5)
    return tmp_path / "aligned"


@pytest.fixture
def faceset(folder: Path) -> Faceset:
    """The faces of the folder."""
    return again(folder)


def again(folder: Path) -> Faceset:
    """A new object for the same folder, as another process has it."""
    return Faceset(folder, folder.with_name("aligned_trash"))


def drop_data(path: Path) -> None:
    """What an image editor does: write the picture anew without the face data."""
    path.write_bytes(jpeg.with_payload(path.read_bytes(), None))


def sources(faceset: Faceset) -> list[str]:
    """Frames of the faces, in order."""
    return [record.face.source_filename for record in faceset.records()]


# -- reading


def test_an_empty_place_is_an_empty_faceset(tmp_path: Path) -> None:
    empty = again(tmp_path / "nothing")
    assert empty.records() == []
    assert empty.damaged() == []
    assert empty.trashed() == []
    assert empty.faces_by_frame() == {}
    assert not (tmp_path / "nothing").exists()


def test_records_come_from_the_index_the_second_time(faceset: Faceset, folder: Path) -> None:
    first = faceset.records()
    assert [r.path.name for r in first] == [f"0000{n}_0.jpg" for n in range(1, 6)]
    second = again(folder).records()
    assert all(equal(a.face, b.face) for a, b in zip(first, second, strict=True))


def test_unchanged_files_are_not_read_again(faceset: Faceset, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faceset.records()
    read: list[str] = []
    real = face_index.read_sized_face
    monkeypatch.setattr(face_index, "read_sized_face", lambda path: (read.append(path.name), real(path))[1])
    assert len(again(folder).records()) == 5
    assert read == []
    faceset.add("00009_0.jpg", picture(), make_face("00009.png"))
    assert len(faceset.records()) == 6
    assert read == ["00009_0.jpg"]


def test_every_field_survives_the_index(faceset: Faceset, folder: Path) -> None:
    full = replace(
        make_face("x.png"),
        image_to_face_mat=None,
        seg_ie_polys=((1, np.ones((3, 2), np.float32)),),
        xseg_mask=np.arange(20, dtype=np.uint8),
        pose_rad=(0.1, 0.2, 0.3),
        sharpness=4.5,
        detector="a",
        landmarker="b",
        provenance={"c": [1]},
    )
    faceset.replace("00003_0.jpg", full)
    assert equal(faceset.metadata("00003_0.jpg"), full)
    assert equal(again(folder).metadata("00003_0.jpg"), full)


@pytest.mark.parametrize(
    "damage", [b"", b"{", b'{"version": 1, "faces": {"00001_0.jpg": 3}}', b"[]", b'{"version": 99}']
)
def test_a_damaged_index_is_made_again(faceset: Faceset, folder: Path, damage: bytes) -> None:
    faceset.records()
    (folder / face_index.INDEX_NAME).write_bytes(damage)
    assert len(again(folder).records()) == 5


def test_damaged_files_are_left_out_and_named(faceset: Faceset, folder: Path) -> None:
    good = (folder / "00001_0.jpg").read_bytes()
    (folder / "00002_0.jpg").write_bytes(good[: len(good) // 2])
    (folder / "00003_0.jpg").write_bytes(b"")
    (folder / "plain.jpg").write_bytes(encode_image(picture(), ".jpg"))
    (folder / "hostile.jpg").write_bytes(jpeg.with_payload(good, b"cos\nsystem\n(S'true'\ntR."))
    assert faceset.names() == ["00001_0.jpg", "00004_0.jpg", "00005_0.jpg"]
    reasons = dict(faceset.damaged())
    assert sorted(reasons) == ["00002_0.jpg", "00003_0.jpg", "hostile.jpg", "plain.jpg"]
    assert "no face data" in reasons["plain.jpg"]
    assert "'system'" in reasons["hostile.jpg"]
    with pytest.raises(DamagedFileError):
        faceset.metadata("plain.jpg")
    with pytest.raises(BadInputError):
        faceset.metadata("nothing.jpg")


def test_faces_are_found_by_frame(faceset: Faceset) -> None:
    faceset.add("00001_1.jpg", picture(), make_face("00001.png", 9))
    found = faceset.faces_by_frame()
    assert [r.path.name for r in found["00001"]] == ["00001_0.jpg", "00001_1.jpg"]
    assert sorted(found) == [f"0000{n}" for n in range(1, 6)]


def test_frames_are_known_only_while_nothing_changed(faceset: Faceset) -> None:
    assert faceset.known_frames() is None
    faceset.records()
    known = faceset.known_frames()
    assert known == {f"0000{n}" for n in range(1, 6)}
    assert faceset.known_frames() is known
    time.sleep(0.02)
    faceset.add("00009_0.jpg", picture(), make_face("00009.png"))
    assert faceset.known_frames() is None


# -- lost data


def test_lost_data_is_put_back(faceset: Faceset, folder: Path) -> None:
    before = {r.path.name: r.face for r in faceset.records()}
    untouched = (folder / "00002_0.jpg").read_bytes()
    drop_data(folder / "00002_0.jpg")
    larger = cv2.resize(read_image(folder / "00003_0.jpg"), (128, 128))
    (folder / "00003_0.jpg").write_bytes(encode_image(larger, ".jpg"))
    (folder / "00004_0.jpg").write_bytes(encode_image(picture()[:40], ".jpg"))
    assert [name for name, _ in faceset.damaged()] == ["00002_0.jpg", "00003_0.jpg", "00004_0.jpg"]
    fresh = again(folder)
    assert fresh.restore_metadata() == ["00002_0.jpg", "00003_0.jpg"]
    assert [name for name, _ in fresh.damaged()] == ["00004_0.jpg"]
    assert equal(read_face(folder / "00002_0.jpg"), before["00002_0.jpg"])
    assert read_image(folder / "00002_0.jpg").shape == (64, 64, 3)
    assert len((folder / "00002_0.jpg").read_bytes()) == len(untouched)
    assert np.allclose(read_face(folder / "00003_0.jpg").landmarks, before["00003_0.jpg"].landmarks * 2)
    assert np.array_equal(read_image(folder / "00003_0.jpg").shape, (128, 128, 3))


# -- order


def test_order_is_kept_and_newcomers_come_last(faceset: Faceset, folder: Path) -> None:
    assert faceset.order_by == "name"
    faceset.set_order(["00004_0.jpg", "00002_0.jpg", "gone.jpg", "00004_0.jpg"], "hist")
    expected = ["00004_0.jpg", "00002_0.jpg", "00001_0.jpg", "00003_0.jpg", "00005_0.jpg"]
    assert faceset.names() == expected
    assert again(folder).names() == expected
    assert again(folder).order_by == "hist"


def test_applying_the_order_renames(faceset: Faceset, folder: Path) -> None:
    (folder / "00000.jpg").write_bytes(b"damaged")
    before = {p.name: p.read_bytes() for p in folder.glob("*.jpg")}
    faceset.set_order([f"0000{n}_0.jpg" for n in (5, 3, 1, 2, 4)], "blur")
    assert faceset.apply_order() == 6
    assert sources(faceset) == [f"0000{n}.png" for n in (5, 3, 1, 2, 4)]
    assert faceset.names() == [f"0000{n}.jpg" for n in range(5)]
    assert sorted(p.read_bytes() for p in folder.glob("*.jpg")) == sorted(before.values())
    assert (folder / "00005.jpg").read_bytes() == b"damaged"
    assert faceset.order_by == "blur"
    assert faceset.apply_order() == 0
    faceset.set_order(faceset.names()[::-1], "blur")
    assert faceset.apply_order() == 4
    assert sources(again(folder)) == [f"0000{n}.png" for n in (4, 2, 1, 3, 5)]
    assert not [name for name in names_in(folder) if "renaming" in name]


def test_renamed_files_are_not_read_again(faceset: Faceset, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faceset.apply_order()
    monkeypatch.setattr(face_index, "read_sized_face", None)
    assert len(faceset.records()) == 5
    assert len(again(folder).records()) == 5


class CrashError(Exception):
    """The power went."""


@pytest.mark.parametrize("survived", range(17))
def test_an_interrupted_renaming_is_finished_or_taken_back(
    faceset: Faceset, folder: Path, monkeypatch: pytest.MonkeyPatch, survived: int
) -> None:
    """Crash after every possible number of steps; the next look finds every face once, in the wanted order."""
    faceset.set_order([f"0000{n}_0.jpg" for n in (5, 3, 1, 2, 4)], "blur")
    faceset.apply_order()
    faceset.set_order(faceset.names()[::-1], "yaw")
    left = [survived]

    def counted(real):
        def step(self: Path, *arguments, **options):
            if self.parent == folder and self.name != ".faceset.lock":
                if not left[0]:
                    raise CrashError
                left[0] -= 1
            return real(self, *arguments, **options)

        return step

    with monkeypatch.context() as patch:
        for method in ("rename", "replace", "unlink"):
            patch.setattr(Path, method, counted(getattr(Path, method)))
        with contextlib.suppress(CrashError):
            faceset.apply_order()
    for _ in range(2):
        fresh = again(folder)
        assert sources(fresh) == [f"0000{n}.png" for n in (4, 2, 1, 3, 5)]
        assert fresh.order_by == "yaw"
        assert not (folder / renaming.JOURNAL_NAME).exists()
        assert [p.name for p in sorted(folder.glob("*.jpg"))] == [f"0000{n}.jpg" for n in range(5)]


def test_a_file_that_cannot_be_renamed_takes_all_back(
    faceset: Faceset, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.rename

    def rename(self: Path, target: Path) -> Path:
        if self.name == "00003_0.jpg":
            raise PermissionError(13, "in use")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(PermissionError):
        faceset.apply_order()
    assert faceset.names() == [f"0000{n}_0.jpg" for n in range(1, 6)]
    assert not (folder / renaming.JOURNAL_NAME).exists()


def test_while_another_process_renames_nothing_is_touched(faceset: Faceset, folder: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from backend.storage.folder_lock import LockOwner, locked\n"
        "with locked(Path(sys.argv[1]), LockOwner.this_process('other')):\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    faceset.records()
    lock = str(folder / ".faceset.lock")
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code, lock], stdin=pipe, stdout=pipe) as other:
        assert other.stdout is not None
        other.stdout.readline()
        (folder / renaming.JOURNAL_NAME).write_text('{"hidden": false, "names": {}}')
        assert len(faceset.records()) == 5
        assert (folder / renaming.JOURNAL_NAME).exists()
        for action in (faceset.apply_order, faceset.undo, lambda: faceset.trash(["00001_0.jpg"])):
            with pytest.raises(BadInputError, match="Another program"):
                action()
        other.communicate()
    assert len(faceset.records()) == 5
    assert not (folder / renaming.JOURNAL_NAME).exists()


# -- trash


def test_trash_undo_restore(faceset: Faceset, folder: Path) -> None:
    faceset.set_order(["00005_0.jpg", "00002_0.jpg"], "hist")
    before = faceset.names()
    assert faceset.trash(["00002_0.jpg", "00003_0.jpg", "gone.jpg", "../aligned/00001_0.jpg"])
    assert faceset.trash(["00005_0.jpg"])
    assert faceset.names() == ["00001_0.jpg", "00004_0.jpg"]
    assert faceset.trashed() == ["00002_0.jpg", "00003_0.jpg", "00005_0.jpg"]
    other = again(folder)
    assert other.undo() == ["00005_0.jpg"]
    assert other.restore(["00003_0.jpg", "../x"]) == ["00003_0.jpg"]
    assert other.undo() == ["00002_0.jpg"]
    assert other.undo() == []
    assert other.names() == before
    assert faceset.trash(["nothing.jpg"]) == ""


def test_equal_names_do_not_overwrite_each_other(faceset: Faceset, folder: Path) -> None:
    contents = set()
    for seed in range(3):
        faceset.add("00001_0.jpg", picture(seed=10 + seed), make_face("00001.png", seed))
        contents.add((folder / "00001_0.jpg").read_bytes())
        faceset.trash(["00001_0.jpg"])
    assert faceset.trashed() == ["00001_0.jpg", "00001_0_1.jpg", "00001_0_2.jpg"]
    assert faceset.undo() == ["00001_0.jpg"]
    assert faceset.undo() == ["00001_0_1.jpg"]
    assert faceset.restore(["00001_0.jpg"]) == ["00001_0_2.jpg"]
    assert {p.read_bytes() for p in folder.glob("00001_0*.jpg")} == contents


def test_beginning_fresh_can_be_undone(faceset: Faceset, folder: Path) -> None:
    (folder / "00002_0.jpg").write_bytes(b"damaged")
    faceset.set_order(["00003_0.jpg"], "hist")
    assert faceset.begin_fresh()
    assert faceset.names() == []
    assert faceset.damaged() == []
    assert faceset.order_by == "name"
    assert len(faceset.undo()) == 5
    assert len(faceset.names()) == 4


def test_an_interrupted_removal_can_be_undone(faceset: Faceset, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, left = Path.rename, [1]

    def rename(self: Path, target: Path) -> Path:
        if not left[0]:
            raise CrashError
        left[0] -= 1
        return real(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename)
        with pytest.raises(CrashError):
            faceset.trash(["00001_0.jpg", "00002_0.jpg"])
    assert again(folder).undo() == ["00001_0.jpg"]
    assert len(again(folder).names()) == 5


def test_without_its_log_single_files_can_be_restored(faceset: Faceset, folder: Path) -> None:
    faceset.trash(["00001_0.jpg"])
    (folder.with_name("aligned_trash") / ".batches.json").write_text("{")
    assert faceset.undo() == []
    assert faceset.restore(faceset.trashed()) == ["00001_0.jpg"]


def test_threads_may_share_it(faceset: Faceset) -> None:
    errors: list[Exception] = []

    def work(number: int) -> None:
        try:
            for _ in range(5):
                faceset.records()
                faceset.trash([f"0000{number}_0.jpg"])
                faceset.restore([f"0000{number}_0.jpg"])
        except Exception as error:  # noqa: BLE001 - any failure fails the test
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(faceset.names()) == 5


def test_the_lock_is_held_only_for_a_moment(faceset: Faceset, folder: Path) -> None:
    faceset.apply_order()
    with locked(folder / ".faceset.lock", LockOwner.this_process("test")):
        assert len(faceset.records()) == 5
        with pytest.raises(BadInputError):
            faceset.replace("00000.jpg", make_face("x.png"))


def test_two_thousand_faces_are_read_quickly(tmp_path: Path, golden: Path) -> None:
    folder = tmp_path / "aligned"
    folder.mkdir()
    files = [path.read_bytes() for path in sorted((golden / "dfl_faceset").glob("*.jpg"))]
    for number in range(2000):
        (folder / f"{number:05d}_0.jpg").write_bytes(files[number % len(files)])
    begun = time.process_time()
    assert len(again(folder).records()) == 2000
    cold = time.process_time() - begun
    begun = time.process_time()
    warm = again(folder)
    assert len(warm.records()) == 2000
    assert cold < 4
    assert time.process_time() - begun < 1
    write_face(folder / "00007_0.jpg", make_face("changed.png"))
    assert warm.metadata("00007_0.jpg").source_filename == "changed.png"
