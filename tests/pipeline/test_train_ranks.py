"""Training with several processes: what passes between them and the job, and that they learn what one learns."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from backend.core.errors import BadInputError, DeviceError, LookalikeError, MemoryShortError, StopRequested
from backend.pipeline import rank, train_ranks
from backend.pipeline import train as stage
from backend.pipeline.context import StageContext
from backend.pipeline.train_ranks import Patience, describe_error, follow, train_on_several, write_json_line
from backend.storage.atomic import read_json
from backend.training.distributed import is_lost_peer
from tests.pipeline.training_project import Watched, drawn_project, tiny_settings

TWO = [torch.device("cpu")] * 2
HASTE = Patience(leave=0.5, end=2.0)
DONE = "(folder / 'done.json').write_text(json.dumps({'result': {'iteration': 7, 'loss': float('nan')}}))"
BEGIN = """
import json, os, subprocess, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
def emit(kind, **data):
    with (folder / "events.jsonl").open("a") as file:
        file.write(json.dumps({"kind": kind, "data": data}) + "\\n")
"""


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(drawn_project(tmp_path))


def play(watched: Watched, program: str, ctx: StageContext | None = None) -> dict[str, Any]:
    """Follow a stand-in for the processes."""
    ctx = ctx or watched.context
    folder = ctx.job_dir / "ranks"
    folder.mkdir(exist_ok=True)
    return follow([sys.executable, "-c", BEGIN + program, str(folder)], folder, ctx, 2, HASTE)


def test_who_says_done_and_then_aborts_is_done(watched: Watched, capfd: pytest.CaptureFixture[str]) -> None:
    program = f"""
for i in range(50):
    emit("metric", iteration=i)
print("a warning of the library", flush=True)
{DONE}
with (folder / "events.jsonl").open("a") as file:
    file.write('{{"kind": "metr')
    file.flush()
    os.abort()
"""
    result = play(watched, program)
    assert result["iteration"] == 7
    assert np.isnan(result["loss"])
    assert [data["iteration"] for _, data in watched.events] == list(range(50))
    assert "a warning of the library" in capfd.readouterr().out


def test_who_is_done_and_never_leaves_is_ended_with_its_children(watched: Watched) -> None:
    program = f"""
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"], start_new_session=True)
emit("log", pids=[os.getpid(), child.pid])
{DONE}
time.sleep(100)
"""
    begun = time.monotonic()
    assert play(watched, program)["iteration"] == 7
    assert time.monotonic() - begun < 20
    assert not any(psutil.pid_exists(pid) for pid in watched.events[0][1]["pids"])


def test_processes_whose_launcher_died_are_ended(watched: Watched) -> None:
    program = """
