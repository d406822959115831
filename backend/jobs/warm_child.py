"""The preview's warm child: ``python -m backend.jobs.warm_child WORKSPACE`` answers one merged frame per request.

A request is {"id", "project", "settings", "frame"}, the answer {"id", "ok": true, "before", "after", "mask",
"seconds"}; see backend.jobs.warm_serve.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.core.settings import MergeSettings
from backend.jobs.warm_serve import WarmServer, child_main
from backend.pipeline.merge import FramePreview, MergeSession
from backend.storage.image import write_image
from backend.storage.model_folder import ModelFolder
from backend.storage.workspace import Project, Workspace

JPEG_QUALITY = 92
KEPT_RENDERS = 24
"""Several browser tabs look at their own last picture; this many renders stay on disk for them."""


@dataclass(frozen=True)
class _Loaded:
    """A session, what its model was loaded from, and the state of the folders it has read."""

    model: object
    folders: object
    session: MergeSession


class PreviewServer(WarmServer):
    """Answers requests with the last used model kept loaded.

    Args:
        workspace: whose projects.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._loaded: _Loaded | None = None
        self._version = int(time.time() * 1000)

    def respond(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Render one frame."""
        begun = time.monotonic()
        settings = MergeSettings.model_validate(asked["settings"])
        project = self._workspace.open(str(asked["project"]))
        preview = self._session(project, settings).render(int(asked["frame"]), settings)
        paths = self._write(project.jobs_dir / ".warm", preview)
        return {**paths, "seconds": round(time.monotonic() - begun, 3)}

    def _session(self, project: Project, settings: MergeSettings) -> MergeSession:
        model = _model_stamp(project, settings)
        if self._loaded is None or self._loaded.model != model:
            self._loaded = None
            session = MergeSession(project, settings.model, settings.device)
            self._loaded = _Loaded(model, _folder_stamp(project), session)
        elif self._loaded.folders != _folder_stamp(project):
            self._loaded.session.refresh()
            self._loaded = _Loaded(model, _folder_stamp(project), self._loaded.session)
        return self._loaded.session

    def _write(self, folder: Path, preview: FramePreview) -> dict[str, str]:
        self._version += 1
        folder.mkdir(parents=True, exist_ok=True)
        paths: dict[str, str] = {}
        for name, image in (("before", preview.before), ("after", preview.after), ("mask", preview.mask)):
            path = folder / f"{name}-{self._version}.jpg"
            write_image(path, image, JPEG_QUALITY)
            paths[name] = str(path)
            for old in sorted(folder.glob(f"{name}-*.jpg"))[:-KEPT_RENDERS]:
                old.unlink(missing_ok=True)
        return paths


def _model_stamp(project: Project, settings: MergeSettings) -> object:
    """Changes with the choice of the model and the device, and when the model was saved again."""
    info = ModelFolder(project.model_dir(settings.model)).info()
    saved = (info.iteration, info.updated) if info else None
    return (str(project.path), settings.model, settings.device, saved)


def _folder_stamp(project: Project) -> object:
    """Changes when files came to or went from the destination's frames or faces."""
    side = project.side("dst")
    return tuple(folder.stat().st_mtime_ns for folder in (side.frames_dir, side.aligned_dir) if folder.exists())


if __name__ == "__main__":
    sys.exit(child_main(sys.argv[1:], PreviewServer))
