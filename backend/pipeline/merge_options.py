"""From settings to compositing: the part of a look that putting a predicted face into a frame needs."""

from __future__ import annotations

from dataclasses import fields

from backend.core.settings import MergeLook
from backend.ops.face_swap import MergeOptions

_NAMES = tuple(field.name for field in fields(MergeOptions))


def merge_options(look: MergeLook) -> MergeOptions:
    """The options of compositing; every one is a setting of the same name."""
    return MergeOptions(**{name: getattr(look, name) for name in _NAMES})
