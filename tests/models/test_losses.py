"""Losses against DeepFaceLab's numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from backend.core.settings.train import TrainSettings
from backend.models.losses.blur import band, gaussian_blur, gaussian_window
from backend.models.losses.dssim import dssim, structure_loss, structure_windows
from backend.models.losses.mask import mask_loss, soft_mask
from backend.models.losses.pixel import eyes_mouth_loss, pixel_loss
from backend.training.batch import FaceBatch
from backend.training.step import SwapLoss
from tests.models.dfl_files import bchw

SIDES = [64, 128, 256]
ROUNDING = 1e-4
"""DeepFaceLab's own float32 rounding of the structure term: up to 4e-5 from the float64 value, ours 1e-6."""


class Golden:
    """Arrays of one resolution as tensors."""

    def __init__(self, folder: Path, side: int) -> None:
        with np.load(folder / "dfl_networks" / "losses.npz") as file:
            self.arrays = {
                key.removeprefix(f"r{side}_"): file[key] for key in file.files if key.startswith(f"r{side}_")
            }

    def __getitem__(self, name: str) -> torch.Tensor:
        array = self.arrays[name]
        return bchw(array) if array.ndim == 4 else torch.from_numpy(array)

    def batch(self) -> FaceBatch:
        return FaceBatch(self["target"], self["target"], self["mask"], self["em_mask"])


@pytest.fixture(params=SIDES)
def numbers(golden: Path, request: pytest.FixtureRequest) -> Golden:
    return Golden(golden, request.param)


def close(found: torch.Tensor, expected: torch.Tensor, rtol: float = 1e-5) -> bool:
    return torch.allclose(found, expected, rtol=rtol, atol=1e-6)


def test_dssim(numbers: Golden) -> None:
    windows = [int(name.rpartition("k")[2]) for name in numbers.arrays if name.startswith("dssim_k")]
    assert windows
    for window in windows:
        assert close(dssim(numbers["target"], numbers["pred"], window), numbers[f"dssim_k{window}"]), window


def test_blur(numbers: Golden) -> None:
    names = [name for name in numbers.arrays if name.startswith("blur_")]
    assert names
    for name in names:
        _, what, sigma = name.split("_")
        found = gaussian_blur(numbers[what], float(sigma[1:].replace("p", ".")))
        assert close(found, numbers[name]), name


def test_soft_mask(numbers: Golden) -> None:
    assert close(soft_mask(numbers["mask"]), numbers["mask_blur"])


def test_single_terms(numbers: Golden) -> None:
    target, pred, soft = numbers["target"], numbers["pred"], soft_mask(numbers["mask"])
    assert close(structure_loss(target * soft, pred * soft), numbers["saehd_structure_masked"], ROUNDING)
    assert close(structure_loss(target, pred), numbers["saehd_structure_unmasked"], ROUNDING)
    assert close(pixel_loss(target * soft, pred * soft), numbers["saehd_pixel_masked"])
    assert close(pixel_loss(target, pred), numbers["saehd_pixel_unmasked"])
    assert close(mask_loss(numbers["mask"], numbers["pred_mask"]), numbers["saehd_mask"])
    assert close(eyes_mouth_loss(target, pred, numbers["em_mask"]), numbers["saehd_eyes_mouth"])


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("eyes_mouth", [True, False])
def test_totals(numbers: Golden, masked: bool, eyes_mouth: bool) -> None:
    settings = TrainSettings(masked_training=masked, eyes_mouth_priority=eyes_mouth)
    found = SwapLoss(settings)(numbers.batch(), numbers["pred"], numbers["pred_mask"])
    name = f"saehd_total{'_em' if eyes_mouth else ''}_{'masked' if masked else 'unmasked'}"
    assert close(found, numbers[name], ROUNDING)


def test_gradients(golden: Path) -> None:
    numbers = Golden(golden, 64)
    face, mask = numbers["pred"].requires_grad_(), numbers["pred_mask"].requires_grad_()
    SwapLoss(TrainSettings(eyes_mouth_priority=True))(numbers.batch(), face, mask).sum().backward()
    assert close(face.grad, numbers["grad_pred_of_sum_saehd_total_em_masked"], 1e-4)
    assert close(mask.grad, numbers["grad_predmask_of_sum"], 1e-4)


def test_windows() -> None:
    expected = {64: (5,), 96: (8,), 128: (11,), 224: (19,), 256: (22, 11), 320: (27, 13), 512: (44, 22), 640: (55, 27)}
    assert {side: structure_windows(side) for side in expected} == expected


def test_band_is_a_correlation() -> None:
    window, row = gaussian_window(4, 1.0), torch.rand(9)
    expected = torch.nn.functional.conv1d(row.view(1, 1, -1), window.view(1, 1, -1), padding=2).flatten()
    assert torch.allclose(band(window, 9, 2) @ row, expected, atol=1e-6)
    assert float(window.sum()) == pytest.approx(1)


def test_equal_pictures_cost_nothing_and_one_channel_works() -> None:
    picture, mask = torch.rand(2, 1, 64, 64), torch.ones(2, 1, 64, 64)
    batch = FaceBatch(picture, picture, mask, mask)
    loss = SwapLoss(TrainSettings(eyes_mouth_priority=True))(batch, picture, mask)
    assert loss.shape == (2,)
    assert torch.allclose(loss, torch.zeros(2), atol=1e-5)
