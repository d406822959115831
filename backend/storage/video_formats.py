"""Which encoder, pixel format and options make a kind of video file. One table row per codec."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from backend.core.settings.export import ALWAYS_LOSSLESS
from backend.core.settings.export import HARDWARE as CODECS_OF_HARDWARE

Options = dict[str, str]

MUXERS = MappingProxyType({"mp4": "mp4", "mov": "mov", "mkv": "matroska", "webm": "webm", "avi": "avi", "gif": "gif"})
"""Container -> its name in FFmpeg."""

MAX_CRF = 51
"""Scale of the quality setting; codecs with another scale get the same share of theirs."""


@dataclass(frozen=True)
class Codec:
    """How one codec is written by software.

    Attributes:
        encoder, pixel_format: for ordinary pictures.
        alpha: pixel format with alpha, "" without.
        lossless: (encoder, pixel format) that keeps every pixel of an 8-bit RGB picture, checked by reading back.
        name: what FFmpeg calls the codec of the finished file.
        even: whether sides have to be even for the ordinary pixel format.
        smallest: shortest side it takes.
        bytes_per_pixel: upper estimate at high quality, for the disk check.
        lossless_bytes: the same without loss.
    """

    encoder: str
    pixel_format: str
    alpha: str = ""
    lossless: tuple[str, str] = ("", "")
    name: str = ""
    even: bool = False
    smallest: int = 1
    bytes_per_pixel: float = 0.1
    lossless_bytes: float = 1.6


CODECS: Mapping[str, Codec] = MappingProxyType(
    {
        "h264": Codec("libx264", "yuv420p", lossless=("libx264rgb", "bgr24"), name="h264", even=True),
        "h265": Codec("libx265", "yuv420p", lossless=("libx265", "gbrp"), name="hevc", even=True, smallest=64),
        "av1": Codec("libsvtav1", "yuv420p", name="av1", smallest=4),
        "vp9": Codec("libvpx-vp9", "yuv420p", "yuva420p", ("libvpx-vp9", "gbrp"), "vp9"),
        "prores4444": Codec("prores_ks", "yuv444p10le", "yuva444p10le", name="prores", bytes_per_pixel=1.5),
        "ffv1": Codec("ffv1", "bgr0", "bgra", ("ffv1", "bgr0"), "ffv1", lossless_bytes=1.8),
        "png": Codec("png", "rgb24", "rgba", ("png", "rgb24"), "png", lossless_bytes=2.0),
        "qtrle": Codec("qtrle", "rgb24", "argb", ("qtrle", "rgb24"), "qtrle", lossless_bytes=3.2),
        "gif": Codec("gif", "pal8", name="gif", bytes_per_pixel=0.8),
    }
)

HARDWARE: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "nvenc": ("nvenc", "yuv420p"),
        "qsv": ("qsv", "nv12"),
        "amf": ("amf", "nv12"),
        "videotoolbox": ("videotoolbox", "nv12"),
    }
)
"""Kind of hardware encoder -> suffix of its FFmpeg name, and the pixel format it takes."""

STEERED_CODECS = ("h264", "h265", "av1", "vp9")
"""Codecs whose quality can be chosen."""

USUAL_CRF = 17
"""Quality that the estimates of sizes are made for."""

HARDWARE_CODECS = ("h264", "h265", "av1")

_SPEEDS = ("ultrafast", "veryfast", "fast", "medium", "slow")
_SVT_PRESETS = (12, 10, 8, 6, 4)
_VP9_CPU_USED = (8, 6, 4, 3, 1)
_NVENC_PRESETS = ("p1", "p2", "p3", "p4", "p6")
_QSV_PRESETS = ("veryfast", "faster", "fast", "medium", "slower")
_AMF_QUALITIES = ("speed", "speed", "balanced", "quality", "quality")
_ONE_QP = 118
"""FFmpeg's unit of its general quality scale."""


