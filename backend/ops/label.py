"""The visible label: a text on a soft dark plate in a corner of every frame."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter, ImageFont

UInt8 = npt.NDArray[np.uint8]
Corner = Literal["bottom-left", "bottom-right", "top-left", "top-right"]
_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

TEXT_SHARE = 0.034
"""Height of a line of letters as a share of the frame's shorter side."""

MIN_TEXT_PX = 11
"""Smaller letters cannot be read; a text that does not fit in this size is broken into lines."""

WIDTH_SHARE = 0.9
"""The plate is never wider than this share of the frame."""

PLATE_OPACITY = 0.9
"""Opacity of the plate where the label itself is fully opaque."""

FALLBACK = "AI-manipulated"
"""Written where a text has nothing that can be seen, or no letter that a font here can draw."""

_PLATE_GRAY = 14.0
_SHRUNK = 0.6
"""How far letters shrink before lines are broken."""

_MAX_LINES = 3
_MAX_LETTERS = 300
_FONTS = ("DejaVuSans.ttf",)
_FONTS_OF_OTHER_SCRIPTS = (
    *("NotoSansCJK-Regular.ttc", "DroidSansFallbackFull.ttf", "wqy-microhei.ttc", "NotoSans-Regular.ttf"),
    *("segoeui.ttf", "msyh.ttc", "meiryo.ttc", "malgun.ttf", "Nirmala.ttc", "Nirmala.ttf", "arial.ttf"),
    *("Arial Unicode.ttf", "PingFang.ttc", "Hiragino Sans GB.ttc", "AppleSDGothicNeo.ttc"),
)
"""Looked for, as parts of the operating system, when the text has letters the first fonts lack."""


class LabelStamp:
    """Draws one text into frames of one size; the patch is prepared here, once.

    Attributes:
        missing: letters of the text no font here has; a box stands in their place.
        text: what is drawn; FALLBACK where no letter of the wanted one can be.
        size_wh: columns and rows of the patch.

    Args:
        text: any text; line breaks become spaces. One with nothing to be seen becomes FALLBACK.
        corner: where it stands.
        opacity: 0..1 of the plate; the letters have its square root, so that they stay legible on it.
        frame_size_wh: width and height of the frames in pixels.
    """

    def __init__(self, text: str, corner: Corner, opacity: float, frame_size_wh: tuple[int, int]) -> None:
        width, height = frame_size_wh
        text = _visible(text)
        name, self.missing = _best_font(text)
        unreadable = bool(self.missing) and all(letter in self.missing for letter in text if letter.isalnum())
        self.text = FALLBACK if unreadable else text
        letters, plate = _patch(*_fitted(self.text, name, width, height))
        rows, columns = min(letters.shape[0], height), min(letters.shape[1], width)
        self.size_wh = (columns, rows)
        left = 0 if corner.endswith("left") else width - columns
        top = 0 if corner.startswith("top") else height - rows
        self._where = (slice(top, top + rows), slice(left, left + columns))
        opacity = min(1.0, max(0.0, opacity))
        letters = letters[:rows, :columns, None] * np.float32(opacity**0.5)
        plate = plate[:rows, :columns, None] * np.float32(PLATE_OPACITY * opacity)
        self._kept = (1.0 - plate) * (1.0 - letters)
        self._light = 255.0 * letters + _PLATE_GRAY * plate * (1.0 - letters)

    def draw(self, frame: UInt8) -> None:
        """Draw the label in place.

        Args:
            frame: (h, w, 3) BGR or (h, w, 4) BGRA uint8 of the stated size; alpha is straight, 255 opaque, and the
                label lies over what is there, so it is seen on transparent parts too.
        """
        patch = frame[self._where]
        if patch.shape[2] == 3:
            patch[:] = patch * self._kept + (self._light + np.float32(0.5))
            return
        behind = patch[..., 3:] * (self._kept / np.float32(255.0))
        alpha = 1.0 - self._kept + behind
        color = (patch[..., :3] * behind + self._light) / np.maximum(alpha, np.float32(1e-6))
        patch[..., :3] = np.where(alpha > 0, color + np.float32(0.5), patch[..., :3])
        patch[..., 3:] = alpha * 255.0 + np.float32(0.5)


def _visible(text: str) -> str:
    """The text in one line, without what no font can draw; FALLBACK when nothing is left to be seen."""
    kept = "".join(" " if letter.isspace() or unicodedata.category(letter) == "Cc" else letter for letter in text)
    kept = "".join(letter for letter in kept if unicodedata.category(letter) not in ("Cs", "Cn", "Co"))
    kept = unicodedata.normalize("NFC", " ".join(kept.split()))[:_MAX_LETTERS]
    return kept if any(_is_drawn(letter) for letter in kept) else FALLBACK


