"""Projects: ours and DeepFaceLab's, their names, their clips, and what their status costs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from backend.core.errors import BadInputError, DamagedFileError, DiskFullError
from backend.storage import atomic
from backend.storage import project as project_module
from backend.storage.atomic import write_json
from backend.storage.workspace import Project, Workspace
from tests.storage.faces import fill, names_in
from tests.storage.test_atomic import Usage


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """An empty workspace."""
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def project(workspace: Workspace) -> Project:
    """An empty project."""
    return workspace.create("my film", "Both agreed.", "a note")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A file named like a video, outside the workspace."""
    path = tmp_path / "Clip one.MP4"
    path.write_bytes(b"video" * 100)
    return path


def test_create_open_list(workspace: Workspace) -> None:
    assert workspace.projects() == []
    made = workspace.create("film_2.b", "Both agreed.")
    workspace.create("Anna", "", "n")
    assert workspace.projects() == ["Anna", "film_2.b"]
    assert workspace.open("film_2.b") is made
    info = Workspace(workspace.root).open("film_2.b").info()
    assert (info.name, info.consent, info.notes, info.version) == ("film_2.b", "Both agreed.", "", 1)
    assert info.created.startswith("20")
    made.set_consent("Anna agreed.")
    made.set_notes("later")
    assert Workspace(workspace.root).open("film_2.b").consent == "Anna agreed."
    assert made.info().created == info.created


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "a/b", "a\\b", "../x", "a\0b", " a", "a ", "a.", "x" * 81, "weights", "con",
             "incoming", "model", "data_src", "-a", "Nul.txt", "a\n", "a:b"]
)  # fmt: skip
def test_names_that_are_no_plain_folder_names(workspace: Workspace, name: str) -> None:
    with pytest.raises(BadInputError):
        workspace.create(name, "")
    with pytest.raises(BadInputError):
        workspace.open(name)
    assert names_in(workspace.root) == []


def test_a_taken_name_is_refused(workspace: Workspace, project: Project) -> None:
    (workspace.root / "other").mkdir()
    (workspace.root / "other" / "file").touch()
    for name in ("my film", "MY Film", "other"):
        with pytest.raises(BadInputError, match="already"):
            workspace.create(name, "")
    (workspace.root / "empty").mkdir()
    assert workspace.create("empty", "").info().name == "empty"
    assert project.consent == "Both agreed."


def test_a_missing_project_names_the_others(workspace: Workspace, project: Project) -> None:
    with pytest.raises(BadInputError, match="my film"):
        workspace.open("their film")


@pytest.mark.parametrize("thing", ["data_src/", "data_dst/aligned/", "model/", "data_src.mp4", "data_dst.MKV"])
def test_a_deepfacelab_workspace_opens_as_it_is(workspace: Workspace, thing: str) -> None:
    folder = workspace.root / "Old [2019]"
    target = folder / thing
    target.mkdir(parents=True) if thing.endswith("/") else (folder.mkdir(), target.touch())
    assert workspace.projects() == ["Old [2019]"]
    old = workspace.open("Old [2019]")
    before = sorted(folder.rglob("*"))
    assert old.consent == ""
    assert old.info().created == ""
    old.status()
    assert sorted(folder.rglob("*")) == before
    old.set_consent("Agreed.")
    assert workspace.open("Old [2019]").consent == "Agreed."


def test_the_workspace_folder_itself_may_be_one(tmp_path: Path) -> None:
    root = tmp_path / "dfl"
    fill(root / "data_src" / "aligned", 2)
    (root / "data_dst.mp4").write_bytes(b"x")
    workspace = Workspace(root)
    assert workspace.projects() == ["dfl"]
    project = workspace.open("dfl")
    assert project.path == root
    assert project.status().src.faces == 2
    assert Workspace(tmp_path).open("dfl").path == root
    with pytest.raises(BadInputError, match="by hand"):
        workspace.delete("dfl", "dfl")
    workspace.create("new", "")
    assert workspace.projects() == ["dfl", "new"]