@dataclass(frozen=True)
class VideoFormat:
    """A kind of video file.

    Attributes:
        container: "mp4", "mov", "mkv", "webm", "avi" or "gif".
        codec: a key of CODECS that the container can hold.
        rate: what steers: "quality", "bitrate" or "lossless".
        alpha: whether the frames carry alpha.
        hardware: a key of HARDWARE; "" encodes by software.
    """

    container: str = "mp4"
    codec: str = "h264"
    rate: str = "quality"
    alpha: bool = False
    hardware: str = ""

    @property
    def is_lossless(self) -> bool:
        """Whether every pixel given is read back as it was."""
        return self.rate == "lossless" or self.codec in ALWAYS_LOSSLESS

    @property
    def encoder(self) -> str:
        """FFmpeg's name of the encoder."""
        if self.hardware:
            return hardware_encoder(self.hardware, self.codec)
        codec = CODECS[self.codec]
        return codec.lossless[0] if self.is_lossless and not self.alpha else codec.encoder

    @property
    def pixel_format(self) -> str:
        """How the encoder takes the pictures."""
        codec = CODECS[self.codec]
        if self.hardware:
            return HARDWARE[self.hardware][1]
        if self.alpha:
            return codec.alpha
        return codec.lossless[1] if self.is_lossless else codec.pixel_format

    @property
    def is_rgb(self) -> bool:
        """Whether the pictures are stored as RGB, without a colour matrix."""
        return not self.pixel_format.startswith(("yuv", "nv"))

    @property
    def needs_even_sides(self) -> bool:
        """Whether odd sides have to be padded."""
        return bool(self.hardware) or (CODECS[self.codec].even and not self.is_lossless)

    @property
    def tag(self) -> str:
        """Codec tag where the usual one is not played everywhere; "" leaves it to the container."""
        return "hvc1" if self.codec == "h265" and self.container in ("mp4", "mov") else ""

    @property
    def title(self) -> str:
        """Its name for people."""
        return self.container if self.codec == "gif" else f"{self.codec} in {self.container}"

    def bytes_needed(self, pixels: int, crf: int = USUAL_CRF) -> int:
        """Upper estimate of the size of so many pixels in a file that is not steered by bit rate.

        Args:
            pixels: of all frames together.
            crf: as for encoder_options(); six steps less make a file twice as large.
        """
        codec = CODECS[self.codec]
        if self.is_lossless:
            each = codec.lossless_bytes
        else:
            each = codec.bytes_per_pixel * (2 ** ((USUAL_CRF - crf) / 6) if self.codec in STEERED_CODECS else 1)
        return int(pixels * min(each, codec.lossless_bytes) * (4 / 3 if self.alpha else 1))


def hardware_encoder(hardware: str, codec: str) -> str:
    """FFmpeg's name of a hardware encoder; "" where that kind has none for the codec."""
    if codec not in CODECS_OF_HARDWARE[hardware]:
        return ""
    return f"{CODECS[codec].name}_{HARDWARE[hardware][0]}"


def encoder_options(kind: VideoFormat, crf: int, speed: str, reordered: bool = True) -> Options:
    """Options of the encoder of a kind of file.

    Args:
        kind: the file.
        crf: 0..51, lower is better; used where quality steers. Codecs with a scale to 63 get the same share of it.
        speed: x264's name of the preset; the other encoders get their nearest.
        reordered: whether frames may be stored in another order than they are shown in.
    """
    at = _SPEEDS.index(speed)
    if kind.hardware:
        options = _hardware_options(kind, crf, at)
        return options if reordered else options | {"bf": "0"}
    by_quality = kind.rate == "quality"
    if kind.codec == "h264":
        # 0 would be a profile of its own, without loss, which browsers do not play
        options = {"preset": speed} | ({"crf": str(max(1, crf))} if by_quality else {})
        options |= {"qp": "0"} if kind.is_lossless else {}
        return options if reordered else options | {"bf": "0"}
    if kind.codec == "h265":
        inner = [
            "log-level=error",
            *(["lossless=1"] if kind.is_lossless else []),
            *([] if reordered else ["bframes=0"]),
        ]
        return {"preset": speed, "x265-params": ":".join(inner)} | ({"crf": str(crf)} if by_quality else {})
    of_63 = str(round(crf * 63 / MAX_CRF))
    if kind.codec == "av1":
        # SVT-AV1 takes 0 for "not chosen" and falls back to a middling quality
        return {"preset": str(_SVT_PRESETS[at])} | ({"crf": str(max(1, int(of_63)))} if by_quality else {})
    if kind.codec == "vp9":
        options = {"deadline": "good", "cpu-used": str(_VP9_CPU_USED[at]), "row-mt": "1"}
        options |= {"crf": of_63, "b": "0"} if by_quality else {}
        options |= {"auto-alt-ref": "0"} if kind.alpha else {}
        return options | ({"lossless": "1"} if kind.is_lossless else {})
    return dict(_FIXED_OPTIONS.get(kind.codec, {}))


_FIXED_OPTIONS: Mapping[str, Options] = MappingProxyType(
    {
        "prores4444": {"profile": "4444", "vendor": "apl0"},
        "ffv1": {"level": "3", "coder": "1", "context": "1", "g": "1", "slices": "4", "slicecrc": "1"},
        "png": {"pred": "up", "compression_level": "3"},
    }
)


def _hardware_options(kind: VideoFormat, crf: int, at: int) -> Options:
    by_quality = kind.rate == "quality"
    if kind.hardware == "nvenc":
        # 0 leaves the quality to NVENC
        return {"preset": _NVENC_PRESETS[at], "rc": "vbr"} | ({"cq": str(max(1, crf)), "b": "0"} if by_quality else {})
    if kind.hardware == "qsv":
        return {"preset": _QSV_PRESETS[at]} | ({"global_quality": str(max(1, crf))} if by_quality else {})
    if kind.hardware == "amf":
        qp = str(crf * 5 if kind.codec == "av1" else crf)
        fixed = {"rc": "cqp", "qp_i": qp, "qp_p": qp} if by_quality else {"rc": "vbr_peak"}
        return {"quality": _AMF_QUALITIES[at]} | fixed
    quality = max(1, round(100 - crf * 100 / MAX_CRF))
    return {"flags": "+qscale", "global_quality": str(quality * _ONE_QP)} if by_quality else {}
