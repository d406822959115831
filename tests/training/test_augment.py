from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from backend.training.augment import (
    AugmentOptions,
    affine_grid,
    augment,
    augment_side,
    plain,
    random_affine,
    random_warp_nodes,
    warp_grid,
)
from backend.training.loader import RawBatch, RawSide

CPU = torch.device("cpu")


def gradient_side(count: int, side: int, channels: int = 3) -> RawSide:
    """Smooth pictures whose gray level tells the place, with a disc as mask."""
    line = torch.linspace(0, 255, side)
    planes = [line.expand(side, side), line[:, None].expand(side, side), (255 - line).expand(side, side)][:channels]
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    disc = (((x - side / 2) ** 2 + (y - side / 2) ** 2) < (side / 4) ** 2).float() * 255
    images = torch.stack(planes, -1).to(torch.uint8).expand(count, -1, -1, -1).contiguous()
    return RawSide(images, torch.stack([disc, disc], -1).to(torch.uint8).expand(count, -1, -1, -1).contiguous())


def test_own_grid_equals_torchs() -> None:
    theta = random_affine(4, True, torch.Generator().manual_seed(1))
    torch.testing.assert_close(affine_grid(theta, 48), F.affine_grid(theta, [4, 1, 48, 48], align_corners=False))


def test_affine_stays_in_its_ranges() -> None:
    theta = random_affine(2000, True, torch.Generator().manual_seed(2))
    forward = torch.linalg.inv(theta[:, :, :2])
    scale = forward.det().abs().sqrt()
    assert scale.min() > 1 / 1.15 - 1e-4
    assert scale.max() < 1.15 + 1e-4
    mirrored = forward.det() < 0
    assert 0.35 < mirrored.float().mean() < 0.45
    angle = torch.atan2(forward[:, 1, 0], forward[:, 1, 1])
    assert angle.abs().max() < math.radians(10) + 1e-4
    shift = -(forward @ theta[:, :, 2:])[:, :, 0]
    assert shift.abs().max() <= 0.1 + 1e-5


def test_warp_nodes_keep_the_border_and_move_both_axes_apart() -> None:
    nodes = random_warp_nodes(3000, torch.Generator().manual_seed(3))
    assert nodes[:, :, 0].abs().max() == 0
    assert nodes[:, :, :, -1].abs().max() == 0
    assert nodes.abs().max() <= 0.24 * 2 / 2 + 1e-6
    x, y = nodes[:, 0].flatten(), nodes[:, 1].flatten()
    assert abs(float(torch.corrcoef(torch.stack([x, y]))[0, 1])) < 0.06
    assert abs(float(torch.corrcoef(torch.stack([x, nodes[:, 1].mT.flatten()]))[0, 1])) < 0.06
    middle = nodes[:, 0, 4, 4]
    wide = middle[nodes[:, 0, 2, 4] == middle / 2]
    assert wide.std() == pytest.approx(0.382 * 0.24, rel=0.1)


def test_still_nodes_leave_the_grid() -> None:
    grid = affine_grid(random_affine(2, False, torch.Generator().manual_seed(4)), 32)
    assert torch.equal(warp_grid(grid, torch.zeros(2, 2, 9, 9)), grid)


@pytest.mark.parametrize("channels", [1, 3])
def test_shapes_ranges_and_repeatability(channels: int) -> None:
    raw = RawBatch(gradient_side(5, 64, channels), gradient_side(5, 64, channels), (5, 5))
    batches = [augment(raw, AugmentOptions(), torch.Generator().manual_seed(9), CPU) for _ in range(2)]
    src, dst = batches[0]
    assert src.warped.shape == dst.target.shape == (5, channels, 64, 64)
    assert src.mask.shape == (5, 1, 64, 64)
    for tensor in (src.warped, src.target, dst.mask):
        assert tensor.dtype == torch.float32
        assert 0 <= float(tensor.min()) <= float(tensor.max()) <= 1
    assert torch.equal(dst.warped, batches[1][1].warped)
    assert not torch.equal(src.warped, src.target)
    assert not torch.equal(src.target[0], src.target[1])


def test_without_warp_the_input_is_the_target() -> None:
    side = augment_side(gradient_side(3, 64), False, False, torch.Generator().manual_seed(1), CPU)
    assert torch.equal(side.warped, side.target)


def test_mask_follows_the_target() -> None:
    raw = gradient_side(8, 96)
    disc_as_picture = RawSide(raw.masks[..., :1].contiguous(), raw.masks)
    side = augment_side(disc_as_picture, True, True, torch.Generator().manual_seed(5), CPU)
    assert (side.target - side.mask).abs().mean() < 0.005
    assert (side.warped - side.mask).abs().mean() > 0.005


def test_plain_changes_nothing() -> None:
    raw = gradient_side(2, 64)
    side = plain(raw, CPU)
    assert torch.equal((side.target * 255).round().to(torch.uint8).permute(0, 2, 3, 1), raw.images)
