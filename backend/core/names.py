"""Names of projects and models: what a folder can be called on every system."""

from __future__ import annotations

import re

NAME_RULE = "Use letters, digits, spaces, hyphens, underscores and dots; begin with a letter or digit."

_RESERVED = re.compile(r"con|prn|aux|nul|com\d|lpt\d", re.IGNORECASE)
_PLAIN = re.compile(r"\w(?:[\w .-]*[\w-])?")
_NAME_CHARACTERS = 80


def is_folder_name(name: str) -> bool:
    """Whether a folder can have this name everywhere."""
    plain = _PLAIN.fullmatch(name) is not None and len(name) <= _NAME_CHARACTERS
    return plain and not _RESERVED.fullmatch(name.partition(".")[0])
