"""Fails in the way its settings name."""

from __future__ import annotations

import errno

from backend.core.errors import BadInputError


def run(settings, ctx):
    raise {
        "expected": BadInputError("The clip is empty.", "Take another."),
        "type": TypeError("not this type"),
        "memory": MemoryError(),
        "torch": RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes"),
        "disk": OSError(errno.ENOSPC, "No space left on device"),
    }[settings.name]
