"""Names of projects, models and results: what a folder or a file can be called on every system."""

from __future__ import annotations

import re

NAME_RULE = "Use letters, digits, spaces, hyphens, underscores and dots; begin with a letter or digit."

_RESERVED = re.compile(r"con|prn|aux|nul|com\d|lpt\d", re.IGNORECASE)
_PLAIN = re.compile(r"\w(?:[\w .-]*[\w-])?")
_NAME_CHARACTERS = 80
_FORBIDDEN = re.compile(r'[/\\:*?"<>|\x00-\x1f\x7f\ud800-\udfff]')
_FILE_NAME_BYTES = 160
"""Disks take 255: what stands around the name while the file is being made has to fit in too."""


def is_folder_name(name: str) -> bool:
    """Whether a folder can have this name everywhere."""
    plain = _PLAIN.fullmatch(name) is not None and len(name) <= _NAME_CHARACTERS
    return plain and not _RESERVED.fullmatch(name.partition(".")[0])


def wrong_file_name(name: str) -> str:
    """Why a file cannot have this name, without suffix, everywhere; "" when it can."""
    if not name or _FORBIDDEN.search(name) or name.startswith(".") or _RESERVED.fullmatch(name.partition(".")[0]):
        return "the name must be a plain file name without folder"
    if name != name.strip() or name.endswith("."):
        return "the name must not begin or end with a space, nor end with a dot"
    if len(name.encode()) > _FILE_NAME_BYTES:
        return "the name is too long"
    return ""
