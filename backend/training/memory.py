"""Memory: what a training uses, what it will need, and which batch fits."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from backend.core.errors import MemoryShortError
from backend.core.settings import TrainSettings
from backend.models.base import FaceSwapModel

_CGROUP = Path("/sys/fs/cgroup")
_STATES = {"adabelief": 4, "rmsprop": 3}
_OVERHEAD = 1.25
_USABLE = 0.92


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes a training needs: ``fixed`` whatever the batch (weights, gradients, optimiser), and ``per_face_pair``."""

    fixed: int
    per_face_pair: int

    def total(self, batch_size: int) -> int:
        """Bytes for a batch size."""
        return self.fixed + batch_size * self.per_face_pair

    def largest_batch(self, free: int) -> int:
        """The largest batch that fits into so many bytes, 0 when none does."""
        return max(0, int(free * _USABLE - self.fixed) // max(1, self.per_face_pair))


def used_bytes(device: torch.device) -> int:
    """Memory used now: the peak of the allocator on an accelerator, this process's resident set on the CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return int(psutil.Process().memory_info().rss)


def free_bytes(device: torch.device) -> int:
    """Memory that can still be taken on a device; on the CPU the limit of a container counts too."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = int(psutil.virtual_memory().available)
    try:
        limit = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text())
        cached = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        return min(free, limit - used + int(cached.get("inactive_file", 0)))
    except (OSError, ValueError):
        return free


def limit_threads() -> None:
    """Give torch no more threads than this process may have cores, and let tiny numbers count as zero.

    More threads than cores make each other wait; numbers too small for the normal format slow a CPU down manyfold.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    torch.set_num_threads(max(1, min(torch.get_num_threads(), cores)))
    torch.set_flush_denormal(True)


def estimate_need(model: FaceSwapModel, optimizer: str) -> MemoryNeed:
    """What training a network will need, from a dry run with tensors that have a shape and no memory.

    Counted are the tensors that the forward pass keeps for the backward pass, once per face pair, with a quarter on
    top for gradients, losses and scratch; and the weights with their gradients and optimiser states.

    Args:
        model: on the CPU.
        optimizer: as in the settings.
    """
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    per_pair = _kept_bytes(model, 2) - _kept_bytes(model, 1)
    return MemoryNeed(weights * _STATES[optimizer], int(per_pair * _OVERHEAD))


def require_memory(model: FaceSwapModel, settings: TrainSettings, device: torch.device) -> MemoryNeed:
    """Refuse settings that cannot fit, before the first step is tried.

    Raises:
        MemoryShortError: with a batch size that fits, when there is one.
    """
    need, free = estimate_need(model, settings.optimizer), free_bytes(device)
    if need.total(settings.batch_size) > free:
        raise short_of_memory(settings, need, free)
    return need


def short_of_memory(settings: TrainSettings, need: MemoryNeed, free: int) -> MemoryShortError:
    """The error for settings that do not, or did not, fit into so many free bytes."""
    fits = min(need.largest_batch(free), settings.batch_size // 2)
    what = (
        f"A batch of {settings.batch_size} does not fit into memory: about {_gb(need.total(settings.batch_size))} are "
        f"needed and {_gb(free)} are free."
    )
    if fits < 1:
        return MemoryShortError(what, "Choose a smaller resolution or smaller dims, or another device.")
    return MemoryShortError(what, f"Try a batch size of {fits}.")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on any device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "allocate memory" in text)


def _kept_bytes(model: FaceSwapModel, pairs: int) -> int:
    """Bytes that autograd keeps for so many pairs of a src and a dst face; weights count too."""
    kept: dict[int, int] = {}
    alive: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage.nbytes()
        alive.append(tensor)
        return tensor

    with FakeTensorMode(allow_non_fake_inputs=True):
        faces = torch.zeros(pairs, model.channels, model.resolution, model.resolution)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model.autoencode(faces, faces)
    return sum(kept.values())


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
