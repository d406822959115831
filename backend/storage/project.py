"""Where everything of one project lies. The layout is that of a DeepFaceLab workspace, which opens as it is.

::

    <project>/
      project.json                       name, consent statement, created, notes
      data_src.*  data_dst.*             the two videos
      data_src/  data_dst/               frames; .frames.json beside them
      data_src/aligned/  data_dst/aligned/
      data_*/aligned_trash/  data_*/aligned_debug/  data_*/aligned_landmarks/  data_*/aligned_masks/
      data_dst/merged/  data_dst/merged_mask/
      model/<model name>/
      results/
      jobs/<id>/
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from backend.core.errors import BadInputError, DamagedFileError
from backend.core.names import NAME_RULE, is_folder_name
from backend.storage.atomic import MIN_FREE_BYTES, move_over, read_json, replacing, require_free_disk, write_json
from backend.storage.clip_history import set_aside
from backend.storage.faceset import Faceset
from backend.storage.folder_count import FolderCounts
from backend.storage.image import is_image_name, list_images
from backend.storage.model_folder import DFM_FILE, ModelFolder

SideName = Literal["src", "dst"]

VIDEO_SUFFIXES = (
    *(".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".mts", ".m2ts"),
    *(".3gp", ".ogv", ".vob", ".mxf", ".gif"),
)
PROJECT_FILE = "project.json"


class ProjectInfo(BaseModel):
    """project.json. ``created`` is ISO 8601 in UTC, empty for workspaces of other programs."""

    model_config = ConfigDict(frozen=True)

    version: int = 1
    name: str
    consent: str = ""
    created: str = ""
    notes: str = ""


class SideStatus(BaseModel):
    """What lies in the folders of one side.

    Attributes:
        video: the clip, None when there is none; video_bytes its size.
        frames, faces, trashed: numbers of files.
        frames_without_face: None while it is not known without reading the faces.
    """

    model_config = ConfigDict(frozen=True)

    video: Path | None = None
    video_bytes: int = 0
    frames: int = 0
    faces: int = 0
    trashed: int = 0
    frames_without_face: int | None = None


class ModelStatus(BaseModel):
    """One model and how far it has come; 0 iterations before the first save."""

    model_config = ConfigDict(frozen=True)

    name: str
    iteration: int = 0


class ProjectStatus(BaseModel):
    """What a project has; numbers of files unless named otherwise."""

    model_config = ConfigDict(frozen=True)

    src: SideStatus
    dst: SideStatus
    models: tuple[ModelStatus, ...] = ()
    merged: int = 0
    results: int = 0


class SideFiles:
    """Where the files of one side lie.

    Attributes:
        name: "src" or "dst".
        frames_dir: the frames; the other folders lie in it.
        aligned_dir, trash_dir, debug_dir: faces, removed faces, frames with landmarks drawn.
        landmarks_dir, masks_dir: faces with landmarks drawn, exported masks.
        frame_table_path: see backend.storage.frame_table.
    """

    def __init__(self, project: Path, name: SideName) -> None:
        self.name: SideName = name
        self._project = project
        self.frames_dir = project / f"data_{name}"
        self.aligned_dir = self.frames_dir / "aligned"
        self.trash_dir = self.frames_dir / "aligned_trash"
        self.debug_dir = self.frames_dir / "aligned_debug"
        self.landmarks_dir = self.frames_dir / "aligned_landmarks"
        self.masks_dir = self.frames_dir / "aligned_masks"
        self.frame_table_path = self.frames_dir / ".frames.json"
        self._faceset = Faceset(self.aligned_dir, self.trash_dir)

    @property
    def video(self) -> Path | None:
        """The clip: data_src.* or data_dst.* with the suffix of a video; None when there is none."""
        return find_video(self._project, self.name)

    def faceset(self) -> Faceset:
        """The faces of this side; always the same object, so that it reads only what changed."""
        return self._faceset

    def frames_without_face(self) -> list[str]:
        """File names of the frames that no face was found in, in order. Reads the faceset."""
        found = self._faceset.faces_by_frame()
        return [path.name for path in list_images(self.frames_dir) if path.stem not in found]


class Project:
    """One project's folder. Threads may share it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        self.model_root = path / "model"
        self.merged_dir = path / "data_dst" / "merged"
        self.merged_mask_dir = path / "data_dst" / "merged_mask"
        self.results_dir = path / "results"
        self.jobs_dir = path / "jobs"
        self._sides = {"src": SideFiles(path, "src"), "dst": SideFiles(path, "dst")}
        self._counts = FolderCounts()
        self._models: dict[str, tuple[int, int]] = {}

    def side(self, name: str) -> SideFiles:
        """Files of "src" or "dst". BadInputError for another name."""
        if name not in self._sides:
            raise BadInputError(f"There is no side '{name}'.", "The sides are src and dst.")
        return self._sides[name]

    # -- what it is

    def info(self) -> ProjectInfo:
        """What project.json says. DamagedFileError when it cannot be understood."""
        try:
            stored = read_json(self.path / PROJECT_FILE)
            return ProjectInfo.model_validate(stored).model_copy(update={"name": self.name})
        except FileNotFoundError:
            return ProjectInfo(name=self.name)
        except ValidationError as error:
            raise DamagedFileError(
                f"{PROJECT_FILE} of the project '{self.name}' is damaged.", "Write the consent statement again."
            ) from error

    @property
    def consent(self) -> str:
        """The consent statement; empty when none was written yet or project.json is damaged."""
        try:
            return self.info().consent
        except DamagedFileError:
            return ""

    def set_consent(self, consent: str) -> None:
        """Store the consent statement. A damaged project.json is kept beside the new one."""
        self._update(consent=consent)

    def set_notes(self, notes: str) -> None:
        """Store the notes."""
        self._update(notes=notes)

    def _update(self, **changes: str) -> None:
        try:
            info = self.info()
        except DamagedFileError:
            info = ProjectInfo(name=self.name)
            move_over(self.path / PROJECT_FILE, self.path / f"{PROJECT_FILE}.damaged")
        created = info.created or iso_now()
        write_json(self.path / PROJECT_FILE, info.model_copy(update={"created": created, **changes}).model_dump())

    # -- clips, models, results

    def import_video(self, side: str, source: Path) -> Path:
        """Bring a clip in: a second name for the same file on the same disk, else a copy that appears complete.

        A clip that was there before stays, see backend.storage.clip_history.

        Returns:
            the new file.

        Raises:
            BadInputError: no such file, empty, or not named like a video.
            DiskFullError: the copy does not fit.
        """
        files = self.side(side)
        _check_video_file(source)
        target = self.path / f"data_{files.name}{source.suffix.lower()}"
        old = files.video
        if old is not None and old.samefile(source):
            return old
        incoming = self.path / f".{secrets.token_hex(8)}{target.suffix}"
        try:
            _link_or_copy(source.resolve(), incoming)
            if old is not None:
                set_aside(old)
            move_over(incoming, target)
        finally:
            incoming.unlink(missing_ok=True)
        return target

    def model_dir(self, name: str) -> Path:
        """Folder of a model, there or not. BadInputError when the name is no plain folder name."""
        return self.model_root / check_name(name, "model")

    def models(self) -> list[str]:
        """Names of the models, in order."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(self.model_root) as entries:
            folders = [Path(e.path) for e in entries if e.is_dir() and not e.name.startswith(".")]
            known = [f.name for f in folders if (f / "model.json").exists() or (f / "generations").is_dir()]
            return sorted(known, key=str.lower)
        return []

    def trainable_models(self) -> list[str]:
        """Names of the models that can be trained: all but DFM files, which only merge."""
        return [name for name in self.models() if not (self.model_root / name / DFM_FILE).exists()]

    def results(self) -> list[Path]:
        """Exported videos and folders of exported pictures, newest first."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(self.results_dir) as entries:
            found = [(e.stat().st_mtime_ns, Path(e.path)) for e in entries if _is_result(e)]
            return [path for _, path in sorted(found, reverse=True)]
        return []

    def status(self) -> ProjectStatus:
        """What lies in the folders. Cheap: a folder is counted again only after it changed."""
        return ProjectStatus(
            src=self._side_status("src"),
            dst=self._side_status("dst"),
            models=tuple(ModelStatus(name=name, iteration=self._iteration(name)) for name in self.models()),
            merged=self._counts.count(self.merged_dir, is_image_name),
            results=len(self.results()),
        )

    def _side_status(self, name: str) -> SideStatus:
        side = self.side(name)
        video = side.video
        stems = self._counts.stems(side.frames_dir, is_image_name)
        found = side.faceset().known_frames()
        return SideStatus(
            video=video,
            video_bytes=_size(video),
            frames=len(stems),
            faces=self._counts.count(side.aligned_dir, is_image_name),
            trashed=self._counts.count(side.trash_dir, is_image_name),
            frames_without_face=None if found is None else len(stems - found),
        )

    def _iteration(self, model: str) -> int:
        file = self.model_root / model / "model.json"
        try:
            stamp = file.stat().st_mtime_ns
        except OSError:
            stamp = 0
        known = self._models.get(model)
        if known is None or not stamp or known[0] != stamp:
            info = ModelFolder(file.parent).info()
            known = (stamp, info.iteration if info else 0)
            self._models[model] = known
        return known[1]


