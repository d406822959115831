"""Convolution-aware initial weights: filters that are orthogonal to each other in the Fourier domain.

After Aghajanyan, "Convolution aware initialization", 2017.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

NOISE = 0.05
"""Deviation of the noise that keeps filters apart whose basis repeats."""
_AT_ONCE = 1 << 14
"""Bases made at the same time: a bound on the memory it takes."""


def conv_aware_(network: nn.Module) -> None:
    """Give every ordinary convolution of more than one pixel such weights, drawn from torch's generator.

    Biases, 1x1 and depthwise convolutions stay as they are, and so do weights without memory (meta device).
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.groups == 1 and module.weight[0, 0].numel() > 1:
            draw_conv_aware_(module.weight)


@torch.no_grad()
def draw_conv_aware_(weight: Tensor) -> None:
    """Draw one convolution's weights: mean near 0, variance 2 / (inputs * height * width), as He's.

    The filters of each output are rows of random orthogonal bases of the kernel's half spectrum, as many bases as its
    inputs need, brought back by the inverse real Fourier transform, plus a little noise.

    Args:
        weight: (outputs, inputs, height, width) float32, written over.
    """
    if weight.is_meta:
        return
    outputs, inputs, height, width = weight.shape
    spectrum = (height, width // 2 + 1)
    size = spectrum[0] * spectrum[1]
    each = -(-inputs // size)
    step = max(1, _AT_ONCE // each)
    for start in range(0, outputs, step):
        count = min(step, outputs - start)
        rows = orthogonal_bases(count * each, size).reshape(count, each * size, *spectrum)[:, :inputs]
        weight[start : start + count] = torch.fft.irfft2(rows.to(torch.complex64), s=(height, width)).to(weight.device)
    weight += torch.randn(weight.shape).to(weight.device) * NOISE
    weight *= (2 / (inputs * height * width) / weight.var(correction=0)).sqrt()


def orthogonal_bases(count: int, size: int) -> Tensor:
    """Random orthonormal bases, evenly distributed over all of them: (count, size, size) float32, rows are vectors.

    The eigenvectors of random symmetric matrices, which the paper takes, are distributed alike.
    """
    q, r = torch.linalg.qr(torch.randn(count, size, size))
    return q * torch.sign(torch.diagonal(r, dim1=1, dim2=2))[:, None, :]
