from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from backend.core.errors import BadInputError, DamagedFileError, LookalikeError
from backend.core.settings import MergeLook
from backend.ops.face_swap import MergeOptions
from backend.pipeline import merge_workers
from backend.pipeline.merge_types import FramePlan
from backend.pipeline.merge_work import CutTask, FinishTask, Output, SlotLayout
from backend.pipeline.merge_workers import ProcessWorkers, ThreadWorkers
from backend.storage.image import read_image, write_image
from tests.structure.test_imports import ROOT

LAYOUT = SlotLayout(2, 400, False)
PLAN = FramePlan(0, "00001", MergeLook())


def is_shared(name: str) -> bool:
    """Whether there still is shared memory of a name."""
    return (merge_workers.SHARED_MEMORY_FOLDER / name.lstrip("/")).exists()


def memory_of(workers: ProcessWorkers) -> str:
    assert workers._memory is not None
    return workers._memory.name


@pytest.fixture
def workers() -> Iterator[ProcessWorkers]:
    started = ProcessWorkers(1)
    yield started
    started.close()
    assert not any(psutil.pid_exists(pid) for pid in started.pids)


def test_a_process_reads_writes_says_what_is_wrong_and_leaves_nothing(workers: ProcessWorkers, tmp_path: Path) -> None:
    slots = workers.open(LAYOUT, {})
    assert not is_shared(memory_of(workers))
    picture = np.random.default_rng(1).integers(0, 255, (12, 20, 3)).astype(np.uint8)
    write_image(tmp_path / "00001.png", picture)
    done = workers.submit(CutTask(1, PLAN, tmp_path / "00001.png")).result()
    assert done.size == (12, 20)
    assert np.array_equal(slots.picture(1, done.size), picture)
    output = Output(tmp_path / "merged.png", tmp_path / "mask.png")
    finished = workers.submit(FinishTask(1, done.size, (), MergeOptions(), 0, output)).result()
    assert finished == ((12, 20), ())
    assert np.array_equal(read_image(tmp_path / "merged.png"), picture)
    assert read_image(tmp_path / "mask.png", None).shape == (12, 20)

    write_image(tmp_path / "large.png", np.zeros((30, 40, 3), np.uint8))
    with pytest.raises(BadInputError, match=r"large\.png is 40x30 and larger"):
        workers.submit(CutTask(0, PLAN, tmp_path / "large.png")).result()
    (tmp_path / "broken.png").write_bytes((tmp_path / "large.png").read_bytes()[:50])
    with pytest.raises(DamagedFileError, match=r"broken\.png"):
        workers.submit(CutTask(0, PLAN, tmp_path / "broken.png")).result()
    with pytest.raises(FileNotFoundError) as raised:
        workers.submit(CutTask(0, PLAN, tmp_path / "gone.png")).result()
    assert "In a process that works on frames" in raised.value.__notes__[0]
    assert workers.submit(CutTask(0, PLAN, tmp_path / "00001.png")).result().size == (12, 20)

    os.kill(workers.pids[0], signal.SIGINT)  # Ctrl+C reaches the whole group; the parent decides when they end
    assert workers.submit(CutTask(0, PLAN, tmp_path / "00001.png")).result().size == (12, 20)
    os.kill(workers.pids[0], signal.SIGKILL)
    for _ in range(2):
        with pytest.raises(LookalikeError, match=r"ended from outside \(by signal 9\)"):
            workers.submit(CutTask(0, PLAN, tmp_path / "00001.png")).result()


def test_a_process_that_died_early_is_said(workers: ProcessWorkers) -> None:
    os.kill(workers.pids[0], signal.SIGKILL)
    with pytest.raises(LookalikeError, match="ended from outside"):
        workers.open(LAYOUT, {})
    assert not is_shared(memory_of(workers))


def test_what_processes_import_is_light() -> None:
    code = (
        "import sys, backend.pipeline.merge_workers\n"
        "heavy = {'torch', 'av', 'scipy', 'gradio', 'onnxruntime'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
def test_processes_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        textwrap.dedent("""
        import time
        from backend.pipeline.merge_work import SlotLayout
        from backend.pipeline.merge_workers import ProcessWorkers

        if __name__ == "__main__":
            workers = ProcessWorkers(1)
            workers.open(SlotLayout(2, 400, False), {})
            print(workers._memory.name, *workers.pids, flush=True)
            time.sleep(60)
        """)
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        name, *pids = parent.stdout.readline().split()
        children = [int(pid) for pid in pids]
        assert children
        parent.kill()
    deadline = time.monotonic() + 10
    while any(psutil.pid_exists(pid) for pid in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(psutil.pid_exists(pid) for pid in children)
    assert not is_shared(name)


def test_threads_do_the_same(tmp_path: Path) -> None:
    write_image(tmp_path / "00001.png", np.full((10, 10, 3), 7, np.uint8))
    workers = ThreadWorkers(2)
    slots = workers.open(LAYOUT, {})
    done = workers.submit(CutTask(0, PLAN, tmp_path / "00001.png")).result()
    assert slots.picture(0, done.size).max() == 7
    workers.close()
