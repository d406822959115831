"""Random lightness and colours of whole faces in LAB: the numbers, and how bytes and a device's batch take them."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Bytes = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]

_TO_XYZ = (
    (0.412453 / 0.950456, 0.357580 / 0.950456, 0.180423 / 0.950456),
    (0.212671, 0.715160, 0.072169),
    (0.019334 / 1.088754, 0.119193 / 1.088754, 0.950227 / 1.088754),
)
"""Linear red, green and blue -> X, Y and Z in shares of the white of daylight (D65), as OpenCV has them."""

_TO_RGB = (
    (3.240479 * 0.950456, -1.537150, -0.498535 * 1.088754),
    (-0.969256 * 0.950456, 1.875991, 0.041556 * 1.088754),
    (0.055648 * 0.950456, -0.204043, 1.057311 * 1.088754),
)
_LEVELS = np.arange(256, dtype=np.float32)
_LEVELS.flags.writeable = False


def random_lab(count: int, lightness: float, ab: float, generator: torch.Generator) -> Tensor:
    """Random amounts of L, a and b, (count, 3) float32: within +-lightness, and within +-ab, shares of 0..1."""
    return (torch.rand(count, 3, generator=generator) * 2 - 1) * torch.tensor([lightness, ab, ab])


def shift_bytes(image: Bytes, amounts: Float32) -> Bytes:
    """Shift one face.

    Faceswap's rule, on LAB in 0..255: an amount r of 0 or more leads that share of the way to 255, a negative one that
    share of the way to 0. A face of one channel takes the amount of L on its gray.

    Args:
        image: (H, W, C) uint8, BGR or gray.
        amounts: (3,) float32, of L, a and b.

    Returns:
        (H, W, C) uint8.
    """
    up = np.maximum(amounts, 0)[:, None]
    down = np.minimum(amounts, 0)[:, None]
    table = np.rint(_LEVELS * (1 + down) + (255 - _LEVELS) * up).astype(np.uint8)
    if image.shape[2] == 1:
        return np.asarray(cv2.LUT(image, table[0]), np.uint8).reshape(image.shape)
    lab = cv2.cvtColor(image, cv2.COLOR_BGR2LAB)
    return np.asarray(cv2.cvtColor(cv2.LUT(lab, table.T[None]), cv2.COLOR_LAB2BGR), np.uint8)


def shift_batch(images: Tensor, amounts: Tensor) -> Tensor:
    """Shift a batch on its device, as shift_bytes() does face by face, without rounding to bytes in between.

    Args:
        images: (B, C, H, W) float32 0..1, BGR or gray.
        amounts: (B, 3) float32, of L, a and b.

    Returns:
        (B, C, H, W) float32 0..1, a new tensor.
    """
    amounts = amounts.to(images.device, non_blocking=True)[:, :, None, None]
    if images.shape[1] == 1:
        return _shifted(images, amounts[:, :1])
    lab = _shifted(_lab(images), amounts).unbind(1)
    return _bgr(lab[0], lab[1], lab[2])


def _shifted(shares: Tensor, amounts: Tensor) -> Tensor:
    return shares * (1 + amounts.clamp(max=0)) + (1 - shares) * amounts.clamp(min=0)


def _lab(images_bgr: Tensor) -> Tensor:
    """LAB in 0..1, as OpenCV packs it into bytes: L / 100, (a + 128) / 255, (b + 128) / 255."""
    linear = torch.where(images_bgr > 0.04045, ((images_bgr + 0.055) / 1.055) ** 2.4, images_bgr / 12.92)
    xyz = _mixed(linear.flip(1), _TO_XYZ)
    x, y, z = torch.where(xyz > 0.008856, xyz ** (1 / 3), 7.787 * xyz + 16 / 116).unbind(1)
    return torch.stack([1.16 * y - 0.16, (500 * (x - y) + 128) / 255, (200 * (y - z) + 128) / 255], dim=1).clamp_(0, 1)


def _bgr(light: Tensor, a: Tensor, b: Tensor) -> Tensor:
    y = (light + 0.16) / 1.16
    roots = torch.stack([y + (a * 255 - 128) / 500, y, y - (b * 255 - 128) / 200], dim=1)
    xyz = torch.where(roots > 6 / 29, roots**3, (roots - 16 / 116) / 7.787)
    linear = _mixed(xyz, _TO_RGB).flip(1).clamp_(0, 1)
    return torch.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, linear * 12.92)


def _mixed(planes: Tensor, rows: tuple[tuple[float, float, float], ...]) -> Tensor:
    """Sums of the channels by the weights of each row; no matrix product, which devices may round."""
    first, second, third = planes.unbind(1)
    return torch.stack([row[0] * first + row[1] * second + row[2] * third for row in rows], dim=1)