def test_other_folders_are_no_projects(workspace: Workspace) -> None:
    for name in ("weights/model", "incoming/data_src", ".cache/data_src", "photos/summer"):
        (workspace.root / name).mkdir(parents=True)
    (workspace.root / "data_src.txt").touch()
    assert workspace.projects() == []


def test_deleting_needs_the_name(workspace: Workspace, project: Project) -> None:
    (project.path / "data_src" / "00001.png").touch()
    for typed in ("", "my Film", "yes"):
        with pytest.raises(BadInputError, match="Nothing was deleted"):
            workspace.delete("my film", typed)
    workspace.delete("my film", "my film")
    assert names_in(workspace.root) == []
    with pytest.raises(BadInputError):
        workspace.open("my film")
    assert workspace.create("my film", "").status().src.frames == 0


def test_a_linked_project_is_not_deleted(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "elsewhere" / "data_src").mkdir(parents=True)
    (workspace.root / "film").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadInputError, match="by hand"):
        workspace.delete("film", "film")
    assert (tmp_path / "elsewhere" / "data_src").exists()


def test_paths_outside_are_refused(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "secret.mp4").touch()
    (workspace.root / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    (workspace.root / "folder").symlink_to(tmp_path)
    for path in (
        "/etc/passwd",
        "..",
        "../secret.mp4",
        "link.mp4",
        "folder/secret.mp4",
        "a/../../x",
        "a\0b",
        "~/../x" * 900,
    ):
        if not path.startswith("~"):
            with pytest.raises(BadInputError):
                workspace.resolve_inside(path)
    inside = workspace.root / "incoming" / "clip.mp4"
    assert workspace.resolve_inside(inside) == inside
    assert workspace.resolve_inside("incoming/../incoming/clip.mp4") == inside
    assert workspace.resolve_inside(Path("film.v2")) == workspace.root / "film.v2"


def test_a_damaged_project_file_is_kept(project: Project) -> None:
    (project.path / "project.json").write_text('{"name": [')
    with pytest.raises(DamagedFileError, match=r"project\.json"):
        project.info()
    assert project.consent == ""
    project.set_consent("Agreed again.")
    assert project.consent == "Agreed again."
    assert (project.path / "project.json.damaged").read_text() == '{"name": ['


# -- clips


@pytest.mark.parametrize("same_disk", [True, False])
def test_bringing_a_clip_in(project: Project, clip: Path, monkeypatch: pytest.MonkeyPatch, same_disk: bool) -> None:
    if not same_disk:
        monkeypatch.setattr(project_module.os, "link", _no_link)
    target = project.import_video("src", clip)
    assert target == project.path / "data_src.mp4" == project.side("src").video
    assert target.read_bytes() == clip.read_bytes()
    assert project.side("dst").video is None
    assert project.import_video("src", target) == target
    second = clip.with_name("two.mov")
    second.write_bytes(b"second")
    assert project.import_video("src", second) == project.path / "data_src.mov" == project.side("src").video
    third = clip.with_name("three.mov")
    third.write_bytes(b"third")
    project.import_video("src", third)
    videos = {p.name: p.read_bytes()[:6] for p in project.path.iterdir() if p.is_file() and p.name != "project.json"}
    assert videos == {
        "data_src.mov": b"third",
        "data_src.previous.mov": b"second",
        "data_src.previous-2.mp4": b"videov",
    }


def _no_link(*_: object) -> None:
    raise OSError(18, "other disk")


def test_clips_that_are_none(project: Project, tmp_path: Path, clip: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.txt").write_text("x")
    for path, reason in ((tmp_path / "empty.mp4", "zero bytes"), (tmp_path / "text.txt", "not named"),
                         (tmp_path / "gone.mp4", "no file"), (tmp_path, "no file")):  # fmt: skip
        with pytest.raises(BadInputError, match=reason):
            project.import_video("src", path)
    with pytest.raises(BadInputError, match="side"):
        project.import_video("both", clip)


def test_a_full_disk_keeps_the_old_clip(project: Project, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project.import_video("src", clip)
    before = names_in(project.path)
    monkeypatch.setattr(project_module.os, "link", _no_link)
    monkeypatch.setattr(atomic.shutil, "disk_usage", lambda path: Usage(1 << 40, 0, 1 << 20))
    other = clip.with_name("b.mp4")
    other.write_bytes(b"b")
    with pytest.raises(DiskFullError):
        project.import_video("src", other)
    assert names_in(project.path) == before


# -- where things are, and status


def test_layout(project: Project) -> None:
    dst = project.side("dst")
    assert dst.frames_dir == project.path / "data_dst"
    assert dst.aligned_dir == project.path / "data_dst" / "aligned"
    assert dst.trash_dir == project.path / "data_dst" / "aligned_trash"
    assert dst.debug_dir == project.path / "data_dst" / "aligned_debug"
    assert dst.frame_table_path.parent == dst.frames_dir
    assert project.merged_dir == project.path / "data_dst" / "merged"
    assert project.merged_mask_dir == project.path / "data_dst" / "merged_mask"
    assert project.model_dir("a b") == project.path / "model" / "a b"
    assert dst.faceset() is project.side("dst").faceset()
    for name in ("../x", "", ".x", "a/b"):
        with pytest.raises(BadInputError):
            project.model_dir(name)


def test_status_counts_what_is_there(project: Project, clip: Path) -> None:
    empty = project.status()
    assert (empty.src.video, empty.src.frames, empty.models, empty.merged, empty.results) == (None, 0, (), 0, 0)
    project.import_video("src", clip)
    src, dst = project.side("src"), project.side("dst")
    for number in range(1, 5):
        (src.frames_dir / f"{number:05d}.png").touch()
    fill(src.aligned_dir, 3)
    src.faceset().trash(["00003_0.jpg"])
    for folder, name in (
        (project.merged_dir, "1.png"),
        (project.results_dir, "r.mp4"),
        (project.results_dir, "r.json"),
    ):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (project.model_root / "a" / "generations").mkdir(parents=True)
    (project.model_root / "not one").mkdir()
    (project.model_root / "b").mkdir()
    write_json(project.model_root / "b" / "model.json", {"model_class": "saehd", "settings": {}, "iteration": 7})
    status = project.status()
    assert (status.src.frames, status.src.faces, status.src.trashed) == (4, 2, 1)
    assert status.src.video_bytes == 500
    assert status.src.frames_without_face is None
    assert [(m.name, m.iteration) for m in status.models] == [("a", 0), ("b", 7)]
    assert project.models() == ["a", "b"]
    assert (status.merged, status.results) == (1, 1)
    assert [p.name for p in project.results()] == ["r.mp4"]
    assert status.dst.frames == 0
    assert dst.frames_without_face() == []
    assert src.frames_without_face() == ["00003.png", "00004.png"]
    assert project.status().src.frames_without_face == 2


def test_status_follows_changes_and_counts_settled_folders_once(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = project.side("src").frames_dir
    for number in range(3):
        (frames / f"{number}.png").touch()
        assert project.status().src.frames == number + 1
    for folder in [project.path, *project.path.rglob("*")]:
        os.utime(folder, (1e9, 1e9))
    assert project.status().src.frames == 3
    (frames / "9.png").touch()
    os.utime(frames, (1e9, 1e9))
    assert project.status().src.frames == 3
    os.utime(frames, (2e9, 2e9))
    assert project.status().src.frames == 4


def test_it_loads_neither_torch_nor_opencv() -> None:
    code = "import sys, backend.storage.workspace; sys.exit('torch' in sys.modules or 'cv2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
