from __future__ import annotations

import dataclasses
import pickle
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from backend.core.errors import BadInputError, DamagedFileError, StopRequested
from backend.core.settings import FacesetSettings
from backend.ops.mask import hull_mask
from backend.ops.pose import estimate_pose
from backend.ops.recrop import encode_mask
from backend.pipeline import faceset_tools
from backend.storage import face_pack, jpeg
from backend.storage.face_file import read_face, write_face
from backend.storage.image import read_image, write_image
from backend.storage.tool_undo import can_undo, take_back
from backend.storage.workspace import Project, SideFiles
from tests.pipeline.faceset_project import bytes_of, context, fill_side, make_project, stop_after
from tests.storage.test_face_png import dictionary, png


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path)


@pytest.fixture
def side(project: Project) -> SideFiles:
    return project.side("src")


def use(project: Project, action: str, job=None, **more) -> dict:
    return faceset_tools.run(FacesetSettings(action=action, **more), job or context(project))


class TestNames:
    """Original names."""

    def test_back_to_the_names_of_the_frames(self, project: Project, side: SideFiles) -> None:
        paths = fill_side(side, 4)
        write_face(paths[2], dataclasses.replace(read_face(paths[2]), source_filename="00001.png"))
        write_face(paths[3], dataclasses.replace(read_face(paths[3]), source_filename=""))
        contents = [path.read_bytes() for path in paths]
        side.faceset().set_order([p.name for p in (paths[1], paths[3], paths[0], paths[2])], "blur")
        side.faceset().apply_order()
        assert side.faceset().names() == ["00000.jpg", "00001.jpg", "00002.jpg", "00003.jpg"]
        before = bytes_of(side.aligned_dir)
        job = context(project)
        result = use(project, "original-names", job)
        assert (result["renamed"], result["nameless"]) == (3, 1)
        expected = dict(zip(("00001_0.jpg", "00002_0.jpg", "00001_1.jpg", "00001.jpg"), contents, strict=True))
        assert bytes_of(side.aligned_dir) == expected
        assert side.faceset().names() == ["00002_0.jpg", "00001.jpg", "00001_0.jpg", "00001_1.jpg"]
        assert use(project, "original-names")["renamed"] == 0
        take_back(job.job_dir, side)
        assert bytes_of(side.aligned_dir) == before

    def test_names_in_the_way_are_passed_over(self, project: Project, side: SideFiles) -> None:
        paths = fill_side(side, 2)
        for path in paths:
            write_face(path, dataclasses.replace(read_face(path), source_filename="Shot.png"))
        (side.aligned_dir / "shot_0.jpg").write_bytes(b"damaged")
        use(project, "original-names")
        assert set(bytes_of(side.aligned_dir)) == {"Shot_1.jpg", "Shot_2.jpg", "shot_0.jpg"}

    def test_odd_source_names(self, project: Project, side: SideFiles) -> None:
        paths = fill_side(side, 3)
        for path, name in zip(paths, (".hidden.png", "x" * 250 + ".png", "..."), strict=True):
            write_face(path, dataclasses.replace(read_face(path), source_filename=name))
        use(project, "original-names")
        assert set(bytes_of(side.aligned_dir)) == {"hidden_0.jpg", "x" * 200 + "_0.jpg", "face_0.jpg"}


class TestMeasure:
    """Pose and sharpness where they are missing."""

    def test_only_what_is_missing(self, project: Project, side: SideFiles) -> None:
        paths = fill_side(side, 2)
        write_face(paths[0], dataclasses.replace(read_face(paths[0]), pose_rad=(0.5, 0.4, 0.3)))
        pictures = [read_image(path) for path in paths]
        assert use(project, "measure")["measured"] == 2
        first, second = (read_face(path) for path in paths)
        assert first.pose_rad == (0.5, 0.4, 0.3)
        assert second.pose_rad == pytest.approx(estimate_pose(second.landmarks, 128))
        assert first.sharpness is not None
        assert first.sharpness > 0
        assert all(np.array_equal(read_image(p), old) for p, old in zip(paths, pictures, strict=True))
        assert use(project, "measure")["measured"] == 0


