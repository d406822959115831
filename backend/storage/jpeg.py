"""The segments of a JPEG file: face data is read from and put into one of them, the picture itself is not touched.

DeepFaceLab keeps a face's data in the application segment 15. Its writer puts it behind the last application segment.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from backend.core.errors import BadInputError, DamagedFileError

APP15 = 0xEF
MAX_PAYLOAD = 65533
"""Bytes one segment can hold."""

MAX_JPEG_BYTES = 64 << 20
"""No aligned face comes near this, not even a whole frame."""

_MAX_SEGMENTS = 20_000

_SOI, _EOI, _SOS, _TEM = 0xD8, 0xD9, 0xDA, 0x01
_RESTARTS = range(0xD0, 0xD8)
_APPLICATION = range(0xE0, 0xF0)
_FRAME_STARTS = frozenset((*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)))
_NOT_FILL = re.compile(rb"[^\xff]")


@dataclass(frozen=True)
class Segment:
    """One segment before the picture data: its marker's second byte and where it lies, marker included."""

    marker: int
    start: int
    end: int


@dataclass(frozen=True)
class Header:
    """What stands before the picture data.

    Attributes:
        segments: all of them, in order, start of image and start of scan left out.
        width, height: pixels; height 0 in the rare files that tell it after the first scan.
        scan_start: where the first start-of-scan segment ends.
    """

    segments: tuple[Segment, ...]
    width: int
    height: int
    scan_start: int


def read_file(path: Path) -> bytes:
    """The bytes of a JPEG file.

    Raises:
        DamagedFileError: it is far too large for one and was not read.
        OSError: it cannot be read.
    """
    if path.stat().st_size > MAX_JPEG_BYTES:
        raise DamagedFileError("It is far too large for a face.", "Make it again or remove it.")
    return path.read_bytes()


def read_header(data: bytes) -> Header:
    """Walk the segments up to the picture data.

    Any application segment, any kind of frame and fill bytes between segments are accepted.

    Raises:
        DamagedFileError: no JPEG, or it ends or derails before the picture data.
    """
    if not data.startswith(b"\xff\xd8"):
        raise DamagedFileError("It is no JPEG file.", "Make it again or remove it.")
    segments: list[Segment] = []
    width = height = -1
    position = 2
    for _ in range(_MAX_SEGMENTS):
        segment = _next_segment(data, position)
        position = segment.end
        if segment.marker in (_SOS, _EOI):
            break
        if segment.marker in _FRAME_STARTS:
            width, height = _frame_size(data, segment)
        segments.append(segment)
    if segment.marker != _SOS or width < 0:
        raise DamagedFileError("It is a JPEG file without a picture.", "Make it again or remove it.")
    return Header(tuple(segments), width, height, segment.end)


def is_complete_jpeg(data: bytes) -> bool:
    """Whether an end marker follows the picture data; bytes after that are fine."""
    try:
        return data.find(b"\xff\xd9", read_header(data).scan_start) >= 0
    except DamagedFileError:
        return False


def read_payload(data: bytes) -> bytes | None:
    """Content of the first APP15 segment, None when there is none. DamagedFileError as read_header()."""
    for segment in read_header(data).segments:
        if segment.marker == APP15:
            return data[segment.end - _body_length(data, segment) : segment.end]
    return None


def with_payload(data: bytes, payload: bytes | None) -> bytes:
    """The same file with another APP15 segment; every other byte stays.

    Args:
        data: a JPEG file.
        payload: the new content, at most MAX_PAYLOAD bytes; None takes the segment out.

    Raises:
        BadInputError: the payload is too large for a segment.
        DamagedFileError: as read_header().
    """
    if payload is not None and len(payload) > MAX_PAYLOAD:
        raise BadInputError(
            f"The face data takes {len(payload):,} bytes; a JPEG file holds at most {MAX_PAYLOAD:,}.",
            "Use fewer polygon points or a smaller mask.",
        )
    segments = read_header(data).segments
    old = next((s for s in segments if s.marker == APP15), None)
    kept = [s for s in segments if s is not old]
    application = [s for s in kept if s.marker in _APPLICATION]
    place = application[-1].end if application else kept[0].end
    new = b"" if payload is None else b"\xff\xef" + (len(payload) + 2).to_bytes(2, "big") + payload
    if old is None:
        return data[:place] + new + data[place:]
    if place <= old.start:
        return data[:place] + new + data[place : old.start] + data[old.end :]
    return data[: old.start] + data[old.end : place] + new + data[place:]


def _next_segment(data: bytes, position: int) -> Segment:
    """The segment that begins at a position; fill bytes before its marker belong to it."""
    if position < len(data) and data[position] != 0xFF:
        raise DamagedFileError("The JPEG file is damaged.", "Make it again or remove it.")
    marker_at = _marker_at(data, position)
    if marker_at >= len(data):
        raise DamagedFileError("The JPEG file is cut off.", "Make it again or remove it.")
    marker = data[marker_at]
    end = marker_at + 1
    if marker not in (_SOI, _EOI, _TEM) and marker not in _RESTARTS:
        length = int.from_bytes(data[end : end + 2], "big")
        end += length
        if length < 2 or marker == 0:
            raise DamagedFileError("The JPEG file is damaged.", "Make it again or remove it.")
    if end > len(data):
        raise DamagedFileError("The JPEG file is cut off.", "Make it again or remove it.")
    return Segment(marker, position, end)


def _body_length(data: bytes, segment: Segment) -> int:
    """Bytes after the length field."""
    return segment.end - _marker_at(data, segment.start) - 3


def _marker_at(data: bytes, position: int) -> int:
    """Where the run of 0xFF that begins at a position ends, the length of the data when it does not."""
    found = _NOT_FILL.search(data, position)
    return found.start() if found else len(data)


def _frame_size(data: bytes, segment: Segment) -> tuple[int, int]:
    """(width, height) of a start-of-frame segment: precision byte, height, width."""
    body = data[segment.end - _body_length(data, segment) : segment.end]
    if len(body) < 6:
        raise DamagedFileError("The JPEG file is damaged.", "Make it again or remove it.")
    return int.from_bytes(body[3:5], "big"), int.from_bytes(body[1:3], "big")
