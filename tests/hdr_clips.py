"""Tiny clips with more than 8 bits, as cameras with HDR make them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

PQ, HLG, BT2020 = 16, 18, 9


@dataclass(frozen=True)
class HdrClip:
    """What to make: H.273 numbers of transfer and matrix; max_cll 0 leaves the brightest light unsaid."""

    transfer: int = PQ
    matrix: int = BT2020
    max_cll: int = 0
    pixels: str = "yuv420p10le"
    tag: str = ""


def make_hdr_clip(path: Path, codes: Sequence[tuple[int, int, int]], clip: HdrClip) -> Path:
    """Encode one flat 64 x 48 frame for each (Y, Cb, Cr) without loss and return the path."""
    options = "log-level=none:lossless=1:pools=none:frame-threads=1:rc-lookahead=0:bframes=0"
    if clip.max_cll:
        options += f":hdr10=1:max-cll={clip.max_cll},100"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx265", rate=25, options={"x265-params": options})
        stream.width, stream.height, stream.pix_fmt = 64, 48, clip.pixels
        context = stream.codec_context
        context.color_trc, context.colorspace, context.color_range = clip.transfer, clip.matrix, 1
        context.color_primaries = BT2020 if clip.transfer else 0
        if clip.tag:
            context.codec_tag = clip.tag
        for number, code in enumerate(codes):
            frame = av.VideoFrame(64, 48, clip.pixels)
            for plane, value in zip(frame.planes, code, strict=True):
                plane.update(np.full((plane.height, plane.line_size // 2), value, np.uint16).tobytes())
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def gray_code(value: float) -> tuple[int, int, int]:
    """10-bit (Y, Cb, Cr) of a gray with a code value 0..1, limited range."""
    return round(64 + 876 * value), 512, 512
