"""Building blocks of the convolutional autoencoders.

Definitions follow DeepFaceLab's LeRas layers, also in the channel order of depth-to-space.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Conv(nn.Conv2d):
    """Convolution with zero padding of half the kernel, Glorot uniform weights and zero biases.

    Args:
        in_channels, out_channels: channels before and after.
        kernel: side of the kernel.
        stride: step of the kernel.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__(in_channels, out_channels, kernel, stride=stride, padding=kernel // 2)

    def reset_parameters(self) -> None:
        """Draw fresh weights from torch's current random generator."""
        nn.init.xavier_uniform_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class Dense(nn.Linear):
    """Fully connected layer with Glorot uniform weights and zero biases."""

    def reset_parameters(self) -> None:
        """Draw fresh weights from torch's current random generator."""
        nn.init.xavier_uniform_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


def activate(x: Tensor, slope: float, cosine: bool) -> Tensor:
    """Leaky ReLU of the given slope, written over ``x``; or x*cos(x) into a new tensor.

    Every caller hands over the fresh result of a convolution, whose backward pass does not need it.
    """
    return x * torch.cos(x) if cosine else F.leaky_relu_(x, slope)


def pixel_norm(x: Tensor) -> Tensor:
    """Divide each row of (B, features) by its root mean square: x / sqrt(mean(x^2) + 1e-6), in float32."""
    with torch.autocast(x.device.type, enabled=False):
        wide = x.float()
        return wide * torch.rsqrt(wide.square().mean(dim=1, keepdim=True) + 1e-6)


def depth_to_space(x: Tensor) -> Tensor:
    """Channels to 2x2 sub-pixels: (B, 4c, H, W) -> (B, c, 2H, 2W), channels in the order row, column, c.

    In channels-last memory both this and its gradient copy whole runs of 2c values, several times faster than
    ``pixel_shuffle``, whose channel order differs. The result is always channels-last.
    """
    n, depth, h, w = x.shape
    c = depth // 4
    blocks = x.permute(0, 2, 3, 1).reshape(n, h, w, 2, 2, c)
    return blocks.permute(0, 1, 3, 2, 4, 5).reshape(n, 2 * h, 2 * w, c).permute(0, 3, 1, 2)


class Downscale(nn.Module):
    """Convolution of stride 2 and an activation of slope 0.1: (B, i, H, W) -> (B, o, H/2, W/2)."""

    def __init__(self, in_channels: int, out_channels: int, cosine: bool) -> None:
        super().__init__()
        self.conv1 = Conv(in_channels, out_channels, kernel=5, stride=2)
        self.cosine = cosine

    def forward(self, x: Tensor) -> Tensor:
        """Halve the picture."""
        return activate(self.conv1(x), 0.1, self.cosine)


class Upscale(nn.Module):
    """Convolution to 4*o channels, activation of slope 0.1, depth-to-space: (B, i, H, W) -> (B, o, 2H, 2W)."""

    def __init__(self, in_channels: int, out_channels: int, cosine: bool) -> None:
        super().__init__()
        self.conv1 = Conv(in_channels, out_channels * 4)
        self.cosine = cosine

    def forward(self, x: Tensor) -> Tensor:
        """Double the picture."""
        return depth_to_space(activate(self.conv1(x), 0.1, self.cosine))


class ResidualBlock(nn.Module):
    """Two convolutions, each with an activation of slope 0.2, around a skip connection; keeps the shape."""

    def __init__(self, channels: int, cosine: bool) -> None:
        super().__init__()
        self.conv1 = Conv(channels, channels)
        self.conv2 = Conv(channels, channels)
        self.cosine = cosine

    def forward(self, x: Tensor) -> Tensor:
        """Add what the two convolutions find."""
        inner = self.conv2(activate(self.conv1(x), 0.2, self.cosine))
        return activate(inner.add_(x), 0.2, self.cosine)


class DownscaleChain(nn.Module):
    """Downscales that double the channels: i -> o -> 2o -> 4o -> 8o."""

    def __init__(self, in_channels: int, out_channels: int, cosine: bool) -> None:
        super().__init__()
        widths = [in_channels, *(out_channels * 2**i for i in range(4))]
        self.downs = nn.ModuleList(Downscale(widths[i], widths[i + 1], cosine) for i in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """Shrink the picture by 16."""
        for down in self.downs:
            x = down(x)
        return x
