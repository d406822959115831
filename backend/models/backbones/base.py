"""What every backbone offers: faces in, a feature map or a vector out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

BATCH_NORM_MOMENTUM = 0.01
"""Share of the newest batch in a running mean; Keras writes the same as 0.99."""


@dataclass(frozen=True)
class BackboneOptions:
    """What can be chosen about the MobileNets; other backbones have no options.

    Attributes:
        mobilenet_width: factor of all channel counts (v1, v2, v3).
        mobilenet_depth: filters per channel of the depthwise convolutions (v1).
        mobilenet_dropout: share of the last map's channels that training leaves out (v1), below 1.
        mobilenet_minimalistic: 3x3 kernels and ReLU alone, no squeeze and excitation (v3).
    """

    mobilenet_width: float = 1.0
    mobilenet_depth: int = 1
    mobilenet_dropout: float = 0.001
    mobilenet_minimalistic: bool = False


@dataclass(frozen=True)
class Normalisation:
    """Mean and spread of the pictures a network was trained on, RGB of 0..1."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
"""To -1..1, as the networks from TensorFlow want it."""
CLIP = Normalisation((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


class Backbone(nn.Module):
    """A network that others designed, without its classifier.

    Args:
        name: as in backend.core.encoders.ENCODERS.
        net: takes RGB (B, 3, px, px), normalised; gives a map (B, C, h, w) or a vector (B, n).
        normalisation: what ``net`` expects.
        channels: of the pictures, 3 for BGR or 1 for gray.
        out_shape: (C, h, w) or (n,), without the batch.

    Attributes:
        name, net, channels, out_shape: as given.
    """

    mean: Tensor
    factor: Tensor

    def __init__(
        self, name: str, net: nn.Module, normalisation: Normalisation, channels: int, out_shape: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.name = name
        self.net = net
        self.channels = channels
        self.out_shape = out_shape
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (normalisation.mean, normalisation.std))
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("factor", 1 / std, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Features of faces.

        Args:
            x: (B, channels, px, px), float 0..1, BGR or gray.

        Returns:
            (B, *out_shape).
        """
        rgb = x.expand(-1, 3, -1, -1) if self.channels == 1 else x.flip(1)
        return self.net((rgb - self.mean) * self.factor)


class SamePad(nn.Module):
    """Zeros around a map (B, C, H, W) as TensorFlow's "same" puts them: the odd one goes below and to the right."""

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Pad so that a convolution without padding gives ceil(H / stride) rows."""
        top, bottom = same_padding(x.shape[-2], self.kernel, self.stride)
        left, right = same_padding(x.shape[-1], self.kernel, self.stride)
        return nn.functional.pad(x, (left, right, top, bottom))


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after a side of ``size``; see SamePad."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class DropPath(nn.Module):
    """Stochastic depth: leaves out a branch for a share of the faces and makes the others stronger.

    Args:
        share: of the faces, 0 to 1.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape (B, C, H, W); does nothing outside training."""
        if not self.training or not self.share:
            return x
        kept = torch.rand(x.shape[0], 1, 1, 1, device=x.device) >= self.share
        return x * kept.to(x.dtype) / (1 - self.share)


def begin_convolutions(net: nn.Module) -> None:
    """Fresh weights for a network of convolutions and batch norms: normal with variance 2 / fan out (He et al. 2015),
    the fan out of a depthwise convolution counted per group; batch norms begin as identities.
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.weight.shape[0] // module.groups * module.weight[0, 0].numel()
            nn.init.normal_(module.weight, std=(2 / fan_out) ** 0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()


def begin_batch_norms(net: nn.Module, momentum: float = BATCH_NORM_MOMENTUM) -> None:
    """Give all batch norms of a network the momentum that torch means, where a port kept TensorFlow's."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = momentum


def halved(px: int, times: int = 5) -> int:
    """Side of a map after that many convolutions of stride 2 that pad."""
    for _ in range(times):
        px = -(-px // 2)
    return px
