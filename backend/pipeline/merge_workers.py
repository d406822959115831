"""Who does the work on frames: threads of this process, or processes of their own that share memory with it.

Both take the same tasks, see backend.pipeline.merge_work. A process ends when its connection does, so none outlives
the one that started it; the shared memory has no name any more once all of them hold it.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import queue
import shutil
import signal
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any, NamedTuple

import cv2

from backend.core.errors import LookalikeError
from backend.core.faces import FaceType
from backend.pipeline.merge_work import Done, FrameDesk, SlotLayout, Slots, Task

Shapes = Mapping[str, tuple[FaceType, int]]

SHARED_MEMORY_FOLDER = Path("/dev/shm")
"""Where Linux keeps it."""

_ENDING_S = 5.0


class Opening(NamedTuple):
    """What a process needs to begin: the name of the shared memory, its layout, the models' shapes."""

    memory: str
    layout: SlotLayout
    shapes: dict[str, tuple[FaceType, int]]


@dataclass(frozen=True)
class _Worker:
    process: BaseProcess
    connection: Connection


class ThreadWorkers:
    """Threads of this process.

    Args:
        count: how many.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="frames")
        self._cv_threads = cv2.getNumThreads()
        self._slots: Slots | None = None

    def open(self, layout: SlotLayout, shapes: Shapes) -> Slots:
        """Make the slots and get ready. OpenCV starts no threads of its own until close()."""
        cv2.setNumThreads(1)
        self._slots = Slots(memoryview(bytearray(layout.total_bytes)), layout)
        desk = FrameDesk(self._slots, shapes)
        self._do: Callable[[Task], Done] = desk.do
        return self._slots

    def submit(self, task: Task, after: Future[Any] | None = None) -> Future[Done]:
        """Do a task as soon as somebody is free.

        Args:
            task: what to do.
            after: has to be done before.
        """
        return self._threads.submit(self._run, task, after)

    def close(self) -> None:
        """End after the tasks that are under way."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        cv2.setNumThreads(self._cv_threads)
        if self._slots is not None:
            self._slots.release()

    def _run(self, task: Task, after: Future[Any] | None) -> Done:
        if after is not None:
            after.result()
        return self._do(task)


class ProcessWorkers(ThreadWorkers):
    """Processes, each with a thread here that talks to it. They start at once and load while the models load.

    Args:
        count: how many.
    """

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self._memory: SharedMemory | None = None
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        self.workers: list[_Worker] = []
        context = multiprocessing.get_context("spawn")
        for number in range(count):
            here, there = context.Pipe()
            process = context.Process(target=serve, args=(there,), name=f"frames-{number}", daemon=True)
            process.start()
            there.close()
            self.workers.append(_Worker(process, here))

    @property
    def pids(self) -> list[int]:
        """Numbers of the processes."""
        return [worker.process.pid or 0 for worker in self.workers]

    def open(self, layout: SlotLayout, shapes: Shapes) -> Slots:
        """Share the slots with every process. LookalikeError when one of them died."""
        self._memory = memory = SharedMemory(create=True, size=layout.total_bytes)
        try:
            for worker in self.workers:
                self._ask(worker, Opening(memory.name, layout, dict(shapes)))
                self._idle.put(worker)
        finally:
            memory.unlink()
        self._slots = Slots(_whole(memory), layout)
        self._do = self._send
        return self._slots

    def close(self) -> None:
        """End after the tasks that are under way."""
        super().close()
        for worker in self.workers:
            worker.connection.close()
        for worker in self.workers:
            worker.process.join(_ENDING_S)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        if self._memory is not None:
            with contextlib.suppress(BufferError):  # a view is still held; the memory goes with the process
                self._memory.close()

    def _send(self, task: Task) -> Done:
        worker = self._idle.get()
        try:
            return self._ask(worker, task)
        finally:
            self._idle.put(worker)

    def _ask(self, worker: _Worker, what: Task | Opening) -> Any:
        try:
            worker.connection.send(what)
            answer = worker.connection.recv()
        except (EOFError, OSError) as error:
            worker.process.join(_ENDING_S)
            raise _died(worker.process.exitcode) from error
        if isinstance(answer, BaseException):
            raise answer
        return answer


def room_for_sharing() -> int | None:
    """Bytes that can be shared between processes; None where there is no limit beside the memory's."""
    try:
        return shutil.disk_usage(SHARED_MEMORY_FOLDER).free
    except OSError:
        return None


def serve(connection: Connection) -> None:
    """What a process does: answer tasks until the connection ends. Its parent decides when, not Ctrl+C.

    An exception is the answer of the task that raised it, with its trace as a note.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    with contextlib.ExitStack() as stack, contextlib.suppress(EOFError, OSError):
        opening: Opening = connection.recv()
        memory = SharedMemory(opening.memory)
        stack.callback(memory.close)
        slots = Slots(_whole(memory), opening.layout)
        stack.callback(slots.release)
        desk = FrameDesk(slots, opening.shapes)
        connection.send(None)
        while True:
            connection.send(_answer(desk, connection.recv()))


def _whole(memory: SharedMemory) -> memoryview:
    assert memory.buf is not None, "it was just opened"
    return memory.buf


def _answer(desk: FrameDesk, task: Task) -> Done | Exception:
    try:
        return desk.do(task)
    except Exception as error:  # noqa: BLE001 - raised again by the process that asked
        error.add_note(f"In a process that works on frames:\n{traceback.format_exc()}")
        return error


def _died(code: int | None) -> LookalikeError:
    how = f"by signal {-code}" if code is not None and code < 0 else f"with code {code}"
    return LookalikeError(
        f"A process that puts faces into frames was ended from outside ({how}).",
        "When memory was short, start again with fewer workers; frames that lie in the folder merged stay.",
    )
