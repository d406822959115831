"""Losses that can be chosen, against implementations by others and by plain loops in float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.signal import correlate2d
from skimage import data
from skimage.metrics import structural_similarity
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from backend.core.errors import BadInputError
from backend.models.losses import pointwise
from backend.models.losses.flip import flip
from backend.models.losses.frequency import focal_frequency
from backend.models.losses.gradient import gmsd, slopes
from backend.models.losses.laplacian import laplacian
from backend.models.losses.ssim import SCALE_WEIGHTS, ms_ssim, ms_ssim_window, ssim

Array = npt.NDArray[np.float64]
ALL: Mapping[str, tuple[Callable[[Tensor, Tensor], Tensor], int]] = MappingProxyType(
    {
        "mae": (pointwise.mae, 4),
        "mse": (pointwise.mse, 4),
        "logcosh": (pointwise.log_cosh, 4),
        "smooth": (pointwise.smooth, 4),
        "l_inf": (pointwise.l_inf, 1),
        "ssim": (ssim, 4),
        "ms_ssim": (ms_ssim, 1),
        "gmsd": (gmsd, 4),
        "slopes": (slopes, 4),
        "laplacian": (laplacian, 4),
        "focal_frequency": (focal_frequency, 1),
        "flip": (flip, 4),
    }
)
"""Loss and number of dimensions of its answer."""

each = pytest.mark.parametrize("name", ALL)


def pictures(side: int = 64, channels: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A photograph in red, green, blue, and the same with waves and noise."""
    photo = data.astronaut()[: 2 * side, 160 : 160 + 2 * side] / 255
    small = photo.reshape(side, 2, side, 2, 3).mean((1, 3))[..., :channels]
    waves = 0.15 * np.sin(np.arange(side) / 3)[None, :, None]
    other = small + waves + np.random.default_rng(seed).normal(0, 0.02, small.shape)
    return torch.stack([bchw(small), bchw(small[::-1])]), torch.stack([bchw(other), bchw(other[::-1])])


def bchw(picture: Array) -> Tensor:
    return torch.from_numpy(np.clip(picture, 0, 1).transpose(2, 0, 1).astype(np.float32).copy())


def numbers(tensor: Tensor) -> Array:
    return tensor.detach().numpy().astype(np.float64)


def on_planes(work: Callable[[Array, Array], Any], target: Tensor, seen: Tensor) -> Array:
    """What ``work`` makes of every channel of both pictures, (B, C, ...)."""
    pairs = zip(numbers(target).reshape(-1, *target.shape[2:]), numbers(seen).reshape(-1, *seen.shape[2:]), strict=True)
    found = np.array([work(one, other) for one, other in pairs])
    return found.reshape(*target.shape[:2], *found.shape[1:])


@each
@pytest.mark.parametrize("channels", [3, 1])
def test_equal_pictures_cost_nothing_and_have_a_gradient(name: str, channels: int) -> None:
    loss, dims = ALL[name]
    flat = torch.zeros(1, channels, 64, 64)
    for target in (pictures(channels=channels)[0], flat, flat + 1):
        seen = target.clone().requires_grad_()
        found = loss(target, seen)
        assert found.dim() == dims
        assert found.shape[0] == len(target)
        assert float(found.detach().abs().max()) < 1e-5
        found.sum().backward()
        assert seen.grad is not None
        assert bool(seen.grad.isfinite().all())


@each
@pytest.mark.parametrize("channels", [3, 1])
def test_other_pictures_cost_something_and_a_step_makes_it_less(name: str, channels: int) -> None:
    loss, _ = ALL[name]
    target, seen = pictures(channels=channels)
    nearer = target + (seen - target) * 0.5
    moving = seen.clone().requires_grad_()
    found = loss(target, moving).mean()
    found.backward()
    assert moving.grad is not None
    assert bool(moving.grad.isfinite().all())
    towards = float((moving.grad * (target - seen)).sum())
    assert towards < 0
    assert 0 < float(loss(target, nearer).mean()) < float(found.detach())
    apart = loss(target, torch.stack((target[0], seen[1])))
    assert float(apart[0].mean()) < 1e-5 < float(apart[1].mean())


