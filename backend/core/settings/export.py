"""Settings of export: what becomes of the merged frames, in which format, with which sound and which marks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal, Self

from pydantic import model_validator

from backend.core.names import wrong_file_name
from backend.core.settings.base import Settings, setting
from backend.core.settings.merge import MergeSettings

Container = Literal["mp4", "mov", "mkv", "webm", "avi", "gif", "png"]
Codec = Literal["auto", "h264", "h265", "av1", "vp9", "prores4444", "ffv1", "qtrle", "png"]
Corner = Literal["bottom-left", "bottom-right", "top-left", "top-right"]

CODECS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "mp4": ("h264", "h265", "av1", "vp9"),
        "mov": ("h264", "h265", "prores4444", "png", "qtrle"),
        "mkv": ("h264", "h265", "av1", "vp9", "ffv1"),
        "webm": ("vp9", "av1"),
        "avi": ("h264", "ffv1", "png"),
        "gif": (),
        "png": (),
    }
)
"""Container -> codecs it can hold, the first one is what "auto" takes unless content or quality need another."""

ALPHA_CODECS = ("prores4444", "ffv1", "qtrle", "png", "vp9")
"""Codecs that can carry the mask as alpha."""

LOSSLESS_CODECS = ("h264", "h265", "vp9", "ffv1", "qtrle", "png")
"""Codecs that can keep every pixel."""

ALWAYS_LOSSLESS = ("ffv1", "qtrle", "png")
"""Codecs that keep every pixel whatever is asked for, with alpha too; the others with alpha lose a little."""

FIXED_QUALITY = (*ALWAYS_LOSSLESS, "prores4444")
"""Codecs that know neither rate factor nor bit rate."""

HARDWARE: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "nvenc": ("h264", "h265", "av1"),
        "qsv": ("h264", "h265", "av1"),
        "amf": ("h264", "h265", "av1"),
        "videotoolbox": ("h264", "h265"),
    }
)
"""Kind of hardware encoder -> codecs it has."""

WITHOUT_SOUND = ("gif", "png")
"""Containers that hold pictures only."""

SIGNABLE = ("mp4", "mov", "avi", "png", "gif")
"""Containers that can carry a signed manifest."""


class ExportSettings(Settings):
    """Encode the merged frames with the timing and the sound of the destination clip."""

    name: str = setting("result", "File name of the result without extension.")
    content: Literal["merged", "alpha", "mask", "compare"] = setting(
        "merged",
        "The merged frames; these with the mask as alpha; the mask alone; or the original beside the merged frames.",
    )
    container: Container = setting("mp4", "Kind of file; png writes numbered pictures into a folder.")
    codec: Codec = setting(
        "auto", "How the pictures are stored; auto takes what fits the file, the content and the quality."
    )
    rate: Literal["quality", "bitrate", "lossless"] = setting(
        "quality", "Steer by quality, by bit rate, or keep every pixel."
    )
    crf: int = setting(17, "Constant rate factor: lower is better and larger.", ge=0, le=51)
    bitrate_mbit: float = setting(16.0, "Bit rate when that is what steers.", ge=0.1, le=400, unit="Mbit/s")
    speed: Literal["ultrafast", "veryfast", "fast", "medium", "slow"] = setting(
        "medium", "Encoder preset: slower makes smaller files of the same quality."
    )
    encoder: Literal["software", "auto", "nvenc", "qsv", "amf", "videotoolbox"] = setting(
        "software",
        "Which encoder: hardware ones are only used after a test on this computer; auto takes one if it works.",
    )
    height: int = setting(
        0, "Height of the result; the width follows. 0 keeps the size.", ge=0, le=8640, step=2, unit="px"
    )
    audio: Literal["auto", "copy", "aac", "none"] = setting(
        "auto",
        "Sound of the destination clip: auto copies it where that is exact and encodes it otherwise, copy takes it "
        "as it is, aac encodes. What is encoded becomes AAC, in webm Opus, in avi uncompressed.",
    )
    audio_tracks: Literal["first", "all"] = setting("first", "Which sound tracks to take along.")
    first_frame: int = setting(1, "First frame, counted from 1.", ge=1, le=10_000_000)
    last_frame: int = setting(0, "Last frame; 0 is the last of the clip.", ge=0, le=10_000_000)
    preview_s: float = setting(0.0, "Only this many seconds, for a quick look; 0 takes all.", ge=0, le=3600, unit="s")
    label: bool = setting(False, "Draw a visible label into every frame.")
    label_text: str = setting("AI-manipulated", "Text of the visible label.")
    label_corner: Corner = setting("bottom-right", "Corner of the visible label.")
    label_opacity: int = setting(70, "How opaque the visible label is.", ge=10, le=100, unit="%")
    mark: bool = setting(True, "Mark the file as AI-manipulated in its metadata and in a sidecar file.")
    sign: bool = setting(False, "Sign the file with content credentials (C2PA); needs a certificate.")
    certificate: Path | None = setting(None, "Certificate chain for signing, PEM, the signing certificate first.")
    private_key: Path | None = setting(None, "Private key that belongs to the certificate, PEM.")

    @model_validator(mode="after")
    def _can_be_written(self) -> Self:
        if reason := wrong_file_name(self.name):
            raise ValueError(reason)
        for refused in (self._wrong_codec, self._wrong_rate, self._wrong_encoder):
            if reason := refused():
                raise ValueError(reason)
        if self.last_frame and self.last_frame < self.first_frame:
            raise ValueError("the last frame must not lie before the first")
        if self.label and not self.label_text.strip():
            raise ValueError("the visible label needs a text")
        if self.sign and self.container not in SIGNABLE:
            raise ValueError(f"{self.container} cannot carry content credentials; take {', '.join(SIGNABLE)}")
        if self.sign and (self.certificate is None or self.private_key is None):
            raise ValueError("signing needs a certificate and its private key")
        return self

    @property
    def chosen_codec(self) -> str:
        """The codec, "auto" resolved: the first of the container that content and quality allow; "" for gif and png."""
        if self.codec != "auto":
            return self.codec
        return next((codec for codec in CODECS[self.container] if self._is_possible(codec)), "")

    @property
    def is_lossless(self) -> bool:
        """Whether every pixel is kept."""
        return self.container == "png" or self.rate == "lossless" or self.chosen_codec in ALWAYS_LOSSLESS

    def _is_possible(self, codec: str) -> bool:
        if self.content == "alpha" and self.rate == "lossless":
            return codec in ALWAYS_LOSSLESS
        if self.content == "alpha":
            return codec in ALPHA_CODECS and (codec, self.container) != ("vp9", "mp4")
        return self.rate != "lossless" or codec in LOSSLESS_CODECS

    def _wrong_codec(self) -> str:
        codecs = CODECS[self.container]
        if self.codec != "auto" and self.codec not in codecs:
            known = f"it can hold {', '.join(codecs)}" if codecs else "it has only one kind"
            return f"{self.container} cannot hold {self.codec}; {known}"
        if self.content == "alpha" and self.container == "gif":
            return "gif has no soft alpha; take mov, mkv, webm or png"
        if not codecs or (self.chosen_codec and self._is_possible(self.chosen_codec)):
            return ""
        where = self.container if self.codec == "auto" else f"{self.codec} in {self.container}"
        if self.content == "alpha" and self.rate == "lossless":
            return f"{where} cannot keep every pixel with alpha; take {', '.join(ALWAYS_LOSSLESS)} in mov, mkv or avi"
        if self.content == "alpha":
            return f"{where} cannot carry alpha; take mov, mkv, webm or png"
        return f"{where} cannot be lossless; take h264, h265, ffv1, png or qtrle"

    def _wrong_rate(self) -> str:
        if self.container == "gif" and self.rate != "quality":
            return "gif has 256 colours and no bit rate; take quality"
        if self.rate == "bitrate" and (self.container == "png" or self.chosen_codec in FIXED_QUALITY):
            return f"{self.chosen_codec or self.container} knows no bit rate; take quality"
        return ""

    def _wrong_encoder(self) -> str:
        if self.encoder in ("software", "auto"):
            return ""
        if self.chosen_codec not in HARDWARE[self.encoder]:
            return f"{self.encoder} has no encoder for {self.chosen_codec or self.container}; take software"
        if self.rate == "lossless":
            return f"{self.encoder} does not keep every pixel; take software"
        return ""


def result_name(name: str, container: str) -> str:
    """Name of what an export makes: a file, or a folder of pictures."""
    return name if container == "png" else f"{name}.{container}"


class RenderSettings(MergeSettings, ExportSettings):
    """Merge and encode in one go, frame by frame, without writing the merged frames unless they are to be kept."""

    keep_frames: bool = setting(False, "Also write the merged frames and masks as pictures.")

    def merge_settings(self) -> MergeSettings:
        """The part that merging needs."""
        return MergeSettings.model_validate({name: getattr(self, name) for name in MergeSettings.model_fields})

    def export_settings(self) -> ExportSettings:
        """The part that encoding needs."""
        return ExportSettings.model_validate({name: getattr(self, name) for name in ExportSettings.model_fields})


class VerifySettings(Settings):
    """Read a file back and say which marks it carries."""

    file: Path | None = setting(None, "Video or picture to look at.")
