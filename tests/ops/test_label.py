"""The visible label: legible everywhere, in its corner, and beside it no pixel changes."""

from __future__ import annotations

import numpy as np
import pytest

from backend.core.settings.export import ExportSettings
from backend.ops.label import FALLBACK, LabelStamp

CORNERS = ("top-left", "top-right", "bottom-left", "bottom-right")
SIZES = ((320, 180), (1280, 720), (1080, 1920), (3840, 2160))


def stamped(
    text: str, corner: str, size_wh: tuple[int, int], gray: int, opacity: float = 0.7, channels: int = 3
) -> tuple[np.ndarray, tuple[slice, slice]]:
    """A gray frame with the label, and the rows and columns that changed."""
    width, height = size_wh
    frame = np.full((height, width, channels), gray, np.uint8)
    LabelStamp(text, corner, opacity, size_wh).draw(frame)
    rows, columns = np.nonzero((frame != gray).any(axis=2))
    return frame, (slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1))


@pytest.mark.parametrize("size_wh", SIZES, ids=str)
@pytest.mark.parametrize("corner", CORNERS)
def test_stands_in_its_corner(size_wh: tuple[int, int], corner: str) -> None:
    width, height = size_wh
    _, (rows, columns) = stamped("AI-manipulated", corner, size_wh, 128)
    least, most = min(size_wh) * 0.045, max(26, min(size_wh) * 0.09)
    assert least <= rows.stop - rows.start <= most
    assert columns.stop - columns.start < width * (0.4 if width > height else 0.5)
    margins = (rows.start, columns.start, height - rows.stop, width - columns.stop)
    near = {"top": 0, "left": 1, "bottom": 2, "right": 3}
    assert all(0 <= margins[near[side]] <= least for side in corner.split("-"))


@pytest.mark.parametrize("gray", [0, 90, 128, 255])
@pytest.mark.parametrize("opacity", [0.7, 1.0])
def test_is_legible_on_anything(gray: int, opacity: float) -> None:
    """Letters against the plate, both as drawn: at least 4 to 1 (WCAG asks 3 to 1 of large text)."""
    frame, (rows, columns) = stamped("AI-manipulated", "top-left", (1280, 720), gray, opacity)
    patch = frame[rows, columns, 0].astype(float)[4:-4, 4:-4]
    plate, letters = np.percentile(patch, 25), patch.max()
    assert (light(letters) + 0.05) / (light(plate) + 0.05) >= 4.0


def light(level: float) -> float:
    """Relative luminance of a gray level (sRGB)."""
    share = level / 255
    return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4


def test_drawing_again_and_opacity(rng: np.random.Generator) -> None:
    stamp = LabelStamp("A", "top-left", 0.0, (64, 48))
    frame = rng.integers(0, 256, (48, 64, 3), np.uint8)
    before = frame.copy()
    stamp.draw(frame)
    np.testing.assert_array_equal(frame, before)
    faint, _ = stamped("AI", "top-left", (320, 180), 255, 0.2)
    strong, _ = stamped("AI", "top-left", (320, 180), 255, 1.0)
    assert faint.astype(int).sum() > strong.astype(int).sum()


@pytest.mark.parametrize("alpha", [0, 128, 255])
def test_lies_over_transparent_frames(alpha: int) -> None:
    """Seen over any background it looks as the label drawn onto the seen picture."""
    width, height = 320, 180
    frame = np.full((height, width, 4), 60, np.uint8)
    frame[..., 3] = alpha
    LabelStamp("AI", "bottom-left", 0.7, (width, height)).draw(frame)
    over = frame[..., :3].astype(float) * frame[..., 3:] / 255 + 200.0 * (1 - frame[..., 3:] / 255)
    seen = np.full((height, width, 3), round(60 * alpha / 255 + 200 * (1 - alpha / 255)), np.uint8)
    LabelStamp("AI", "bottom-left", 0.7, (width, height)).draw(seen)
    assert np.abs(over - seen).max() <= 2.5
    if alpha == 255:
        assert (frame[..., 3] == 255).all()


@pytest.mark.parametrize(
    "text",
    [
        "KI-verändert · gemacht von Zoë",
        "Лицо заменено",
        "Το πρόσωπο άλλαξε",
        "وجه معدل",
        "换脸视频 人工智能生成",
        "🙂 AI 🎬",
        "a\u0301e\u0301",
        "line\nbreak\ttab\x00nul",
        "\ud800 half of a pair",
        "\u200b\u202e",
        "   ",
        "word" * 400,
        "many words of one long sentence " * 30,
        "%s {0} <b>&amp;</b>",
    ],
)
@pytest.mark.parametrize("size_wh", [(320, 180), (1280, 720), (64, 48), (16, 16)], ids=str)
def test_any_text_fits_any_frame(text: str, size_wh: tuple[int, int]) -> None:
    frame, (rows, columns) = stamped(text, "bottom-right", size_wh, 128)
    width, height = size_wh
    if min(size_wh) >= 48:
        assert columns.stop - columns.start <= max(width * 0.95, width - 3)
        assert rows.stop - rows.start <= height
        assert frame[rows, columns].max() > 150


def test_long_texts_shrink_before_they_break() -> None:
    def height(text: str) -> int:
        return LabelStamp(text, "top-left", 1.0, (1280, 720)).size_wh[1]

    short, longer, long, cut = (height("word " * count) for count in (2, 20, 50, 400))
    assert longer < short < cut
    assert longer < long <= cut


def test_nothing_to_see_becomes_the_usual_words() -> None:
    unseen, _ = stamped("\u200b\u200d", "top-left", (320, 180), 128)
    usual, _ = stamped(FALLBACK, "top-left", (320, 180), 128)
    np.testing.assert_array_equal(unseen, usual)
    assert ExportSettings().label_text == FALLBACK


def test_letters_no_font_has_are_named() -> None:
    assert LabelStamp("AI-manipulated äöß", "top-left", 1.0, (320, 180)).missing == ""
    assert LabelStamp("AI \U0001f9ff\U000107b0", "top-left", 1.0, (320, 180)).missing.count("\U000107b0") == 1
