"""A training step that computes nothing: what it would hold in memory at each moment, and how much it would calculate.

The network is built and run with tensors that have a shape, a format and no memory. Every tensor that comes and goes is
counted, through the losses and the backward pass, so that the count follows whatever the network does.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from backend.core.settings import TrainSettings
from backend.models.base import FaceSwapModel, Reconstruction
from backend.models.discriminators import CodeDiscriminator, UNetDiscriminator
from backend.models.losses.lpips import Lpips
from backend.models.registry import build_model
from backend.training.batch import FaceBatch
from backend.training.freezing import frozen_names
from backend.training.loss_shelf import LossShelf
from backend.training.objective import Objective, build_objective

LARGEST_BATCH = 512
"""The largest batch of the settings."""


@dataclass(frozen=True)
class DryRun:
    """What a step holds besides the weights, and what it calculates.

    Attributes:
        network: bytes of the network's weights.
        weights: the same with the discriminators and what losses have of weights.
        trained: bytes of those that learn.
        moments: (bytes, bytes per face pair) of the moments of the step that can need most, depending on the batch;
            activations, gradients and scratch. The need is the largest of them.
        flop: floating point operations of forward and backward per face pair, a multiply-add as two.
    """

    network: int
    weights: int
    trained: int
    moments: tuple[tuple[int, int], ...]
    flop: int


class _Watch(TorchDispatchMode):
    """Counts the bytes that are alive after each operation, and the operations' arithmetic."""

    def __init__(self, known: list[Tensor]) -> None:
        super().__init__()
        self.timeline: list[int] = []
        self.flop = 0
        self._bytes = 0
        self._alive: dict[int, weakref.ref[Any]] = {}
        for tensor in known:
            self._add(tensor)
        self._known = self._bytes

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operation and count what it made."""
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.flop += int(count(*args, **kwargs, out_val=out))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._add(leaf)
        self.timeline.append(self._bytes - self._known)
        return out

    def _add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self._alive:
            self._alive[key] = weakref.ref(storage, lambda _: self._drop(key, size))
            self._bytes += size

    def _drop(self, key: int, size: int) -> None:
        del self._alive[key]
        self._bytes -= size


def dry_run(settings: TrainSettings, precision: str) -> DryRun:
    """Run a step of these settings with batches of two and of three pairs, without memory and without arithmetic.

    Takes about a second, whatever the size of the network.

    Args:
        settings: of the training, as a run applies them.
        precision: "fp32", "bf16" or "fp16".
    """
    with shapes_only(settings) as (model, judges):
        parameters = [p for part in (model, *judges.values()) for p in part.parameters()]
        two, three = (_step(settings, model, judges, precision, pairs) for pairs in (2, 3))
        shelf = LossShelf(settings, Lpips).weight_bytes
    return DryRun(
        network=sum(p.nbytes for p in model.parameters()),
        weights=sum(p.nbytes for p in parameters) + shelf,
        trained=sum(p.nbytes for p in parameters if p.requires_grad),
        moments=_moments(two.timeline, three.timeline),
        flop=three.flop - two.flop,
    )


@contextmanager
def shapes_only(settings: TrainSettings) -> Iterator[tuple[FaceSwapModel, dict[str, nn.Module]]]:
    """A network whose weights have a shape and no memory, and the discriminators that the settings switch on.

    Inside the block every new tensor is of that kind too, and all of them claim to lie on the CPU.
    """
    fake = FakeTensorMode()
    with torch.device("meta"):
        model = build_model(settings)
    model.freeze(frozen_names(model, settings))
    judges: dict[str, nn.Module] = {}
    with fake:
        _claim_cpu(model.train())
        one = torch.empty(1, model.channels, model.resolution, model.resolution)
        code = model.autoencode(one, one).src_code if getattr(settings, "true_face_power", 0.0) else None
    with torch.device("meta"):
        if settings.gan_power:
            patch = settings.gan_patch_size or model.resolution // 8
            judges["gan"] = UNetDiscriminator(model.channels, patch, settings.gan_dims)
        if code is not None:
            judges["true_face"] = CodeDiscriminator(code.shape[1], code.shape[2])
    with fake:
        for judge in judges.values():
            _claim_cpu(judge)
        yield model, judges


def _claim_cpu(module: nn.Module) -> None:
    """Let weights without memory claim to lie on the CPU, so that number formats are chosen as there."""
    for part in module.modules():
        for name, weight in part.named_parameters(recurse=False):
            empty = torch.empty_strided(weight.shape, weight.stride())
            setattr(part, name, nn.Parameter(empty, weight.requires_grad))
        for name, buffer in part.named_buffers(recurse=False):
            setattr(part, name, torch.empty_strided(buffer.shape, buffer.stride(), dtype=buffer.dtype))


def _step(
    settings: TrainSettings, model: FaceSwapModel, judges: dict[str, nn.Module], precision: str, pairs: int
) -> _Watch:
    parts = (model, *judges.values())
    watch = _Watch([tensor for part in parts for tensor in (*part.parameters(), *part.buffers())])
    objective = build_objective(settings, Lpips)
    with watch:
        src, dst = (objective.prepare(_batch(model, pairs, settings.parts_apart)) for _ in range(2))
        with _autocast(precision):
            out = model(src.warped, dst.warped, objective.wants_swap)
        _loss(objective, out, src, dst, _judged(judges, out, precision)).backward()
        if judges:
            _mean(_judged(judges, _cut_off(out), precision)).backward()
    for part in parts:
        part.zero_grad(set_to_none=True)
    return watch


def _batch(model: FaceSwapModel, pairs: int, parts_apart: bool) -> FaceBatch:
    picture = (pairs, model.channels, model.resolution, model.resolution)
    mask = (pairs, 1, model.resolution, model.resolution)
    masks = (torch.empty(mask) for _ in range(4 if parts_apart else 2))
    return FaceBatch(torch.empty(picture), torch.empty(picture), *masks)


def _judged(judges: dict[str, nn.Module], out: Reconstruction, precision: str) -> list[Tensor]:
    """What the discriminators say about the network's answers on both sides."""
    said: list[Tensor] = []
    with _autocast(precision):
        if "gan" in judges:
            said.extend(judges["gan"](torch.cat((out.src_src, out.dst_dst))))
        if "true_face" in judges and out.src_code is not None and out.dst_code is not None:
            said.append(judges["true_face"](torch.cat((out.src_code, out.dst_code))))
    return said


