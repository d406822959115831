from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from backend.training.lab import random_lab, shift_batch, shift_bytes

AMOUNTS = [(0.3, 0.0, 0.0), (-0.3, 0.0, 0.0), (0.0, 0.08, -0.08), (0.2, -0.3, 0.3), (-0.75, 0.5, 0.5)]


def colours() -> np.ndarray:
    """Every combination of 16 levels, (64, 64, 3) uint8."""
    line = np.linspace(0, 255, 16).astype(np.uint8)
    return np.stack(np.meshgrid(line, line, line), -1).reshape(64, 64, 3)


def test_amounts_stay_in_their_ranges() -> None:
    amounts = random_lab(4000, 0.3, 0.08, torch.Generator().manual_seed(1))
    assert amounts.shape == (4000, 3)
    for channel, most in enumerate((0.3, 0.08, 0.08)):
        assert amounts[:, channel].abs().max() <= most
        assert amounts[:, channel].std() == pytest.approx(most / 3**0.5, rel=0.05)
    assert abs(float(torch.corrcoef(amounts.T)[1, 2])) < 0.05


@pytest.mark.parametrize("amounts", AMOUNTS)
def test_each_channel_of_lab_goes_its_share_of_the_way(amounts: tuple[float, float, float]) -> None:
    image = cv2.GaussianBlur(colours(), (31, 31), 12)  # colours that stay inside what a screen can show
    before = cv2.cvtColor(image, cv2.COLOR_BGR2LAB).astype(float)
    small = np.asarray(amounts, np.float32) / np.float32(5)
    found = cv2.cvtColor(shift_bytes(image, small), cv2.COLOR_BGR2LAB).astype(float)
    for channel, amount in enumerate(small):
        plane = before[..., channel]
        wanted = plane + (255 - plane) * amount if amount >= 0 else plane * (1 + amount)
        assert np.abs(found[..., channel] - wanted).mean() < 1.2


@pytest.mark.parametrize("amounts", AMOUNTS)
def test_a_device_finds_what_the_bytes_give(amounts: tuple[float, float, float]) -> None:
    image, numbers = colours(), np.asarray(amounts, np.float32)
    pictures = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    found = shift_batch(pictures, torch.from_numpy(numbers)[None])[0].permute(1, 2, 0).numpy() * 255
    difference = np.abs(found - shift_bytes(image, numbers))
    assert difference.mean() < 1
    assert np.percentile(difference, 99) < 5


def test_a_gray_face_takes_the_amount_of_lightness() -> None:
    gray = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    for amount in (0.4, -0.4):
        numbers = np.array([amount, 0.5, 0.5], np.float32)
        level = gray.astype(float)
        wanted = level + (255 - level) * amount if amount > 0 else level * (1 + amount)
        found = shift_bytes(gray, numbers)
        assert found.shape == gray.shape
        assert np.abs(found - wanted).max() < 0.51
        pictures = torch.from_numpy(gray).permute(2, 0, 1)[None] / 255
        batch = shift_batch(pictures, torch.from_numpy(numbers)[None])[0, 0].numpy() * 255
        assert np.abs(batch - wanted[..., 0]).max() < 0.01


def test_no_amount_changes_nothing() -> None:
    image = colours()
    pictures = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    torch.testing.assert_close(shift_batch(pictures, torch.zeros(1, 3)), pictures, atol=2e-3, rtol=0)
    assert np.abs(shift_bytes(image, np.zeros(3, np.float32)).astype(int) - image).mean() < 1
