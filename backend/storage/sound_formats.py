"""Which sound each container holds: what is copied as it is, and what the rest is encoded as."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

PCM = ("pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le")

COPIED_CODECS = ("aac", "mp3")
"""Codecs that mp4 carries and every browser plays."""

COPIED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "mp4": COPIED_CODECS,
        "mov": (*COPIED_CODECS, "ac3", "eac3", "alac", *PCM),
        "mkv": (*COPIED_CODECS, "ac3", "eac3", "flac", "opus", "vorbis", "dts", "alac", *PCM),
        "webm": ("opus", "vorbis"),
        "avi": (),
    }
)
"""Container -> codecs that are copied where that is exact."""

COPYABLE: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        **COPIED,
        "mp4": (*COPIED_CODECS, "ac3", "eac3", "alac", "flac", "opus"),
    }
)
"""Container -> codecs that can be copied on request; not every player plays them there. avi stores no times, so that
packets which do not begin with the picture would move it."""


@dataclass(frozen=True)
class SoundCodec:
    """How sound is encoded.

    Attributes:
        encoder: FFmpeg's name, also what the job's result calls it.
        rates: samples per second it takes; the last one stands in for others.
        bits_per_channel: bits per second; 0 leaves it to the encoder.
        packet: samples in a packet at most.
    """

    encoder: str
    rates: tuple[int, ...]
    bits_per_channel: int
    packet: int


AAC = SoundCodec("aac", (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 96000, 48000), 96_000, 1024)
OPUS = SoundCodec("libopus", (48000,), 80_000, 960)
UNCOMPRESSED = SoundCodec("pcm_s16le", (*AAC.rates,), 0, 1024)

_QUICKTIME_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "deu": "ger",
        "nld": "dut",
        "swe": "sve",
        "ell": "gre",
        "isl": "ice",
        "zho": "chi",
        "sqi": "alb",
        "fre": "fra",
        "rum": "ron",
        "cze": "ces",
        "slo": "slk",
        "mkd": "mac",
        "hye": "arm",
        "kat": "geo",
        "mya": "bur",
        "msa": "may",
        "bod": "tib",
        "cym": "wel",
        "eus": "baq",
        "fas": "per",
        "nob": "nor",
    }
)
"""Language codes FFmpeg does not write into mov -> the ones it writes for the same language."""

NAMES: Mapping[str, str] = MappingProxyType({"aac": "aac", "libopus": "opus", "pcm_s16le": "pcm"})
"""Encoder -> what results and logs call the codec."""


def encoded_as(container: str) -> SoundCodec:
    """What sound becomes that is not copied: AAC, in webm Opus, in avi samples as they are (avi stores no run-in)."""
    return {"webm": OPUS, "avi": UNCOMPRESSED}.get(container, AAC)


def language_in(container: str, code: str) -> str:
    """The ISO 639 code that keeps a sound track's language in a kind of file."""
    return _QUICKTIME_NAMES.get(code, code) if container == "mov" else code
