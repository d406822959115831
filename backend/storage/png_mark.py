"""The AI-manipulated mark of pictures: an XMP packet and a readable comment; no pixel is touched or decoded again."""

from __future__ import annotations

import functools
import struct
import zlib
from collections.abc import Iterator

from backend.core.errors import DamagedFileError
from backend.core.provenance import statement
from backend.storage.jpeg import read_header
from backend.storage.xmp import MAX_PACKET, xmp_packet

PNG_START = b"\x89PNG\r\n\x1a\n"
XMP_KEYWORD = b"XML:com.adobe.xmp"
"""Keyword of the iTXt chunk that holds an XMP packet (XMP specification, part 3)."""

JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"
"""Begin of the application segment 1 that holds an XMP packet (XMP specification, part 3)."""

_HEADER_END = 33
"""Signature, and the IHDR chunk: length, name, 13 bytes, checksum."""

_APP0, _APP1, _COMMENT = 0xE0, 0xE1, 0xFE
_MAX_CHUNKS = 100_000


def marked_png(png: bytes) -> bytes:
    """The same PNG file with the mark right behind its header chunk; one that begins with the mark stays as it is.

    Args:
        png: a whole file.

    Raises:
        DamagedFileError: it is no PNG file.
    """
    if not (png.startswith(PNG_START) and png[12:16] == b"IHDR" and len(png) > _HEADER_END):
        raise DamagedFileError("The picture to be marked is no PNG file.", "Make it again.")
    mark = _png_chunks()
    if png.startswith(mark, _HEADER_END):
        return png
    return b"".join((png[:_HEADER_END], mark, memoryview(png)[_HEADER_END:]))


def marked_jpeg(jpeg: bytes) -> bytes:
    """The same JPEG file with the mark behind its JFIF and Exif segments; one that has it already stays as it is.

    Args:
        jpeg: a whole file.

    Raises:
        DamagedFileError: it is no JPEG file, or derails before the picture data.
    """
    mark = _jpeg_segments()
    if mark in jpeg[: 4 * MAX_PACKET]:
        return jpeg
    place = 2
    for segment in read_header(jpeg).segments:
        first = segment.marker == _APP0 or (segment.marker == _APP1 and jpeg.startswith(b"Exif", segment.start + 4))
        if not first:
            break
        place = segment.end
    return b"".join((jpeg[:place], mark, memoryview(jpeg)[place:]))


def png_texts(data: bytes) -> dict[str, str]:
    """Keyword -> text of the uncompressed tEXt and iTXt chunks of a PNG file; damaged chunks are left out.

    Compressed texts are left out too: a small chunk could unpack to any size.
    """
    texts: dict[str, str] = {}
    for name, body in _chunks(data):
        keyword, _, rest = body.partition(b"\0")
        word = keyword.decode("latin-1")
        if name == b"tEXt":
            texts.setdefault(word, rest[:MAX_PACKET].decode("latin-1"))
        elif name == b"iTXt" and rest[:1] == b"\0":
            text = rest[2:].split(b"\0", 2)[-1]
            texts.setdefault(word, text[:MAX_PACKET].decode("utf-8", "replace"))
    return texts


def jpeg_texts(data: bytes) -> dict[str, str]:
    """The XMP packet and the comment of a JPEG file, under the keywords of PNG files. DamagedFileError for no JPEG."""
    texts: dict[str, str] = {}
    for segment in read_header(data).segments:
        body = data[segment.start + 4 : segment.end]
        if segment.marker == _APP1 and body.startswith(JPEG_XMP):
            texts.setdefault(XMP_KEYWORD.decode(), body[len(JPEG_XMP) :].decode("utf-8", "replace"))
        elif segment.marker == _COMMENT:
            texts.setdefault("Comment", body.decode("utf-8", "replace"))
    return texts


@functools.cache
def _png_chunks() -> bytes:
    packet = XMP_KEYWORD + b"\0\0\0\0\0" + xmp_packet()
    return _chunk(b"iTXt", packet) + _chunk(b"tEXt", b"Comment\0" + statement("picture").encode("ascii"))


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


@functools.cache
def _jpeg_segments() -> bytes:
    return _segment(_APP1, JPEG_XMP + xmp_packet()) + _segment(_COMMENT, statement("picture").encode("ascii"))


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(name, body) of the text chunks with a right checksum; ends where the file ends or derails."""
    position = len(PNG_START) if data.startswith(PNG_START) else len(data)
    for _ in range(_MAX_CHUNKS):
        length = int.from_bytes(data[position : position + 4], "big")
        name, end = data[position + 4 : position + 8], position + 12 + length
        if end > len(data) or name == b"IEND":
            return
        if name in (b"tEXt", b"iTXt"):
            body = data[position + 8 : end - 4]
            if zlib.crc32(name + body) == int.from_bytes(data[end - 4 : end], "big"):
                yield name, body
        position = end
