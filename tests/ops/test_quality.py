from __future__ import annotations

import cv2
import numpy as np
import pytest

from backend.ops.quality import sharpness, ssim


def test_sharpness_falls_with_blur(rng):
    image = cv2.resize(rng.integers(0, 256, (60, 60, 3)).astype(np.uint8), (256, 256))
    values = [sharpness(cv2.GaussianBlur(image, (0, 0), sigma)) for sigma in (0.5, 2, 5)]
    assert values[0] > values[1] > values[2] > 0


def test_sharpness_looks_inside_the_mask_only(rng):
    image = np.full((128, 128, 3), 90, np.uint8)
    image[:, 64:] = rng.integers(0, 256, (128, 64, 3))
    mask = np.zeros((128, 128), np.float32)
    mask[:, :60] = 1
    assert sharpness(image, mask) == 0
    assert sharpness(image, 1 - mask) > 100
    assert sharpness(image, np.zeros((128, 128))) == 0


def test_ssim_of_identical_images_is_one(rng):
    image = rng.random((64, 80, 3), dtype=np.float32)
    assert ssim(image, image) == pytest.approx(1, abs=1e-6)
    assert ssim(image, image, rng.random((64, 80))) == pytest.approx(1, abs=1e-6)
    assert ssim(image, 1 - image) < 0


@pytest.mark.parametrize("noise", [0.02, 0.1, 0.5])
def test_ssim_equals_the_reference_implementation(rng, noise):
    metrics = pytest.importorskip("skimage.metrics")
    a = cv2.resize(rng.random((20, 20, 3), dtype=np.float32), (96, 96))
    b = np.clip(a + noise * rng.standard_normal(a.shape), 0, 1).astype(np.float32)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    expected, full = metrics.structural_similarity(a, b, channel_axis=2, full=True, **options)
    assert ssim(a, b) == pytest.approx(expected, abs=1e-4)
    assert ssim(a, b, np.ones((96, 96))) == pytest.approx(expected, abs=1e-4)
    mask = np.zeros((96, 96))
    mask[20:50, 30:80] = 1
    assert ssim(a, b, mask) == pytest.approx(full[20:50, 30:80].mean(), abs=1e-4)


def test_ssim_refuses_what_cannot_be_compared():
    image = np.zeros((32, 32, 3), np.float32)
    with pytest.raises(ValueError):
        ssim(image, image[:16])
    with pytest.raises(ValueError):
        ssim(image[:8], image[:8])
    with pytest.raises(ValueError):
        ssim(image, image, np.zeros((32, 32)))
