"""What is merged: frames, faces, rules, motion."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from backend.core.errors import BadInputError
from backend.core.frames import FrameRef
from backend.core.settings import FaceRule, MergeKey, MergeLook, MergeSettings
from backend.pipeline.merge_scene import MergeScene
from backend.storage.frame_table import frame_table_for, save_frame_table
from backend.storage.image import list_images
from backend.storage.workspace import Project
from tests.pipeline.merge_project import FRAMES, add_face, make_destination
from tests.tiny_clips import Clip, gray_of, make_clip


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_destination(tmp_path / "workspace")


BLURRED = MergeSettings(motion_blur=1)


def names(scene: MergeScene, index: int, **settings) -> dict[str, str]:
    return {face.name: face.model for face in scene.plan(index, MergeSettings(**settings)).faces}


def test_frames_come_in_the_order_of_the_table(project: Project) -> None:
    side = project.side("dst")
    table = frame_table_for(side)
    refs = tuple(FrameRef(file=ref.file, index=90 - ref.index, time_s=ref.index / 25) for ref in table.frames[::-1])
    save_frame_table(side, table.model_copy(update={"frames": refs}))
    (side.frames_dir / "00002.png").unlink()
    scene = MergeScene(project)
    assert [frame.stem for frame in scene.frames] == [f"{n:05d}" for n in range(FRAMES, 0, -1)]
    assert [frame.index for frame in scene.frames] == list(range(FRAMES))
    assert scene.frames[0].clip_index == 90 - (FRAMES - 1)
    gone = scene.frames[4]
    assert gone.file is None
    assert gone.time_s == pytest.approx(1 / 25)
    with pytest.raises(BadInputError, match="picture of frame 00002 is gone"):
        scene.picture(4)
    assert scene.plan(4, MergeSettings()).stem == "00002"


def test_pictures_that_are_gone_come_from_the_clip(project: Project) -> None:
    side = project.side("dst")
    table = frame_table_for(side)
    make_clip(project.path / "data_dst.mp4", Clip(frames=FRAMES))
    save_frame_table(side, table)
    for picture in list_images(side.frames_dir):
        picture.unlink()
    scene = MergeScene(project)
    assert scene.clip == project.path / "data_dst.mp4"
    for index in (0, 3, 5):
        assert abs(float(scene.picture(index)[30:, 40:].mean()) - gray_of(index)) < 3


def test_faces_do_not_depend_on_the_sorting(project: Project) -> None:
    side = project.side("dst")
    before = [face.name for face in MergeScene(project).faces_in(0)]
    side.faceset().set_order(sorted(side.faceset().names(), reverse=True), "likeness")
    assert [face.name for face in MergeScene(project).faces_in(0)] == before == ["00001_0.jpg", "00001_1.jpg"]
    assert [face.person for face in MergeScene(project).faces_in(0)] == ["anna", "person 2"]


def test_the_first_rule_that_fits_decides(project: Project) -> None:
    scene = MergeScene(project)
    assert names(scene, 0) == {"00001_0.jpg": "model", "00001_1.jpg": "model"}
    rules = (FaceRule(track=0, model="other"), FaceRule(person="Anna", action="leave"), FaceRule(model="third"))
    assert names(scene, 0, faces=rules) == {"00001_0.jpg": "other", "00001_1.jpg": "third"}
    rules = (FaceRule(person="person 2", action="leave"), FaceRule(track=1, model="never"))
    plan = scene.plan(0, MergeSettings(faces=rules))
    assert [(face.name, face.model) for face in plan.faces] == [("00001_0.jpg", "model")]
    assert plan.left == 1
    both = (FaceRule(track=0, person="person 2", action="leave"),)
    assert scene.plan(0, MergeSettings(faces=both)).left == 0
    assert scene.plan(0, MergeSettings(faces=(FaceRule(action="leave"),))).left == 2
    assert scene.plan(2, MergeSettings()).faces == ()


def test_the_look_is_that_of_the_key_frame(project: Project) -> None:
    scene = MergeScene(project)
    settings = MergeSettings(keys=(MergeKey(frame=3, look=MergeLook(erode_mask=9)),))
    assert [scene.plan(index, settings).look.erode_mask for index in range(4)] == [0, 0, 9, 9]
    with pytest.raises(BadInputError, match="no frame 7"):
        scene.plan(FRAMES, settings)
    with pytest.raises(BadInputError, match="no frame 0"):
        scene.plan(-1, settings)


@pytest.mark.parametrize("tracked", [True, False])
def test_motion_is_that_of_the_same_face(tmp_path: Path, tracked: bool) -> None:
    scene = MergeScene(make_destination(tmp_path / "w", tracked=tracked))
    walking, standing = scene.plan(4, BLURRED).faces
    assert walking.motion.power == pytest.approx(8, abs=0.1)
    assert walking.motion.angle_deg == pytest.approx(0, abs=1)
    assert standing.motion.power == pytest.approx(0, abs=0.1)
    assert scene.plan(4, MergeSettings()).faces[0].motion.power == 0


def test_a_face_far_away_is_another_one(tmp_path: Path) -> None:
    project = make_destination(tmp_path / "w", tracked=False)
    side = project.side("dst")
    scene = MergeScene(project)
    picture = scene.picture(3)
    for name in ("00004_0.jpg", "00006_0.jpg"):
        (side.aligned_dir / name).unlink()
    far = scene.faces_in(3)[0].landmarks + np.array([60, 0])
    add_face(side.aligned_dir, "00004_0.jpg", "00004.png", picture, far, None)
    assert scene.refresh() is True
    assert scene.plan(4, BLURRED).faces[0].motion.power == 0
    near = far - np.array([48, 0])
    add_face(side.aligned_dir, "00004_0.jpg", "00004.png", picture, near, None)
    scene.refresh()
    assert scene.plan(4, BLURRED).faces[0].motion.power > 5


def test_a_tracked_face_follows_its_track_and_no_other(project: Project) -> None:
    side = project.side("dst")
    scene = MergeScene(project)
    for name in ("00004_0.jpg", "00006_0.jpg"):
        face = scene.faces.by_stem[name[:5]][0]
        add_face(side.aligned_dir, name, f"{name[:5]}.png", scene.picture(3), face.landmarks, 8)
    scene.refresh()
    assert scene.plan(4, BLURRED).faces[0].motion.power == 0


def test_it_is_read_again_only_when_something_changed(project: Project) -> None:
    scene = MergeScene(project)
    assert scene.refresh() is False
    (project.side("dst").aligned_dir / "00001_1.jpg").unlink()
    assert scene.refresh() is True
    assert [face.name for face in scene.faces_in(0)] == ["00001_0.jpg"]
    assert scene.refresh() is False
    os.utime(project.side("dst").frames_dir, (1, 1))
    assert scene.refresh() is True
    clip = make_clip(project.path / "data_dst.mp4", Clip(frames=FRAMES))
    assert scene.refresh() is True
    assert scene.refresh() is False
    os.utime(clip, (1, 1))  # another one of the same name
    assert scene.refresh() is True


def test_what_is_missing_is_said(project: Project) -> None:
    side, scene = project.side("dst"), MergeScene(project)
    for face in side.aligned_dir.glob("*.jpg"):
        face.unlink()
    for _ in range(2):
        with pytest.raises(BadInputError, match="no destination faces"):
            scene.refresh()
    (side.aligned_dir / "faceset.pak").write_bytes(b"packed")
    with pytest.raises(BadInputError, match=r"All destination faces are in faceset.pak. Unpack"):
        MergeScene(project)
    for picture in list_images(side.frames_dir):
        picture.unlink()
    with pytest.raises(BadInputError, match="no destination frames"):
        MergeScene(project)
