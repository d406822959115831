"""One of the processes of a training on several devices: ``torchrun ... -m backend.pipeline.rank FOLDER``.

See train_ranks, which starts them and describes the folder. The first one reports and fulfils wishes, the others only
compute.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import psutil
import torch

from backend.core.errors import BadInputError, StopRequested
from backend.core.settings import TrainSettings, settings_class
from backend.devices import torch_device
from backend.environment import rank_number
from backend.pipeline.context import StageContext
from backend.pipeline.train import train_model
from backend.pipeline.train_ranks import STOP, describe_error, is_running, write_json_line
from backend.storage.atomic import read_json
from backend.storage.workspace import Project
from backend.training.distributed import is_lost_peer, process_ranks

WATCH_S = 1.0


class Desk:
    """What the first process reports and is asked, through the folder.

    Args:
        folder: see train_ranks.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._guard = threading.Lock()
        self._events = (folder / "events.jsonl").open("a", encoding="utf-8")

    def emit(self, kind: str, data: dict[str, Any]) -> None:
        """Append one event."""
        line = json.dumps({"kind": kind, "data": data}, default=_plain)
        with self._guard:
            self._events.write(line + "\n")
            self._events.flush()

    def stop_requested(self) -> bool:
        """True once the user asked to stop."""
        return (self._folder / STOP).exists()

    def take_request(self, name: str) -> bool:
        """True once for every time the wish was uttered."""
        try:
            (self._folder / name).unlink()
        except FileNotFoundError:
            return False
        return True

    def take_changes(self) -> dict[str, Any]:
        """Settings changed since the last call, newer values over older ones."""
        changes: dict[str, Any] = {}
        for path in sorted(self._folder.glob("changes-*.json")):
            changes.update(read_json(path))
            path.unlink()
        return changes


def main(argv: list[str]) -> int:
    """Train, and leave the result or the error in the folder."""
    folder = Path(argv[0])
    rank = rank_number()
    try:
        me = psutil.Process()
        write_json_line(folder / f"process-{rank}.json", [me.pid, me.create_time()])
        request = read_json(folder / "request.json")
        threading.Thread(target=_watch, args=tuple(request["starter"]), name="watch", daemon=True).start()
        _train(request, folder, rank)
    except BaseException as error:  # noqa: BLE001 - the boundary: the words go to the folder, the traceback to the log
        write_json_line(folder / f"failed-{rank}.json", describe_error(error, is_lost_peer(error)))
        traceback.print_exc()
        _leave()
    return 0


def _train(request: dict[str, Any], folder: Path, rank: int) -> None:
    """Everything between meeting the others and parting from them; rank 0 tells the result before it parts."""
    device: torch.device = torch_device(request["devices"][rank])
    ctx = _context(request, folder, rank)
    with process_ranks(device) as ranks:
        try:
            ending = {"result": train_model(_settings(request["settings"]), device, ranks, ctx)}
        except StopRequested:
            ending = {"stopped": True}
        if rank == 0:
            write_json_line(folder / "done.json", json.loads(json.dumps(ending, default=_plain)))


def _context(request: dict[str, Any], folder: Path, rank: int) -> StageContext:
    project, job_dir = Project(Path(request["project"])), Path(request["job_dir"])
    if rank:
        return StageContext(project, job_dir, lambda kind, data: None)
    desk = Desk(folder)
    return StageContext(project, job_dir, desk.emit, desk.stop_requested, desk.take_request, desk.take_changes)


def _settings(stored: dict[str, Any]) -> TrainSettings:
    settings = settings_class("train", stored["model_class"]).model_validate(stored)
    if not isinstance(settings, TrainSettings):
        raise BadInputError("These are not the settings of a training.")
    return settings


def _watch(pid: int, started: float) -> None:
    """End this process when the one that started the training, or the launcher, is gone: nobody would hear of it."""
    launcher = os.getppid()
    while is_running(pid, started) and os.getppid() == launcher:
        time.sleep(WATCH_S)
    sys.stderr.write("The process that started this training is gone.\n")
    _leave()


def _leave() -> None:
    """End at once: parting from processes that may hang could take for ever."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(1)


def _plain(value: Any) -> Any:
    """What JSON does not know: numbers of numpy and torch, paths."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
