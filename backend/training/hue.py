"""Random shifts of hue, saturation and brightness, for a whole batch at once on its device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from backend.training.sampler import Share

_SECTORS = ((1.0, 0), (3.0, 1), (5.0, 2))  # where blue, green and red stand on the circle of six


@dataclass(frozen=True)
class HsvShift:
    """What is added to each face: ``hue`` in degrees, ``saturation`` and ``value`` in shares; (B,) float32 each."""

    hue: Tensor
    saturation: Tensor
    value: Tensor

    def of(self, share: Share) -> HsvShift:
        """The shifts of one process's part of the batch."""
        return HsvShift(share.of(self.hue), share.of(self.saturation), share.of(self.value))


def random_hsv(count: int, power: float, generator: torch.Generator) -> HsvShift:
    """DeepFaceLab's ranges: whole degrees within max(1, int(180 power)), the others within half the power."""
    most = max(1, int(180 * power))
    hue = torch.randint(-most, most + 1, (count,), generator=generator).float()
    rest = (torch.rand(2, count, generator=generator) - 0.5) * power
    return HsvShift(hue, rest[0], rest[1])


def shift_hsv(images_bgr: Tensor, shift: HsvShift) -> Tensor:
    """Turn the hue and move saturation and brightness, both cut to 0..1.

    Args:
        images_bgr: (B, 3, H, W) float 0..1.
        shift: of each face.

    Returns:
        (B, 3, H, W), a new tensor.
    """
    device = images_bgr.device
    hue, saturation, value = (
        part.to(device, non_blocking=True)[:, None, None] for part in (shift.hue, shift.saturation, shift.value)
    )
    blue, green, red = images_bgr.unbind(1)
    top = images_bgr.amax(1)
    chroma = top - images_bgr.amin(1)
    safe = chroma.clamp_min(1e-6)
    place = torch.where(top == green, 2 + (blue - red) / safe, 4 + (red - green) / safe)
    place = torch.where(top == red, (green - blue) / safe, place) + hue / 60
    new_top = (top + value).clamp(0, 1)
    new_chroma = new_top * (chroma / top.clamp_min(1e-6) + saturation).clamp(0, 1)
    out = torch.empty_like(images_bgr)
    for start, channel in _SECTORS:
        around = torch.remainder(place + start, 6)
        out[:, channel] = new_top - new_chroma * torch.minimum(around, 4 - around).clamp(0, 1)
    return out