@each
def test_extremes_stay_finite(name: str) -> None:
    loss, _ = ALL[name]
    noise = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    for target, seen in ((torch.zeros_like(noise), torch.ones_like(noise)), (noise, 1 - noise)):
        moving = seen.clone().requires_grad_()
        found = loss(target, moving)
        found.sum().backward()
        assert bool(found.isfinite().all())
        assert moving.grad is not None
        assert bool(moving.grad.isfinite().all())


@each
def test_shapes_alone_are_enough(name: str) -> None:
    """No loss looks at a value on its way, so that memory can be counted and no accelerator is waited for."""
    loss, dims = ALL[name]
    with FakeTensorMode():
        seen = torch.rand(2, 3, 64, 64, requires_grad=True)
        found = loss(torch.rand(2, 3, 64, 64), seen)
        assert found.dim() == dims
        found.sum().backward()
    if dims == 4:
        assert found.shape[2:] == (64, 64)


def test_differences_pixel_by_pixel() -> None:
    target, seen = pictures()
    d = numbers(seen) - numbers(target)
    assert np.allclose(numbers(pointwise.mae(target, seen)), np.abs(d), atol=1e-7)
    assert np.allclose(numbers(pointwise.mse(target, seen)), d**2, atol=1e-7)
    assert np.allclose(numbers(pointwise.log_cosh(target, seen)), np.log(np.cosh(d)), rtol=1e-4, atol=1e-12)
    c = 1 / 255
    assert np.allclose(
        numbers(pointwise.smooth(target, seen)), c * (np.sqrt((d / c) ** 2 + 1) - 1), rtol=1e-4, atol=1e-9
    )
    assert np.allclose(numbers(pointwise.l_inf(target, seen)), np.abs(d).max((2, 3)).mean(1), rtol=1e-6)


def test_robust_is_barrons() -> None:
    d = np.linspace(-1, 1, 41)
    for alpha, scale in ((1.0, 0.1), (1.9999, 1 / 255), (0.5, 1.0), (-2.0, 0.3)):
        bend = abs(2 - alpha)
        expected = bend / alpha * (((d / scale) ** 2 / bend + 1) ** (alpha / 2) - 1) * scale
        found = pointwise.robust(torch.from_numpy(d.astype(np.float32)), alpha, scale)
        assert np.allclose(numbers(found), expected, rtol=1e-4, atol=1e-6)


def test_ssim_is_that_of_scikit_image_inside() -> None:
    target, seen = pictures()

    def theirs(one: Array, other: Array) -> Array:
        found = structural_similarity(
            one, other, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
        )
        return np.asarray(found[1])

    inside = np.s_[:, :, 5:-5, 5:-5]
    expected = 1 - on_planes(theirs, target, seen)
    assert np.allclose(numbers(ssim(target, seen))[inside], expected[inside], atol=5e-5)


def test_ssim_mirrors_at_the_edges() -> None:
    target, seen = pictures()
    found = numbers(ssim(target, seen))
    window = np.outer(*[np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))] * 2)
    window /= window.sum()
    for y, x in ((0, 0), (2, 61), (63, 30), (31, 63)):
        one, other = (np.pad(numbers(p)[0, 1], 5, "reflect")[y : y + 11, x : x + 11] for p in (target, seen))
        mean_1, mean_2 = (window * one).sum(), (window * other).sum()
        spread_1, spread_2 = (window * (one - mean_1) ** 2).sum(), (window * (other - mean_2) ** 2).sum()
        joint = (window * (one - mean_1) * (other - mean_2)).sum()
        similar = (2 * mean_1 * mean_2 + 1e-4) / (mean_1**2 + mean_2**2 + 1e-4)
        similar *= (2 * joint + 9e-4) / (spread_1 + spread_2 + 9e-4)
        assert found[0, 1, y, x] == pytest.approx(1 - similar, abs=1e-4)


