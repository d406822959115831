"""Decoded video frames as BGR pictures: the colour matrix players use, rotation, and tone mapping of HDR."""

from __future__ import annotations

import struct
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter
from av.video.stream import VideoStream

from backend.core.errors import BadInputError
from backend.storage.tone_map import KINDS, PQ, REFERENCE_WHITE_NITS, USUAL_PEAK_NITS, ToneMap

BgrImage = npt.NDArray[np.uint8]

SCALING = Interpolation.BILINEAR | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND
"""Conversion between YUV and BGR without the darkening of the faster default."""

HD_LINES = 720
"""Untagged clips of at least this height are BT.709, smaller ones BT.601, as players assume."""

UNSPECIFIED = 2
TRANSFER_NAMES = MappingProxyType(
    {
        1: "bt709",
        4: "bt470m",
        5: "bt470bg",
        6: "smpte170m",
        7: "smpte240m",
        8: "linear",
        9: "log100",
        10: "log316",
        11: "iec61966-2-4",
        12: "bt1361e",
        13: "iec61966-2-1",
        14: "bt2020-10",
        15: "bt2020-12",
        16: "smpte2084",
        17: "smpte428",
        18: "arib-std-b67",
    }
)

_LUMA_WEIGHTS = MappingProxyType({1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593)})
"""H.273 number of a colour matrix -> share of red and blue in the brightness."""
_BT2020, _FULL_RANGE = 9, 2
_OTHER_MATRICES = MappingProxyType({10: "constant luminance", 14: "ICtCp", 15: "IPT-C2"})
_DOLBY_TAGS = ("dvh1", "dvhe", "dav1", "dva1", "dvav")
_DEPTHS = MappingProxyType({8: "yuv444p", 10: "yuv444p10le", 12: "yuv444p12le"})


