"""The warm child that corrects faces by hand: ``python -m backend.jobs.face_child WORKSPACE``.

A request is {"id", "project", "side", "fix"}, where "fix" is a FixRequest; the answer {"id", "ok": true, "names",
"seconds"}. {"id", "load", "device"} only loads a landmarker. See backend.jobs.warm_serve.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from backend.core.fixing import FixRequest
from backend.environment import weights_folder
from backend.jobs.warm_serve import WarmServer, child_main
from backend.pipeline.fix_session import FixSession, Landmarkers
from backend.storage.weights import default_folder
from backend.storage.workspace import Workspace


class FaceServer(WarmServer):
    """Answers requests with landmarkers and the last side kept loaded.

    Args:
        workspace: whose projects.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._landmarkers = Landmarkers(weights_folder() or default_folder(workspace.root))
        self._session: tuple[tuple[str, str], FixSession] | None = None

    def respond(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Carry one correction out, or load a landmarker for the next one."""
        begun = time.monotonic()
        if "load" in asked:
            if asked["load"] != "none":
                self._landmarkers.get(str(asked["load"]), str(asked["device"]))
            return {"names": [], "seconds": round(time.monotonic() - begun, 3)}
        request = FixRequest.model_validate(asked["fix"])
        done = self._of(str(asked["project"]), str(asked["side"])).fix(request)
        return {"names": list(done.names), "seconds": round(time.monotonic() - begun, 3)}

    def _of(self, project: str, side: str) -> FixSession:
        if self._session is None or self._session[0] != (project, side):
            session = FixSession(self._workspace.open(project).side(side), self._landmarkers)
            self._session = ((project, side), session)
        return self._session[1]


if __name__ == "__main__":
    sys.exit(child_main(sys.argv[1:], FaceServer))
