from __future__ import annotations

import cv2
import numpy as np
import pytest

from backend.ops.color import COLOR_TRANSFERS, linear_covariance, monge_kantorovich, reinhard_lab
from backend.ops.color_transport import SOT_DIRECTIONS, SOT_STEPS, iterative_distribution, sliced_transport


@pytest.fixture
def pair(rng):
    """Two smooth pictures of unlike, not extreme colours."""
    face = cv2.resize(rng.random((8, 8, 3), dtype=np.float32), (96, 96)) * 0.4 + 0.2
    reference = cv2.resize(rng.random((8, 8, 3), dtype=np.float32), (96, 96)) * (0.2, 0.3, 0.25) + (0.45, 0.3, 0.4)
    return face, reference.astype(np.float32)


def test_rct_moves_lab_statistics_to_the_reference(pair):
    result = cv2.cvtColor(reinhard_lab(*pair), cv2.COLOR_BGR2LAB)
    reference = cv2.cvtColor(pair[1], cv2.COLOR_BGR2LAB)
    assert np.allclose(result.mean((0, 1)), reference.mean((0, 1)), atol=0.3)
    assert np.allclose(result.std((0, 1)), reference.std((0, 1)), atol=0.3)


@pytest.mark.parametrize("transfer", [linear_covariance, monge_kantorovich])
def test_linear_ones_move_mean_and_covariance_to_the_reference(transfer, pair):
    result, reference = transfer(*pair).reshape(-1, 3), pair[1].reshape(-1, 3)
    assert np.allclose(result.mean(0), reference.mean(0), atol=1e-3)
    assert np.allclose(np.cov(result.T), np.cov(reference.T), atol=1e-3)


@pytest.mark.parametrize("name", sorted(COLOR_TRANSFERS))
def test_same_colours_change_nothing_and_range_is_kept(name, pair):
    face, reference = pair
    mask = np.zeros((96, 96), np.float32)
    mask[20:70, 20:70] = 1
    assert np.allclose(COLOR_TRANSFERS[name](face, face, mask), face, atol=2e-3)
    result = COLOR_TRANSFERS[name](face, reference, mask)
    assert result.dtype == np.float32
    assert result.shape == face.shape
    assert 0 <= result.min() <= result.max() <= 1


@pytest.mark.parametrize("name", sorted(COLOR_TRANSFERS))
def test_gray_and_flat_faces_get_no_colour_noise(name, pair):
    gray = np.repeat(pair[0][:, :, :1], 3, axis=2)
    for face in (gray, np.full_like(gray, 0.5)):
        result = COLOR_TRANSFERS[name](face, pair[1], None)
        assert np.isfinite(result).all()
        lab = cv2.cvtColor(result, cv2.COLOR_BGR2LAB)
        assert lab[:, :, 1:].std((0, 1)).max() < 12
    tinted = cv2.cvtColor(reinhard_lab(gray, pair[1]), cv2.COLOR_BGR2LAB)
    assert tinted[:, :, 1:].std((0, 1)).max() < 1


def quantiles(image):
    """(19, C) of every channel."""
    return np.percentile(image.reshape(-1, image.shape[-1]), np.arange(5, 100, 5), axis=0)


@pytest.mark.parametrize(("transfer", "left"), [(iterative_distribution, 0.45), (sliced_transport, 0.35)])
def test_random_ones_move_the_distribution_to_the_reference(transfer, left, pair):
    """idt goes 1 - 0.95^20 of the way, 64 %; what sot lacks was smoothed away."""
    before = np.abs(quantiles(pair[0]) - quantiles(pair[1])).max()
    after = np.abs(quantiles(transfer(*pair)) - quantiles(pair[1])).max()
    assert after < left * before


@pytest.mark.parametrize("name", ["idt", "sot"])
def test_chance_comes_from_the_generator(name, pair):
    transfer = COLOR_TRANSFERS[name]
    first, again, other = (transfer(*pair, rng=np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.array_equal(transfer(*pair), transfer(*pair))


def sorted_transport(face, reference, directions):
    """Sliced transport as it is written down: by sorting, with the full bilateral filter."""
    rng = np.random.default_rng(0)
    moved, wanted = face.reshape(-1, 3).copy(), reference.reshape(-1, 3)
    for _ in range(SOT_STEPS):
        lines = rng.standard_normal((directions, 3)).astype(np.float32)
        moves = np.zeros_like(moved)
        for line in lines / np.linalg.norm(lines, axis=1, keepdims=True):
            values = moved @ line
            order = np.argsort(values)
            moves[order] += (np.sort(wanted @ line) - values[order])[:, None] * line
        moved += moves / directions
    change = (moved - face.reshape(-1, 3)).reshape(face.shape)
    return np.clip(face + cv2.bilateralFilter(change, 0, 5, 16), 0, 1)


def test_histograms_and_the_small_filter_equal_sorting_and_the_full_one(pair):
    difference = np.abs(sliced_transport(*pair) - sorted_transport(*pair, directions=SOT_DIRECTIONS))
    assert difference.mean() < 0.001
    assert difference.max() < 0.02


def test_reference_may_have_another_size(pair):
    small = cv2.resize(pair[1], (40, 56), interpolation=cv2.INTER_AREA)
    for name in ("lct", "mkl", "idt", "sot"):
        result, full = (COLOR_TRANSFERS[name](pair[0], reference) for reference in (small, pair[1]))
        assert np.abs(quantiles(result) - quantiles(full)).max() < 0.02


@pytest.mark.parametrize("name", ["lct", "sot"])
def test_one_channel_matches_its_brightness(name, pair):
    face, reference = pair[0][..., :1], pair[1][..., 1:2]
    result = COLOR_TRANSFERS[name](face, reference)
    assert result.shape == face.shape
    assert result.dtype == np.float32
    assert abs(result.mean() - reference.mean()) < 0.005
    assert abs(result.std() - reference.std()) < 0.02
    assert np.allclose(COLOR_TRANSFERS[name](face, face), face, atol=2e-3)


def test_random_transfers_are_distributed_like_deepfacelabs(golden):
    data = np.load(golden / "dfl_color_transfer.npz")
    face, reference = data["face"], data["reference"]
    sliced = sliced_transport(face, reference, directions=30)
    turned = iterative_distribution(face, reference)
    for result, found, close in ((sliced, data["sot_seed0"], 0.005), (turned, data["idt_seed0"], 0.02)):
        wanted = np.clip(found, 0, 1)
        assert np.abs(result.mean((0, 1)) - wanted.mean((0, 1))).max() < 0.003
        assert np.abs(quantiles(result) - quantiles(wanted)).max() < close
        assert np.abs(quantiles(face) - quantiles(wanted)).max() > 0.2


def test_transfers_agree_with_deepfacelab(golden):
    data = np.load(golden / "dfl_color_transfer.npz")
    face, reference, mask = data["face"], data["reference"], data["mask"][:, :, 0]
    assert np.abs(reinhard_lab(face, reference) - data["rct"]).max() < 2e-3
    assert np.abs(reinhard_lab(face, reference, mask) - data["rct_masked"]).max() < 2e-3
    assert np.abs(linear_covariance(face, reference) - data["lct"]).max() < 2e-3
    assert np.abs(monge_kantorovich(face, reference) - data["mkl"]).max() < 2e-3
