"""What kind of file something is, by its first bytes and not by its name."""

from __future__ import annotations

from pathlib import Path

_HEAD_BYTES = 4096


def file_kind(path: Path) -> str:
    """mp4, mov, mkv, webm, avi, gif, png or jpg; "" for anything else and for an empty file. OSError as open()."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide"):
        return "mp4" if head[4:8] == b"ftyp" and head[8:12] != b"qt  " else "mov"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "webm" if b"webm" in head[:64] else "mkv"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    return "jpg" if head.startswith(b"\xff\xd8\xff") else ""
