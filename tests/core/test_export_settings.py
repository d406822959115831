from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from backend.core.settings import ExportSettings, RenderSettings
from backend.core.settings.export import ALPHA_CODECS, CODECS, HARDWARE, LOSSLESS_CODECS
from backend.storage import video_formats


@pytest.mark.parametrize(
    ("wanted", "codec"),
    [
        ({}, "h264"),
        ({"rate": "lossless"}, "h264"),
        ({"container": "mov"}, "h264"),
        ({"container": "mov", "content": "alpha"}, "prores4444"),
        ({"container": "mov", "content": "alpha", "rate": "lossless"}, "png"),
        ({"container": "mkv", "content": "alpha"}, "vp9"),
        ({"container": "mkv", "content": "alpha", "rate": "lossless"}, "ffv1"),
        ({"container": "webm", "content": "alpha"}, "vp9"),
        ({"container": "avi", "content": "alpha"}, "ffv1"),
        ({"container": "gif"}, ""),
        ({"container": "png", "content": "alpha", "rate": "lossless"}, ""),
    ],
)
def test_auto_takes_what_fits(wanted: dict[str, str], codec: str) -> None:
    assert ExportSettings(**wanted).chosen_codec == codec


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ({"container": "webm", "codec": "h264"}, "webm cannot hold h264; it can hold vp9, av1"),
        ({"container": "gif", "codec": "h264"}, "gif cannot hold h264; it has only one kind"),
        ({"container": "mkv", "codec": "png"}, "mkv cannot hold png"),
        ({"content": "alpha"}, "mp4 cannot carry alpha"),
        ({"content": "alpha", "codec": "vp9"}, "vp9 in mp4 cannot carry alpha"),
        ({"content": "alpha", "container": "gif"}, "no soft alpha"),
        ({"content": "alpha", "container": "webm", "rate": "lossless"}, "webm cannot keep every pixel with alpha"),
        ({"codec": "av1", "rate": "lossless"}, "av1 in mp4 cannot be lossless"),
        ({"codec": "prores4444", "container": "mov", "rate": "lossless"}, "prores4444 in mov cannot be lossless"),
        ({"container": "gif", "rate": "lossless"}, "256 colours"),
        ({"container": "mkv", "codec": "ffv1", "rate": "bitrate"}, "ffv1 knows no bit rate"),
        ({"container": "png", "rate": "bitrate"}, "png knows no bit rate"),
        ({"codec": "vp9", "encoder": "nvenc"}, "nvenc has no encoder for vp9"),
        ({"codec": "av1", "encoder": "videotoolbox"}, "videotoolbox has no encoder for av1"),
        ({"encoder": "nvenc", "rate": "lossless"}, "does not keep every pixel"),
        ({"container": "webm", "sign": True}, "webm cannot carry content credentials"),
        ({"sign": True}, "needs a certificate"),
        ({"first_frame": 5, "last_frame": 4}, "must not lie before the first"),
        *(({"name": name}, "plain file name") for name in ("a/b", "", ".hidden", "a\nb", "a\0b", "con", "NUL.x")),
        *(({"name": name}, "begin or end with a space") for name in (" ", "a ", "end.")),
        ({"name": "ü" * 81}, "too long"),
    ],
)
def test_what_cannot_be_written_is_refused_with_the_reason(wanted: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        ExportSettings(**wanted)


def test_the_form_and_the_writer_know_the_same_formats() -> None:
    for codec in {codec for codecs in CODECS.values() for codec in codecs}:
        known = video_formats.CODECS[codec]
        assert bool(known.alpha) == (codec in ALPHA_CODECS)
        assert bool(known.lossless[0]) == (codec in LOSSLESS_CODECS)
    assert set(HARDWARE) == set(video_formats.HARDWARE)
    for hardware, codecs in HARDWARE.items():
        assert all(
            bool(video_formats.hardware_encoder(hardware, codec)) == (codec in codecs) for codec in CODECS["mp4"]
        )


def test_render_settings_give_their_parts() -> None:
    both = RenderSettings(model="me", container="mov", content="alpha", first_frame=3)
    assert both.export_settings().chosen_codec == "prores4444"
    assert (both.merge_settings().first_frame, both.export_settings().first_frame) == (3, 3)
