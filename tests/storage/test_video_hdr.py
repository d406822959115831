from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backend.core.errors import BadInputError
from backend.storage.tone_map import REFERENCE_WHITE_NITS, hlg_to_scene, pq_to_nits, tone_curve
from backend.storage.video import decode, hdr_kind, probe, thumbnail
from tests.hdr_clips import HLG, PQ, HdrClip, gray_code, make_hdr_clip

GRAYS = (0.0, 0.2, 0.38, 0.45, 0.508, 0.5807, 0.7)


def shown(nits: np.ndarray, peak: float) -> np.ndarray:
    return 255 * (tone_curve(nits, peak) / REFERENCE_WHITE_NITS) ** (1 / 2.4)


@pytest.mark.parametrize(("max_cll", "peak"), [(0, 1000), (4000, 4000)])
def test_pq_is_mapped_by_its_own_peak(tmp_path: Path, max_cll: int, peak: float) -> None:
    clip = make_hdr_clip(tmp_path / "pq.mp4", [gray_code(v) for v in GRAYS], HdrClip(PQ, max_cll=max_cll))
    assert hdr_kind(probe(clip)) == "HDR10 (PQ)"
    frames = [f.frame_bgr for f in decode(clip)]
    codes = np.array([(gray_code(v)[0] - 64) / 876 for v in GRAYS])
    for frame, expected in zip(frames, shown(pq_to_nits(codes), peak), strict=True):
        assert frame.shape == (48, 64, 3)
        assert np.abs(frame[24, 32].astype(float) - expected).max() <= 1
        assert np.ptp(frame.astype(int)) <= 1
    assert np.abs(thumbnail(clip, 0.16).astype(int) - frames[4][0, 0]).max() <= 1


def test_hlg_white_is_as_bright_as_pq_white(tmp_path: Path) -> None:
    clip = make_hdr_clip(tmp_path / "hlg.mp4", [gray_code(0.5), gray_code(0.75)], HdrClip(HLG))
    assert hdr_kind(probe(clip)) == "HLG"
    half, white = (f.frame_bgr[24, 32].astype(float) for f in decode(clip))
    expected = shown(1000 * hlg_to_scene(np.array([0.5, 0.75])) ** 1.2, 1000)
    assert np.abs(half - expected[0]).max() <= 1
    assert np.abs(white - expected[1]).max() <= 1
    assert white[0] == pytest.approx(230, abs=2)


def test_colours_take_the_bt2020_matrix(tmp_path: Path) -> None:
    """A saturated BT.2020 red lies outside BT.709: green and blue end at 0, red stays strong."""
    codes = [(64 + round(876 * 0.2627 * 0.5), 512 - round(896 * 0.2627 * 0.5 / 1.8814), 512 + round(896 * 0.25))]
    clip = make_hdr_clip(tmp_path / "red.mp4", codes, HdrClip(PQ))
    blue, green, red = next(decode(clip)).frame_bgr[24, 32].astype(int)
    assert red > 150
    assert max(blue, green) < 20


def test_ten_bits_are_not_cut_to_eight(tmp_path: Path) -> None:
    """Neighbouring 10-bit codes in the shadows, which 8 bits would make equal, stay apart."""
    codes = [(260 + step, 512, 512) for step in range(0, 16, 2)]
    clip = make_hdr_clip(tmp_path / "fine.mp4", codes, HdrClip(PQ))
    levels = [int(f.frame_bgr[24, 32, 1]) for f in decode(clip)]
    assert len(set(levels)) >= 5
    assert levels == sorted(levels)


@pytest.mark.parametrize(
    ("clip", "words"),
    [
        (HdrClip(PQ, matrix=14), "ICtCp"),
        (HdrClip(HLG, matrix=10), "constant luminance"),
        (HdrClip(0, matrix=2, tag="dvh1"), "Dolby Vision"),
    ],
)
def test_what_cannot_be_mapped_is_refused_with_the_reason(tmp_path: Path, clip: HdrClip, words: str) -> None:
    with pytest.raises(BadInputError, match=words) as caught:
        probe(make_hdr_clip(tmp_path / "clip.mp4", [gray_code(0.4)], clip))
    assert "SDR" in caught.value.fix


def test_dolby_vision_with_a_base_picture_is_taken(tmp_path: Path) -> None:
    clip = make_hdr_clip(tmp_path / "clip.mp4", [gray_code(0.5)], HdrClip(HLG, tag="dvh1"))
    assert hdr_kind(probe(clip)) == "HLG"
    assert len(list(decode(clip))) == 1
