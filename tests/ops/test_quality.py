from __future__ import annotations

import time

import cv2
import numpy as np
import pytest

from backend.ops.quality import face_histogram, histogram_chain, sharpness, ssim


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


def test_face_histogram_counts_per_channel():
    image = np.zeros((4, 5, 3), np.uint8)
    image[..., 1] = 7
    hist = face_histogram(image)
    assert hist.shape == (3, 256)
    assert hist[0, 0] == hist[1, 7] == hist[2, 0] == 20


def _faces(rng: np.random.Generator, count: int, groups: int) -> np.ndarray:
    base = rng.random((groups, 3, 256))
    return np.stack([0.7 * base[index % groups] + 0.3 * rng.random((3, 256)) for index in range(count)])


@pytest.mark.parametrize("groups", [1, 20])
def test_histogram_chain_is_greedy(rng, groups):
    hists = _faces(rng, 200, groups).astype(np.float32)
    chain, left = [0], set(range(1, 200))
    while left:
        last = hists[chain[-1]]
        chain.append(
            min(
                left,
                key=lambda other: sum(
                    cv2.compareHist(last[c], hists[other, c], cv2.HISTCMP_BHATTACHARYYA) for c in range(3)
                ),
            )
        )
        left.remove(chain[-1])
    assert histogram_chain(hists).tolist() == chain


def test_histogram_chain_of_few_and_of_empty_ones():
    assert histogram_chain(np.zeros((0, 3, 256))).tolist() == []
    assert histogram_chain(np.ones((1, 3, 256))).tolist() == [0]
    assert sorted(histogram_chain(np.zeros((5, 3, 256))).tolist()) == [0, 1, 2, 3, 4]


@pytest.mark.slow
@pytest.mark.parametrize("groups", [1, 40])
def test_histogram_chain_of_4000_takes_seconds(rng, groups):
    hists = _faces(rng, 4000, groups).astype(np.float32)
    start = time.process_time()
    order = histogram_chain(hists)
    assert time.process_time() - start < 20
    assert np.array_equal(np.sort(order), np.arange(4000))
