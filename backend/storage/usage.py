"""What of a project takes how much disk, and emptying what can be made again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from backend.core.errors import BadInputError
from backend.storage.frames_before import FramesBefore
from backend.storage.workspace import Project

PAGE_CACHE = ".cache"
"""Folder below a project's jobs in which the page keeps thumbnails."""

CLEANABLE: Mapping[str, str] = MappingProxyType(
    {
        "merged": "Merged frames and their masks",
        "trash": "Removed faces of both sides",
        "debug": "Debug images of both sides",
        "pictures": "Landmark pictures and exported masks",
        "cache": "Thumbnails of the page",
    }
)
"""What may be emptied -> its name for people."""


@dataclass(frozen=True)
class Use:
    """Files of one kind and their size."""

    title: str
    files: int
    bytes: int


def usage(project: Project) -> list[Use]:
    """Disk used by each kind of file of a project. Looks at every file once; links are not followed."""
    src, dst = project.side("src"), project.side("dst")
    clips = (path for path in project.path.glob("data_*.*") if path.is_file())
    kinds: list[tuple[str, Iterable[Path]]] = [
        ("Clips", clips),
        ("Frames of the source", _files(src.frames_dir, deep=False)),
        ("Frames of the destination", _files(dst.frames_dir, deep=False)),
        ("Frames as they were before denoising", _all(FramesBefore(side.frames_dir).folder for side in (src, dst))),
        ("Faces of the source", _files(src.aligned_dir)),
        ("Faces of the destination", _files(dst.aligned_dir)),
        *((CLEANABLE[kind], _all(folders(project))) for kind, folders in _FOLDERS.items() if kind != "cache"),
        ("Models", _files(project.model_root)),
        ("Results", _files(project.results_dir)),
        ("Jobs, logs and previews", _files(project.jobs_dir)),
    ]
    return [_sum(title, files) for title, files in kinds]


def clean(project: Project, kind: str) -> int:
    """Delete everything of one cleanable kind and return the bytes freed. BadInputError for another kind."""
    if kind not in _FOLDERS:
        raise BadInputError(f"'{kind}' cannot be cleaned up.", f"Kinds are {', '.join(_FOLDERS)}.")
    freed = 0
    for folder in _FOLDERS[kind](project):
        freed += _sum(kind, _files(folder)).bytes
        if folder.is_dir():
            shutil.rmtree(folder)
    return freed


def _merged(project: Project) -> tuple[Path, ...]:
    return project.merged_dir, project.merged_mask_dir


def _trash(project: Project) -> tuple[Path, ...]:
    return project.side("src").trash_dir, project.side("dst").trash_dir


def _debug(project: Project) -> tuple[Path, ...]:
    return project.side("src").debug_dir, project.side("dst").debug_dir


def _pictures(project: Project) -> tuple[Path, ...]:
    src, dst = project.side("src"), project.side("dst")
    return src.landmarks_dir, src.masks_dir, dst.landmarks_dir, dst.masks_dir


def _cache(project: Project) -> tuple[Path, ...]:
    return (project.jobs_dir / PAGE_CACHE,)


_FOLDERS: Mapping[str, Callable[[Project], tuple[Path, ...]]] = MappingProxyType(
    {"merged": _merged, "trash": _trash, "debug": _debug, "pictures": _pictures, "cache": _cache}
)


def _all(folders: Iterable[Path]) -> Iterator[Path]:
    for folder in folders:
        yield from _files(folder)


def _files(folder: Path, deep: bool = True) -> Iterator[Path]:
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        found = list(entries)
    for entry in found:
        if entry.is_file(follow_symlinks=False):
            yield Path(entry.path)
        elif deep and entry.is_dir(follow_symlinks=False):
            yield from _files(Path(entry.path))


def _sum(title: str, files: Iterable[Path]) -> Use:
    count = size = 0
    for path in files:
        try:
            size += path.lstat().st_size
        except FileNotFoundError:
            continue
        count += 1
    return Use(title, count, size)
