"""What can be exported: the cards that fill the form, the codecs a file can hold, and which settings then count."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from backend.core.settings import ExportSettings
from backend.core.settings.export import ALWAYS_LOSSLESS, CODECS, FIXED_QUALITY, SIGNABLE, WITHOUT_SOUND
from backend.storage.video_formats import HARDWARE_CODECS
from ui_tabs.labels import choice_label

CARD_FIELDS = ("content", "container", "codec", "rate", "crf", "speed", "height", "preview_s")
"""What a card decides. Name, sound, range, label and marks stay as they are."""

GIF_HEIGHT = 480
PREVIEW_S = 10.0
CARDS_SCRIPT = "window.lookalike.exportCards(element, trigger);"


@dataclass(frozen=True)
class FormatCard:
    """A ready choice.

    Attributes:
        key: its name in the markup.
        title, words: what it says.
        values: what differs from the defaults.
    """

    key: str
    title: str
    words: str
    values: Mapping[str, Any]


CARDS = (
    FormatCard("mp4", "MP4 for sharing", "H.264, plays everywhere.", MappingProxyType({})),
    FormatCard(
        "mov-alpha",
        "MOV with alpha",
        "ProRes 4444, the mask as alpha, for compositing.",
        MappingProxyType({"content": "alpha", "container": "mov", "codec": "prores4444"}),
    ),
    FormatCard(
        "lossless",
        "Lossless",
        "FFV1 in MKV, every pixel kept.",
        MappingProxyType({"container": "mkv", "codec": "ffv1", "rate": "lossless"}),
    ),
    FormatCard(
        "lossless-alpha",
        "Lossless with alpha",
        "PNG in MOV, mask as alpha.",
        MappingProxyType({"content": "alpha", "container": "mov", "codec": "png", "rate": "lossless"}),
    ),
    FormatCard("webm", "WebM", "VP9, free of licences.", MappingProxyType({"container": "webm", "codec": "vp9"})),
    FormatCard(
        "gif", "GIF", f"256 colours, no sound, at most {GIF_HEIGHT} px high.", MappingProxyType({"container": "gif"})
    ),
    FormatCard("png", "PNG pictures", "Numbered pictures in a folder.", MappingProxyType({"container": "png"})),
    FormatCard("mask", "Mask video", "The mask alone, white on black.", MappingProxyType({"content": "mask"})),
    FormatCard(
        "compare", "Side by side", "The original beside the merged frames.", MappingProxyType({"content": "compare"})
    ),
    FormatCard(
        "preview",
        "Quick preview",
        f"The first {PREVIEW_S:.0f} seconds, fast and small.",
        MappingProxyType({"preview_s": PREVIEW_S, "crf": 23, "speed": "veryfast"}),
    ),
)

DFM_CARD = (
    '<button type="button" class="lk-format" data-goto="train" data-dfm>'
    "<b>DFM for live programs</b><span>The model itself, as a file. Opens the Train tab.</span></button>"
)


def card_of(key: str) -> FormatCard | None:
    """The card of a name; None when there is none."""
    return next((card for card in CARDS if card.key == key), None)


def card_values(card: FormatCard, clip_height: int) -> dict[str, Any]:
    """What a card puts into the form, by field.

    Args:
        clip_height: of the frames in pixels, 0 when unknown.
    """
    defaults = ExportSettings()
    values = {name: card.values.get(name, getattr(defaults, name)) for name in CARD_FIELDS}
    if card.key == "gif" and (clip_height > GIF_HEIGHT or not clip_height):
        values["height"] = GIF_HEIGHT
    return values


def chosen_card(values: Mapping[str, Any], clip_height: int) -> str:
    """Name of the card that the form equals; "" when it equals none."""
    now = {name: values.get(name) for name in CARD_FIELDS}
    return next((card.key for card in CARDS if card_values(card, clip_height) == now), "")


def cards_html(chosen: str) -> str:
    """All cards; the chosen one is marked."""
    buttons = "".join(
        f'<button type="button" class="lk-format" data-card="{card.key}" '
        f'aria-pressed="{str(card.key == chosen).lower()}">'
        f"<b>{html.escape(card.title)}</b><span>{html.escape(card.words)}</span></button>"
        for card in CARDS
    )
    return f'<div class="lk-formats" role="group" aria-label="Formats">{buttons}{DFM_CARD}</div>'


def codec_choices(container: str) -> list[tuple[str, str]]:
    """(label, value) of the codecs that a kind of file can hold, "auto" first."""
    return [(choice_label("codec", name), name) for name in ("auto", *CODECS.get(container, ()))]


def codec_of(values: Mapping[str, Any]) -> str:
    """The codec that will be used, the one "auto" takes included; "" for gif, png and what cannot be written."""
    return _as_settings(values).chosen_codec


def acting(values: Mapping[str, Any]) -> dict[str, bool]:
    """Field -> whether it does something with these values; fields that always do are left out.

    Args:
        values: of the form, by field; they may contradict each other.
    """
    container, codec, rate = str(values.get("container")), codec_of(values), values.get("rate")
    video = bool(CODECS.get(container))
    steered = video and codec not in FIXED_QUALITY
    sound = container not in WITHOUT_SOUND
    labelled = values.get("content") != "mask"
    label, sign = labelled and bool(values.get("label")), bool(values.get("sign"))
    return {
        "codec": video,
        "rate": steered or (video and values.get("codec") == "auto"),
        "crf": steered and rate == "quality",
        "bitrate_mbit": steered and rate == "bitrate",
        "speed": steered,
        "encoder": steered and codec in HARDWARE_CODECS and rate != "lossless",
        "audio": sound,
        "audio_tracks": sound and values.get("audio") != "none",
        "label": labelled,
        "label_text": label,
        "label_corner": label,
        "label_opacity": label,
        "sign": container in SIGNABLE or sign,
        "certificate": sign,
        "private_key": sign,
    }


def put_right(values: Mapping[str, Any]) -> dict[str, Any]:
    """What has to change because a field that is hidden now would contradict the others: the codec, what steers."""
    held, shown = CODECS.get(str(values.get("container")), ()), acting(values)
    found: dict[str, Any] = {}
    if values.get("codec") not in ("auto", *held):
        found["codec"] = "auto"
    unsteered = values.get("rate") == "bitrate" or (values.get("rate") == "lossless" and not keeps_all(values))
    if not shown["rate"] and unsteered:
        found["rate"] = "quality"
    if not shown["encoder"] and values.get("encoder") not in ("software", "auto"):
        found["encoder"] = "software"
    return found


def keeps_all(values: Mapping[str, Any]) -> bool:
    """Whether the kind of file keeps every pixel whatever steers."""
    return values.get("container") == "png" or codec_of(values) in ALWAYS_LOSSLESS


def _as_settings(values: Mapping[str, Any]) -> ExportSettings:
    """Settings that may contradict each other; a codec that the file cannot hold counts as "auto"."""
    known = {name: values[name] for name in ExportSettings.model_fields if name in values}
    if known.get("codec") not in CODECS.get(str(known.get("container", "mp4")), ()):
        known["codec"] = "auto"
    return ExportSettings.model_construct(**known)
