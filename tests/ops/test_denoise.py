from __future__ import annotations

import cv2
import numpy as np
import pytest

from backend.ops.denoise import SIGMA_PER_FACTOR, denoise, noise_level, prepare


def scene(number: int) -> np.ndarray:
    """Smooth structure that moves three pixels a frame, with a sharp edge and a fine pattern."""
    y, x = np.mgrid[0:120, 0:160].astype(np.float32)
    x = x + 3 * number
    light = 120 + 50 * np.sin(x / 17) * np.cos(y / 13) + 25 * ((x // 40) % 2) + 8 * np.sin(x * 1.1)
    return np.clip(np.stack([light, light * 0.9, light * 0.8], 2), 0, 255).astype(np.uint8)


def noisy(image: np.ndarray, sigma: float, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, sigma, image.shape)
    return np.clip(image + noise, 0, 255).round().astype(np.uint8)


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((one.astype(float) - other) ** 2)))


@pytest.mark.parametrize("factor", [4, 8, 16])
def test_noise_goes_and_the_picture_stays(factor: int) -> None:
    """At least 6 dB nearer to the clean frame, and 2 dB nearer than likeness inside the frame alone reaches."""
    sigma = factor * SIGMA_PER_FACTOR
    frames = [prepare(noisy(scene(n), sigma, n)) for n in range(5)]
    given, clean = frames[2].frame_bgr, scene(2)
    result = denoise(frames[2], [*frames[:2], *frames[3:]], factor)
    assert result.dtype == np.uint8
    assert psnr(result, clean) > psnr(given, clean) + 6
    alone = cv2.fastNlMeansDenoisingColored(given, None, sigma, sigma, 5, 9)
    assert psnr(result, clean) > psnr(alone, clean) + 2


def test_stronger_is_smoother() -> None:
    frames = [prepare(noisy(scene(n), 10, n)) for n in range(5)]
    left = [noise_level(denoise(frames[2], [*frames[:2], *frames[3:]], factor)) for factor in (1, 5, 12, 20)]
    assert left == sorted(left, reverse=True)
    assert left[-1] < 0.5 * left[0]


def test_a_cut_lets_nothing_through() -> None:
    """Neighbours that show something else change the frame no more than no neighbours do."""
    frame = prepare(noisy(scene(0), 5, 0))
    other = prepare(noisy(255 - scene(50)[::-1], 5, 1))
    alone, beside = denoise(frame, [], 6), denoise(frame, [other, other], 6)
    assert np.abs(alone.astype(int) - beside).mean() < 0.4
    assert psnr(beside, scene(0)) > psnr(frame.frame_bgr, scene(0))


def test_neighbours_of_another_size_are_left_out() -> None:
    frame = prepare(noisy(scene(0), 5, 0))
    np.testing.assert_array_equal(denoise(frame, [prepare(scene(1)[:80, :80])], 6), denoise(frame, [], 6))


@pytest.mark.parametrize("sigma", [2.0, 6.0, 15.0])
def test_noise_is_measured(sigma: float) -> None:
    """On gray brightness: three independent channels together have a smaller deviation than each."""
    flat = np.full((200, 200, 3), 128, np.uint8)
    expected = sigma * float(np.hypot(np.hypot(0.299, 0.587), 0.114))
    assert noise_level(noisy(flat, sigma, 3)) == pytest.approx(expected, rel=0.12)
