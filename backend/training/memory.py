"""Memory: what a training uses, what it will need, and which batch fits."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import psutil
import torch

from backend.core.errors import MemoryShortError
from backend.core.settings import TrainSettings
from backend.training.dry_run import LARGEST_BATCH, dry_run
from backend.training.precision import choose_precision


@dataclass(frozen=True)
class Overhead:
    """What a device really takes for what a step holds, measured: see the tests.

    Attributes:
        start: bytes for libraries and their buffers once the first step has run.
        weights: bytes per byte of weights, for copies in other orders.
        moment: bytes per byte held, for scratch and gaps.
    """

    start: int
    weights: float
    moment: float


_CGROUP = Path("/sys/fs/cgroup")
_MAIN = torch.device("cpu")
_AVERAGES: Mapping[str, int] = MappingProxyType({"adabelief": 2, "rmsprop": 1, "adam": 2, "adamw": 2, "lion": 1})
"""Optimiser -> numbers it keeps per weight."""

_USABLE = 0.95
_CPU_OVERHEAD = Overhead(start=160 << 20, weights=0.5, moment=1.3)
_ACCELERATOR_OVERHEAD = Overhead(start=400 << 20, weights=0.0, moment=1.15)


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes a training needs on one device, beyond those of the program itself.

    Attributes:
        fixed: whatever the batch: weights, what the optimiser keeps of them, their average.
        moments: (bytes, bytes per face pair) of those moments of a step that can need most: activations, gradients,
            scratch. The step needs the largest of them.
        host: bytes in main memory, where the optimiser's state is kept there; else 0.
        ranks: over how many devices the batch is spread.
        flop: floating point operations of a step per face pair.
    """

    fixed: int
    moments: tuple[tuple[int, int], ...]
    host: int = 0
    ranks: int = 1
    flop: int = 0

    def total(self, batch_size: int) -> int:
        """Bytes on each device for a batch size over all devices together."""
        own = -(-batch_size // self.ranks)
        return self.fixed + max(start + own * each for start, each in self.moments)

    def largest_batch(self, free: int) -> int:
        """The largest batch over all devices that fits into so many free bytes of each, 0 when none does."""
        left = int(free * _USABLE) - self.fixed
        own = min((left - start) // max(1, each) for start, each in self.moments)
        return max(0, min(LARGEST_BATCH, own * self.ranks))


def used_bytes(device: torch.device) -> int:
    """Memory used now: the peak of an accelerator's allocator, this process's resident set on the CPU.

    Where an allocator keeps no peak, it is what it holds now; where it tells nothing, the resident set.
    """
    return _told_by(device, "max_memory_allocated", "driver_allocated_memory") or _resident()


def held_bytes(device: torch.device) -> int:
    """Memory that this process holds on a device, used or not; its resident set on the CPU."""
    return _told_by(device, "memory_reserved", "driver_allocated_memory") or _resident()


def free_bytes(device: torch.device) -> int:
    """Memory that can still be taken on a device; on the CPU the limit of a container counts too.

    An Apple GPU shares main memory and takes only the part that its driver recommends. A driver that does not tell
    what others use is taken to have all that this process does not hold.
    """
    if device.type == "cpu":
        return _free_main()
    if device.type == "mps":
        left = _told_by(device, "recommended_max_memory") - _told_by(device, "driver_allocated_memory")
        return max(0, min(left, _free_main()))
    module = torch.get_device_module(device)
    try:
        return int(module.mem_get_info(device)[0])
    except (AttributeError, RuntimeError):
        return int(module.get_device_properties(device).total_memory) - held_bytes(device)


def _told_by(device: torch.device, *names: str) -> int:
    """Bytes, from the first of these functions that torch has for this kind of accelerator; 0 where it has none."""
    module = None if device.type == "cpu" else torch.get_device_module(device)
    for function in filter(None, (getattr(module, name, None) for name in names)):
        return int(function() if device.type == "mps" else function(device))
    return 0


def _resident() -> int:
    return int(psutil.Process().memory_info().rss)


def _free_main() -> int:
    free = int(psutil.virtual_memory().available)
    try:
        limit = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text())
        cached = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        return min(free, limit - used + int(cached.get("inactive_file", 0)))
    except (OSError, ValueError):
        return free


def release_memory(device: torch.device) -> None:
    """Hand back what a device's allocator holds without using it."""
    if device.type != "cpu":
        torch.get_device_module(device).empty_cache()


def limit_threads(sharing: int = 1) -> None:
    """Give torch no more threads than this process may have cores, and let tiny numbers count as zero.

    More threads than cores make each other wait; numbers too small for the normal format slow a CPU down manyfold.

    Args:
        sharing: processes that compute on these cores at the same time.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    torch.set_num_threads(max(1, min(torch.get_num_threads(), cores // sharing)))
    torch.set_flush_denormal(True)


def estimate_need(settings: TrainSettings, device: torch.device, ranks: int = 1) -> MemoryNeed:
    """What a training will need, from a step with tensors that have a shape and no memory; takes about a second.

    Counted are weights, gradients, activations and everything the losses and discriminators make of them, at the
    moment of the step when most is held; what the optimiser and the average of the weights keep; and what the device
    takes beyond that by experience. Faces that wait decoded are not counted.

    Args:
        settings: of the training; what it would apply counts.
        device: where it trains; nothing is put there.
        ranks: over how many devices or processes the batch is spread.
    """
    applied = settings.effective()
    run = dry_run(applied, choose_precision(applied.precision, device).name)
    overhead = _CPU_OVERHEAD if device.type == "cpu" else _ACCELERATOR_OVERHEAD
    kept = run.trained * _AVERAGES[applied.optimizer]
    host = 0
    if applied.optimizer_on_cpu and device.type != "cpu":
        host, kept = kept + 2 * run.trained, 0
    average = run.network if applied.average_weights else 0
    return MemoryNeed(
        fixed=int(run.weights * (1 + overhead.weights)) + kept + average + overhead.start,
        moments=tuple((int(start * overhead.moment), int(each * overhead.moment)) for start, each in run.moments),
        host=host,
        ranks=ranks,
        flop=run.flop,
    )


def require_memory(settings: TrainSettings, device: torch.device, ranks: int = 1) -> TrainSettings:
    """Settings that fit, before the first step is tried.

    Args:
        settings: of the training.
        device: where it trains.
        ranks: over how many devices or processes the batch is spread.

    Returns:
        the settings as they are, or with the largest batch that fits where they allow a smaller one.

    Raises:
        MemoryShortError: they do not fit; with a batch size that does, when there is one.
    """
    need, free = estimate_need(settings, device, ranks), _free_for_each(device, ranks)
    if need.host > free_bytes(_MAIN):
        raise MemoryShortError(
            f"The optimiser's state does not fit into main memory: about {_gb(need.host)} are needed and "
            f"{_gb(free_bytes(_MAIN))} are free.",
            "Keep it on the device, or choose smaller dims.",
        )
    if need.total(settings.batch_size) <= free:
        return settings
    fits = need.largest_batch(free)
    if settings.shrink_batch and fits >= 1:
        return settings.model_copy(update={"batch_size": min(fits, settings.batch_size)})
    raise _short(settings, need, free)


def short_of_memory(settings: TrainSettings, device: torch.device, ranks: int = 1) -> MemoryShortError:
    """The error for a training that has begun and ran out of memory although it was thought to fit.

    What this process holds on the device counts as free, for the next try begins without it. Arguments as for
    require_memory().
    """
    free = _free_for_each(device, ranks) + held_bytes(device)
    return _short(settings, estimate_need(settings, device, ranks), free)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on any device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "allocate memory" in text)


def _short(settings: TrainSettings, need: MemoryNeed, free: int) -> MemoryShortError:
    fits = min(need.largest_batch(free), settings.batch_size // 2)
    needed = need.total(settings.batch_size)
    figures = (
        f": about {_gb(needed)} are needed and {_gb(free)} are free."
        if needed > free
        else f", although only about {_gb(needed)} of {_gb(free)} should be needed."
    )
    what = f"A batch of {settings.batch_size} does not fit into memory{figures}"
    if fits < 1:
        return MemoryShortError(what, "Choose a smaller resolution or smaller dims, or another device.")
    return MemoryShortError(what, f"Try a batch size of {fits}.")


def _free_for_each(device: torch.device, ranks: int) -> int:
    """Free bytes of each of several devices; processes on a CPU share theirs."""
    return free_bytes(device) // (ranks if device.type == "cpu" else 1)


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
