"""Layers of the model builder: its convolutions, norms, five ways of doubling a picture, noise and residual blocks.

Definitions follow faceswap's Phaze-A. All maps are (B, c, H, W) in channels-last memory.
"""

from __future__ import annotations

from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backend.models.blocks import depth_to_space

GROUPS = 32
LEAST_VARIANCE = 1e-12
"""Below it a map counts as even: the root's gradient has no bound at zero."""


class HeConv(nn.Conv2d):
    """Convolution of stride 1 that keeps the size, with He-uniform weights and zero biases.

    Args:
        in_channels, out_channels: channels before and after.
        kernel: odd side of the kernel.
        gain: weights are drawn from +-sqrt(3 * gain / inputs); 2 is He's.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 3, gain: float = 2.0) -> None:
        self.gain = gain
        super().__init__(in_channels, out_channels, kernel, padding=kernel // 2)

    def reset_parameters(self) -> None:
        """Draw fresh weights from torch's current random generator."""
        bound = sqrt(3 * self.gain / self.weight[0].numel())
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class ValidConv(HeConv):
    """A convolution that pads nothing, and may step further; see HeConv.

    Args:
        in_channels, out_channels: channels before and after.
        kernel: side of the kernel.
        stride: step of the kernel.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__(in_channels, out_channels, kernel)
        self.padding, self.stride = (0, 0), (stride, stride)


def leak(x: Tensor, slope: float) -> Tensor:
    """Leaky ReLU, written over ``x``, whose making must not need it for its own gradient; a slope of 1 does nothing."""
    return x if slope == 1.0 else F.leaky_relu_(x, slope)


def double(x: Tensor) -> Tensor:
    """Twice the size, bilinear with half-pixel centres."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def noised(x: Tensor, training: bool) -> Tensor:
    """Add normal noise of standard deviation 1 while training."""
    return torch.randn_like(x).add_(x) if training else x


def _channels_last(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1) if x.dim() == 4 else x


def _channels_first(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2) if x.dim() == 4 else x


class InstanceNorm(nn.Module):
    """(x - mean) / (std + 1e-3) over everything of a sample, with one scale and one shift; in float32."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise a batch of maps or vectors."""
        with torch.autocast(x.device.type, enabled=False):
            axes = tuple(range(1, x.dim()))
            return normalised(x.float(), axes) * self.weight + self.bias


class LayerNorm(nn.Module):
    """Over the channels of each pixel, eps 1e-3, with a scale and a shift per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise a batch of maps or vectors."""
        with torch.autocast(x.device.type, enabled=False):
            found = F.layer_norm(_channels_last(x).float(), self.weight.shape, self.weight, self.bias, 1e-3)
            return _channels_first(found)


class RmsNorm(nn.Module):
    """scale * x / sqrt(mean(x^2) + 1e-8) over the channels of each pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise a batch of maps or vectors."""
        with torch.autocast(x.device.type, enabled=False):
            wide = _channels_last(x).float()
            found = wide * torch.rsqrt(wide.square().mean(dim=-1, keepdim=True) + 1e-8) * self.weight
            return _channels_first(found)


def normalised(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """(x - mean) / (std + 1e-3) over these axes; float32 in and out."""
    centred = x - x.mean(dim=axes, keepdim=True)
    deviation = centred.square().mean(dim=axes, keepdim=True).clamp_min(LEAST_VARIANCE).sqrt()
    return centred / (deviation + 1e-3)


def build_norm(kind: str, channels: int) -> nn.Module | None:
    """The norm of this name; None for "none".

    Args:
        kind: none, instance, layer, rms, group or batch.
        channels: of the maps or vectors; for group a multiple of 32.
    """
    if kind == "none":
        return None
    if kind == "instance":
        return InstanceNorm()
    if kind == "layer":
        return LayerNorm(channels)
    if kind == "rms":
        return RmsNorm(channels)
    if kind == "group":
        return nn.GroupNorm(GROUPS, channels, eps=1e-6)
    if kind == "batch":
        return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)
    raise ValueError(f"There is no norm '{kind}'.")


class SubPixel(nn.Module):
    """Convolution to 4*f channels, activation of slope 0.1, depth-to-space.

    All ways of doubling share this form: (B, i, H, W) -> (B, width, 2H, 2W), with their own activation.

    Args:
        in_channels: i.
        filters: f.

    Attributes:
        width: channels they give: f, but the next even number of the hybrid.
    """

    def __init__(self, in_channels: int, filters: int) -> None:
        super().__init__()
        self.width = filters
        self.conv = HeConv(in_channels, filters * 4)

    def forward(self, x: Tensor, then: float = 1.0) -> Tensor:
        """Double a map.

        Args:
            x: the map.
            then: slope of one more activation that follows; two in a row are one of the slopes' product.
        """
        return depth_to_space(leak(self.conv(x), 0.1 * then))