def check_name(name: str, what: str) -> str:
    """The name, when it can be that of a folder everywhere. BadInputError otherwise; ``what`` is what it names."""
    if not is_folder_name(name):
        raise BadInputError(f"'{name}' cannot be the name of a {what}.", NAME_RULE)
    return name


def is_video_name(name: str) -> bool:
    """Whether a file name has the suffix of a video; hidden files are none."""
    return name.lower().endswith(VIDEO_SUFFIXES) and not name.startswith(".")


def _is_result(entry: os.DirEntry[str]) -> bool:
    """A video, or a folder with a picture in it."""
    if not entry.is_dir():
        return is_video_name(entry.name)
    if entry.name.startswith("."):
        return False
    with contextlib.suppress(OSError), os.scandir(entry.path) as inside:
        return any(is_image_name(picture.name) for picture in inside)
    return False


def find_video(folder: Path, side: SideName) -> Path | None:
    """The clip of a side in a project's folder; None when there is none."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        names = [e.name for e in entries if is_video_name(e.name) and Path(e.name).stem.lower() == f"data_{side}"]
        return folder / min(names) if names else None
    return None


def _check_video_file(source: Path) -> None:
    if not source.is_file():
        raise BadInputError(f"There is no file {source}.", "Check the path.")
    if source.suffix.lower() not in VIDEO_SUFFIXES:
        known = ", ".join(suffix[1:] for suffix in VIDEO_SUFFIXES)
        raise BadInputError(f"{source.name} is not named like a video.", f"Known kinds: {known}.")
    if source.stat().st_size == 0:
        raise BadInputError(f"The video {source.name} is empty (zero bytes).", "Bring it in again.")


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        require_free_disk(target.parent, source.stat().st_size + MIN_FREE_BYTES)
        with source.open("rb") as read, replacing(target) as written:
            shutil.copyfileobj(read, written, 1 << 20)


def _size(path: Path | None) -> int:
    try:
        return path.stat().st_size if path else 0
    except OSError:
        return 0


def iso_now() -> str:
    """The time in UTC, ISO 8601."""
    return datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="seconds")