class FrameColours:
    """Makes BGR pictures of the frames of one clip. What kind of video it is, its first frame says."""

    def __init__(self) -> None:
        self._converter = VideoReformatter()
        self._mapping: ToneMap | None = None
        self._asked = False

    def to_bgr(self, frame: VideoFrame, size: tuple[int, int] | None = None) -> BgrImage:
        """(h, w, 3) uint8 BGR for ordinary displays, contiguous, rotated as displayed.

        Args:
            frame: as decoded.
            size: (w, h) before the rotation; as stored when None.
        """
        if not self._asked:
            self._mapping, self._asked = tone_map_of(frame), True
        size = size or (frame.width, frame.height)
        if self._mapping is None:
            picture = self._ordinary(frame, size)
        else:
            picture = self._mapping.to_bgr(self._code_rgb(frame, size))
        return np.ascontiguousarray(np.rot90(picture, (frame.rotation // 90) % 4))

    def _ordinary(self, frame: VideoFrame, size: tuple[int, int]) -> BgrImage:
        untagged = frame.colorspace in (0, UNSPECIFIED) and frame.format.name.startswith(("yuv", "nv", "p0"))
        source = Colorspace.ITU709 if untagged and frame.height >= HD_LINES else None
        converted = self._converter.reformat(frame, *size, "bgr24", src_colorspace=source, interpolation=SCALING)
        return np.asarray(converted.to_ndarray(), dtype=np.uint8)

    def _code_rgb(self, frame: VideoFrame, size: tuple[int, int]) -> npt.NDArray[np.float32]:
        """(h, w, 3) float32 non-linear RGB, 0..1 and a little beyond, with all bits of the source."""
        if frame.format.is_rgb:
            rgb = self._converter.reformat(frame, *size, "gbrpf32le", interpolation=SCALING)
            return np.asarray(rgb.to_ndarray(), np.float32)
        bits = frame.format.components[0].bits
        bits = 8 if bits <= 8 else 10 if bits == 10 else 12
        full = self._converter.reformat(frame, *size, _DEPTHS[bits], interpolation=SCALING)
        planes = np.stack([_plane(full, index, bits) for index in range(3)], axis=2)
        import cv2

        return np.asarray(cv2.transform(planes, _to_rgb(frame, bits)), np.float32)


def transfer_of(frame: VideoFrame, stream: VideoStream) -> str:
    """Name of the transfer characteristics, "" when the clip does not say."""
    found = frame.color_trc if frame.color_trc not in (0, UNSPECIFIED) else stream.codec_context.color_trc
    return "" if found in (0, UNSPECIFIED) else TRANSFER_NAMES.get(found, f"transfer {found}")


def require_mappable(name: str, frame: VideoFrame, stream: VideoStream) -> None:
    """BadInputError for high dynamic range that cannot be mapped, with the reason.

    Args:
        name: what the error calls the clip.
        frame: the clip's first frame.
        stream: where it comes from.
    """
    fix = "Convert it to HDR10, HLG or ordinary (SDR, BT.709) video first."
    transfer = transfer_of(frame, stream)
    dolby = stream.codec_context.codec_tag in _DOLBY_TAGS or bool(_side_data(frame, Type.DOVI_METADATA))
    if frame.colorspace == 15 or (dolby and not transfer):
        raise BadInputError(
            f"{name} is Dolby Vision without a picture for other displays (profile 5); its colours cannot be mapped.",
            fix,
        )
    if transfer in KINDS and frame.colorspace in _OTHER_MATRICES:
        how = _OTHER_MATRICES[frame.colorspace]
        raise BadInputError(
            f"{name} is high dynamic range video, {KINDS[transfer]}, stored as {how}; its tones cannot be mapped.", fix
        )


def tone_map_of(frame: VideoFrame) -> ToneMap | None:
    """The mapping that a clip needs, by its first frame; None for ordinary video."""
    transfer = TRANSFER_NAMES.get(frame.color_trc, "")
    if transfer not in KINDS:
        return None
    primaries = frame.color_primaries if frame.color_primaries not in (0, UNSPECIFIED) else _BT2020
    return ToneMap(transfer, peak_nits(frame) if transfer == PQ else USUAL_PEAK_NITS, primaries)


def peak_nits(frame: VideoFrame) -> float:
    """Brightest light a PQ clip says to hold: its content light level, else that of the display it was made on."""
    said = 0.0
    light = _side_data(frame, Type.CONTENT_LIGHT_LEVEL)
    display = _side_data(frame, Type.MASTERING_DISPLAY_METADATA)
    if len(light) >= 8:
        said = float(struct.unpack_from("<I", light)[0])
    if not said and len(display) >= 88:
        number, divisor, _, has_luminance = struct.unpack_from("<iiii", display, 72)
        said = float(Fraction(number, divisor)) if has_luminance and divisor else 0.0
    return float(np.clip(said, REFERENCE_WHITE_NITS, 10_000)) if said else USUAL_PEAK_NITS


def _side_data(frame: VideoFrame, kind: Type) -> bytes:
    """What a frame carries of a kind, as FFmpeg lays it out in memory; empty when it carries none."""
    carried: Any = frame.side_data
    return next((bytes(data) for data in carried if data.type is kind), b"")


def _plane(frame: VideoFrame, index: int, bits: int) -> npt.NDArray[np.float32]:
    plane = frame.planes[index]
    kind = np.dtype(np.uint8 if bits == 8 else "<u2")
    rows = np.frombuffer(memoryview(plane), kind).reshape(plane.height, plane.line_size // kind.itemsize)
    return rows[:, : plane.width].astype(np.float32)


def _to_rgb(frame: VideoFrame, bits: int) -> npt.NDArray[np.float32]:
    """(3, 4) matrix and offset from code values to non-linear RGB 0..1 (ITU-R BT.2100, table 9)."""
    red, blue = _LUMA_WEIGHTS.get(frame.colorspace, _LUMA_WEIGHTS[_BT2020])
    green, step = 1 - red - blue, 2.0 ** (bits - 8)
    if frame.color_range == _FULL_RANGE:
        luma, chroma, black = 1 / (256 * step - 1), 1 / (256 * step - 1), 0.0
    else:
        luma, chroma, black = 1 / (219 * step), 1 / (224 * step), 16 * step
    cr, cb = 2 * (1 - red) * chroma, 2 * (1 - blue) * chroma
    matrix = np.array(
        [
            (luma, 0, cr),
            (luma, -blue / green * cb, -red / green * cr),
            (luma, cb, 0),
        ]
    )
    middle = np.array([black, 128 * step, 128 * step])
    return np.column_stack([matrix, -matrix @ middle]).astype(np.float32)