@pytest.mark.parametrize("side", [64, 128, 176])
def test_ms_ssim_by_another_way(side: int) -> None:
    """Per scale with SciPy's filters; the picture is halved by averaging."""
    target, seen = (x[:1] for x in pictures(side))
    half = ms_ssim_window(side) // 2

    def blur(plane: Array) -> Array:
        found = gaussian_filter(plane, 1.5, truncate=half / 1.5)
        return found[half:-half, half:-half]

    def similarity(one: Array, other: Array) -> float:
        product = 1.0
        for scale, weight in enumerate(SCALE_WEIGHTS, start=1):
            mean_1, mean_2 = blur(one), blur(other)
            joint = blur(one * other) - mean_1 * mean_2
            spread = blur(one**2) - mean_1**2 + blur(other**2) - mean_2**2
            found = (2 * joint + 9e-4) / (spread + 9e-4)
            if scale == len(SCALE_WEIGHTS):
                found = found * (2 * mean_1 * mean_2 + 1e-4) / (mean_1**2 + mean_2**2 + 1e-4)
            product *= found.mean() ** weight
            size = len(one) // 2
            one, other = (p[: 2 * size, : 2 * size].reshape(size, 2, size, 2).mean((1, 3)) for p in (one, other))
        return product

    expected = 1 - on_planes(similarity, target, seen).mean(1)
    assert np.allclose(numbers(ms_ssim(target, seen)), expected, atol=2e-5)


def test_ms_ssim_window_shrinks_to_an_odd_one_or_is_refused() -> None:
    found = {side: ms_ssim_window(side) for side in (48, 64, 80, 96, 128, 160, 176, 256)}
    assert found == {48: 3, 64: 3, 80: 5, 96: 5, 128: 7, 160: 9, 176: 11, 256: 11}
    with pytest.raises(BadInputError, match="SSIM"):
        ms_ssim_window(47)


def test_ms_ssim_of_opposites_still_pulls() -> None:
    """Below a hundredth a similarity goes on as a hyperbola: positive, rising and smooth."""
    target = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(2))
    seen = (1 - target).requires_grad_()
    found = ms_ssim(target, seen)
    found.sum().backward()
    assert seen.grad is not None
    assert float((seen.grad * (target - seen.detach())).sum()) < 0
    assert 0.9 < float(found.detach()) <= 1


def test_gmsd_with_the_whole_filter() -> None:
    target, seen = pictures()
    upper = [[0.0007, 0.0052, 0.0370, 0.0052, 0.0007], [0.0037, 0.1187, 0.2589, 0.1187, 0.0037]]
    down = np.array([*upper, [0.0] * 5, *(-np.array(upper[::-1]))])

    def strength(plane: Array) -> Array:
        wide = np.pad(plane, 2, "reflect")
        return np.hypot(correlate2d(wide, down, "valid"), correlate2d(wide, down.T, "valid"))

    def similarity(one: Array, other: Array) -> Array:
        a, b = strength(one), strength(other)
        return (2 * a * b + 0.0025) / (a**2 + b**2 + 0.0025)

    expected = 1 - on_planes(similarity, target, seen).mean(1, keepdims=True)
    assert np.allclose(numbers(gmsd(target, seen)), expected, atol=5e-5)


def test_slopes_by_neighbours() -> None:
    target, seen = pictures(32)

    def changes(plane: Array) -> list[Array]:
        p = np.pad(plane, 1, "edge")
        here, left, right = p[1:-1, 1:-1], p[1:-1, :-2], p[1:-1, 2:]
        above, below = p[:-2, 1:-1], p[2:, 1:-1]
        crossed = (p[2:, 2:] + p[:-2, :-2] - p[2:, :-2] - p[:-2, 2:]) / 4
        return [(right - left) / 2, (below - above) / 2, left + right - 2 * here, above + below - 2 * here, crossed]

    def apart(one: Array, other: Array) -> Array:
        total = np.zeros_like(one)
        for weight, a, b in zip((1, 1, 1, 1, 2), changes(one), changes(other), strict=True):
            grown = (((a - b) * 255) ** 2 / 0.0001 + 1) ** (1.9999 / 2)
            total += weight * 0.0001 / 1.9999 * (grown - 1) / 255
        return total / 2

    assert np.allclose(numbers(slopes(target, seen)), on_planes(apart, target, seen), rtol=2e-3, atol=1e-5)