class FastUpscale(nn.Module):
    """A sub-pixel upscale, to which a convolution doubled bilinearly is added; see SubPixel."""

    def __init__(self, in_channels: int, filters: int) -> None:
        super().__init__()
        self.width = filters
        self.subpixel = SubPixel(in_channels, filters)
        self.conv = HeConv(in_channels, filters)

    def forward(self, x: Tensor, then: float = 1.0) -> Tensor:
        """Double a map; see SubPixel."""
        return leak(double(self.conv(x)).add_(self.subpixel(x)), then)


class HybridUpscale(nn.Module):
    """Half of the channels from a sub-pixel upscale, half from a convolution doubled bilinearly; see SubPixel."""

    def __init__(self, in_channels: int, filters: int) -> None:
        super().__init__()
        half = filters - filters // 2
        self.width = 2 * half
        self.subpixel = SubPixel(in_channels, half)
        self.conv = HeConv(in_channels, half)

    def forward(self, x: Tensor, then: float = 1.0) -> Tensor:
        """Double a map; see SubPixel."""
        return leak(torch.cat((self.subpixel(x), double(self.conv(x))), dim=1), then)


class ResizeUpscale(nn.Module):
    """A bilinear doubling then a convolution, plus a transposed convolution; activation of slope 0.2; see SubPixel."""

    def __init__(self, in_channels: int, filters: int) -> None:
        super().__init__()
        self.width = filters
        self.conv = HeConv(in_channels, filters)
        self.transposed = nn.ConvTranspose2d(in_channels, filters, 3, stride=2, padding=1, output_padding=1)
        bound = sqrt(6 / (in_channels * 9))
        nn.init.uniform_(self.transposed.weight, -bound, bound)
        if self.transposed.bias is not None:
            nn.init.zeros_(self.transposed.bias)

    def forward(self, x: Tensor, then: float = 1.0) -> Tensor:
        """Double a map; see SubPixel."""
        return leak(self.conv(double(x)).add_(self.transposed(x)), 0.2 * then)


class DnyUpscale(nn.Module):
    """A bilinear doubling, then two convolutions with activations of slope 0.2; see SubPixel."""

    def __init__(self, in_channels: int, filters: int) -> None:
        super().__init__()
        self.width = filters
        self.conv1 = HeConv(in_channels, filters)
        self.conv2 = HeConv(filters, filters)

    def forward(self, x: Tensor, then: float = 1.0) -> Tensor:
        """Double a map; see SubPixel."""
        return leak(self.conv2(leak(self.conv1(double(x)), 0.2)), 0.2 * then)


Upscaler = SubPixel | FastUpscale | HybridUpscale | ResizeUpscale | DnyUpscale


def build_upscale(method: str, in_channels: int, filters: int) -> Upscaler:
    """The way of doubling of this name: subpixel, upscale_fast, upscale_hybrid, resize_images or upscale_dny."""
    if method == "subpixel":
        return SubPixel(in_channels, filters)
    if method == "upscale_fast":
        return FastUpscale(in_channels, filters)
    if method == "upscale_hybrid":
        return HybridUpscale(in_channels, filters)
    if method == "resize_images":
        return ResizeUpscale(in_channels, filters)
    if method == "upscale_dny":
        return DnyUpscale(in_channels, filters)
    raise ValueError(f"There is no way of doubling '{method}'.")


class ResidualBlock(nn.Module):
    """Two convolutions, each with an activation of slope 0.2, around a skip connection; the second begins small."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = HeConv(channels, channels)
        self.conv2 = HeConv(channels, channels, gain=0.2)

    def forward(self, x: Tensor) -> Tensor:
        """Add what the two convolutions find."""
        return leak(self.conv2(leak(self.conv1(x), 0.2)).add_(x), 0.2)


def reshaped(x: Tensor, side: int) -> Tensor:
    """The values of (B, c, H, W) in channels-last order as (B, H*W*c / side^2, side, side)."""
    if x.shape[-1] == side:
        return x
    return x.permute(0, 2, 3, 1).reshape(len(x), side, side, -1).permute(0, 3, 1, 2)
