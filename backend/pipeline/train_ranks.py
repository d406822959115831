"""Training on several devices: one process for each, started by torchrun and watched by this one.

Both sides talk through a folder, ``job_dir / "ranks"``:

    request.json       to them: project, job folder, settings, devices, and who started them
    stop, save, ...    to rank 0: empty files, wishes of the user; a wish other than stop is fulfilled once
    changes-*.json     to rank 0: settings the user changed, in order
    events.jsonl       from rank 0: one event per line
    done.json          from rank 0: the result, or that it stopped as asked
    failed-*.json      from any: the error that ended it
    process-*.json     from each: its pid and start time
    output.txt         what they all printed; it goes on into this process's output

How they ended stands in done.json and failed-*.json, never in an exit code: a process that has said so may still abort
while it leaves.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

import backend
from backend.core import errors
from backend.core.errors import LookalikeError, StopRequested
from backend.core.settings import TrainSettings
from backend.environment import rank_environment
from backend.pipeline.context import StageContext
from backend.storage.atomic import read_json, write_bytes

if TYPE_CHECKING:
    import torch

STOP = "stop"
WISHES = ("save", "backup")
"""What a user may ask of a running training besides stopping; see StageContext.take_request."""

POLL_S = 0.1
_PROGRAM_DIR = Path(backend.__file__).resolve().parents[1]
_LAST_LINES = 12
_LAST_CHARACTERS = 600


@dataclass(frozen=True)
class Patience:
    """Times of the watcher, seconds.

    Attributes:
        leave: from a result or an error to the end of all processes; then they are ended.
        end: from the wish to end to killing.
    """

    leave: float = 10.0
    end: float = 5.0


def train_on_several(settings: TrainSettings, devices: list[torch.device], ctx: StageContext) -> dict[str, Any]:
    """Train with one process per device; the caller holds the model's lock.

    Args:
        settings: batch_size counts the faces of all processes together; it is made a multiple of their number.
        devices: two or more of one kind; the first one's process reports and saves.
        ctx: what they report goes to it, and its wishes to them.

    Returns:
        what train_model() returns in the first process.

    Raises:
        LookalikeError: of any kind that one of them raised; or they ended without a word.
        StopRequested: the user asked to stop; everything is saved.
    """
    count = len(devices)
    batch_size = max(1, settings.batch_size // count) * count
    if batch_size != settings.batch_size:
        ctx.log(f"A batch of {settings.batch_size} cannot be shared by {count} processes; it is now {batch_size}.")
        settings = settings.model_copy(update={"batch_size": batch_size})
    folder = ctx.job_dir / "ranks"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    me = psutil.Process()
    request = {
        "project": str(ctx.project.path),
        "job_dir": str(ctx.job_dir),
        "settings": settings.model_dump(mode="json"),
        "devices": [str(device) for device in devices],
        "starter": [me.pid, me.create_time()],
    }
    write_json_line(folder / "request.json", request)
    ctx.log(f"Training with {count} processes, on {', '.join(request['devices'])}.")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
    command = [sys.executable, *launcher, "--nproc-per-node", str(count), "-m", "backend.pipeline.rank", str(folder)]
    return follow(command, folder, ctx, count)


def follow(
    command: Sequence[str], folder: Path, ctx: StageContext, count: int, patience: Patience = Patience()
) -> dict[str, Any]:
    """Start processes and stand between them and the context until they have ended; see train_on_several().

    Args:
        command: starts all of them.
        folder: through which both sides talk.
        count: how many there will be.
    """
    events, output = LineReader(folder / "events.jsonl"), LineReader(folder / "output.txt")
    wishes = _Wishes(folder, ctx)
    with _started(command, folder, count, patience) as process:
        ended_at = 0.0
        while process.poll() is None and (not ended_at or time.monotonic() - ended_at < patience.leave):
            time.sleep(POLL_S)
            wishes.forward()
            _relay(events, output, ctx)
            if not ended_at and any(_endings(folder)):
                ended_at = time.monotonic()
    _relay(events, output, ctx)
    return _outcome(folder, process.returncode)


class LineReader:
    """Follows a growing text file line by line; a last line without its end is left for the next time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def lines(self) -> list[str]:
        """The whole lines since the last call."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        return whole.decode("utf-8", "replace").splitlines()


def write_json_line(path: Path, value: Any) -> None:
    """Put a value into a file as JSON, all at once; numbers that JSON does not know included."""
    write_bytes(path, json.dumps(value).encode(), durable=False)


def is_running(pid: int, started: float) -> bool:
    """Whether the process that was started at this time still runs; a reused pid is another process."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - started) < 1.0
    except psutil.NoSuchProcess:
        return False