class TestPack:
    """faceset.pak both ways."""

    def test_there_and_back(self, project: Project, side: SideFiles) -> None:
        names = [path.name for path in fill_side(side, 3)]
        side.faceset().set_order(names[::-1], "yaw")
        side.faceset().set_persons(dict.fromkeys(names, 1), "track")
        before = bytes_of(side.aligned_dir)
        job = context(project)
        result = use(project, "pack", job, keep_files=False)
        assert (result["faces"], result["kept"]) == (3, False)
        assert set(bytes_of(side.aligned_dir)) == {"faceset.pak"}
        assert side.faceset().trash_batches()[0].reason == "packed into faceset.pak"
        assert len(side.faceset().trashed()) == 3
        with pytest.raises(BadInputError, match="Unpack it first"):
            use(project, "measure")
        result = use(project, "unpack")
        assert (result["faces"], result["left"], result["duplicates"]) == (3, 0, 0)
        assert bytes_of(side.aligned_dir) == before
        assert side.faceset().names() == names[::-1]
        assert side.faceset().persons() == dict.fromkeys(names, 1)

    def test_packing_is_taken_back(self, project: Project, side: SideFiles) -> None:
        fill_side(side, 3)
        (side.aligned_dir / "faceset.pak").write_bytes(b"an older pack")
        before = bytes_of(side.aligned_dir)
        job = context(project)
        use(project, "pack", job, keep_files=False)
        take_back(job.job_dir, side)
        assert bytes_of(side.aligned_dir) == before

    def test_a_pack_stays_until_the_next_one_is_complete(
        self, project: Project, side: SideFiles, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fill_side(side, 2)
        pack = side.aligned_dir / "faceset.pak"
        pack.write_bytes(b"an older pack")
        seen: list[bytes] = []
        real = face_pack.write_pack
        monkeypatch.setattr(face_pack, "write_pack", lambda *rest: (real(*rest), seen.append(pack.read_bytes())))
        use(project, "pack")
        assert seen == [b"an older pack"]
        assert pack.read_bytes() != seen[0]

    def test_unpacking_is_taken_back(self, project: Project, side: SideFiles) -> None:
        fill_side(side, 2)
        use(project, "pack", keep_files=True)
        side.faceset().trash(["00001_0.jpg"])
        before = bytes_of(side.aligned_dir)
        job = context(project)
        result = use(project, "unpack", job)
        assert (result["faces"], result["duplicates"]) == (1, 1)
        assert set(bytes_of(side.aligned_dir)) == {"00001_0.jpg", "00002_0.jpg"}
        take_back(job.job_dir, side)
        assert bytes_of(side.aligned_dir) == before

    @pytest.mark.parametrize("action", ["pack", "unpack"])
    def test_a_stop_leaves_everything_as_it_was(self, project: Project, side: SideFiles, action: str) -> None:
        fill_side(side, 3)
        use(project, "pack", keep_files=True)
        if action == "unpack":
            side.faceset().trash(["00001_0.jpg", "00003_0.jpg"])
        before = bytes_of(side.aligned_dir)
        with pytest.raises(StopRequested):
            use(project, action, context(project, stop_requested=stop_after(1)))
        assert bytes_of(side.aligned_dir) == before

    def test_damaged_and_missing_packs(self, project: Project, side: SideFiles) -> None:
        side.aligned_dir.mkdir(parents=True)
        with pytest.raises(BadInputError, match=r"no faceset\.pak"):
            use(project, "unpack")
        (side.aligned_dir / "faceset.pak").write_bytes(b"no pack at all")
        with pytest.raises(DamagedFileError):
            use(project, "unpack")

    def test_golden_pack(self, project: Project, side: SideFiles, golden: Path) -> None:
        side.aligned_dir.mkdir(parents=True)
        shutil.copy(golden / "faceset.pak", side.aligned_dir)
        assert use(project, "unpack")["faces"] == 6
        for name, data in bytes_of(side.aligned_dir).items():
            assert data == (golden / "dfl_faceset" / name).read_bytes()


class TestMetadata:
    """Saving and restoring, from meta.dat and from the side index."""

    def test_from_both_sources(self, project: Project, side: SideFiles) -> None:
        paths = fill_side(side, 3)
        for path, person in zip(paths, "abc", strict=True):
            write_face(path, dataclasses.replace(read_face(path), detector=person))
        held = paths[2].read_bytes()
        paths[2].unlink()
        assert use(project, "save-metadata")["faces"] == 2
        paths[2].write_bytes(held)
        side.faceset().records()
        for path in paths:
            write_image(path, read_image(path))
        assert side.faceset().records() == []
        result = use(project, "restore-metadata")
        assert {k: result[k] for k in ("from_meta", "from_index", "left")} == {
            "from_meta": 2,
            "from_index": 1,
            "left": 0,
        }
        assert [read_face(path).detector for path in paths] == ["a", "b", "c"]
        again = use(project, "restore-metadata")
        assert (again["from_meta"], again["from_index"]) == (0, 0)

    def test_corrections_made_since_can_come_back(self, project: Project, side: SideFiles) -> None:
        paths = fill_side(side, 3)
        use(project, "save-metadata")
        write_face(paths[0], dataclasses.replace(read_face(paths[0]), detector="by hand"))
        side.faceset().set_persons({paths[0].name: 4}, "looks")
        before = bytes_of(side.aligned_dir)
        with pytest.raises(StopRequested):
            use(project, "restore-metadata", context(project, stop_requested=stop_after(1)))
        assert bytes_of(side.aligned_dir) == before
        job = context(project, "restoring")
        assert use(project, "restore-metadata", job)["from_meta"] == 3
        assert read_face(paths[0]).detector == "drawn"
        assert not (side.aligned_dir / "meta.dat").exists()
        take_back(job.job_dir, side)
        assert bytes_of(side.aligned_dir) == before
        assert side.faceset().persons() == {paths[0].name: 4}

    def test_data_that_is_there_already_changes_nothing(self, project: Project, side: SideFiles) -> None:
        fill_side(side, 2)
        use(project, "save-metadata")
        assert use(project, "restore-metadata")["from_meta"] == 2
        assert side.faceset().trash_batches() == []

    def test_golden_meta(self, project: Project, side: SideFiles, golden: Path) -> None:
        side.aligned_dir.mkdir(parents=True)
        shutil.copy(golden / "meta.dat", side.aligned_dir)
        names = []
        for path in (golden / "dfl_faceset").glob("*.jpg"):
            write_image(side.aligned_dir / path.name, read_image(path))
            names.append(path.name)
        result = use(project, "restore-metadata")
        assert (result["from_meta"], result["left"]) == (6, 6)
        for record in side.faceset().records():
            original = read_face(golden / "dfl_faceset" / record.path.name)
            assert np.array_equal(record.face.landmarks, original.landmarks)


class TestPng:
    """PNG faces of DeepFaceLab 1."""

    def make(self, side: SideFiles) -> None:
        side.aligned_dir.mkdir(parents=True, exist_ok=True)
        (side.aligned_dir / "00012_0.png").write_bytes(png(pickle.dumps(dictionary(), 3), 64))
        (side.aligned_dir / "bare.png").write_bytes(png(None))
        (side.aligned_dir / "odd.png").write_bytes(png(pickle.dumps([1], 3)))

    def test_converted_with_their_data(self, project: Project, side: SideFiles) -> None:
        self.make(side)
        (side.aligned_dir / "00012_0.jpg").write_bytes(fill_side(project.side("dst"), 1)[0].read_bytes())
        before = bytes_of(side.aligned_dir)
        job = context(project)
        result = use(project, "png-to-jpg", job)
        assert (result["converted"], result["without_data"], result["left"]) == (1, 1, 1)
        assert set(bytes_of(side.aligned_dir)) == {"00012_0.jpg", "00012_0_1.jpg", "bare.png", "odd.png"}
        made = side.aligned_dir / "00012_0_1.jpg"
        assert read_face(made).source_filename == "clip_00012.png"
        assert jpeg.read_payload(made.read_bytes()) == pickle.dumps(dictionary(), 3)
        assert np.abs(read_image(made).astype(int) - 90).max() < 3
        take_back(job.job_dir, side)
        assert bytes_of(side.aligned_dir) == before

    def test_none_and_a_stop(self, project: Project, side: SideFiles) -> None:
        with pytest.raises(BadInputError, match="no PNG"):
            use(project, "png-to-jpg")
        self.make(side)
        before = bytes_of(side.aligned_dir)
        with pytest.raises(StopRequested):
            use(project, "png-to-jpg", context(project, stop_requested=stop_after(1)))
        assert bytes_of(side.aligned_dir) == before


class TestPictures:
    """Debug images and masks in folders beside the faces."""

    def test_landmarks_on_darkened_faces(self, project: Project, side: SideFiles) -> None:
        paths = fill_side(side, 2)
        before = bytes_of(side.aligned_dir)
        result = use(project, "debug-images")
        assert (result["pictures"], result["folder"]) == (2, "data_src/aligned_landmarks")
        assert bytes_of(side.aligned_dir) == before
        drawn, face = read_image(side.frames_dir / "aligned_landmarks" / "00001_0.jpg"), read_face(paths[0])
        picture = read_image(paths[0])
        inside = hull_mask((128, 128), face.landmarks) > 0
        apart = np.ones((128, 128), np.uint8)
        for x, y in face.landmarks:
            cv2.circle(apart, (round(x), round(y)), 12, 0, -1)
        plain = cv2.erode((inside & (apart > 0)).astype(np.uint8), np.ones((3, 3))) > 0
        assert plain.sum() > 50
        assert np.abs(drawn[plain].astype(int) - picture[plain] // 2).mean() < 12
        assert np.abs(drawn[:10].astype(int) - picture[:10]).mean() < 6
        assert drawn[inside][:, 1].max() > 200

    def test_masks_of_the_right_size_by_what_is_known(self, project: Project, side: SideFiles) -> None:
        paths = fill_side(side, 4)
        faces = [read_face(path) for path in paths]
        half = np.zeros((64, 64), np.uint8)
        half[:32] = 255
        write_face(paths[0], dataclasses.replace(faces[0], xseg_mask=encode_mask(half)))
        square = np.float32([[10, 10], [50, 10], [50, 50], [10, 50]])
        hole = np.float32([[20, 20], [30, 20], [30, 30], [20, 30]])
        write_face(paths[1], dataclasses.replace(faces[1], seg_ie_polys=((1, square), (0, hole))))
        write_face(paths[3], dataclasses.replace(faces[3], landmarks=faces[3].landmarks + 5000))
        result = use(project, "export-masks")
        assert {k: result[k] for k in ("masks", "xseg", "polygons", "hull", "without", "unreadable")} == {
            "masks": 3,
            "xseg": 1,
            "polygons": 1,
            "hull": 1,
            "without": 1,
            "unreadable": 0,
        }
        folder = side.frames_dir / "aligned_masks"
        assert sorted(path.name for path in folder.iterdir()) == ["00001_0.png", "00002_0.png", "00003_0.png"]
        xseg, polygons, hull = (read_image(folder / f"0000{n}_0.png", None) for n in (1, 2, 3))
        assert xseg.shape == polygons.shape == hull.shape == (128, 128)
        assert (xseg[:60].min(), xseg[68:].max()) == (255, 0)
        assert (polygons[15, 15], polygons[25, 25], polygons[60, 60]) == (255, 0, 0)
        assert np.array_equal(hull > 0, hull_mask((128, 128), faces[2].landmarks) > 0)

    def test_made_anew_each_time_and_kept_on_a_stop(self, project: Project, side: SideFiles) -> None:
        paths = fill_side(side, 3)
        use(project, "export-masks")
        side.faceset().trash([paths[0].name])
        folder = side.frames_dir / "aligned_masks"
        with pytest.raises(StopRequested):
            use(project, "export-masks", context(project, stop_requested=stop_after(1)))
        assert len(list(folder.iterdir())) == 3
        use(project, "export-masks")
        assert sorted(path.name for path in folder.iterdir()) == ["00002_0.png", "00003_0.png"]
        assert not list(side.frames_dir.glob(".staged-*"))

    def test_faces_of_one_stem(self, project: Project, side: SideFiles) -> None:
        (path,) = fill_side(side, 1)
        shutil.copy(path, path.with_suffix(".jpeg"))
        use(project, "export-masks")
        assert len(list((side.frames_dir / "aligned_masks").iterdir())) == 2


@pytest.mark.parametrize(
    "action", ["original-names", "measure", "debug-images", "export-masks", "pack", "save-metadata"]
)
def test_without_faces(project: Project, action: str) -> None:
    with pytest.raises(BadInputError):
        use(project, action)


def test_pictures_offer_no_undo(project: Project, side: SideFiles) -> None:
    fill_side(side, 1)
    job = context(project)
    use(project, "export-masks", job)
    assert not can_undo(job.job_dir, side)
