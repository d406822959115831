"""Losses against DeepFaceLab's numbers; the weights it includes stand beside each comparison."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from backend.models.losses.adversarial import bce, total_variation
from backend.models.losses.blur import gaussian_blur
from backend.models.losses.dssim import dssim, structure_loss, structure_windows, two_windows
from backend.models.losses.mask import blur_out, mask_loss, soft_mask
from backend.models.losses.pixel import eyes_mouth_loss, pixel_loss
from backend.models.losses.style import background_style, style_loss
from tests.models.dfl_files import bchw

SIDES = (64, 128, 256)
ROUNDING = 1e-4
"""DeepFaceLab's own float32 rounding of the structure term: up to 4e-5 from the float64 value, ours 1e-6."""
SUMMING = 2e-4
"""The same of the blurred style at 256 px; at 64 and 128 px it is 5e-5."""


class Golden:
    """Arrays of one resolution as tensors."""

    def __init__(self, folder: Path, side: int) -> None:
        with np.load(folder / "dfl_networks" / "losses.npz") as file:
            self.side = side
            self.arrays = {
                key.removeprefix(f"r{side}_"): file[key] for key in file.files if key.startswith(f"r{side}_")
            }

    def __getitem__(self, name: str) -> torch.Tensor:
        array = self.arrays[name]
        return bchw(array) if array.ndim == 4 else torch.from_numpy(array)

    def __contains__(self, name: str) -> bool:
        return name in self.arrays


@pytest.fixture(params=SIDES)
def numbers(golden: Path, request: pytest.FixtureRequest) -> Golden:
    return Golden(golden, request.param)


def close(found: torch.Tensor, expected: torch.Tensor, rtol: float = 1e-5, atol: float = 1e-6) -> bool:
    return found.shape == expected.shape and torch.allclose(found, expected, rtol=rtol, atol=atol)


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


def test_masks(numbers: Golden) -> None:
    soft = soft_mask(numbers["mask"])
    assert close(soft, numbers["mask_blur"])
    if "mask_anti_blur" in numbers:
        assert close(1 - soft, numbers["mask_anti_blur"])
        assert close(numbers["target"] * soft, numbers["target_masked"])
        assert close(numbers["pred"] * soft, numbers["pred_masked"])


@pytest.mark.parametrize("side", [64, 128])
def test_blur_out(golden: Path, side: int) -> None:
    numbers = Golden(golden, side)
    assert close(blur_out(numbers["target"], numbers["mask"]), numbers["target_blur_out"])


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("blurred", [True, False])
def test_single_terms(numbers: Golden, masked: bool, blurred: bool) -> None:
    target, pred = numbers["target"], numbers["pred"]
    if blurred:
        target = blur_out(target, numbers["mask"])
    if masked:
        soft = soft_mask(numbers["mask"])
        target, pred = target * soft, pred * soft
    case = ("masked" if masked else "unmasked") + ("_blurout" if blurred else "")
    structure = structure_loss(target, pred, structure_windows(numbers.side))
    assert close(10 * structure, numbers[f"saehd_structure_{case}"], ROUNDING)
    assert close(10 * pixel_loss(target, pred), numbers[f"saehd_pixel_{case}"])


def test_mask_and_eyes_and_mouth(numbers: Golden) -> None:
    assert close(10 * mask_loss(numbers["mask"], numbers["pred_mask"]), numbers["saehd_mask"])
    found = eyes_mouth_loss(numbers["target"], numbers["pred"], numbers["em_mask"])
    assert close(300 * found, numbers["saehd_eyes_mouth"])


def test_amp_structure_takes_both_windows(numbers: Golden) -> None:
    soft = soft_mask(numbers["mask"])
    found = structure_loss(numbers["target"] * soft, numbers["pred"] * soft, two_windows(numbers.side))
    assert close(10 * found, numbers["amp_structure_masked"], ROUNDING)


def test_total_variation(numbers: Golden) -> None:
    assert close(total_variation(numbers["target"]), numbers["tv_target"])
    assert close(total_variation(numbers["pred"]), numbers["tv_pred"])


def added_up(picture: torch.Tensor) -> torch.Tensor:
    """Mean over the pixels, each added to a float32 sum in turn as DeepFaceLab does; off by up to 1e-5."""
    sums = np.cumsum(picture.flatten(2).numpy(), axis=2, dtype=np.float32)[:, :, -1]
    return torch.from_numpy(sums)[:, :, None, None] / picture[0, 0].numel()


def test_style(numbers: Golden) -> None:
    mine, other = numbers["target"] * numbers["mask"], numbers["pred"] * numbers["pred_mask"]
    means = [added_up(picture) for picture in (mine, other)]
    squares = [added_up((mine - means[0]).square()), added_up((other - means[1]).square())]
    deviations = [(square + 1e-5).sqrt() for square in squares]
    theirs = (means[0] - means[1]).square() + (deviations[0] - deviations[1]).square()
    assert close(theirs.mean(dim=(1, 2, 3)), numbers["style_noblur"], 1e-5, 1e-9)
    exact = style_loss(other.double(), mine.double(), 0).float()
    assert close(style_loss(other, mine, 0), exact, 1e-5, 1e-9)
    assert close(exact, numbers["style_noblur"], 1.5e-3, 1e-9)


def test_face_style(numbers: Golden) -> None:
    sigma = numbers.side // 8
    mine, other = numbers["target"] * numbers["mask"], numbers["pred"] * numbers["pred_mask"]
    found = style_loss(other, mine, sigma)
    assert close(found, numbers[f"style_blur_s{sigma}"], SUMMING, 1e-9)
    assert close(100 * found, numbers[f"style_blur_s{sigma}_w100"], SUMMING, 1e-7)


def test_background_style_with_deepfacelabs_area(numbers: Golden) -> None:
    around = 1 - soft_mask(numbers["mask"])
    found = background_style(numbers["target"], numbers["pred"], around)
    assert close(10 * 0.02 * found, numbers["bg_style"], ROUNDING)


def test_cross_entropy(golden: Path) -> None:
    with np.load(golden / "dfl_networks" / "losses.npz") as file:
        logits = bchw(file["bce_logits"])
        ones, zeros = torch.from_numpy(file["bce_ones"]), torch.from_numpy(file["bce_zeros"])
    assert close(bce(logits, True), ones)
    assert close(bce(logits, False), zeros)


def test_gradient_of_style(golden: Path) -> None:
    numbers = Golden(golden, 64)
    target = numbers["target"].requires_grad_()
    style_loss(numbers["pred"] * numbers["pred_mask"], target * numbers["mask"], 8).sum().backward()
    expected = numbers["grad_target_of_style"]
    assert target.grad is not None
    assert close(target.grad, expected, 1e-4, 1e-4 * float(expected.abs().max()))