def _cut_off(out: Reconstruction) -> Reconstruction:
    """The same answers without a way back to the network: what the discriminators learn from."""
    given = {field.name: getattr(out, field.name) for field in fields(out)}
    return replace(out, **{name: tensor.detach() for name, tensor in given.items() if tensor is not None})


def _loss(objective: Objective, out: Reconstruction, src: FaceBatch, dst: FaceBatch, said: list[Tensor]) -> Tensor:
    losses = objective(out, src, dst)
    return losses.src.mean() + losses.dst.mean() + _mean(said)


def _mean(said: list[Tensor]) -> Tensor:
    return torch.stack([logits.float().mean() for logits in said]).mean() if said else torch.zeros(())


@contextmanager
def _autocast(precision: str) -> Iterator[None]:
    short = torch.float16 if precision == "fp16" else torch.bfloat16
    with torch.autocast("cpu", short, enabled=precision != "fp32"):
        yield


def _moments(two: list[int], three: list[int]) -> tuple[tuple[int, int], ...]:
    """Of the moments' straight lines over the batch size those that are highest for some batch."""
    if len(two) != len(three):  # an operation exists for one batch size alone: only the peaks can be compared
        two, three = [max(two)], [max(three)]
    at_two, at_three = (np.array(line, np.int64) for line in (two, three))
    each = np.maximum(at_three - at_two, 0)
    fixed = np.maximum(at_two - 2 * each, 0)
    batches: npt.NDArray[np.int64] = np.arange(1, LARGEST_BATCH + 1)
    highest = {int(i) for i in (fixed[:, None] + each[:, None] * batches).argmax(axis=0)}
    return tuple((int(fixed[i]), int(each[i])) for i in sorted(highest))
