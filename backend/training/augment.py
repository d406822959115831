"""Random affine, flip and warp of a whole batch at once, on the device that trains.

Every output is resampled once: the warp is composed with the affine map before the faces are looked up. Faces are
looked up bicubically, masks bilinearly. On a CPU the warped input is looked up bilinearly: bicubic lookup costs three
times as much there, and the input is distorted by chance anyway, while the target, which the network learns to draw,
stays sharp.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from backend.training.batch import FaceBatch
from backend.training.loader import RawBatch, RawSide

ROTATION_DEG = 10.0
SCALE = 0.15
SHIFT = 0.05
FLIP_CHANCE = 0.4
WARP_CELLS = (2, 4, 8)
WARP_STRENGTH = 0.24
WARP_TRUNCATION = 2.5
_FINEST = max(WARP_CELLS) + 1


@dataclass(frozen=True)
class AugmentOptions:
    """What is random: ``warp`` distorts the input, the flips mirror input and target of a side."""

    warp: bool = True
    flip_src: bool = False
    flip_dst: bool = False


def augment(
    raw: RawBatch, options: AugmentOptions, generator: torch.Generator, device: torch.device
) -> tuple[FaceBatch, FaceBatch]:
    """Distort both sides of a batch, src first; see augment_side."""
    src = augment_side(raw.src, options.warp, options.flip_src, generator, device)
    return src, augment_side(raw.dst, options.warp, options.flip_dst, generator, device)


def augment_side(raw: RawSide, warp: bool, flip: bool, generator: torch.Generator, device: torch.device) -> FaceBatch:
    """Distort the faces of one side.

    Ranges are DeepFaceLab's: rotation within 10 degrees, scale 1/1.15..1.15, shift within 5 % of the side, mirrored in
    40 % of the cases when asked for, then its warp grid with independent axes.

    Args:
        raw: faces and masks as bytes.
        warp: distort the input; otherwise it equals the target.
        flip: mirror some faces.
        generator: CPU generator of all random numbers.
        device: where the lookup is computed and the result lies.

    Returns:
        float32 0..1, BGR. Target and masks share the affine map; only warped also has the warp. Outside a face's
        picture its edge is repeated, masks are 0.
    """
    count, side = raw.images.shape[0], raw.images.shape[1]
    theta = random_affine(count, flip, generator).to(device, non_blocking=True)
    nodes = random_warp_nodes(count, generator).to(device, non_blocking=True) if warp else None
    images = _to_bchw(raw.images, device)
    grid = affine_grid(theta, side)
    target = _lookup(images, grid, "bicubic")
    warped = target
    if nodes is not None:
        warped = _lookup(images, warp_grid(grid, nodes), "bilinear" if device.type == "cpu" else "bicubic")
    masks = _to_bchw(raw.masks, device)
    masks = F.grid_sample(masks, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return FaceBatch(warped, target, masks[:, :1], masks[:, 1:])


def plain(raw: RawSide, device: torch.device) -> FaceBatch:
    """The same faces without any distortion, as previews and evaluations show them; shapes as augment_side()."""
    images, masks = _to_bchw(raw.images, device), _to_bchw(raw.masks, device)
    return FaceBatch(images, images, masks[:, :1], masks[:, 1:])


def affine_grid(theta: Tensor, side: int) -> Tensor:
    """Lookup positions (B, side, side, 2) of maps (B, 2, 3), both in coordinates of -1..1 across the picture.

    Equal to torch's affine_grid without aligned corners, in a third of the time: x and y lie in planes of their own.
    """
    centres = (torch.arange(side, device=theta.device, dtype=theta.dtype) * 2 + 1) / side - 1
    along_x = theta[:, :, 0, None, None] * centres
    along_y = theta[:, :, 1, None, None] * centres[:, None] + theta[:, :, 2, None, None]
    return (along_x + along_y).permute(0, 2, 3, 1)


def random_affine(count: int, flip: bool, generator: torch.Generator) -> Tensor:
    """Random output -> input maps, (count, 2, 3) float32, in coordinates of -1..1 across the picture."""
    u = torch.rand(5, count, generator=generator)
    angle = (u[0] * 2 - 1) * math.radians(ROTATION_DEG)
    scale = 1 / (1 + SCALE) + u[1] * (1 + SCALE - 1 / (1 + SCALE))
    shift_x, shift_y = (u[2:4] * 2 - 1) * SHIFT * 2
    mirror = torch.where(u[4] < FLIP_CHANCE, -1.0, 1.0) if flip else torch.ones(count)
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    # Forward: rotate and scale about the centre, shift, mirror last. This is its inverse.
    row_x = torch.stack([cos * mirror, sin, -(cos * shift_x + sin * shift_y)], dim=1)
    row_y = torch.stack([-sin * mirror, cos, sin * shift_x - cos * shift_y], dim=1)
    return torch.stack([row_x, row_y], dim=1)


def random_warp_nodes(count: int, generator: torch.Generator) -> Tensor:
    """Random displacements of a regular grid, (count, 2, 9, 9) float32, x and y in units of -1..1 across the picture.

    Cells of a half, a quarter or an eighth of the side with equal odds; inner nodes move by a normal number cut at 2.5
    deviations, divided by 2.5, times 0.24 cell; the border stays. Coarser grids are written on the finest one, which
    leaves their bilinear surface as it is.
    """
    out = torch.zeros(count, 2, _FINEST, _FINEST)
    which = torch.randint(len(WARP_CELLS), (count,), generator=generator)
    for i, cells in enumerate(WARP_CELLS):
        chosen = torch.nonzero(which == i)[:, 0]
        nodes = torch.zeros(len(chosen), 2, cells + 1, cells + 1)
        noise = _truncated_normal((len(chosen), 2, cells - 1, cells - 1), generator)
        nodes[:, :, 1:-1, 1:-1] = noise * (WARP_STRENGTH * 2 / cells)
        if len(chosen):
            out[chosen] = F.interpolate(nodes, size=(_FINEST, _FINEST), mode="bilinear", align_corners=True)
    return out


def warp_grid(grid: Tensor, nodes: Tensor) -> Tensor:
    """Move each lookup position (B, H, W, 2) by the displacement of ``nodes`` (B, 2, 9, 9) at that place."""
    moved = F.grid_sample(nodes, grid, mode="bilinear", padding_mode="border", align_corners=True)
    return grid + moved.permute(0, 2, 3, 1)


def _truncated_normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Normal numbers with |z| <= 2.5, divided by 2.5, by the inverse of the distribution function."""
    edge = math.erf(WARP_TRUNCATION / math.sqrt(2))
    uniform = (torch.rand(shape, generator=generator) * 2 - 1) * edge
    return torch.erfinv(uniform) * (math.sqrt(2) / WARP_TRUNCATION)


def _lookup(images: Tensor, grid: Tensor, mode: str) -> Tensor:
    found = F.grid_sample(images, grid, mode=mode, padding_mode="border", align_corners=False)
    return found.clamp_(0, 1) if mode == "bicubic" else found


def _to_bchw(data: Tensor, device: torch.device) -> Tensor:
    """(B, H, W, C) uint8 -> (B, C, H, W) float32 0..1, contiguous, on the device."""
    moved = data.to(device, non_blocking=True).permute(0, 3, 1, 2)
    return moved.to(torch.float32, memory_format=torch.contiguous_format).div_(255.0)
