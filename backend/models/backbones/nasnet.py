"""NASNet-A for phones without its classifier (Zoph et al. 2018, 4 @ 1056): the cells of the paper's figure 4, with
TensorFlow's padding.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.models.backbones.base import HALF, Normalisation, SamePad, begin_batch_norms, begin_convolutions, halved
from backend.models.backbones.mobile_blocks import SameConv, batch_norm

_STEM = 32
_FILTERS = 44
_CELLS = 4


class _Map(NamedTuple):
    """Size of a map."""

    channels: int
    side: int


class _Separable(nn.Sequential):
    """Twice an activation, a depthwise and a pointwise convolution and a norm; the first depthwise one has a stride."""

    def __init__(self, inputs: int, filters: int, kernel: int, stride: int = 1) -> None:
        super().__init__(
            nn.ReLU(),
            SameConv(inputs, inputs, kernel, stride, groups=inputs),
            SameConv(inputs, filters, 1),
            batch_norm(filters),
            nn.ReLU(),
            SameConv(filters, filters, kernel, groups=filters),
            SameConv(filters, filters, 1),
            batch_norm(filters),
        )


class _Project(nn.Sequential):
    """Other channels."""

    def __init__(self, inputs: int, filters: int) -> None:
        super().__init__(nn.ReLU(), SameConv(inputs, filters, 1), batch_norm(filters))


class _Shrink(nn.Module):
    """Half the side: every other pixel, and every other pixel of the map one further on, each for half the channels."""

    def __init__(self, inputs: int, filters: int) -> None:
        super().__init__()
        self.even = SameConv(inputs, filters // 2, 1)
        self.odd = SameConv(inputs, filters // 2, 1)
        self.norm = batch_norm(filters)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, filters, ceil(H/2), ceil(W/2))."""
        x = F.relu(x)
        further = F.pad(x, (0, 1, 0, 1))[:, :, 1::2, 1::2]
        return self.norm(torch.cat((self.even(x[:, :, ::2, ::2]), self.odd(further)), dim=1))


class _Cell(nn.Module):
    """What both cells share: the map before the last one is made to fit the last one."""

    def __init__(self, last: _Map, before: _Map | None, filters: int) -> None:
        super().__init__()
        self.fit: nn.Module = nn.Identity()
        self.before = last.channels if before is None else before.channels
        if before is not None and (before.side != last.side or before.channels != filters):
            self.fit = (_Project if before.side == last.side else _Shrink)(before.channels, filters)
            self.before = filters
        self.enter = _Project(last.channels, filters)


class _NormalCell(_Cell):
    """Keeps the side, gives six maps of ``filters``."""

    def __init__(self, last: _Map, before: _Map | None, filters: int) -> None:
        super().__init__(last, before, filters)
        self.left1 = _Separable(filters, filters, 5)
        self.right1 = _Separable(self.before, filters, 3)
        self.left2 = _Separable(self.before, filters, 5)
        self.right2 = _Separable(self.before, filters, 3)
        self.left5 = _Separable(filters, filters, 3)
        self.out = _Map(5 * filters + self.before, last.side)

    def forward(self, last: Tensor, before: Tensor) -> Tensor:
        """The next map."""
        p, h = self.fit(before), self.enter(last)
        found = (
            p,
            self.left1(h) + self.right1(p),
            self.left2(p) + self.right2(p),
            _blurred(h) + p,
            2 * _blurred(p),
            self.left5(h) + h,
        )
        return torch.cat(found, dim=1)


class _ReductionCell(_Cell):
    """Halves the side, gives four maps of ``filters``."""

    def __init__(self, last: _Map, before: _Map | None, filters: int) -> None:
        super().__init__(last, before, filters)
        self.pad = SamePad(3, 2)
        self.left1 = _Separable(filters, filters, 5, 2)
        self.right1 = _Separable(self.before, filters, 7, 2)
        self.right2 = _Separable(self.before, filters, 7, 2)
        self.right3 = _Separable(self.before, filters, 5, 2)
        self.left5 = _Separable(filters, filters, 3)
        self.out = _Map(4 * filters, halved(last.side, 1))

    def forward(self, last: Tensor, before: Tensor) -> Tensor:
        """The next map."""
        p, h = self.fit(before), self.enter(last)
        padded = self.pad(h)
        largest = F.max_pool2d(padded, 3, 2)
        x1 = self.left1(h) + self.right1(p)
        x2 = largest + self.right2(p)
        x3 = F.avg_pool2d(padded, 3, 2) + self.right3(p)
        return torch.cat((x2, x3, x2 + _blurred(x1), self.left5(x1) + largest), dim=1)


class NasNetMobile(nn.Module):
    """Gives (B, 1056, px/32, px/32) of normalised RGB (B, 3, px, px).

    Args:
        px: side of the pictures.
    """

    def __init__(self, px: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, _STEM, 3, 2, bias=False), batch_norm(_STEM))
        last, before, cells = _Map(_STEM, (px - 3) // 2 + 1), None, list[nn.Module]()
        plan: list[tuple[type[_NormalCell | _ReductionCell], int]] = [
            (_ReductionCell, _FILTERS // 4),
            (_ReductionCell, _FILTERS // 2),
        ]
        for level in range(3):
            if level:
                plan.append((_ReductionCell, _FILTERS * 2**level))
            plan += [(_NormalCell, _FILTERS * 2**level)] * _CELLS
        for kind, filters in plan:
            cell = kind(last, before, filters)
            cells.append(cell)
            last, before = cell.out, last
        self.cells = nn.ModuleList(cells)
        self.out_shape = (last.channels, last.side, last.side)
        begin_convolutions(self)
        begin_batch_norms(self)

    def forward(self, x: Tensor) -> Tensor:
        """The map before pooling."""
        last = before = self.stem(x)
        for cell in self.cells:
            last, before = cell(last, before), last
        return F.relu(last)


def build(px: int) -> tuple[nn.Module, Normalisation, tuple[int, ...]]:
    """A network with fresh weights, what it expects, and the shape of what it gives.

    Args:
        px: side of its pictures.
    """
    net = NasNetMobile(px)
    return net, HALF, net.out_shape


def _blurred(x: Tensor) -> Tensor:
    """Means of 3x3 pixels, at the border of those that are there."""
    return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
