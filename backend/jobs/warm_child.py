"""The warm child: ``python -m backend.jobs.warm_child WORKSPACE`` answers one merged frame per line of stdin.

A request is one line of JSON: {"id", "project", "settings", "frame"}. The answer is one line: {"id", "ok": true,
"before", "after", "mask", "seconds"} or {"id", "ok": false, "error"}. It ends when stdin closes or after a while
without a request.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from pydantic import ValidationError

from backend.core.errors import LookalikeError
from backend.core.settings import MergeSettings
from backend.jobs.store import one_line
from backend.pipeline.merge import FramePreview, MergeSession
from backend.storage.image import write_image
from backend.storage.model_folder import ModelFolder
from backend.storage.workspace import Project, Workspace

IDLE_S = 600.0
JPEG_QUALITY = 92
KEPT_RENDERS = 24
"""Several browser tabs look at their own last picture; this many renders stay on disk for them."""


@dataclass(frozen=True)
class _Loaded:
    """A session, what its model was loaded from, and the state of the folders it has read."""

    model: object
    folders: object
    session: MergeSession


class PreviewServer:
    """Answers requests with the last used model kept loaded.

    Args:
        workspace: whose projects.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._loaded: _Loaded | None = None
        self._version = int(time.time() * 1000)

    def answer(self, line: str) -> dict[str, Any]:
        """The answer to one line; never raises for a bad request."""
        asked: dict[str, Any] = {}
        try:
            asked = dict(json.loads(line))
            return {"id": asked["id"], "ok": True, **self._render(asked)}
        except LookalikeError as error:
            return {"id": asked.get("id"), "ok": False, "error": str(error)}
        except ValidationError as error:
            return {"id": asked.get("id"), "ok": False, "error": f"{one_line(error)}."}
        except Exception as error:  # noqa: BLE001 - the boundary: the traceback goes to the log
            traceback.print_exc()
            return {"id": asked.get("id"), "ok": False, "error": f"Unexpected error: {type(error).__name__}: {error}"}

    def _render(self, asked: dict[str, Any]) -> dict[str, Any]:
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


def serve(server: PreviewServer, source: TextIO, answers: TextIO, idle_s: float = IDLE_S) -> None:
    """Answer line by line until the source ends or stays silent for too long.

    Args:
        server: does the work.
        source: requests.
        answers: where answers go.
        idle_s: silence after which to end.
    """
    lines: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_read, args=(source, lines), daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=idle_s)
        except queue.Empty:
            return
        if line is None:
            return
        answers.write(json.dumps(server.answer(line)) + "\n")
        answers.flush()


def main(argv: list[str]) -> int:
    """Command line of the child."""
    if len(argv) != 1:
        sys.stderr.write("usage: python -m backend.jobs.warm_child WORKSPACE\n")
        return 2
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)  # whatever a library prints must not come between the answers
        with contextlib.suppress(BrokenPipeError):
            serve(PreviewServer(Workspace(Path(argv[0]))), sys.stdin, answers)
    return 0


def _model_stamp(project: Project, settings: MergeSettings) -> object:
    """Changes with the choice of the model and the device, and when the model was saved again."""
    info = ModelFolder(project.model_dir(settings.model)).info()
    saved = (info.iteration, info.updated) if info else None
    return (str(project.path), settings.model, settings.device, saved)


def _folder_stamp(project: Project) -> object:
    """Changes when files came to or went from the destination's frames or faces."""
    side = project.side("dst")
    return tuple(folder.stat().st_mtime_ns for folder in (side.frames_dir, side.aligned_dir) if folder.exists())


def _read(source: TextIO, lines: queue.Queue[str | None]) -> None:
    for line in source:
        lines.put(line)
    lines.put(None)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
