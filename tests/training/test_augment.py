from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from backend.core.settings import Quick96Settings, SaehdSettings
from backend.training import lookup
from backend.training.augment import (
    Augmenter,
    AugmentOptions,
    SideOptions,
    augment,
    augment_side,
    plain,
    random_affine,
    random_warp_nodes,
)
from backend.training.lab import random_lab, shift_batch
from backend.training.loader import RawBatch, RawSide
from backend.training.lookup import Distortion, affine_grid, look_up, warp_grid
from backend.training.sampler import Share

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
    side = augment_side(gradient_side(3, 64), SideOptions(warp=False), torch.Generator().manual_seed(1), CPU)
    assert side.warped is side.target


def test_mask_follows_the_target() -> None:
    raw = gradient_side(8, 96)
    disc_as_picture = RawSide(raw.masks[..., :1].contiguous(), raw.masks)
    side = augment_side(disc_as_picture, SideOptions(flip=True), torch.Generator().manual_seed(5), CPU)
    assert (side.target - side.mask).abs().mean() < 0.005
    assert (side.warped - side.mask).abs().mean() > 0.005


def test_plain_changes_nothing() -> None:
    raw = gradient_side(2, 64)
    side = plain(raw, CPU)
    assert torch.equal((side.target * 255).round().to(torch.uint8).permute(0, 2, 3, 1), raw.images)


def noise_side(count: int, side: int, channels: int = 3) -> RawSide:
    """Smooth random pictures and masks."""
    coarse = torch.rand(count, channels + 2, 12, 12, generator=torch.Generator().manual_seed(8)) * 255
    fine = F.interpolate(coarse, size=(side, side), mode="bicubic").clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
    return RawSide(fine[..., :channels].contiguous(), fine[..., channels:].contiguous())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [64, 100])
def test_the_cpu_finds_what_a_gpu_finds(channels: int, side: int) -> None:
    raw, generator = noise_side(6, side, channels), torch.Generator().manual_seed(3)
    theta, nodes = random_affine(6, True, generator), random_warp_nodes(6, generator)
    by = Distortion(theta, nodes)
    found = look_up(raw.images, raw.masks, by, CPU)
    wanted = lookup._on_device(raw.images, raw.masks, by, CPU)
    for one, two in zip((found.target, *found.masks), (wanted.target, *wanted.masks), strict=True):
        assert (one - two).abs().max() < 0.51 / 255
        assert one.is_contiguous()
    grid = warp_grid(affine_grid(theta, side), nodes)
    pictures = lookup.to_float(raw.images, CPU)
    bilinear = F.grid_sample(pictures, grid, mode="bilinear", padding_mode="border", align_corners=False)
    assert (found.warped - bilinear).abs().max() < 0.51 / 255
    assert (found.warped - wanted.warped).abs().mean() < 2 / 255


def test_the_cpu_shifts_colours_and_warps_finely_as_a_gpu_does() -> None:
    raw, generator = noise_side(6, 96), torch.Generator().manual_seed(3)
    fine = F.interpolate(random_warp_nodes(6, generator), size=(65, 65), mode="bilinear", align_corners=True)
    by = Distortion(random_affine(6, True, generator), fine, random_lab(6, 0.3, 0.1, generator))
    found, wanted = look_up(raw.images, raw.masks, by, CPU), lookup._on_device(raw.images, raw.masks, by, CPU)
    uncoloured = look_up(raw.images, raw.masks, Distortion(by.theta, fine), CPU)
    for name in ("target", "warped"):
        assert (getattr(found, name) - getattr(wanted, name)).abs().mean() < 2 / 255
        assert (getattr(found, name) - getattr(uncoloured, name)).abs().mean() > 10 / 255


def test_options_come_from_the_settings() -> None:
    settings = SaehdSettings(random_warp=False, random_src_flip=True, random_dst_flip=False, random_hsv_power=0.05)
    assert AugmentOptions.of(settings) == AugmentOptions(False, True, False, 0.15, 0.05)
    assert AugmentOptions.of(Quick96Settings()) == AugmentOptions(True, False, False, 0.05, 0.0)
    assert AugmentOptions.of(settings).dst.hsv_power == 0
    coloured = AugmentOptions.of(SaehdSettings(color_lightness=30, color_ab=8))
    for side in (coloured.src, coloured.dst):
        assert (side.lightness, side.ab) == pytest.approx((0.3, 0.08))


def test_quick96_scales_less() -> None:
    theta = random_affine(1000, False, torch.Generator().manual_seed(2), 0.05)
    scale = torch.linalg.inv(theta[:, :, :2]).det().sqrt()
    assert scale.min() == pytest.approx(1 / 1.05, abs=1e-3)
    assert scale.max() == pytest.approx(1.05, abs=1e-3)


@pytest.mark.parametrize("options", [AugmentOptions(), AugmentOptions(True, True, True, 0.15, 0.1, 0.3, 0.1)])
def test_shares_together_are_the_batch_of_one_process(options: AugmentOptions) -> None:
    side = noise_side(6, 32)
    whole = augment(RawBatch(side, side, (6, 6)), options, torch.Generator().manual_seed(4), CPU)
    parts = []
    for rank in range(3):
        share = Share(rank, 3)
        part = RawSide(share.of(side.images), share.of(side.masks))
        parts.append(augment(RawBatch(part, part, (6, 6)), options, torch.Generator().manual_seed(4), CPU, share))
    for at in range(2):
        for name in ("warped", "target", "mask", "eyes_mouth"):
            together: Tensor = torch.cat([getattr(part[at], name) for part in parts])
            torch.testing.assert_close(together, getattr(whole[at], name), rtol=0, atol=1e-6)


