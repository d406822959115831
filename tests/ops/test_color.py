from __future__ import annotations

import cv2
import numpy as np
import pytest

from backend.ops.color import COLOR_TRANSFERS, light_and_colours, linear_covariance, monge_kantorovich, reinhard_lab
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
    same = COLOR_TRANSFERS[name](face, face, mask)
    # mix cuts colours that are too strong for the lightness they are looked at with
    assert np.allclose(same[mask > 0], face[mask > 0], atol=0.02 if name == "mix-m" else 2e-3)
    assert np.abs(same[mask > 0] - face[mask > 0]).mean() < 1.5e-3
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


@pytest.mark.parametrize("name", ["idt", "sot", "idt-m", "sot-m", "mix-m"])
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


def binned_turns(face, reference):
    """Transport in turns as DeepFaceLab runs it: histograms of all pixels, bins mapped edge to edge."""
    rng = np.random.default_rng(0)
    moved, wanted = face.reshape(-1, 3).T.astype(np.float64), reference.reshape(-1, 3).T.astype(np.float64)
    for _ in range(20):
        turn, upper = np.linalg.qr(rng.standard_normal((3, 3)))
        turn *= np.sign(np.diag(upper))
        turn[0] *= np.sign(np.linalg.det(turn))
        values, aims, mapped = turn @ moved, turn @ wanted, np.empty_like(moved)
        for axis in range(3):
            span = min(values[axis].min(), aims[axis].min()), max(values[axis].max(), aims[axis].max())
            own, edges = np.histogram(values[axis], 256, span)
            aim, _ = np.histogram(aims[axis], 256, span)
            level = np.interp(own.cumsum() / own.sum(), aim.cumsum() / aim.sum(), edges[1:])
            mapped[axis] = np.interp(values[axis], edges[1:], level)
        moved += turn.T @ (mapped - values) / 20
    return np.clip(moved.T.reshape(face.shape), 0, 1).astype(np.float32)


def apart(first, second):
    """Sliced Wasserstein distance of the colours of two pictures of one size: the mean over 64 directions."""
    lines = np.random.default_rng(99).standard_normal((64, 3))
    lines /= np.linalg.norm(lines, axis=1, keepdims=True)
    spread = [np.sort(image.reshape(-1, 3) @ lines.T, axis=0) for image in (first, second)]
    return np.abs(spread[0] - spread[1]).mean()


def test_histograms_and_the_small_filter_equal_sorting_and_the_full_one(pair):
    difference = np.abs(sliced_transport(*pair) - sorted_transport(*pair, directions=SOT_DIRECTIONS))
    assert difference.mean() < 0.001
    assert difference.max() < 0.02


@pytest.fixture
def large_pair(pair, rng):
    """The pair at 160 px with the grain of a camera: large enough to be matched on a grid of pixels."""
    grown = (cv2.resize(image, (160, 160), interpolation=cv2.INTER_CUBIC) for image in pair)
    return [np.clip(image + rng.normal(0, 0.01, image.shape), 0, 1).astype(np.float32) for image in grown]


@pytest.mark.parametrize(
    ("quick", "exact"),
    [
        (sliced_transport, lambda face, reference: sorted_transport(face, reference, SOT_DIRECTIONS)),
        (iterative_distribution, binned_turns),
    ],
)
def test_a_grid_of_pixels_matches_as_well_as_all_of_them(quick, exact, large_pair):
    face, reference = large_pair
    result, wanted = quick(face, reference), exact(face, reference)
    assert apart(result, reference) < 1.02 * apart(wanted, reference)
    assert apart(wanted, reference) < 0.5 * apart(face, reference)
    assert np.abs(result - wanted).mean() < 0.003
    assert np.abs(result - wanted).max() < 0.03


def test_colours_between_those_of_the_grid_move_along_with_them(pair):
    """A lone bright line that no pixel of the grid lies on keeps its place among its neighbours."""
    face, reference = (cv2.resize(image, (256, 256)) for image in pair)
    ramp = np.linspace(0.2, 0.6, 256, dtype=np.float32)[:, None, None]
    face = np.ascontiguousarray(np.broadcast_to(ramp, (256, 256, 3)))
    gap = (face > 0.35) & (face < 0.45)
    face[gap] = 0.35
    face[200] = 0.4
    lone = iterative_distribution(face, reference)[200].mean()
    below, above = (
        iterative_distribution(face, reference)[face[..., 0] == level].mean() for level in (0.35, face[190, 0, 0])
    )
    assert below < lone < above


def in_mask(image, mask):
    return image * mask[:, :, None]


@pytest.mark.parametrize(
    ("masked", "plain"),
    [
        ("mkl-m", monge_kantorovich),
        ("idt-m", iterative_distribution),
        ("sot-m", lambda face, reference: sliced_transport(face, reference, directions=30)),
        ("mix-m", light_and_colours),
    ],
)
def test_masked_ones_see_black_outside_of_the_mask(masked, plain, pair):
    face, reference = pair
    mask = np.zeros((96, 96), np.float32)
    mask[20:70, 20:70] = 1
    wanted = plain(in_mask(face, mask), in_mask(reference, mask))
    assert np.array_equal(COLOR_TRANSFERS[masked](face, reference, mask), wanted)
    assert np.array_equal(COLOR_TRANSFERS[masked](face, reference), plain(face, reference))
    bright = reference.copy()
    bright[mask == 0] = 1
    assert np.array_equal(COLOR_TRANSFERS[masked](face, bright, mask), wanted)


def test_mix_matches_lightness_and_colours(pair):
    result, face, reference = (cv2.cvtColor(image, cv2.COLOR_BGR2LAB) for image in (light_and_colours(*pair), *pair))
    assert np.abs((result - reference).mean((0, 1))).max() < 0.3 * np.abs((face - reference).mean((0, 1))).max()
    assert abs(result[..., 0].mean() - reference[..., 0].mean()) < 1
    assert abs(result[..., 0].std() - reference[..., 0].std()) < 1


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


def test_random_transfers_come_as_near_to_the_reference_as_deepfacelabs(golden):
    """Within 2 %; and the results are distributed alike."""
    data = np.load(golden / "dfl_color_transfer.npz")
    face, reference = data["face"], data["reference"]
    before = apart(face, reference)
    for ours, found in (
        (COLOR_TRANSFERS["sot-m"](face, reference), data["sot_seed0"]),
        (iterative_distribution(face, reference), data["idt_seed0"]),
        (light_and_colours(face, reference), data["mix_seed0"]),
    ):
        wanted = np.clip(found, 0, 1)
        assert apart(ours, reference) < 1.02 * apart(wanted, reference)
        assert apart(wanted, reference) < 0.5 * before
        assert apart(ours, wanted) < 0.015 * before
        assert np.abs(ours.mean((0, 1)) - wanted.mean((0, 1))).max() < 0.003


def test_transfers_agree_with_deepfacelab(golden):
    data = np.load(golden / "dfl_color_transfer.npz")
    face, reference, mask = data["face"], data["reference"], data["mask"][:, :, 0]
    assert np.abs(reinhard_lab(face, reference) - data["rct"]).max() < 2e-3
    assert np.abs(reinhard_lab(face, reference, mask) - data["rct_masked"]).max() < 2e-3
    assert np.abs(linear_covariance(face, reference) - data["lct"]).max() < 2e-3
    assert np.abs(monge_kantorovich(face, reference) - data["mkl"]).max() < 2e-3