def test_laplacian_level_by_level() -> None:
    target, seen = pictures()
    row = np.exp(-(np.arange(-2, 3) ** 2) / 2)
    window = np.outer(row, row) / row.sum() ** 2

    def pyramid(plane: Array) -> list[Array]:
        levels = []
        for _ in range(5):
            blurred = correlate2d(np.pad(plane, 2, "reflect"), window, "valid")
            levels.append(plane - blurred)
            size = len(plane) // 2
            plane = blurred.reshape(size, 2, size, 2).mean((1, 3))
        return [*levels, plane]

    def apart(one: Array, other: Array) -> Array:
        total = np.zeros_like(one)
        for number, (a, b) in enumerate(zip(pyramid(one), pyramid(other), strict=True)):
            total += 2.0 ** (-2 * number) * cv2.resize(np.abs(a - b), one.shape, interpolation=cv2.INTER_LINEAR)
        return total

    assert np.allclose(numbers(laplacian(target, seen)), on_planes(apart, target, seen), atol=2e-6)


@pytest.mark.parametrize("width", [64, 63])
def test_focal_frequency_with_whole_spectra(width: int) -> None:
    target, seen = (x[..., :width] for x in pictures())

    def apart(one: Array, other: Array) -> float:
        distance = np.abs(np.fft.fft2(one, norm="ortho") - np.fft.fft2(other, norm="ortho"))
        return float((distance / distance.max() * distance**2).mean())

    expected = on_planes(apart, target, seen).mean(1)
    assert np.allclose(numbers(focal_frequency(target, seen)), expected, rtol=1e-4)


def test_focal_weight_has_no_gradient() -> None:
    target, seen = (x[:1, :1] for x in pictures(16))
    moving = seen.clone().requires_grad_()
    focal_frequency(target, moving).sum().backward()
    gap = np.fft.fft2(numbers(seen - target)[0, 0], norm="ortho")
    weighted = np.fft.ifft2(np.abs(gap) / np.abs(gap).max() * gap, norm="ortho").real
    assert moving.grad is not None
    assert np.allclose(numbers(moving.grad)[0, 0], 2 * weighted / 16**2, atol=1e-7)


def test_flip_is_that_of_its_authors() -> None:
    """Numbers of NVIDIA's flip-evaluator 1.7 with its default viewing distance, on these very pictures."""
    photo = data.astronaut()[:128, 160:288].astype(np.float32) / 255
    one = photo.reshape(64, 2, 64, 2, 3).mean((1, 3))
    wave = 0.15 * np.sin(np.arange(64) / 3)[None, :, None]
    other = np.clip(one + wave * np.array([1, 0.5, -0.5]), 0, 1)
    found = flip(bchw(one[..., ::-1])[None], bchw(other[..., ::-1])[None])[0, 0]
    assert float(found.mean()) == pytest.approx(0.3857527, abs=2e-5)
    places = {(0, 0): 0.28041, (20, 30): 0.39711, (33, 5): 0.49593, (63, 63): 0.53302, (40, 47): 0.2089}
    assert {place: float(found[place]) for place in places} == pytest.approx(places, abs=1e-4)
    gray = one.mean(2, keepdims=True)
    shaded = np.clip(gray + wave, 0, 1)
    assert float(flip(bchw(gray)[None], bchw(shaded)[None]).mean()) == pytest.approx(0.3745380, abs=2e-5)


def test_flip_of_plain_colours() -> None:
    """Green against blue is the largest difference there is; the others are the authors' program's."""

    def plain(*bgr: float) -> Tensor:
        return torch.tensor(bgr).view(1, 3, 1, 1).expand(1, 3, 24, 24)

    pairs = (((0, 1, 0), (1, 0, 0), 1.0), ((0, 0, 0), (1, 1, 1), 0.967392), ((0, 0, 1), (0, 1, 0), 0.986675))
    for one, other, expected in pairs:
        assert float(flip(plain(*one), plain(*other)).mean()) == pytest.approx(expected, abs=2e-4)
        assert float(flip(plain(*other), plain(*one)).mean()) == pytest.approx(expected, abs=2e-4)


def test_log_cosh_keeps_what_rounding_takes() -> None:
    tiny = pointwise.log_cosh(torch.zeros(1), torch.tensor([1e-5]))
    assert float(tiny) == pytest.approx(5e-11, rel=1e-3)
    assert float(pointwise.log_cosh(torch.zeros(1), torch.ones(1))) == pytest.approx(math.log(math.cosh(1)))
