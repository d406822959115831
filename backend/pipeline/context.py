"""What a stage is given: its project, its job folder, a way to report and a way to be stopped.

A stage is a function ``run(settings, ctx) -> dict`` whose result is JSON. It knows neither page nor job manager.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backend.core.errors import StopRequested
from backend.core.jobs import EventKind
from backend.storage.workspace import Project

Emit = Callable[[EventKind, dict[str, Any]], None]


@dataclass
class StageContext:
    """Surroundings of one running stage.

    Attributes:
        project: where everything is read and written.
        job_dir: folder of this job; previews go to ``job_dir / "previews"``.
        emit: appends one event, see backend.core.jobs.Event for kinds and data.
        stop_requested: True once the user asked to stop.
        take_request: ``take_request("save")`` is True once for every time the user asked for it.
        take_changes: settings the user changed since the last call, by name; they are checked by whoever applies them.
    """

    project: Project
    job_dir: Path
    emit: Emit
    stop_requested: Callable[[], bool] = lambda: False
    take_request: Callable[[str], bool] = lambda name: False
    take_changes: Callable[[], dict[str, Any]] = dict
    _progress_at: float = field(default=0.0, init=False)

    def check_stop(self) -> None:
        """Raise StopRequested when the user asked to stop. Call between units of work."""
        if self.stop_requested():
            raise StopRequested

    def progress(self, done: int, total: int, unit: str, rate: float = 0.0, message: str = "") -> None:
        """Report progress; at most four events a second are written, the last unit always is."""
        now = time.monotonic()
        if now - self._progress_at < 0.25 and done != total:
            return
        self._progress_at = now
        self.emit("progress", {"done": done, "total": total, "unit": unit, "rate": rate, "message": message})

    def log(self, message: str, level: str = "info") -> None:
        """One sentence for the job's log; level is info, warning or error."""
        self.emit("log", {"level": level, "message": message})

    def milestone(self, what: str, message: str, iteration: int = 0, **facts: Any) -> None:
        """Something the user wants to see in the list of events: saved, resumed, rolled back.

        Args:
            facts: further data, for example ``settings`` as they are after a change.
        """
        self.emit("milestone", {"what": what, "message": message, "iteration": iteration, **facts})
