"""Working through a faceset: several files at once, in order, stoppable; and new sets that appear as a whole."""

from __future__ import annotations

import secrets
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from backend.core.errors import BadInputError
from backend.environment import usable_cores
from backend.pipeline.context import StageContext
from backend.pipeline.cores import one_thread_each
from backend.storage.atomic import require_free_disk
from backend.storage.face_trash import free_name
from backend.storage.faceset import PACK_NAME, FaceRecord
from backend.storage.linking import link_file
from backend.storage.tool_undo import ToolUndo, note_undo
from backend.storage.workspace import SideFiles

Item = TypeVar("Item")
Result = TypeVar("Result")

RESERVE_BYTES = 256 << 20
"""Free disk that stays while a tool runs."""

_STAGED = ".staged-"
_STALE_S = 24 * 3600.0
_MOST_WORKERS = 8
_DISK_EVERY = 64


def need_faces(side: SideFiles) -> list[FaceRecord]:
    """The usable faces of a side in their order. BadInputError when there are none."""
    faceset = side.faceset()
    records = faceset.records()
    if not records and faceset.pack_file:
        raise BadInputError(f"All {side.name} faces are in {PACK_NAME}.", "Unpack it first.")
    if not records:
        raise BadInputError(f"There are no {side.name} faces.", "Extract or add faces first.")
    return records


def each(
    items: Sequence[Item],
    work: Callable[[Item], Result],
    ctx: StageContext,
    message: str,
    weigh: Callable[[Item], int] = lambda item: 1,
) -> Iterator[tuple[Item, Result]]:
    """Work through items with a few threads and give (item, result) in order, with progress in faces.

    OpenCV starts no threads of its own meanwhile. A stop, and whatever ``work`` raises, ends it after the items that
    are under way.

    Args:
        message: what is being done, shown beside the progress.
        weigh: faces in one item.
    """
    total = sum(weigh(item) for item in items)
    began, done = time.monotonic(), 0
    for item, result in _in_order(items, work, ctx):
        yield item, result
        done += weigh(item)
        ctx.progress(done, total, "faces", done / max(time.monotonic() - began, 1e-6), message)


def _in_order(
    items: Sequence[Item], work: Callable[[Item], Result], ctx: StageContext
) -> Iterator[tuple[Item, Result]]:
    workers = min(_MOST_WORKERS, usable_cores())
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    with one_thread_each(), ThreadPoolExecutor(workers, thread_name_prefix="faces") as pool:
        try:
            for number, item in enumerate(items):
                ctx.check_stop()
                if number % _DISK_EVERY == 0:
                    require_free_disk(ctx.project.path, RESERVE_BYTES)
                waiting.append((item, pool.submit(work, item)))
                if len(waiting) > 2 * workers:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                ctx.check_stop()
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def teller(ctx: StageContext, message: str) -> Callable[[int, int], None]:
    """What a function that works through the faces itself calls with (done, total): progress, and the wish to stop."""
    began = time.monotonic()

    def tell(done: int, total: int) -> None:
        ctx.check_stop()
        ctx.progress(done, total, "faces", done / max(time.monotonic() - began, 1e-6), message)

    return tell


@contextmanager
def staging(side: SideFiles) -> Iterator[Path]:
    """An empty hidden folder beside the faces, on the same disk; it is gone when the block ends."""
    side.frames_dir.mkdir(parents=True, exist_ok=True)
    for left in side.frames_dir.glob(f"{_STAGED}*"):
        if time.time() - left.stat().st_mtime > _STALE_S:
            shutil.rmtree(left, ignore_errors=True)
    folder = side.frames_dir / f"{_STAGED}{secrets.token_hex(6)}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish(staged: Path, target: Path) -> None:
    """Put a finished folder in place of one that may be there; the old one goes."""
    old = target.with_name(f"{_STAGED}{secrets.token_hex(6)}")
    if target.exists():
        target.rename(old)
    staged.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def take_over(side: SideFiles, folder: Path, reason: str, ctx: StageContext) -> None:
    """Put a finished set in place of all faces, with the files of now that cannot be used; it can be taken back."""
    for name, _ in side.faceset().damaged():
        if not (folder / name).exists():  # damaged only after it was worked on
            link_file(side.aligned_dir / name, folder / name)
    ctx.check_stop()
    note_undo(ctx.job_dir, ToolUndo(batch=side.faceset().swap_in(folder, reason)))


def tell_problems(problems: Sequence[str], ctx: StageContext, listed: int = 20) -> None:
    """Warn about files that were left as they are; the first ones by name, the rest by number."""
    for problem in problems[:listed]:
        ctx.log(problem, "warning")
    if len(problems) > listed:
        ctx.log(f"{len(problems) - listed:,} more of this kind.", "warning")


def bring_in(staged: Path, side: SideFiles) -> dict[str, str]:
    """Move finished face files among the faces of a side; names that are taken get a number.

    Args:
        staged: a folder on the same disk that holds nothing else.

    Returns:
        Name in the folder -> name among the faces.
    """
    side.aligned_dir.mkdir(parents=True, exist_ok=True)
    taken = {path.name.lower() for path in side.aligned_dir.iterdir()}
    names: dict[str, str] = {}
    for path in sorted(staged.iterdir(), key=lambda path: path.name):
        names[path.name] = free_name(path.name, taken)
        path.rename(side.aligned_dir / names[path.name])
    return names
