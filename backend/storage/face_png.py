"""Old aligned faces as PNG: DeepFaceLab 1 kept the data of a face in a chunk ``fcWp`` before the end chunk.

The chunk holds the pickled dictionary that later versions put into JPEG files. It is read through the restricted
reader, never by pickle itself.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from backend.core.errors import BadInputError, DamagedFileError
from backend.core.faces import Face
from backend.storage import jpeg, safe_pickle
from backend.storage.face_file import face_of_dict

CHUNK = b"fcWp"

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_END = b"IEND"
_MAX_CHUNKS = 100_000
_MAX_DATA = 16 << 20
_LEGACY = ("fanseg_mask", "ie_polys")
"""What only DeepFaceLab 1 read; left out where a JPEG file has no room for it."""


def png_faces(folder: Path) -> list[Path]:
    """PNG files directly in a folder by name, hidden ones left out; empty when there is no folder."""
    try:
        found = [p for p in folder.iterdir() if p.suffix.lower() == ".png" and not p.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted((p for p in found if p.is_file()), key=lambda p: (p.name.lower(), p.name))


def read_png_face(data: bytes) -> tuple[Face, bytes] | None:
    """The face in a PNG file, and the payload with which a JPEG file carries the same data.

    The payload is the stored one byte for byte. Where that is too large for a JPEG file, it is written anew without
    the masks that only DeepFaceLab 1 used.

    Returns:
        None when the file holds no face data.

    Raises:
        DamagedFileError: no PNG, cut off, or with data that is refused or makes no sense.
        BadInputError: the data is too large for a JPEG file.
    """
    payload = next((body for name, body in _chunks(data) if name == CHUNK), None)
    if payload is None:
        return None
    stored = safe_pickle.loads(payload, max_bytes=_MAX_DATA)
    if not isinstance(stored, dict):
        raise DamagedFileError("The face data is no dictionary.", "Extract the face again or remove the file.")
    face = face_of_dict(stored)
    return face, payload if len(payload) <= jpeg.MAX_PAYLOAD else _smaller(stored)


def _smaller(stored: Mapping[str, Any]) -> bytes:
    payload = safe_pickle.dumps({k: v for k, v in stored.items() if k not in _LEGACY and v is not None})
    if len(payload) > jpeg.MAX_PAYLOAD:
        raise BadInputError(
            f"The face data takes {len(payload):,} bytes; a JPEG file holds at most {jpeg.MAX_PAYLOAD:,}.",
            "Use fewer polygon points or a smaller mask.",
        )
    return payload


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(name, body) of every chunk up to the end chunk. DamagedFileError when the file derails or ends early."""
    if not data.startswith(_SIGNATURE):
        raise DamagedFileError("It is no PNG file.", "Remove it.")
    position = len(_SIGNATURE)
    for _ in range(_MAX_CHUNKS):
        length = int.from_bytes(data[position : position + 4], "big")
        name, end = data[position + 4 : position + 8], position + 12 + length
        if end > len(data):
            break
        body = data[position + 8 : position + 8 + length]
        if name == CHUNK and zlib.crc32(name + body) != int.from_bytes(data[end - 4 : end], "big"):
            raise DamagedFileError("The face data in the PNG file is damaged.", "Extract the face again.")
        yield name, body
        if name == _END:
            return
        position = end
    raise DamagedFileError("The PNG file is cut off.", "Make it again or remove it.")
