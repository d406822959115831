"""What exported files are: read beside the page, kept until they change."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backend.core.errors import LookalikeError
from backend.core.frames import VideoInfo
from backend.core.provenance import DIGITAL_SOURCE_TYPE
from backend.storage.image import list_images
from backend.storage.project import Project
from backend.storage.results import read_sidecar, sidecar_path
from backend.storage.video_mark import read_xmp
from ui_tabs.gallery import modified
from ui_tabs.labels import choice_label

KEPT = 256
PATIENCE_S = 0.5
"""So long the page waits for files it sees for the first time, seconds."""
POSTER_PX = 640
PICTURES_SHOWN = 3
HEAD_BYTES = 1 << 18
"""Tags of the kinds of file without XMP stand at their beginning."""
BROWSER_CODECS = ("h264", "av1", "vp9", "vp8")
BROWSER_CONTAINERS = ("mp4", "webm")


@dataclass(frozen=True)
class Look:
    """What was read of a result.

    Attributes:
        info: what was probed; None for a folder of pictures.
        fault: why it cannot be used, "" when it can.
        format: container and codec, for people.
        marked: whether the file itself carries the digital source type.
        sidecar: content of the sidecar, empty when there is none.
        bytes, modified: size and unix time.
        count: pictures of a folder.
        pictures: some of them, or one frame of a video that no browser plays.
    """

    info: VideoInfo | None = None
    fault: str = ""
    format: str = ""
    marked: bool = False
    sidecar: Mapping[str, Any] = field(default_factory=dict)
    bytes: int = 0
    modified: float = 0.0
    count: int = 0
    pictures: tuple[Path, ...] = ()


class ResultFiles:
    """The files that were looked at. Shared by all browser tabs.

    Args:
        patience_s: see PATIENCE_S.
    """

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="results")
        self._known: dict[Any, Future[Look]] = {}

    def look(self, project: Project, paths: Sequence[Path]) -> dict[Path, Look]:
        """What is known of the files by now; the others are being read."""
        with self._lock:
            if len(self._known) > KEPT + len(paths):
                self._known.clear()
            asked = {path: self._ask(project, path) for path in paths}
        wait(asked.values(), timeout=self._patience_s)
        return {path: future.result() for path, future in asked.items() if future.done()}

    def known(self, path: Path) -> bool:
        """Whether a file was read as it is now."""
        with self._lock:
            future = self._known.get(_stamp(path))
        return future is not None and future.done()

    def forget(self, project: Project, path: Path) -> None:
        """Remove what was kept of a result that is about to be deleted."""
        _poster_path(project, path).unlink(missing_ok=True)
        with self._lock:
            self._known.pop(_stamp(path), None)

    def _ask(self, project: Project, path: Path) -> Future[Look]:
        stamp = _stamp(path)
        if stamp not in self._known:
            self._known[stamp] = self._pool.submit(read_result, project, path)
        return self._known[stamp]


def read_result(project: Project, path: Path) -> Look:
    """Read a result. Never raises: what is wrong becomes its fault."""
    try:
        return _read_folder(path) if path.is_dir() else _read_file(project, path)
    except (LookalikeError, OSError) as error:
        return Look(fault=str(error), modified=modified(path) / 1e9)


def container_of(path: Path) -> str:
    """Kind of file by its name: "mp4", "mkv"; "" for a folder."""
    return path.suffix.lower().removeprefix(".")


def plays(path: Path, info: VideoInfo, sidecar: Mapping[str, Any]) -> bool:
    """Whether a browser can be expected to play a video: H.264 as RGB, as it is kept without loss, none does."""
    watchable = info.codec in BROWSER_CODECS and sidecar.get("lossless") is not True
    return watchable and container_of(path) in BROWSER_CONTAINERS


def _read_file(project: Project, path: Path) -> Look:
    from backend.storage.video import probe

    stat, sidecar = path.stat(), read_sidecar(path)
    facts = {"bytes": stat.st_size, "modified": stat.st_mtime, "sidecar": sidecar, "marked": _marked(path)}
    try:
        info = probe(path)
    except LookalikeError as error:
        return Look(fault=str(error), **facts)
    container = container_of(path)
    codec = {"hevc": "h265", "prores": "prores4444"}.get(info.codec, info.codec)
    kind = {"webm": "WebM"}.get(container, container.upper())
    name = kind if container == codec else f"{kind}, {choice_label('codec', codec)}"
    shown = () if container == "gif" or plays(path, info, sidecar) else _poster(project, path, info)
    return Look(info=info, format=name, pictures=shown, **facts)


def _read_folder(path: Path) -> Look:
    pictures = list_images(path)
    spread = [pictures[round(i * (len(pictures) - 1) / max(1, PICTURES_SHOWN - 1))] for i in range(PICTURES_SHOWN)]
    with os.scandir(path) as entries:
        total = sum(entry.stat().st_size for entry in entries)
    return Look(
        format="PNG pictures",
        marked=_marked(pictures[0]),
        sidecar=read_sidecar(path),
        bytes=total,
        modified=path.stat().st_mtime,
        count=len(pictures),
        pictures=tuple(dict.fromkeys(spread)),
    )


def _marked(path: Path) -> bool:
    """Whether a file carries the digital source type, in its XMP or in the tags at its beginning."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    return DIGITAL_SOURCE_TYPE.encode("ascii") in head or DIGITAL_SOURCE_TYPE in read_xmp(path)


def _poster(project: Project, path: Path, info: VideoInfo) -> tuple[Path, ...]:
    """A frame of the video as a small picture; nothing when none can be decoded."""
    from backend.storage.image import write_image
    from backend.storage.video import frame_near

    target = _poster_path(project, path)
    if not target.exists():
        try:
            _, picture = frame_near(path, min(1.0, info.duration_s / 2), POSTER_PX)
        except LookalikeError:
            return ()
        target.parent.mkdir(parents=True, exist_ok=True)
        write_image(target, picture, quality=85)
    return (target,)


def _poster_path(project: Project, path: Path) -> Path:
    stamp = hashlib.sha1(repr(_stamp(path)).encode(), usedforsecurity=False).hexdigest()
    return project.jobs_dir / ".cache" / "results" / f"{stamp}.jpg"


def _stamp(path: Path) -> tuple[Path, int, int]:
    return path, modified(path), modified(sidecar_path(path))
