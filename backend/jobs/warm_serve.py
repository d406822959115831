"""The side of a warm child: requests come as lines of JSON on stdin, answers leave as lines of JSON on stdout.

A request is one line: {"id", ...}. The answer is one line: {"id", "ok": true, ...} or {"id", "ok": false, "error"}.
The child ends when stdin closes or after a while without a request.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from pydantic import ValidationError

from backend.core.errors import LookalikeError
from backend.jobs.store import one_line
from backend.storage.workspace import Workspace

IDLE_S = 600.0


class WarmServer:
    """Answers requests; a child overrides respond()."""

    def answer(self, line: str) -> dict[str, Any]:
        """The answer to one line; never raises for a bad request."""
        asked: dict[str, Any] = {}
        try:
            asked = dict(json.loads(line))
            return {"id": asked["id"], "ok": True, **self.respond(asked)}
        except LookalikeError as error:
            return {"id": asked.get("id"), "ok": False, "error": str(error)}
        except ValidationError as error:
            return {"id": asked.get("id"), "ok": False, "error": f"{one_line(error)}."}
        except Exception as error:  # noqa: BLE001 - the boundary: the traceback goes to the log
            traceback.print_exc()
            return {"id": asked.get("id"), "ok": False, "error": f"Unexpected error: {type(error).__name__}: {error}"}

    def respond(self, asked: dict[str, Any]) -> dict[str, Any]:
        """What a request is answered with, as JSON. LookalikeError with the reason when it is refused."""
        raise NotImplementedError


def serve(server: WarmServer, source: TextIO, answers: TextIO, idle_s: float = IDLE_S) -> None:
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


def child_main(argv: list[str], make_server: Callable[[Workspace], WarmServer]) -> int:
    """Command line of a warm child: its one argument is the workspace."""
    if len(argv) != 1:
        sys.stderr.write("usage: python -m backend.jobs.<child> WORKSPACE\n")
        return 2
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)  # whatever a library prints must not come between the answers
        with contextlib.suppress(BrokenPipeError):
            serve(make_server(Workspace(Path(argv[0]))), sys.stdin, answers)
    return 0


def _read(source: TextIO, lines: queue.Queue[str | None]) -> None:
    for line in source:
        lines.put(line)
    lines.put(None)