import psutil
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"], start_new_session=True)
started = psutil.Process(child.pid).create_time()
(folder / "process-1.json").write_text(json.dumps([child.pid, started]))
(folder / "process-0.json").write_text(json.dumps([1, started]))
emit("log", pid=child.pid)
os._exit(9)
"""
    with pytest.raises(LookalikeError, match="without a result"):
        play(watched, program)
    assert not psutil.pid_exists(watched.events[0][1]["pid"])


def test_an_end_without_a_word_is_told_with_the_last_words(watched: Watched) -> None:
    with pytest.raises(LookalikeError, match=r"exit code 3.*last printed: the driver broke.*last save"):
        play(watched, "print('the driver broke'); sys.exit(3)")


@pytest.mark.parametrize(
    ("raised", "kind", "words"),
    [
        (
            MemoryShortError("A batch of 8 does not fit.", "Try 4."),
            MemoryShortError,
            "A batch of 8 does not fit. Try 4.",
        ),
        (DeviceError("The device is gone."), DeviceError, "The device is gone."),
        (OSError(28, "No space left on device"), OSError, "No space left"),
        (MemoryError("no"), MemoryError, "no"),
        (ZeroDivisionError("by zero"), RuntimeError, "^ZeroDivisionError: by zero"),
        (RuntimeError("odd"), RuntimeError, "^odd"),
    ],
)
def test_an_error_arrives_as_it_was_raised(
    watched: Watched, raised: Exception, kind: type[Exception], words: str
) -> None:
    """What follows from it in other processes does not hide it, even where it comes first."""
    folder = watched.context.job_dir / "ranks"
    folder.mkdir()
    write_json_line(folder / "failed-1.json", describe_error(raised))
    lost = {**describe_error(RuntimeError("Connection closed by peer"), lost=True), "time": 0.0}
    write_json_line(folder / "failed-0.json", lost)
    with pytest.raises(kind, match=words) as caught:
        play(watched, "sys.exit(1)")
    assert isinstance(raised, OSError) == (getattr(caught.value, "errno", None) == 28)


def test_a_process_that_vanished_is_told(watched: Watched) -> None:
    """As when the system kills it: the other one only hears that nobody answers."""
    error = RuntimeError("[third_party/gloo/pair.cc:537] Read error [127.0.0.1]:22660: Connection reset by peer")
    folder = watched.context.job_dir / "ranks"
    folder.mkdir()
    write_json_line(folder / "failed-0.json", describe_error(error, is_lost_peer(error)))
    assert not is_lost_peer(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
    with pytest.raises(LookalikeError, match=r"processes vanished.*smaller batch"):
        play(watched, "sys.exit(1)")


def test_wishes_and_changes_are_handed_on(watched: Watched) -> None:
    program = f"""
while not (folder / "stop").exists() or len(list(folder.glob("changes-*.json"))) < 2:
    time.sleep(0.02)
