"""Looking distorted faces up in the pictures they come from: input, target and masks of a side, each resampled once.

Faces are looked up bicubically, masks bilinearly. An NVIDIA or AMD device does it by itself for the whole batch. All
others leave it to OpenCV on the CPU, which is twice as fast there as torch and knows every mode; the warped input is
then looked up bilinearly: it is distorted by chance anyway, while the target, which the network learns to draw, stays
sharp. Colours are shifted before, where each picture is met only once.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from backend.training.lab import shift_batch, shift_bytes

Bytes = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]

_AFFINE_LINEAR = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
_AFFINE_CUBIC = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
_PER_BYTE = np.float32(1 / 255)


@dataclass(frozen=True)
class Found:
    """Distorted faces on the device, float32 0..1, contiguous.

    Attributes:
        target: (B, C, R, R) by the affine map.
        warped: (B, C, R, R) by the affine map and the warp; the target itself without a warp.
        masks: (B, 1, R, R) each by the affine map: face, eyes and mouth, and what else there is, as in FaceCache.
    """

    target: Tensor
    warped: Tensor
    masks: tuple[Tensor, ...]


@dataclass(frozen=True)
class Distortion:
    """How the faces of one side are distorted.

    Attributes:
        theta: (B, 2, 3) float32 output -> input maps, in coordinates of -1..1 across the picture.
        nodes: (B, 2, n, n) float32 displacements of a regular grid in the input, same unit; None does not warp.
        lab: (B, 3) float32 amounts of L, a and b, see shift_bytes(); None leaves the colours.
    """

    theta: Tensor
    nodes: Tensor | None = None
    lab: Tensor | None = None


def look_up(images: Tensor, masks: Tensor, by: Distortion, device: torch.device) -> Found:
    """Distort the faces of one side. Outside a picture its edge is repeated, masks are 0.

    Args:
        images: (B, R, R, C) uint8 on the CPU.
        masks: (B, R, R, n) uint8 on the CPU.
        by: what is done to them.
        device: where the result lies.
    """
    if device.type == "cuda":
        return _on_device(images, masks, by, device)
    found = _on_cpu(images, masks, by)
    if device.type == "cpu":
        return found
    target = found.target.to(device)
    warped = target if by.nodes is None else found.warped.to(device)
    return Found(target, warped, tuple(mask.to(device) for mask in found.masks))


def to_float(data: Tensor, device: torch.device) -> Tensor:
    """(B, H, W, C) uint8 -> (B, C, H, W) float32 0..1, contiguous, on the device."""
    moved = data.to(device, non_blocking=True).permute(0, 3, 1, 2)
    return moved.to(torch.float32, memory_format=torch.contiguous_format).div_(255.0)


def affine_grid(theta: Tensor, side: int) -> Tensor:
    """Lookup positions (B, side, side, 2) of maps (B, 2, 3), both in coordinates of -1..1 across the picture.

    Equal to torch's affine_grid without aligned corners, in a third of the time: x and y lie in planes of their own.
    """
    centres = (torch.arange(side, device=theta.device, dtype=theta.dtype) * 2 + 1) / side - 1
    along_x = theta[:, :, 0, None, None] * centres
    along_y = theta[:, :, 1, None, None] * centres[:, None] + theta[:, :, 2, None, None]
    return (along_x + along_y).permute(0, 2, 3, 1)


def warp_grid(grid: Tensor, nodes: Tensor) -> Tensor:
    """Move each lookup position (B, H, W, 2) by the displacement of ``nodes`` (B, 2, n, n) at that place."""
    moved = F.grid_sample(nodes, grid, mode="bilinear", padding_mode="border", align_corners=True)
    return grid + moved.permute(0, 2, 3, 1)


def _on_device(images: Tensor, masks: Tensor, by: Distortion, device: torch.device) -> Found:
    grid = affine_grid(by.theta.to(device, non_blocking=True), images.shape[1])
    pictures = to_float(images, device)
    if by.lab is not None:
        pictures = shift_batch(pictures, by.lab)
    target = _bicubic(pictures, grid)
    warped = target
    if by.nodes is not None:
        warped = _bicubic(pictures, warp_grid(grid, by.nodes.to(device, non_blocking=True)))
    planes = to_float(masks, device)
    planes = F.grid_sample(planes, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return Found(target, warped, tuple(plane.contiguous() for plane in planes.split(1, dim=1)))


def _bicubic(pictures: Tensor, grid: Tensor) -> Tensor:
    found = F.grid_sample(pictures, grid, mode="bicubic", padding_mode="border", align_corners=False)
    return found.clamp_(0, 1)


def _on_cpu(images: Tensor, masks: Tensor, by: Distortion) -> Found:
    count, side, _, channels = images.shape
    target = torch.empty(count, channels, side, side)
    warped = target if by.nodes is None else torch.empty_like(target)
    found = tuple(torch.empty(count, 1, side, side) for _ in range(masks.shape[3]))
    maps = _pixel_maps(by.theta.numpy(), side)
    places = None if by.nodes is None else _node_places(by.nodes.numpy(), side)
    amounts = None if by.lab is None else by.lab.numpy()
    for i, (image, planes, matrix) in enumerate(zip(images.numpy(), masks.numpy(), maps, strict=True)):
        face = image if amounts is None else shift_bytes(image, amounts[i])
        moved = cv2.warpAffine(face, matrix, (side, side), flags=_AFFINE_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        _write_planes(moved, target[i].numpy())
        for plane, out in zip(cv2.split(planes), found, strict=True):
            np.multiply(
                cv2.warpAffine(plane, matrix, (side, side), flags=_AFFINE_LINEAR), _PER_BYTE, out=out[i, 0].numpy()
            )
        if places is not None:
            _write_planes(_warp(face, matrix, places[i]), warped[i].numpy())
    return Found(target, warped, found)


def _pixel_maps(theta: Float32, side: int) -> npt.NDArray[np.float64]:
    """Maps between coordinates of -1..1 as maps between pixels, whose centres lie at whole numbers; (B, 2, 3)."""
    maps = theta.astype(np.float64)
    middle = (side - 1) / 2
    maps[:, :, 2] = maps[:, :, 2] * (side / 2) + middle - maps[:, :, :2].sum(axis=2) * middle
    return maps


def _node_places(nodes: Float32, side: int) -> Float32:
    """Where each node of the warp grid points to, (B, 2, n, n) in pixels."""
    last = nodes.shape[-1] - 1
    line = np.arange(last + 1, dtype=np.float32) * (side / last) - 0.5
    places = nodes * np.float32(side / 2)
    places[:, 0] += line
    places[:, 1] += line[:, None]
    return places


def _warp(image: Bytes, matrix: npt.NDArray[np.float64], places: Float32) -> Bytes:
    """One face (R, R, C) by the affine map, then the warp.

    The grid is read where the affine map leads, and holds positions, not displacements: between nodes that do not
    move the position is linear, and beyond the picture's edge it stays at the edge, which the lookup repeats anyway.
    Four channels are looked up twice as fast as three.
    """
    side = image.shape[0]
    cells = places.shape[-1] - 1
    to_nodes = matrix * (cells / side)
    to_nodes[:, 2] += 0.5 * cells / side
    x, y = (
        cv2.warpAffine(plane, to_nodes, (side, side), flags=_AFFINE_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for plane in places
    )
    padded = cv2.cvtColor(image, cv2.COLOR_BGR2BGRA) if image.shape[2] == 3 else image
    return np.asarray(cv2.remap(padded, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _write_planes(image: npt.NDArray[np.uint8], out: Float32) -> None:
    """(R, R, C) or (R, R) bytes into (C, R, R) float32 0..1; channels that ``out`` lacks are dropped."""
    for plane, target in zip(cv2.split(image), out, strict=False):
        np.multiply(plane, _PER_BYTE, out=target)
