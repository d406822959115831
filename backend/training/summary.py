"""What a network is made of: its parts, their layers, what each gives, and how much it weighs. Nothing is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from backend.core.settings import TrainSettings
from backend.training.dry_run import shapes_only


@dataclass(frozen=True)
class LayerSummary:
    """One layer.

    Attributes:
        name: inside its part, as in the stored weights.
        kind: what it is, with kernel and stride of a convolution.
        output: shape of what it gives for one face, channels first; "" when it did not run on its own.
        parameters: numbers it has.
        source: layers whose answers it takes, with commas between; "" at the part's input.
    """

    name: str
    kind: str
    output: str
    parameters: int
    source: str


@dataclass(frozen=True)
class PartSummary:
    """One part.

    Attributes:
        name: of the part.
        output: what it gives for one face, channels first: "256 x 16 x 16"; several outputs with commas between.
        parameters: numbers it has.
        weight_bytes: what they take.
        trained: how many of the numbers learn.
        source: parts whose answers it takes, with commas between; src and dst are the pictures.
        layers: its layers in the order in which they work.
    """

    name: str
    output: str
    parameters: int
    weight_bytes: int
    trained: int = 0
    source: str = ""
    layers: tuple[LayerSummary, ...] = ()


@dataclass(frozen=True)
class NetworkSummary:
    """A network.

    Attributes:
        parts: in order; last the discriminators that the settings switch on.
        facts: what the network says of itself besides, label -> words.
    """

    parts: tuple[PartSummary, ...]
    facts: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


def summarize(settings: TrainSettings) -> NetworkSummary:
    """The network of these settings. No weight is allocated, however large it is."""
    with shapes_only(settings) as (model, judges), torch.no_grad():
        parts = {**model.eval().parts(), **judges}
        routes, layers = _Routes(parts), _Routes(dict(_layers(parts)))
        src, dst = (torch.empty(1, model.channels, model.resolution, model.resolution) for _ in range(2))
        routes.mark(src, "src")
        routes.mark(dst, "dst")
        with routes, layers:
            out = model.autoencode(src, dst)
            for name, judge in judges.items():
                judge(out.src_src if name == "gan" else out.src_code)
        return NetworkSummary(
            tuple(_part(name, part, routes, layers) for name, part in parts.items()), MappingProxyType(model.facts())
        )


class _Routes(TorchDispatchMode):
    """Follows tensors from module to module: which module's answer each of them was made of.

    Whatever is computed between two modules belongs to the modules that its operands come from.

    Args:
        modules: name -> module; those inside another one of them are not to be among them.
    """

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.outputs: dict[str, str] = {}
        self.sources: dict[str, tuple[str, ...]] = {}
        self._from: dict[int, tuple[str, ...]] = {}
        self._kept: list[Tensor] = []
        self._handles = [
            handle
            for name, module in modules.items()
            for handle in (
                module.register_forward_pre_hook(self._before(name)),
                module.register_forward_hook(self._after(name)),
            )
        ]

    def __exit__(self, *raised: Any) -> None:
        for handle in self._handles:
            handle.remove()
        super().__exit__(*raised)

    def mark(self, tensor: Tensor, *names: str) -> None:
        """Say where a tensor comes from."""
        self._from[id(tensor)] = names
        self._kept.append(tensor)  # so that no other tensor gets its id

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operation; its result comes from where its operands come from."""
        out = func(*args, **(kwargs or {}))
        names = self._of((args, kwargs))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor) and names:
                self.mark(leaf, *names)
        return out

    def _of(self, tensors: Any) -> tuple[str, ...]:
        found = (name for leaf in tree_leaves(tensors) for name in self._from.get(id(leaf), ()))
        return tuple(dict.fromkeys(found))

    def _before(self, name: str) -> Callable[..., None]:
        def note(module: nn.Module, given: Any) -> None:
            """Remember where the operands of all calls come from."""
            known = self.sources.get(name, ())
            self.sources[name] = tuple(dict.fromkeys((*known, *self._of(given))))

        return note

    def _after(self, name: str) -> Callable[..., None]:
        def note(module: nn.Module, given: Any, made: Any) -> None:
            """Remember the shapes of the first call; what was made comes from here."""
            tensors = _tensors(made)
            self.outputs.setdefault(name, ", ".join(_shape(tensor) for tensor in tensors))
            for tensor in tensors:
                self.mark(tensor, name)

        return note


def _layers(parts: Mapping[str, nn.Module]) -> Iterator[tuple[str, nn.Module]]:
    """ "part.layer" -> the modules that have numbers of their own or nothing inside them."""
    for part, network in parts.items():
        for name, module in network.named_modules():
            own = any(True for _ in module.parameters(recurse=False))
            if name and (own or not any(True for _ in module.children())):
                yield f"{part}/{name}", module


def _part(name: str, part: nn.Module, routes: _Routes, layers: _Routes) -> PartSummary:
    weights = list(part.parameters())
    rows = dict(_layers({name: part}))
    ran = [key for key in layers.outputs if key in rows]
    idle = [key for key in rows if key not in layers.outputs and any(True for _ in rows[key].parameters())]
    order = {key: place for place, key in enumerate(layers.sources)}
    return PartSummary(
        name=name,
        output=routes.outputs.get(name, ""),
        parameters=sum(w.numel() for w in weights),
        weight_bytes=sum(w.nbytes for w in weights),
        trained=sum(w.numel() for w in weights if w.requires_grad),
        source=", ".join(routes.sources.get(name, ())),
        layers=tuple(_layer(key, rows[key], layers) for key in [*sorted(ran, key=order.__getitem__), *idle]),
    )


def _layer(key: str, module: nn.Module, layers: _Routes) -> LayerSummary:
    part, _, name = key.partition("/")
    sources = dict.fromkeys(_inside(part, source) for source in layers.sources.get(key, ()))
    return LayerSummary(
        name=name,
        kind=_kind(module),
        output=layers.outputs.get(key, ""),
        parameters=sum(p.numel() for p in module.parameters(recurse=False)),
        source=", ".join(sources),
    )


def _tensors(made: Any) -> list[Tensor]:
    """The tensors in what a module gave: in sequences, and in dataclasses."""
    if is_dataclass(made):
        made = [getattr(made, each.name) for each in fields(made)]
    return [leaf for leaf in tree_leaves(made) if isinstance(leaf, Tensor)]


def _inside(part: str, source: str) -> str:
    """A layer's name as its own part calls it; layers of other parts are called by their part."""
    owner, _, name = source.partition("/")
    return name if owner == part else owner


def _kind(module: nn.Module) -> str:
    """Conv 5x5 / 2, Dense, ..."""
    name = type(module).__name__.removesuffix("2d")
    if not isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        return name
    kernel = " x ".join(str(side) for side in module.kernel_size).replace(" x ", "x")
    groups = " depthwise" if 1 < module.groups == module.in_channels else ""
    return f"{name} {kernel}{groups}" + (f" / {module.stride[0]}" if module.stride[0] > 1 else "")


def _shape(tensor: Tensor) -> str:
    return " x ".join(str(side) for side in tensor.shape[1:])
