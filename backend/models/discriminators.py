"""What judges whether a face, or a code, is real: DeepFaceLab's U-Net and code discriminators.

Sub-modules carry DeepFaceLab's names and are created in the order of its files, see ``dfl_names``.
"""

from __future__ import annotations

from itertools import product
from math import prod

import torch
from torch import Tensor, nn

from backend.models.blocks import Conv, activate

MAX_LAYERS = 9
MAX_WIDTH = 512


def unet_strides(patch_size: int) -> tuple[int, ...]:
    """Strides of the 3x3 convolutions whose receptive field comes nearest to a patch.

    Searched are 1 to 9 convolutions, the first of stride 2, the others of stride 1 or 2. Of equally near receptive
    fields the smaller wins; of equal ones fewer layers, then the larger sum of strides, then stride 2 as late as
    possible.

    Args:
        patch_size: side of the patch in px.

    Returns:
        one stride per convolution.
    """
    nets = [(2, *rest) for count in range(MAX_LAYERS) for rest in product((1, 2), repeat=count)]
    return min(nets, key=lambda strides: _rank(strides, patch_size))


def _rank(strides: tuple[int, ...], patch_size: int) -> tuple[object, ...]:
    field = 3 + 2 * sum(prod(strides[:i]) for i in range(1, len(strides)))
    late = tuple(-stride for stride in reversed(strides))
    return abs(field - patch_size), field, len(strides), -sum(strides), late


class UpConv(nn.ConvTranspose2d):
    """Transposed 3x3 convolution with Glorot uniform weights and zero biases.

    Its result is at least stride times as large as its input; what is too much at the right and below is cut off
    by the caller.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__(in_channels, out_channels, 3, stride=stride, padding=2 - stride)

    def reset_parameters(self) -> None:
        """Draw fresh weights from torch's current random generator."""
        nn.init.xavier_uniform_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class UNetDiscriminator(nn.Module):
    """Judges a picture in two ways: coarsely patch by patch at the deepest level, and pixel by pixel.

    Any picture side works: features of odd sides, at which DeepFaceLab stops with an error, are cut to fit.

    Args:
        channels: of the picture, 3 or 1.
        patch_size: side in px of what one value of the coarse map sees.
        base: width of the first level; doubled at each, at most 512.
    """

    def __init__(self, channels: int, patch_size: int, base: int) -> None:
        super().__init__()
        strides = unet_strides(patch_size)
        depth = len(strides)
        widths = [min(base * 2**level, MAX_WIDTH) for level in range(depth + 1)]
        self.convs = nn.ModuleList(Conv(widths[i], widths[i + 1], stride=strides[i]) for i in range(depth))
        self.upconvs = nn.ModuleList(
            UpConv(widths[i + 1] * (1 if i == depth - 1 else 2), widths[i], strides[i]) for i in reversed(range(depth))
        )
        self.in_conv = Conv(channels, widths[0], kernel=1)
        self.out_conv = Conv(widths[0] * 2, 1, kernel=1)
        self.center_out = Conv(widths[-1], 1, kernel=1)
        self.center_conv = Conv(widths[-1], widths[-1], kernel=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Judge pictures.

        Args:
            x: (B, C, H, W) float 0..1.

        Returns:
            logits (B, 1, h, w) of the patches and (B, 1, H, W) of the pixels, float32; positive means real.
        """
        x = activate(self.in_conv(x), 0.2, cosine=False)
        levels: list[Tensor] = []
        for conv in self.convs:
            levels.append(x)
            x = activate(conv(x), 0.2, cosine=False)
        centre = self.center_out(x)
        x = activate(self.center_conv(x), 0.2, cosine=False)
        for up, level in zip(self.upconvs, reversed(levels), strict=True):
            x = activate(up(x), 0.2, cosine=False)
            x = torch.cat((level, x[:, :, : level.shape[2], : level.shape[3]]), dim=1)
        return centre.float(), self.out_conv(x).float()


class CodeDiscriminator(nn.Module):
    """Judges whose face a code is; true face draws the source's codes towards the destination's with it.

    Args:
        channels: of the inter's output.
        code_side: side of the inter's output.
        base: width of the first level; doubled at each, at most eight times.
    """

    def __init__(self, channels: int, code_side: int, base: int = 256) -> None:
        super().__init__()
        depth = 1 + code_side // 8
        widths = [channels, *(base * min(2**level, 8) for level in range(depth))]
        self.convs = nn.ModuleList(Conv(widths[i], widths[i + 1], kernel=3 if i else 4, stride=2) for i in range(depth))
        self.out_conv = Conv(widths[-1], 1, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        """Judge codes (B, c, S, S) -> logits (B, 1, s, s) float32; positive means like the destination's."""
        for conv in self.convs:
            x = activate(conv(x), 0.1, cosine=False)
        return self.out_conv(x).float()