def describe_error(error: BaseException, lost: bool = False) -> dict[str, Any]:
    """An error as JSON; the inverse is _error().

    Args:
        lost: it only says that another process is gone.
    """
    what, fix = (error.what, error.fix) if isinstance(error, LookalikeError) else (" ".join(str(error).split()), "")
    number = error.errno if isinstance(error, OSError) else None
    name = type(error).__name__
    return {"name": name, "what": what, "fix": fix, "errno": number, "lost": lost, "time": time.time()}


@dataclass
class _Wishes:
    """Hands on what the user wants."""

    folder: Path
    ctx: StageContext
    _changed: int = field(default=0, init=False)

    def forward(self) -> None:
        """Look once, and leave files for rank 0."""
        if self.ctx.stop_requested():
            (self.folder / STOP).touch()
        for name in WISHES:
            if self.ctx.take_request(name):
                (self.folder / name).touch()
        changes = self.ctx.take_changes()
        if changes:
            self._changed += 1
            write_json_line(self.folder / f"changes-{self._changed:06d}.json", changes)


def _relay(events: LineReader, output: LineReader, ctx: StageContext) -> None:
    for line in output.lines():
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
    for line in events.lines():
        event = json.loads(line)
        ctx.emit(event["kind"], event["data"])


@contextlib.contextmanager
def _started(command: Sequence[str], folder: Path, count: int, patience: Patience) -> Iterator[subprocess.Popen[bytes]]:
    """Processes in a group of their own, so that Ctrl-C in a terminal reaches only us; none outlives the block."""
    with (folder / "output.txt").open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=_PROGRAM_DIR,
            env=rank_environment(count),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _end([*_relatives(process.pid), *_registered(folder)], patience.end)
        process.wait()


def _relatives(pid: int) -> list[psutil.Process]:
    """A process and all that it started."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _registered(folder: Path) -> list[psutil.Process]:
    """The ranks that still run, also those whose launcher is gone."""
    found = []
    for path in folder.glob("process-*.json"):
        pid, started = read_json(path)
        if is_running(pid, started):
            found.append(psutil.Process(pid))
    return found


def _end(family: list[psutil.Process], patience_s: float) -> None:
    """End processes: politely, then not."""
    for tell in (psutil.Process.terminate, psutil.Process.kill):
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                tell(member)
        family = psutil.wait_procs(family, timeout=patience_s)[1]


def _endings(folder: Path) -> Iterator[Path]:
    yield from folder.glob("done.json")
    yield from folder.glob("failed-*.json")


def _outcome(folder: Path, code: int) -> dict[str, Any]:
    """The result, or an error: the first that was made for the user, else the first of others, else a lost process."""
    if (folder / "done.json").exists():
        done = read_json(folder / "done.json")
        if done.get("stopped"):
            raise StopRequested
        return done["result"]
    failures = [read_json(path) for path in folder.glob("failed-*.json")]
    if failures:
        raise _error(min(failures, key=lambda each: (each["lost"], _known(each["name"]) is None, each["time"])))
    last = _last_words(folder / "output.txt")
    raise LookalikeError(
        f"The training processes ended without a result (exit code {code}). {last}".strip(),
        "The log holds everything they printed; training goes on from its last save.",
    )


def _known(name: str) -> Callable[..., LookalikeError] | None:
    kind = getattr(errors, name, None)
    return kind if isinstance(kind, type) and issubclass(kind, LookalikeError) else None


def _error(failure: dict[str, Any]) -> Exception:
    """The error again: ours with its class and words, the system's with its number, others by name."""
    name, what = failure["name"], failure["what"]
    if failure["lost"]:
        return LookalikeError(
            "One of the training processes vanished: the system may have ended it to save memory.",
            "Try a smaller batch or fewer devices; training goes on from its last save.",
        )
    kind = _known(name)
    if kind is not None and kind.__init__ is LookalikeError.__init__:
        return kind(what, failure["fix"])
    if kind is not None:
        return LookalikeError(what, failure["fix"])
    if failure["errno"] is not None:
        return OSError(failure["errno"], os.strerror(failure["errno"]))
    if name in ("MemoryError", "OutOfMemoryError"):
        return MemoryError(what)
    return RuntimeError(what if name == "RuntimeError" else f"{name}: {what}")


def _last_words(path: Path) -> str:
    lines = [line.strip() for line in LineReader(path).lines()[-_LAST_LINES:] if line.strip()]
    said = " ".join(lines)[-_LAST_CHARACTERS:]
    return f"They last printed: {said}" if said else "They printed nothing."