def test_only_the_sources_input_changes_its_colours() -> None:
    side = noise_side(4, 32)
    raw, plain_options = RawBatch(side, side, (4, 4)), AugmentOptions(warp=False)
    plain_src, _ = augment(raw, plain_options, torch.Generator().manual_seed(4), CPU)
    src, dst = augment(raw, AugmentOptions(warp=False, hsv_power=0.3), torch.Generator().manual_seed(4), CPU)
    assert torch.equal(src.target, plain_src.target)
    assert (src.warped - src.target).abs().mean() > 0.02
    assert dst.warped is dst.target


@pytest.mark.parametrize("channels", [1, 3])
def test_lightness_and_colours_change_input_and_target_alike(channels: int) -> None:
    side = noise_side(6, 32, channels)
    options = SideOptions(warp=False, lightness=0.5)
    plain_side = augment_side(side, SideOptions(warp=False), torch.Generator().manual_seed(4), CPU)
    found = augment_side(side, options, torch.Generator().manual_seed(4), CPU)
    assert found.warped is found.target
    moved = (found.target - plain_side.target).mean(dim=(1, 2, 3))
    assert moved.min() < -0.02
    assert moved.max() > 0.02
    on_device = shift_batch(plain_side.target, random_lab(6, 0.5, 0.0, after_affine(6, 4)))
    assert (on_device - found.target).abs().mean() < 2 / 255
    assert torch.equal(found.mask, plain_side.mask)


def after_affine(count: int, seed: int) -> torch.Generator:
    """A generator where a batch without a warp draws its colours."""
    generator = torch.Generator().manual_seed(seed)
    random_affine(count, False, generator)
    return generator


def test_options_that_are_off_draw_no_numbers() -> None:
    generator, only_affine_and_warp = torch.Generator().manual_seed(4), torch.Generator().manual_seed(4)
    augment_side(noise_side(6, 32), SideOptions(), generator, CPU)
    random_affine(6, False, only_affine_and_warp)
    random_warp_nodes(6, only_affine_and_warp)
    assert torch.equal(generator.get_state(), only_affine_and_warp.get_state())


def test_warp_grids_that_come_with_faces_are_used_instead_of_random_ones() -> None:
    side = noise_side(4, 32)
    nodes = torch.zeros(4, 2, 65, 65)
    nodes[:, 0] = 0.25
    generator = torch.Generator().manual_seed(4)
    found = augment_side(RawSide(side.images, side.masks, nodes), SideOptions(), generator, CPU)
    theta = random_affine(4, False, torch.Generator().manual_seed(4))
    theta[:, 0, 2] += 0.25
    by_hand = look_up(side.images, side.masks, Distortion(theta), CPU)
    middle = (..., slice(8, 24), slice(8, 24))
    assert (found.warped - by_hand.target)[middle].abs().mean() < 0.02
    assert (found.warped - found.target)[middle].abs().mean() > 0.05
    assert torch.equal(generator.get_state(), after_affine(4, 4).get_state())


def batch_of(seed: int) -> RawBatch:
    images = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    side = RawSide(images, images[..., :2].contiguous())
    return RawBatch(side, side, (0, 0))


def test_quick96_takes_every_third_batch_again_without_warp() -> None:
    augmenter = Augmenter(Quick96Settings(), torch.Generator().manual_seed(1), CPU)
    results = [augmenter.again() if augmenter.reuses(i) else augmenter(batch_of(i), i) for i in range(8)]
    for iteration, (src, dst) in enumerate(results):
        assert (src.warped is src.target) == (dst.warped is dst.target) == (iteration % 3 == 0)
    assert results[3][0].target is results[2][0].target
    assert results[6][1].target is results[5][1].target
    assert not torch.equal(results[2][0].target, results[1][0].target)


def test_quick96_finds_the_batch_to_take_again_by_its_random_numbers() -> None:
    generator = torch.Generator().manual_seed(1)
    augmenter = Augmenter(Quick96Settings(), generator, CPU)
    assert not augmenter.reuses(0)
    augmenter(batch_of(1), 1)
    before = generator.get_state()
    augmenter(batch_of(2), 2)
    assert [augmenter.reuses(i) for i in (3, 4)] == [True, False]
    again = augmenter.again()
    after = generator.get_state()
    augmenter.forget()
    assert not augmenter.reuses(3)
    generator.set_state(before)
    found = augmenter(batch_of(2), 3)
    for one, other in zip(found, again, strict=True):
        assert torch.equal(one.target, other.target)
        assert one.warped is one.target
    assert torch.equal(generator.get_state(), after)
    augmenter.forget()
    with pytest.raises(ValueError, match="no batch before"):
        augmenter.again()


def test_saehd_distorts_every_batch() -> None:
    augmenter = Augmenter(SaehdSettings(), torch.Generator().manual_seed(1), CPU)
    for iteration in range(4):
        src, _ = augmenter(batch_of(iteration), iteration)
        assert src.warped is not src.target
        assert not augmenter.reuses(iteration + 1)