def _is_drawn(letter: str) -> bool:
    return unicodedata.category(letter)[0] not in "ZC" and not unicodedata.combining(letter)


def _best_font(text: str) -> tuple[str, str]:
    """(name, missing letters) of the font that lacks the fewest; the name "" is the font Pillow brings along."""
    best, fewest = "", _missing(text, _load("", 24) or ImageFont.load_default())
    for name in (*_FONTS, *_FONTS_OF_OTHER_SCRIPTS):
        if not fewest and name not in _FONTS:
            break
        font = _load(name, 24)
        lost = _missing(text, font) if font else text
        if font and (len(lost) < len(fewest) or (name in _FONTS and len(lost) == len(fewest))):
            best, fewest = name, lost
    return best, fewest


def _missing(text: str, font: _Font) -> str:
    """Letters for which the font draws what it draws for a letter that does not exist."""
    nothing = _drawn("\U0010fffe", font)
    letters = sorted({letter for letter in text if _is_drawn(letter)})
    return "".join(letter for letter in letters if _drawn(letter, font) == nothing)


def _drawn(letter: str, font: _Font) -> bytes:
    paper = Image.new("L", (48, 48), 0)
    ImageDraw.Draw(paper).text((8, 8), letter, fill=255, font=font)
    return paper.tobytes()


def _load(name: str, size: int) -> _Font | None:
    try:
        return ImageFont.truetype(name, size) if name else ImageFont.load_default(size)
    except OSError:
        return None


def _fitted(text: str, name: str, width: int, height: int) -> tuple[list[str], _Font]:
    """Lines and font that fit the frame: smaller letters first, then more lines, then dots at the end."""
    wanted = max(MIN_TEXT_PX, round(min(width, height) * TEXT_SHARE))
    least = max(MIN_TEXT_PX, round(wanted * _SHRUNK))
    font: _Font = ImageFont.load_default()
    for size in range(wanted, least - 1, -1):
        font = _load(name, size) or font
        if font.getlength(text) <= _room(width, font):
            return [text], font
    lines = list(_lines(text, font, _room(width, font)))
    if len(lines) > _MAX_LINES:
        last = lines[_MAX_LINES - 1]
        while last and font.getlength(f"{last}…") > _room(width, font):
            last = last[:-1]
        lines = [*lines[: _MAX_LINES - 1], f"{last}…"]
    return lines, font


def _lines(text: str, font: _Font, room: float) -> Iterator[str]:
    """Break at spaces; a word wider than the room is broken between letters."""
    line = ""
    for word in text.split(" "):
        longer = f"{line} {word}" if line else word
        if font.getlength(longer) <= room:
            line = longer
            continue
        if line:
            yield line
        line = ""
        for letter in word:
            if line and font.getlength(line + letter) > room:
                yield line
                line = ""
            line += letter
    if line:
        yield line


def _room(width: int, font: _Font) -> float:
    """Pixels a line may take between the paddings."""
    return max(1.0, width * WIDTH_SHARE - 2 * _padding(font))


def _padding(font: _Font) -> int:
    return max(3, round(_line_height(font) * 0.42))


def _line_height(font: _Font) -> int:
    _, top, _, bottom = font.getbbox("Ågjf|")
    return max(1, round(bottom - top))


def _patch(lines: list[str], font: _Font) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """(letters, plate): coverage 0..1 of both, (rows, columns) float32, the distance to the frame's edge included."""
    padding, line = _padding(font), _line_height(font)
    gap = max(2, padding // 2)
    step = round(line * 1.15)
    wide = round(max(font.getlength(text) for text in lines)) + 2 * padding
    high = step * (len(lines) - 1) + line + 2 * padding - padding // 2
    size = (wide + 2 * gap, high + 2 * gap)
    plate = Image.new("L", size, 0)
    box = (gap, gap, gap + wide - 1, gap + high - 1)
    ImageDraw.Draw(plate).rounded_rectangle(box, radius=padding * 0.8, fill=255)
    plate = plate.filter(ImageFilter.GaussianBlur(gap * 0.4))
    letters = Image.new("L", size, 0)
    pen = ImageDraw.Draw(letters)
    offset = font.getbbox("Ågjf|")[1]
    for number, text in enumerate(lines):
        pen.text((gap + padding, gap + padding * 0.75 - offset + number * step), text, fill=255, font=font)
    return _shares(letters), _shares(plate)


def _shares(image: Image.Image) -> npt.NDArray[np.float32]:
    return np.asarray(image, np.float32) / np.float32(255.0)
