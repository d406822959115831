"""The frames and faces of the destination as the Merge tab sees them."""

from __future__ import annotations

import pytest

from backend.core.errors import BadInputError
from backend.storage.frame_table import save_frame_table, table_of_images
from backend.storage.image import list_images
from tests.ui_tabs.fix_project import make_fix_project
from ui_tabs.merge_clip import MergeClips


def read(clips, project):
    """The destination as it is now."""
    clip = None
    while clip is None:
        clip = clips.get(project)
    return clip


@pytest.fixture
def project(tmp_path):
    return make_fix_project(tmp_path)


def test_frames_faces_and_tracks_are_counted_from_one(project):
    clip = read(MergeClips(), project)
    assert (clip.count, clip.stems[0], clip.numbers["00004"]) == (5, "00001", 4)
    assert [face.name for face in clip.faces_of(2)] == ["00002_0.jpg"]
    assert clip.faces_of(3) == clip.faces_of(0) == clip.faces_of(6) == ()
    (group,) = clip.tracks.values()
    assert (group.faces, group.first, group.last) == (4, 1, 5)
    assert clip.persons == {}


def test_persons_are_named_and_the_largest_comes_first(project):
    faceset = project.side("dst").faceset()
    first, *others = faceset.names()
    faceset.set_persons({first: 0, **dict.fromkeys(others, 1)}, "by hand", {0: "Ann"})
    clip = read(MergeClips(), project)
    assert [(name, group.faces, group.first) for name, group in clip.persons.items()] == [
        ("person 2", 3, 2),
        ("Ann", 1, 1),
    ]
    assert clip.tracks[4].person == "person 2"


def test_a_clip_without_its_pictures_keeps_its_frames(project):
    side = project.side("dst")
    save_frame_table(side, table_of_images(side))
    for picture in list_images(side.frames_dir):
        picture.unlink()
    clip = read(MergeClips(), project)
    assert (clip.count, set(clip.files)) == (5, {None})
    assert [face.name for face in clip.faces_of(5)] == ["00005_0.jpg"]


def test_what_changes_is_read_again_but_not_while_a_job_changes_it(project):
    clips = MergeClips()
    before = read(clips, project)
    assert read(clips, project) is before
    side = project.side("dst")
    (side.aligned_dir / "00001_0.jpg").unlink()
    assert clips.get(project, busy=True) is before
    after = before
    while after is before:
        after = read(clips, project)
    assert (after.faces_of(1), len(after.faces_of(2))) == ((), 1)


def test_what_is_not_read_yet_cannot_be_worked_on(project, monkeypatch):
    clips = MergeClips()
    monkeypatch.setattr(clips, "get", lambda project: None)
    with pytest.raises(BadInputError, match="being read"):
        clips.need(project)