desk = [path.name for path in sorted(folder.iterdir())]
emit("log", names=desk, first=json.loads((folder / "changes-000001.json").read_text()))
{DONE.replace("'result'", "'stopped'")}
"""
    changes = [{}, {"gan_power": 0.1}, {"gan_power": 0.2}]
    watched.requests.append("backup")
    watched.stop = True
    with pytest.raises(StopRequested):
        play(watched, program, replace(watched.context, take_changes=lambda: changes.pop(0) if changes else {}))
    told = watched.events[0][1]
    assert {"backup", "stop"} < set(told["names"])
    assert "save" not in told["names"]
    assert told["first"] == {"gan_power": 0.1}


def test_an_error_on_this_side_ends_them_too(watched: Watched) -> None:
    pids: list[int] = []

    def emit(kind: str, data: dict[str, Any]) -> None:
        pids.append(data["pid"])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        play(watched, "emit('log', pid=os.getpid()); time.sleep(100)", replace(watched.context, emit=emit))
    assert not psutil.pid_exists(pids[0])


def test_the_desk_of_the_first_process(tmp_path: Path) -> None:
    desk = rank.Desk(tmp_path)
    desk.emit("metric", {"loss": np.float32(0.5), "place": tmp_path, "bad": float("inf")})
    event = train_ranks.LineReader(tmp_path / "events.jsonl").lines()
    assert event == [f'{{"kind": "metric", "data": {{"loss": 0.5, "place": "{tmp_path}", "bad": Infinity}}}}']
    assert not desk.stop_requested()
    (tmp_path / "stop").touch()
    (tmp_path / "save").touch()
    assert desk.stop_requested()
    assert (desk.take_request("save"), desk.take_request("save")) == (True, False)
    write_json_line(tmp_path / "changes-000002.json", {"a": 2})
    write_json_line(tmp_path / "changes-000001.json", {"a": 1, "b": 1})
    assert (desk.take_changes(), desk.take_changes()) == ({"a": 2, "b": 1}, {})


def test_a_process_ends_when_its_starter_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    class LeftError(Exception): ...

    def leave() -> None:
        raise LeftError

    monkeypatch.setattr(rank, "_leave", leave)
    monkeypatch.setattr(rank, "WATCH_S", 0.05)
    starter = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
    started = psutil.Process(starter.pid).create_time()
    with pytest.raises(LeftError):
        rank._watch(starter.pid, started - 100)
    threading.Timer(0.5, starter.kill).start()
    begun = time.monotonic()
    with pytest.raises(LeftError):
        rank._watch(starter.pid, started)
    assert time.monotonic() - begun > 0.3
    starter.wait()


@pytest.mark.parametrize(("batch_size", "shared"), [(5, 4), (1, 2), (4, 4)])
def test_the_batch_is_shared_evenly(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, batch_size: int, shared: int
) -> None:
    commands: list[list[str]] = []

    def fake(command: list[str], *_: object) -> dict[str, Any]:
        commands.append(command)
        return {}

    monkeypatch.setattr(train_ranks, "follow", fake)
    train_on_several(tiny_settings(batch_size=batch_size), TWO, watched.context)
    request = read_json(watched.context.job_dir / "ranks" / "request.json")
    assert request["settings"]["batch_size"] == shared
    assert request["devices"] == ["cpu", "cpu"]
    assert (f"it is now {shared}" in watched.text) == (batch_size != shared)
    assert {"torch.distributed.run", "backend.pipeline.rank"} <= set(commands[0])


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As many as each of the two has."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_two_processes_train_like_one(watched: Watched) -> None:
    """Faces, their distortion, losses and curves are the same; so is what is left behind."""
    alone = stage.run(tiny_settings(model="alone", batch_size=4), watched.context)
    kinds = watched.kinds
    watched.events.clear()
    result = stage.run(tiny_settings(batch_size=4, device="cpu,cpu"), watched.context)
    assert result.keys() == alone.keys()
    assert (result["iteration"], result["reason"]) == (3, "target")
    one, two = watched.folder("alone").history(), watched.folder().history()
    assert two.iteration.tolist() == [1, 2, 3]
    np.testing.assert_allclose(two.src, one.src, rtol=1e-4)
    np.testing.assert_allclose(two.dst, one.dst, rtol=1e-4)
    assert result["src_loss"] == pytest.approx(alone["src_loss"], rel=1e-4)
    assert result["images_per_s"] == pytest.approx(2 * 4 * 3 / result["took_s"])
    assert watched.kinds["metric"] >= 1
    for kind in ("preview", "milestone"):
        assert watched.kinds[kind] == kinds[kind] > 0
    previews = [watched.context.job_dir / data["path"] for kind, data in watched.events if kind == "preview"]
    assert all(path.is_file() for path in previews)
    assert [p.name for p in watched.folder().previews()] == [p.name for p in watched.folder("alone").previews()]
    info = watched.folder().info()
    assert info is not None
    assert info.iteration == 3
    assert watched.folder().owner() is None


def test_two_processes_change_their_settings_and_stop(watched: Watched) -> None:
    ctx = watched.context
    changes: list[dict[str, Any]] = []

    def emit(kind: str, data: dict[str, Any]) -> None:
        watched.events.append((kind, data))
        if kind == "metric" and not changes:
            changes.append({"gan_power": 0.1})
        watched.stop = watched.stop or (kind == "metric" and "gan" in data["terms"])

    take = iter(lambda: {**changes[0]} if changes else {}, None)
    with pytest.raises(StopRequested):
        stage.run(
            tiny_settings(batch_size=2, device="cpu,cpu", target_iterations=0, preview_interval=1000),
            replace(ctx, emit=emit, take_changes=lambda: next(take)),
        )
    info = watched.folder().info()
    assert info is not None
    assert info.iteration > 1
    assert "gan_power 0.0 -> 0.1" in watched.text
    assert f"Stopped at iteration {info.iteration}; saved." in watched.text


@pytest.mark.slow
def test_a_fault_in_all_processes_is_one_sentence(tmp_path: Path) -> None:
    watched = Watched(drawn_project(tmp_path, 0))
    with pytest.raises(BadInputError, match=r"no src faces.*Extract tab"):
        stage.run(tiny_settings(device="cpu,cpu"), watched.context)
    assert watched.folder().owner() is None
