"""What is said and shown of presets of training: notes of those that come with the program, and small pictures."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from PIL import Image, UnidentifiedImageError

from backend.core.settings import PhazeASettings
from backend.storage.atomic import write_bytes

THUMBNAIL_SUFFIX = ".jpg"
THUMBNAIL_BYTES = 64 * 1024
THUMBNAIL_PX = 480
_QUALITIES = (85, 70, 50, 30)

NOTES: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        ("saehd", "First look (CPU)"): "Small and quick: shows within the hour, without a GPU, whether the faces fit.",
        ("saehd", "Grayscale 128 (SAEHDBW)"): "A true grayscale network of 128 px.",
    }
)


def built_in_note(family: str, name: str, values: Mapping[str, Any]) -> str:
    """A sentence or two about a preset that comes with a family."""
    if family == "phaze_a":
        return _layout_words(PhazeASettings.model_validate(dict(values)))
    return NOTES.get((family, name), "")


def write_thumbnail(picture: Path, target: Path) -> bool:
    """Write a small JPEG of a picture, at most 480 px wide and 64 KB; whether that was possible.

    Of a picture that is higher than wide only the upper part is taken: previews have one row per face.
    """
    try:
        with Image.open(picture) as opened:
            image = opened.convert("RGB")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
        return False
    image = image.crop((0, 0, image.width, min(image.height, image.width * 3 // 4)))
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    for quality in _QUALITIES:
        data = io.BytesIO()
        image.save(data, "JPEG", quality=quality, optimize=True)
        if data.tell() <= THUMBNAIL_BYTES:
            write_bytes(target, data.getvalue())
            return True
    return False


def _layout_words(s: PhazeASettings) -> str:
    sizes = s.layout()
    hidden = "a hidden part for each face" if s.split_fc else "one hidden part for both faces"
    shared = {"full": ", a shared one beside them", "half": ", the source's shared"}.get(s.shared_fc, "")
    decoder = "a decoder for each" if s.split_decoders else "one decoder"
    style = ", a G-Block" if s.enable_gblock else ""
    return (
        f"{s.output_size} px. Encoder {s.enc_architecture} sees {sizes.input_px} px; "
        f"{hidden}{shared}{style}, {decoder} ({', '.join(map(str, sizes.decoder_filters))})."
    )
