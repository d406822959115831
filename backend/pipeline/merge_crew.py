"""How many processes or threads work on frames beside the model, and how many frames are under way at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import psutil
import torch

from backend.environment import usable_cores
from backend.pipeline.merge_steady import RADIUS
from backend.pipeline.merge_stream import Depths
from backend.pipeline.merge_workers import ProcessWorkers, ThreadWorkers, room_for_sharing

FEW_FRAMES = 48
"""For fewer frames processes would start longer than they work."""

_MOST = 16
_MOST_BYTES = 2 << 30


def choose_crew(wanted: int, frames: int, on_cpu: bool) -> ThreadWorkers:
    """Who works on frames beside the model. Processes start at once.

    Args:
        wanted: number of processes the user wants; 0 chooses by the cores.
        frames: how many there are.
        on_cpu: whether the model needs cores too.
    """
    cores = usable_cores()
    if wanted:
        return ProcessWorkers(wanted)
    if frames < FEW_FRAMES:
        return ThreadWorkers(min(cores, 4))
    return ProcessWorkers(min(_MOST, max(1, min(cores, max(2, cores // 3)) if on_cpu else cores - 1)))


def choose_depths(workers: ThreadWorkers, batch: int, steady: bool, slot_bytes: int) -> Depths:
    """How far the parts of the stream run ahead: as far as keeps everybody busy and fits the memory.

    Args:
        workers: who works on frames.
        batch: faces that are predicted at once.
        steady: whether frames are steadied by their neighbours.
        slot_bytes: memory of one frame under way.
    """
    depths = Depths(max(batch, workers.count + 1), batch, 1, RADIUS if steady else 0, 2 * workers.count)
    limit = min(_MOST_BYTES, psutil.virtual_memory().available // 4)
    if isinstance(workers, ProcessWorkers):
        limit = min(limit, int(0.9 * (room_for_sharing() or limit)))
    while depths.slots * slot_bytes > limit and depths != (less := _less(depths)):
        depths = less
    return depths


def _less(depths: Depths) -> Depths:
    """The same with fewer frames under way; equal when it cannot be less."""
    return replace(
        depths, read=max(1, depths.read // 2), batch=max(1, depths.batch // 2), finish=max(1, depths.finish // 2)
    )


def with_room(workers: ThreadWorkers, total_bytes: int) -> ThreadWorkers:
    """The workers, or threads in their place where processes cannot share so much memory."""
    room = room_for_sharing() if isinstance(workers, ProcessWorkers) else None
    if room is None or total_bytes <= room:
        return workers
    workers.close()
    return ThreadWorkers(workers.count)


@contextmanager
def computing_threads(workers: ThreadWorkers) -> Iterator[None]:
    """Leave torch the cores that the workers do not need: more threads than cores would wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, min(before, usable_cores() - workers.count)))
    try:
        yield
    finally:
        torch.set_num_threads(before)
