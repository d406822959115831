from __future__ import annotations

import numpy as np
import pytest

from backend.storage.tone_map import (
    HLG,
    PQ,
    REFERENCE_WHITE_NITS,
    ToneMap,
    hlg_to_scene,
    luminance_weights,
    nits_to_pq,
    pq_to_nits,
    to_bt709,
    tone_curve,
)


def test_pq_has_the_values_of_the_standard() -> None:
    """ITU-R BT.2408 and BT.2100 name 100 nits as 50.8 %, 203 as 58.1 % and 1,000 as 75.2 % of the code range."""
    np.testing.assert_allclose(nits_to_pq([0, 100, 203, 1000, 10_000]), [0, 0.5081, 0.5807, 0.7518, 1], atol=6e-5)
    light = np.array([0.01, 1, 58.0, 203, 4000])
    np.testing.assert_allclose(pq_to_nits(nits_to_pq(light)), light, rtol=1e-6)


def test_hlg_has_the_values_of_the_standard() -> None:
    """Half of the code range is a twelfth of the light; reference white, 75 %, is 203 nits on a 1,000 nit display."""
    np.testing.assert_allclose(hlg_to_scene([0, 0.5, 1]), [0, 1 / 12, 1], atol=1e-6)
    assert float(hlg_to_scene(0.75)) == pytest.approx(0.26496, abs=1e-5)
    assert 1000 * float(hlg_to_scene(0.75)) ** 1.2 == pytest.approx(203, abs=0.3)


def test_primaries() -> None:
    """ITU-R BT.2087 gives the matrix between BT.2020 and BT.709, BT.2020 the weights of its luminance."""
    expected = [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
    np.testing.assert_allclose(to_bt709(9), expected, atol=6e-5)
    np.testing.assert_allclose(to_bt709(1), np.eye(3), atol=1e-12)
    np.testing.assert_allclose(luminance_weights(9), [0.2627, 0.6780, 0.0593], atol=5e-5)


@pytest.mark.parametrize("peak", [400.0, 1000.0, 4000.0, 10_000.0])
def test_the_curve_leaves_shadows_and_reaches_white_at_the_peak(peak: float) -> None:
    light = np.linspace(0.1, peak, 400)
    mapped = tone_curve(light, peak)
    assert np.all(np.diff(mapped) > -1e-9)
    assert mapped[-1] == pytest.approx(REFERENCE_WHITE_NITS, rel=1e-6)
    assert np.all(mapped <= light + 1e-6)
    np.testing.assert_allclose(tone_curve([1.0, 10.0, 20.0], peak), [1.0, 10.0, 20.0], rtol=1e-6)


def test_a_clip_that_is_not_brighter_than_white_is_not_compressed() -> None:
    np.testing.assert_allclose(tone_curve([10.0, 150.0, 203.0, 900.0], 203.0), [10, 150, 203, 203])


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_pictures_agree_with_the_formulas(transfer: str) -> None:
    """Every pixel to one level, computed here without tables; colours, grays, both ends."""
    rng = np.random.default_rng(1)
    codes = np.concatenate([rng.random((400, 3)), np.repeat(rng.random((100, 1)), 3, 1), np.eye(3), np.zeros((1, 3))])
    if transfer == PQ:
        light = pq_to_nits(codes)
    else:
        scene = hlg_to_scene(codes)
        light = 1000 * scene * np.maximum(scene @ luminance_weights(9), 1e-9)[:, None] ** 0.2
    strongest = light.max(axis=1, keepdims=True)
    gain = np.divide(tone_curve(strongest, 1000), strongest, out=np.ones_like(strongest), where=strongest > 1e-6)
    shown = np.clip((light * gain) @ to_bt709(9).T / REFERENCE_WHITE_NITS, 0, 1)
    expected = 255 * shown ** (1 / 2.4)
    made = ToneMap(transfer).to_bgr(codes[None].astype(np.float32))[0, :, ::-1]
    assert np.abs(made - expected).max() <= 1.0


def test_skin_keeps_its_hue() -> None:
    """A bright skin tone is rolled off as a whole: the ratios of its linear channels stay."""
    light = np.array([600.0, 400.0, 320.0])
    bgr = ToneMap(PQ, 1000, primaries=1).to_bgr(nits_to_pq(light)[None, None].astype(np.float32))[0, 0]
    linear = (bgr[::-1] / 255.0) ** 2.4
    np.testing.assert_allclose(linear / linear[0], light / light[0], rtol=0.02)
