"""Blocks of mobile networks: inverted residuals (Sandler et al. 2018), squeeze and excitation (Hu et al. 2018), fused
inverted residuals (Tan and Le 2021). Padding is TensorFlow's "same".

Layers bear the names that the library timm gives them, so that its checkpoints of these networks fit by name.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from backend.models.backbones.base import DropPath, SamePad

Activation = Callable[[], nn.Module]
_EPS = 1e-3


class SameConv(nn.Conv2d):
    """Convolution without a bias whose output has ceil(side / stride) px; depthwise with as many groups as channels."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(
            inputs, outputs, kernel, stride, padding=kernel // 2 if stride == 1 else 0, groups=groups, bias=False
        )
        self.pad = SamePad(kernel, stride) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Pad and convolve."""
        return super().forward(self.pad(x))


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """With the epsilon of the networks from TensorFlow."""
    return nn.BatchNorm2d(channels, eps=_EPS)


class SqueezeExcite(nn.Module):
    """Weigh the channels by what the whole picture shows.

    Args:
        channels: of the map.
        squeezed: channels in between.
        activation: in between.
        gate: makes the weights, 0..1.
    """

    def __init__(self, channels: int, squeezed: int, activation: Activation, gate: Activation) -> None:
        super().__init__()
        self.conv_reduce = nn.Conv2d(channels, squeezed, 1)
        self.act1 = activation()
        self.conv_expand = nn.Conv2d(squeezed, channels, 1)
        self.gate = gate()

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape (B, C, H, W)."""
        weights = self.conv_reduce(x.mean((2, 3), keepdim=True))
        return x * self.gate(self.conv_expand(self.act1(weights)))


class _Residual(nn.Module):
    """A branch that is added to its input where the shapes allow it."""

    def __init__(self, inputs: int, outputs: int, stride: int, drop: float) -> None:
        super().__init__()
        self.skips = stride == 1 and inputs == outputs
        self.drop_path = DropPath(drop)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, ceil(H / stride), ceil(W / stride))."""
        return x + self.drop_path(self.branch(x)) if self.skips else self.branch(x)

    def branch(self, x: Tensor) -> Tensor:
        """What is added."""
        raise NotImplementedError


class ConvNormAct(_Residual):
    """One convolution; ``skip`` allows the addition of the input."""

    def __init__(
        self, shape: tuple[int, int], kernel: int, stride: int, act: Activation, drop: float = 0.0, skip: bool = False
    ) -> None:
        super().__init__(*shape, stride, drop)
        self.skips = self.skips and skip
        self.conv = SameConv(*shape, kernel, stride)
        self.bn1 = batch_norm(shape[1])
        self.act = act()

    def branch(self, x: Tensor) -> Tensor:
        """Convolution, norm, activation."""
        return self.act(self.bn1(self.conv(x)))


class EdgeResidual(_Residual):
    """Fused inverted residual: widen by a whole convolution, then narrow.

    Args:
        shape: channels before and after.
        middle: channels in between.
        stride: of the widening 3x3 convolution.
        act: after it.
        drop: share of faces without the branch while training.
    """

    def __init__(self, shape: tuple[int, int], middle: int, stride: int, act: Activation, drop: float) -> None:
        super().__init__(*shape, stride, drop)
        self.conv_exp = SameConv(shape[0], middle, 3, stride)
        self.bn1 = batch_norm(middle)
        self.act = act()
        self.conv_pwl = SameConv(middle, shape[1], 1)
        self.bn2 = batch_norm(shape[1])

    def branch(self, x: Tensor) -> Tensor:
        """Widen and narrow; nothing follows the last norm."""
        return self.bn2(self.conv_pwl(self.act(self.bn1(self.conv_exp(x)))))


class InvertedResidual(_Residual):
    """Widen, convolve each channel for itself, weigh the channels, narrow.

    Args:
        shape: channels before and after.
        middle: channels in between.
        window: kernel and stride of the depthwise convolution.
        act: after the first two convolutions.
        excite: squeeze and excitation of ``middle`` channels, or nothing.
        drop: share of faces without the branch while training.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        middle: int,
        window: tuple[int, int],
        act: Activation,
        excite: nn.Module | None = None,
        drop: float = 0.0,
    ) -> None:
        super().__init__(*shape, window[1], drop)
        self.conv_pw = SameConv(shape[0], middle, 1)
        self.bn1 = batch_norm(middle)
        self.act = act()
        self.conv_dw = SameConv(middle, middle, *window, groups=middle)
        self.bn2 = batch_norm(middle)
        self.se = excite or nn.Identity()
        self.conv_pwl = SameConv(middle, shape[1], 1)
        self.bn3 = batch_norm(shape[1])

    def branch(self, x: Tensor) -> Tensor:
        """Nothing follows the last norm."""
        x = self.act(self.bn1(self.conv_pw(x)))
        x = self.se(self.act(self.bn2(self.conv_dw(x))))
        return self.bn3(self.conv_pwl(x))


class DepthwiseSeparable(_Residual):
    """An inverted residual that widens nothing; arguments as there."""

    def __init__(
        self, shape: tuple[int, int], window: tuple[int, int], act: Activation, excite: nn.Module | None = None
    ) -> None:
        super().__init__(*shape, window[1], 0.0)
        self.conv_dw = SameConv(shape[0], shape[0], *window, groups=shape[0])
        self.bn1 = batch_norm(shape[0])
        self.act = act()
        self.se = excite or nn.Identity()
        self.conv_pw = SameConv(*shape, 1)
        self.bn2 = batch_norm(shape[1])

    def branch(self, x: Tensor) -> Tensor:
        """Nothing follows the last norm."""
        return self.bn2(self.conv_pw(self.se(self.act(self.bn1(self.conv_dw(x))))))


def rounded(channels: float, floor: float = 0.9) -> int:
    """The nearest multiple of 8, at least 8, and at least ``floor`` of the wanted channels."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < floor * channels else nearest
