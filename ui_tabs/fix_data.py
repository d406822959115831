"""What the frame viewer is told about a frame, its faces, its neighbours, and what can refine."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from backend.core.errors import LookalikeError
from backend.core.faces import FILLED, MANUAL, FaceType
from backend.core.settings import ExtractFacesSettings
from backend.environment import weights_folder
from backend.storage.atomic import read_json
from backend.storage.faceset import FaceRecord
from backend.storage.project import Project, SideFiles
from backend.storage.weights import AUTO_ORDER, catalog
from ui_tabs.context import PageContext, View
from ui_tabs.fix_frames import FrameMap
from ui_tabs.gallery import modified, thumbnail

LARGE_PX = 1600
"""Larger frames are shown as a smaller copy."""
SMALL_PX = 128
REFINE_WORDS = (
    ("fan2d", "FAN 2D"),
    ("facemesh", "FaceMesh"),
    ("fan3d", "FAN 3D"),
    ("points5", "five points"),
    ("none", "none"),
)
REPORT_FILE = ".extract.json"

_PATIENCE_S = 0.12
_KEPT = 4000
_UNIT = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], dtype=np.float64)
_UNIT.setflags(write=False)


class FramePictures:
    """URLs of frames and of their small copies, which are made beside the page.

    Args:
        page: the page's context.
    """

    def __init__(self, page: PageContext) -> None:
        self._page = page
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="frame-strip")
        self._lock = threading.Lock()
        self._made: dict[tuple[Path, int], Future[Path | None]] = {}

    def frame(self, project: Project, path: Path) -> dict[str, Any]:
        """frame (file name), url, width, height in pixels of the frame; problem when it cannot be read."""
        try:
            with Image.open(path) as opened:
                width, height = opened.size
        except (OSError, UnidentifiedImageError):
            return {"frame": path.name, "url": "", "width": 16, "height": 9, "problem": f"{path.name} cannot be read."}
        shown = thumbnail(_folder(project), path, LARGE_PX) if max(width, height) > LARGE_PX else path
        url = "" if shown is None else self._page.file_url(shown)
        return {"frame": path.name, "url": url, "width": width, "height": height, "problem": ""}

    def small(self, project: Project, paths: Sequence[Path]) -> list[str]:
        """URLs of small copies; "" for those that are not ready after a moment."""
        keys = [(path, modified(path)) for path in paths]
        with self._lock:
            if len(self._made) > _KEPT:
                self._made.clear()
            for key in keys:
                if key not in self._made:
                    self._made[key] = self._pool.submit(thumbnail, _folder(project), key[0], SMALL_PX)
            futures = [self._made[key] for key in keys]
        wait(futures, _PATIENCE_S)
        made = [future.result() if future.done() else None for future in futures]
        return ["" if file is None else self._page.file_url(file, 1) for file in made]

    def ready(self, paths: Sequence[Path]) -> int:
        """How many of these small copies are there."""
        keys = [(path, modified(path)) for path in paths]
        with self._lock:
            return sum(key in self._made and self._made[key].done() for key in keys)


def face_json(record: FaceRecord) -> dict[str, Any]:
    """A face as the viewer draws it, in pixels of the frame."""
    face = record.face
    quad: list[Any] = []
    if face.image_to_face_mat is not None:
        turn, shift = face.image_to_face_mat[:, :2], face.image_to_face_mat[:, 2]
        quad = _rounded((_UNIT * _side(record.path) - shift) @ np.linalg.inv(turn).T)
    origin = {MANUAL: "by hand", FILLED: "filled"}.get(face.origin, "")
    score = "" if face.score is None else f"{face.score:.2f}"
    return {
        "name": record.path.name,
        "seen": str(modified(record.path)),
        "points": _rounded(face.source_landmarks),
        "box": [int(v) for v in face.source_rect],
        "quad": quad,
        "origin": face.origin,
        "label": " ".join(part for part in (record.path.stem, origin, score) if part),
    }


def extraction_values(page: PageContext, view: View, side: SideFiles, frames: FrameMap, at: int) -> dict[str, Any]:
    """Face type, size, quality and device for new faces: those of the nearest face, else of the last extraction."""
    found = page.last_settings(view, "extract-faces", ExtractFacesSettings, {"side": side.name})
    last = found if isinstance(found, ExtractFacesSettings) else ExtractFacesSettings()
    values = {key: getattr(last, key) for key in ("face_type", "image_size", "jpeg_quality", "device")}
    try:
        report = read_json(side.aligned_dir / REPORT_FILE)
        values |= {"face_type": str(report["face_type"]), "image_size": int(report["image_size"])}
    except (OSError, LookalikeError, KeyError, TypeError, ValueError):
        pass
    near = next((n for n in (*range(at, -1, -1), *range(at, len(frames.frames))) if _with_crop(frames.of(n))), None)
    records = [] if near is None else _with_crop(frames.of(near))
    if records:
        values |= {"face_type": records[0].face.face_type.letter, "image_size": _side(records[0].path)}
    return values


def refine_choices(page: PageContext) -> list[dict[str, Any]]:
    """value, words, and why it cannot be chosen ("" when it can), best first."""
    known = {choice.name: choice for choice in catalog(_weights(page)) if choice.kind == "landmarker"}
    return [
        {"value": name, "words": words, "why": known[name].how_to_get if name in known else ""}
        for name, words in REFINE_WORDS
    ]


def pick_refine(choices: Sequence[Mapping[str, Any]], wanted: str) -> str:
    """What was chosen when it is present, else the best that is.

    Args:
        choices: see refine_choices().
    """
    present = [choice["value"] for choice in choices if not choice["why"]]
    best = [name for name in AUTO_ORDER["landmarker"] if name in present]
    return wanted if wanted in present else (*best, "none")[0]


def _with_crop(records: Sequence[FaceRecord]) -> list[FaceRecord]:
    return [record for record in records if record.face.face_type is not FaceType.MARK_ONLY]


def _weights(page: PageContext) -> Path:
    return weights_folder() or page.manager.weights_dir


def _folder(project: Project) -> Path:
    folder = project.jobs_dir / ".cache" / "thumbs"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _side(path: Path) -> int:
    """Width of a face picture in pixels, 512 when it cannot be read."""
    try:
        with Image.open(path) as opened:
            return opened.width
    except (OSError, UnidentifiedImageError):
        return 512


def _rounded(points: Any) -> list[list[float]]:
    return np.asarray(points, np.float64).round(2).tolist()
