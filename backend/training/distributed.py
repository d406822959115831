"""Several processes on one computer that train one model together: each a share of the batch, all the same weights.

Gradients travel between the devices (NCCL, XCCL, HCCL or gloo); orders travel between the hosts (gloo), so that
nobody waits for an accelerator to learn what the first process decided.
"""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator
from types import MappingProxyType
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from backend.training.ranks import Ranks

T = TypeVar("T")

PATIENCE = datetime.timedelta(hours=1)
"""How long a process waits for the others. The first one saves, draws and evaluates while they wait; one that died is
noticed by whoever started them."""

_BACKENDS = MappingProxyType({"cuda": "nccl", "xpu": "xccl", "npu": "hccl"})


class ProcessRanks(Ranks):
    """One of several processes; see process_ranks().

    Args:
        device: where this process trains.
        host: the group of all processes for what lies in main memory.
    """

    def __init__(self, device: torch.device, host: dist.ProcessGroup) -> None:
        self.rank = dist.get_rank()
        self.count = dist.get_world_size()
        self._device = device
        self._host = host
        self._wrapped: DistributedDataParallel | None = None

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network with gradients that are averaged over all processes while the backward pass goes on.

        All begin with the weights of rank 0. Parameters that need no gradient now never get one; every other one has
        to take part in every loss. A network without any that learns comes back as it is.
        """
        if not any(parameter.requires_grad for parameter in network.parameters()):
            return network
        places = None if self._device.type == "cpu" else [self._device]
        self._wrapped = DistributedDataParallel(network, device_ids=places, gradient_as_bucket_view=True)
        return self._wrapped

    @contextlib.contextmanager
    def gathering(self, last: bool) -> Iterator[None]:
        """Around one forward and backward pass: gradients stay here unless it is the last before a step."""
        with contextlib.nullcontext() if last or self._wrapped is None else self._wrapped.no_sync():
            yield

    def average_(self, tensors: list[Tensor]) -> None:
        """Replace tensors (floating, on this device) by their means over all processes, in one message."""
        if not tensors:
            return
        message = torch.cat([tensor.detach().reshape(-1).float() for tensor in tensors])
        dist.all_reduce(message)
        parts = (message / self.count).split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.detach().copy_(part.view(tensor.shape))

    def agree(self, value: T) -> T:
        """The value of rank 0, on every rank; anything that pickles. Waits for the other hosts, not for a device."""
        values = [value]
        dist.broadcast_object_list(values, src=0, group=self._host, device=torch.device("cpu"))
        return values[0]

    def least(self, value: int) -> int:
        """The smallest of the values of all processes."""
        found = torch.tensor(value)
        dist.all_reduce(found, dist.ReduceOp.MIN, group=self._host)
        return int(found)


@contextlib.contextmanager
def process_ranks(
    device: torch.device, meeting: str = "env://", rank: int = -1, count: int = -1
) -> Iterator[ProcessRanks]:
    """Meet the other processes, and part from them when the block ends well.

    Leaving without waiting for each other makes some of them abort. After an error nothing is waited for: the others
    may hang in the middle of a message, and it is up to whoever started them to end them.

    Args:
        device: where this process trains.
        meeting: where to meet, a URL that torch.distributed knows; "env://" is what torchrun arranges.
        rank, count: this process's number and how many there are; -1 where the meeting tells.
    """
    if device.type != "cpu":
        torch.accelerator.set_device_index(device.index or 0)
    dist.init_process_group(_backend(device), meeting, timeout=PATIENCE, rank=rank, world_size=count)
    host = cast(dist.ProcessGroup, dist.new_group(backend="gloo", timeout=PATIENCE))
    yield ProcessRanks(device, host)
    dist.barrier(host)
    dist.destroy_process_group()


def is_lost_peer(error: BaseException) -> bool:
    """Whether an error only says that another process does not answer any more."""
    if isinstance(error, dist.DistError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and ("gloo" in text or "onnection closed by peer" in text)


def _backend(device: torch.device) -> str:
    """What carries gradients between devices of this kind; gloo can do it for most, slowly, through main memory."""
    wanted = _BACKENDS.get(device.type, "gloo")
    return wanted if dist.is_backend_available(wanted) else "gloo"
