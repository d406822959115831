"""The preview's warm child: ``python -m backend.jobs.warm_child WORKSPACE`` answers one merged frame per request.

A request is {"id", "project", "settings", "frame"}: settings of a merge, the frame from 0. The answer is {"id", "ok":
true, "before", "after", "mask", "alpha", "faces", "seconds"}; see backend.jobs.warm_serve and backend.jobs.warm.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backend.core.settings import MergeSettings
from backend.jobs.warm_serve import WarmServer, child_main
from backend.pipeline.merge_session import (
    KEPT_PICTURES,
    FacePreview,
    FramePreview,
    MergeSession,
    UInt8,
    over_checkerboard,
)
from backend.pipeline.model_shelf import ModelShelf
from backend.storage.image import write_image
from backend.storage.workspace import Project, Workspace

JPEG_QUALITY = 92
KEPT_RENDERS = 24
"""Several browser tabs look at their own last picture; this many renders stay on disk for them."""
KEPT_PROJECTS = 3


@dataclass
class _Open:
    """A project that was looked at, and where the frames as they were lie: index -> (picture, file)."""

    session: MergeSession
    befores: dict[int, tuple[UInt8, Path]] = field(default_factory=dict)


class PreviewServer(WarmServer):
    """Answers requests with the models of the last ones kept loaded.

    Args:
        workspace: whose projects.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._shelf = ModelShelf()
        self._open: dict[Path, _Open] = {}
        self._version = int(time.time() * 1000)
        self._writers = ThreadPoolExecutor(4)

    def respond(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Render one frame."""
        begun = time.monotonic()
        settings = MergeSettings.model_validate(asked["settings"])
        project = self._workspace.open(str(asked["project"]))
        frame = int(asked["frame"])
        opened = self._opened(project)
        preview = opened.session.render(frame, settings)
        paths = self._write(project.jobs_dir / ".warm", opened, frame, preview)
        faces = [_face(face) for face in preview.faces]
        return {**paths, "faces": faces, "seconds": round(time.monotonic() - begun, 3)}

    def _opened(self, project: Project) -> _Open:
        """The session of a project; those not used for longest are closed."""
        opened = self._open.pop(project.path, None) or _Open(MergeSession(project, self._shelf))
        self._open[project.path] = opened
        for path in list(self._open)[:-KEPT_PROJECTS]:
            del self._open[path]
        return opened

    def _write(self, folder: Path, opened: _Open, frame: int, preview: FramePreview) -> dict[str, str]:
        """Write the pictures that changed, at the same time; name -> path of all."""
        self._version += 1
        folder.mkdir(parents=True, exist_ok=True)
        paths = {name: folder / f"{name}-{self._version}.jpg" for name in ("before", "after", "mask", "alpha")}
        known, known_path = opened.befores.get(frame, (None, paths["before"]))
        work = {
            "after": lambda: preview.after,
            "mask": lambda: preview.mask,
            "alpha": lambda: over_checkerboard(preview.after, preview.mask),
        }
        if known is preview.before and known_path.exists():
            paths["before"] = known_path
        else:
            work["before"] = lambda: preview.before
        list(self._writers.map(lambda name: write_image(paths[name], work[name](), JPEG_QUALITY), work))
        opened.befores = {**opened.befores, frame: (preview.before, paths["before"])}
        for old in list(opened.befores)[:-KEPT_PICTURES]:
            del opened.befores[old]
        _prune(folder, paths)
        return {name: str(path) for name, path in paths.items()}


def _prune(folder: Path, kept: dict[str, Path]) -> None:
    """Remove the oldest pictures of each kind, never one that was just told of."""
    for name, path in kept.items():
        for old in sorted(folder.glob(f"{name}-*.jpg"))[:-KEPT_RENDERS]:
            if old != path:
                old.unlink(missing_ok=True)


def _face(face: FacePreview) -> dict[str, Any]:
    """A face as JSON, see backend.jobs.warm.WarmFace."""
    return {
        "name": face.name,
        "track": face.track,
        "person": face.person,
        "model": face.model,
        "outcome": face.outcome,
        "corners": [] if face.corners is None else face.corners.round(2).tolist(),
        "box": [round(value, 2) for value in face.box_xyxy],
    }


if __name__ == "__main__":
    sys.exit(child_main(sys.argv[1:], PreviewServer))
