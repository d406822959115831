"""The AI-manipulated mark of an exported video: readable tags, and the IPTC digital source type as XMP.

What each kind of file can hold:

=========  ================================================  ============================================
mp4        comment, description                              XMP in a box at its end
mov        comment                                           XMP in a box at its end
mkv, webm  comment, description, digital_source_type         nothing more; the tags say all
avi        comment                                           XMP in a chunk of the header
gif        nothing                                           XMP and comment as extensions before the pictures
png, jpg   nothing                                           XMP and comment, see backend.storage.png_mark
=========  ================================================  ============================================

Tags are given to the writer of the file; the right column is what mark_file() adds to the finished file.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO
from uuid import UUID

from backend.core.errors import BadInputError, DamagedFileError
from backend.core.provenance import DIGITAL_SOURCE_TYPE, statement
from backend.storage.atomic import replacing, write_bytes
from backend.storage.image import list_images
from backend.storage.png_mark import marked_jpeg, marked_png
from backend.storage.xmp import MAX_PACKET, xmp_packet

XMP_BOX = UUID("be7acfcb-97a9-42e8-9c71-999491e3afac")
"""Identity of the top-level mp4 box that holds an XMP packet (XMP specification, part 3)."""

SENTENCE = statement("video")
_FULL = f"{SENTENCE} Digital source type: {DIGITAL_SOURCE_TYPE}"

TAGS: Mapping[str, str] = MappingProxyType({"comment": SENTENCE, "description": _FULL})
"""Tags of an mp4 file, shown by players and file managers."""

_TAGS_OF: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "mp4": TAGS,
        "mov": MappingProxyType({"comment": _FULL}),
        "mkv": MappingProxyType({**TAGS, "digital_source_type": DIGITAL_SOURCE_TYPE}),
        "webm": MappingProxyType({**TAGS, "digital_source_type": DIGITAL_SOURCE_TYPE}),
        "avi": MappingProxyType({"comment": _FULL}),
        "gif": MappingProxyType({}),
        "png": MappingProxyType({}),
        "jpg": MappingProxyType({}),
    }
)

_AVI_XMP = b"_PMX"
_GIF_XMP = b"XMP DataXMP"
_GIF_XMP_END = bytes([1, *range(255, -1, -1), 0])
"""Leads any reader of sub-blocks, wherever in the packet it stands, to the end (XMP specification, part 3)."""

_MAX_STEPS = 100_000
"""Boxes, chunks or extensions looked at before a file counts as foreign."""


def tags(container: str) -> Mapping[str, str]:
    """Metadata for the writer of a file: key -> text as FFmpeg names keys; empty where the format has none.

    Args:
        container: mp4, mov, mkv, webm, avi, gif, png or jpg; BadInputError for others.
    """
    if container not in _TAGS_OF:
        raise BadInputError(f"It is not known how a .{container} file is marked.", f"Known: {', '.join(_TAGS_OF)}.")
    return _TAGS_OF[container]


def mark_file(path: Path, container: str) -> None:
    """Add to a finished file what its tags cannot hold; see the table above. Call once, after the writer closed it.

    Args:
        path: one file; for png and jpg also a folder, whose pictures of that kind are marked unless they are already.
        container: as for tags().

    Raises:
        BadInputError: an unknown container.
        DamagedFileError: the file is not of this kind.
    """
    tags(container)
    add = _ADDITIONS.get(container)
    if add is not None:
        add(path)


def append_xmp(path: Path) -> None:
    """Append the digital source type to a finished mp4 or mov file as an XMP box: players skip it, readers see it."""
    packet = xmp_packet()
    with path.open("ab") as file:
        file.write(struct.pack(">I4s", 24 + len(packet), b"uuid") + XMP_BOX.bytes + packet)


def read_xmp(path: Path) -> str:
    """The XMP packet of an mp4, mov, avi or gif file, "" when there is none or the file derails, and for a folder.

    Reads headers only.
    """
    if path.is_dir():
        return ""
    with path.open("rb") as file:
        start = file.read(12)
        if start.startswith(b"GIF8"):
            return _gif_extensions(file)[0]
        if start[:4] == b"RIFF":
            return _packet_at(file, *_avi_chunk(file, _AVI_XMP))
        return _packet_at(file, *_mp4_box(file))


def gif_comment(path: Path) -> str:
    """The comment before the pictures of a GIF file, "" when there is none."""
    with path.open("rb") as file:
        return _gif_extensions(file)[1]


def _packet_at(file: BinaryIO, start: int, length: int) -> str:
    file.seek(start)
    return file.read(min(length, MAX_PACKET)).decode("utf-8", "replace").rstrip("\0 ")


def _mp4_box(file: BinaryIO) -> tuple[int, int]:
    """(start, length) of the content of the XMP box; length 0 when there is none. Top-level boxes only."""
    size, at = file.seek(0, 2), 0
    for _ in range(_MAX_STEPS):
        file.seek(at)
        head = file.read(16)
        if len(head) < 8:
            break
        length, kind = struct.unpack(">I4s", head[:8])
        header = 8
        if length == 1 and len(head) == 16:
            (length,), header = struct.unpack(">Q", head[8:]), 16
        if length < header or at + length > size:
            break
        file.seek(at + header)
        if kind == b"uuid" and file.read(16) == XMP_BOX.bytes:
            return at + header + 16, length - header - 16
        at += length
    return 0, 0


def _avi_chunk(file: BinaryIO, wanted: bytes, least: int = 0) -> tuple[int, int]:
    """(start, length) of the first such chunk of the first RIFF with at least that many bytes; length 0 for none."""
    file.seek(0)
    head = file.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"AVI ":
        return 0, 0
    at, end = 12, 8 + int.from_bytes(head[4:8], "little")
    for _ in range(_MAX_STEPS):
        file.seek(at)
        chunk = file.read(8)
        if len(chunk) < 8 or at >= end:
            break
        length = int.from_bytes(chunk[4:], "little")
        if chunk[:4] == wanted and length >= least:
            return at + 8, length
        at += 8 + length + length % 2
    return 0, 0


def _mark_avi(path: Path) -> None:
    """The writer leaves an empty chunk in the header; it becomes that of the packet, so nothing else moves."""
    packet = xmp_packet()
    with path.open("r+b") as file:
        start, length = _avi_chunk(file, b"JUNK", len(packet))
        if length:
            file.seek(start - 8)
            file.write(_AVI_XMP)
            file.seek(start)
            file.write(packet.ljust(length))
            return
        _append_avi_chunk(file, packet)


def _append_avi_chunk(file: BinaryIO, packet: bytes) -> None:
    """Add the packet at the end of an AVI file. One of several gigabyte parts is left to its tags."""
    file.seek(0)
    head = file.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"AVI ":
        raise DamagedFileError("The file to be marked is no AVI file.", "Export again.")
    size = int.from_bytes(head[4:8], "little")
    end = file.seek(0, 2)
    if size + 8 + size % 2 != end:
        return
    packet = packet.ljust(len(packet) + len(packet) % 2)
    file.write(_AVI_XMP + struct.pack("<I", len(packet)) + packet)
    file.seek(4)
    file.write(struct.pack("<I", end + len(packet)))


def _gif_first_block(file: BinaryIO) -> int:
    """Where the blocks behind header and colour table begin. DamagedFileError when it is no GIF file."""
    file.seek(0)
    head = file.read(13)
    if len(head) < 13 or head[:6] not in (b"GIF87a", b"GIF89a"):
        raise DamagedFileError("The file to be marked is no GIF file.", "Export again.")
    return 13 + (3 << (head[10] & 7) + 1 if head[10] & 0x80 else 0)


def _gif_blocks(file: BinaryIO) -> bytes:
    """Content of the sub-blocks that begin here, at most MAX_PACKET bytes of it; the file stands behind them."""
    parts, total = [], 0
    while length := int.from_bytes(file.read(1), "big"):
        part = file.read(length)
        total += length
        if total <= MAX_PACKET:
            parts.append(part)
        if len(part) < length:
            break
    return b"".join(parts)


def _gif_extensions(file: BinaryIO) -> tuple[str, str]:
    """(XMP packet, comment) of the extensions before the first picture, each "" when it is not there."""
    packet = comment = ""
    try:
        file.seek(_gif_first_block(file))
    except DamagedFileError:
        return packet, comment
    for _ in range(_MAX_STEPS):
        kind = file.read(2)
        if kind == b"\x21\xff":
            at = file.tell()
            name = file.read(12)[1:]
            if name == _GIF_XMP:
                file.seek(at + 12)
                raw = file.read(MAX_PACKET).split(_GIF_XMP_END[:16])[0]
                packet = raw.decode("utf-8", "replace")
            file.seek(at)
            _gif_blocks(file)
        elif kind[:1] == b"\x21":
            text = _gif_blocks(file)
            comment = text.decode("utf-8", "replace") if kind == b"\x21\xfe" else comment
        else:
            break
    return packet, comment


def _mark_gif(path: Path) -> None:
    """Comment and packet before the first picture, behind the colour table, where readers look for them."""
    sentence = _FULL.encode("ascii")
    mark = b"\x21\xfe" + b"".join(
        bytes([len(part)]) + part for part in (sentence[at : at + 255] for at in range(0, len(sentence), 255))
    )
    mark += b"\0\x21\xff\x0b" + _GIF_XMP + xmp_packet() + _GIF_XMP_END
    with path.open("rb") as file, replacing(path, durable=False) as written:
        start = _gif_first_block(file)
        file.seek(0)
        written.write(file.read(start) + mark)
        shutil.copyfileobj(file, written, 1 << 20)


def _mark_png(path: Path) -> None:
    for picture in _pictures(path, (".png",)):
        _rewrite(picture, marked_png)


def _mark_jpeg(path: Path) -> None:
    for picture in _pictures(path, (".jpg", ".jpeg")):
        _rewrite(picture, marked_jpeg)


def _pictures(path: Path, suffixes: tuple[str, ...]) -> list[Path]:
    return [p for p in list_images(path) if p.suffix.lower() in suffixes] if path.is_dir() else [path]


def _rewrite(path: Path, marked: Callable[[bytes], bytes]) -> None:
    plain = path.read_bytes()
    data = marked(plain)
    if data is not plain:
        write_bytes(path, data, durable=False)


_ADDITIONS: Mapping[str, Callable[[Path], None]] = MappingProxyType(
    {
        "mp4": append_xmp,
        "mov": append_xmp,
        "avi": _mark_avi,
        "gif": _mark_gif,
        "png": _mark_png,
        "jpg": _mark_jpeg,
    }
)
