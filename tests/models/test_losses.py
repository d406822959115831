"""Losses without anybody's numbers: what they mean and where they stop."""

from __future__ import annotations

import math

import pytest
import torch

from backend.models.losses.adversarial import bce, total_variation
from backend.models.losses.blur import band, gaussian_window
from backend.models.losses.dssim import dssim, structure_loss, structure_windows, two_windows
from backend.models.losses.mask import blur_out, mask_loss, soft_mask
from backend.models.losses.pixel import eyes_mouth_loss, pixel_loss
from backend.models.losses.style import background_style, style_loss, surroundings


def test_windows() -> None:
    expected = {64: (5,), 96: (8,), 128: (11,), 224: (19,), 256: (22, 11), 320: (27, 13), 512: (44, 22), 640: (55, 27)}
    assert {side: structure_windows(side) for side in expected} == expected
    assert two_windows(64) == (5, 2)
    assert two_windows(224) == (19, 9)


def test_band_is_a_correlation() -> None:
    window, row = gaussian_window(4, 1.0), torch.rand(9)
    expected = torch.nn.functional.conv1d(row.view(1, 1, -1), window.view(1, 1, -1), padding=2).flatten()
    assert torch.allclose(band(window, 9, 2) @ row, expected, atol=1e-6)
    assert float(window.sum()) == pytest.approx(1)


def test_structure_is_the_mean_over_windows_and_channels_of_any_shape() -> None:
    target, seen = torch.rand(2, 3, 40, 56), torch.rand(2, 3, 40, 56)
    expected = (dssim(target, seen, 9).mean(dim=1) + dssim(target, seen, 4).mean(dim=1)) / 2
    assert torch.allclose(structure_loss(target, seen, (9, 4)), expected, rtol=1e-5)


def test_differences_are_means_per_sample() -> None:
    target = torch.zeros(2, 1, 4, 4)
    seen = torch.stack((torch.full((1, 4, 4), 0.5), torch.full((1, 4, 4), -0.25)))
    assert pixel_loss(target, seen).tolist() == [0.25, 0.0625]
    assert mask_loss(target, seen).tolist() == [0.25, 0.0625]
    eyes = torch.zeros(2, 1, 4, 4)
    eyes[:, :, :2, :2] = 1
    assert eyes_mouth_loss(target, seen, eyes).tolist() == [0.125, 0.0625]


def test_total_variation_runs_over_rows_and_columns_not_channels() -> None:
    flat = torch.tensor([0.1, 0.5, 0.9]).view(1, 3, 1, 1).expand(2, 3, 5, 5)
    assert total_variation(flat).tolist() == [0, 0]
    across = torch.arange(4.0).view(1, 1, 1, 4).expand(1, 1, 3, 4)
    assert total_variation(across).tolist() == [9]
    assert total_variation(across.mT).tolist() == [9]


def test_cross_entropy_stays_finite_and_knows_its_side() -> None:
    logits = torch.tensor([-200.0, 0.0, 200.0]).view(3, 1, 1, 1)
    assert bce(logits, real=True).tolist() == pytest.approx([200, math.log(2), 0])
    assert bce(logits, real=False).tolist() == pytest.approx([0, math.log(2), 200])


def test_blur_out_keeps_the_face_and_keeps_it_out_of_the_surroundings() -> None:
    mask = torch.zeros(1, 1, 256, 256)
    mask[:, :, 80:180, 80:180] = 1
    target = torch.where(mask > 0, 1.0, 0.25).expand(1, 3, -1, -1)
    found = blur_out(target, mask)
    inner = (mask > 0).expand_as(found)
    assert torch.equal(found[inner], target[inner])
    away_from_border = torch.zeros_like(inner)
    away_from_border[:, :, 8:-8, 8:-8] = True
    assert torch.allclose(found[~inner & away_from_border], torch.tensor(0.25), atol=1e-5)


def test_blur_out_of_a_picture_that_is_all_face() -> None:
    target = torch.rand(1, 3, 64, 64)
    assert torch.equal(blur_out(target, torch.ones(1, 1, 64, 64)), target)


def test_style_sees_colours_and_not_places() -> None:
    picture = torch.rand(2, 3, 32, 32)
    moved = picture.flip(3).requires_grad_()
    loss = style_loss(picture, moved, 4)
    assert torch.allclose(loss, torch.zeros(2), atol=1e-10)
    loss.sum().backward()
    assert moved.grad is not None
    assert bool(moved.grad.isfinite().all())
    assert float(style_loss(picture, picture * 0.5, 4).min()) > 0.01


def test_style_of_a_flat_picture_has_a_gradient() -> None:
    black = torch.zeros(1, 1, 16, 16, requires_grad=True)
    style_loss(torch.rand(1, 1, 16, 16), black, 0).sum().backward()
    assert black.grad is not None
    assert bool(black.grad.isfinite().all())


def test_surroundings_follow_both_predicted_masks_and_pass_no_gradient() -> None:
    swap, dst = torch.zeros(1, 1, 64, 64, requires_grad=True), torch.zeros(1, 1, 64, 64)
    with torch.no_grad():
        swap[:, :, :, :40] = 1
        dst[:, :, :, 24:] = 1
    around = surroundings(swap, dst)
    assert not around.requires_grad
    columns = around[0, 0, 32]
    assert torch.allclose(columns[28:36], torch.zeros(8), atol=1e-3)
    assert torch.allclose(columns[:16], torch.ones(16), atol=1e-6)
    assert torch.allclose(columns[48:], torch.ones(16), atol=1e-6)


def test_background_style_is_blind_inside() -> None:
    target, swap = torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64)
    around = torch.zeros(1, 1, 64, 64)
    assert torch.allclose(background_style(target, swap, around), torch.zeros(1), atol=1e-5)
    assert float(background_style(target, swap, 1 - around)) > 0.1


def test_equal_gray_pictures_cost_nothing() -> None:
    picture, mask = torch.rand(2, 1, 64, 64), torch.ones(2, 1, 64, 64)
    for loss in (
        structure_loss(picture, picture, (5, 2)),
        pixel_loss(picture, picture),
        mask_loss(mask, mask),
        eyes_mouth_loss(picture, picture, mask),
        style_loss(picture, picture, 8),
    ):
        assert loss.shape == (2,)
        assert torch.allclose(loss, torch.zeros(2), atol=1e-6)


def test_soft_mask_is_whole_inside() -> None:
    mask = torch.zeros(1, 1, 64, 64)
    mask[:, :, 16:48, 16:48] = 1
    soft = soft_mask(mask)
    assert torch.allclose(soft[:, :, 17:47, 17:47], torch.ones(30, 30), atol=1e-6)
    assert 0 < float(soft[0, 0, 32, 14]) < 1
    assert float(soft[0, 0, 32, 8]) == 0
