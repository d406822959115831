"""Key frames of a merge: a look holds from its frame until the next one. Pure functions from settings to settings.

DeepFaceLab keeps one look for every frame, and its keys copy a look from frame to frame. Here a clip is divided into
ranges with one look each, so that a range can be seen and changed as a whole. What its keys do becomes:

    ==============  ==========================  ======================================================
    key             DeepFaceLab                 here
    ==============  ==========================  ======================================================
    / (slash)       copy to the next frame      copy_to_next: a change right behind moves one frame on
    m               copy to the previous frame  copy_to_previous: a change right here moves one frame back
    Shift + slash   copy to all that follow     copy_to_all_after
    Shift + m       copy to all before          copy_to_all_before
    ==============  ==========================  ======================================================

Frames count from 1. A change on frame 1 is no key but the settings' own look.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from backend.core.settings import MergeKey, MergeLook, MergeSettings


class LookRange(NamedTuple):
    """Frames with one look, first to last, both counted from 1; last is 0 for "to the end"."""

    first: int
    last: int
    look: MergeLook


def ranges(settings: MergeSettings) -> list[LookRange]:
    """The ranges of frames with one look, in order."""
    looks = _looks(settings)
    firsts = list(looks)
    lasts = [*(first - 1 for first in firsts[1:]), 0]
    return [LookRange(first, last, looks[first]) for first, last in zip(firsts, lasts, strict=True)]


def held_since(settings: MergeSettings, frame: int) -> int:
    """The frame from which on the look of a frame holds: that of its key, or 1."""
    return max((key.frame for key in settings.keys if key.frame <= frame), default=1)


def with_look(settings: MergeSettings, frame: int, look: MergeLook) -> MergeSettings:
    """Change the look of a frame and of all frames that share it; of whole settings only the look is taken."""
    plain = look.look if isinstance(look, MergeSettings) else look
    return _with(settings, {**_looks(settings), held_since(settings, frame): plain})


def add_key(settings: MergeSettings, frame: int) -> MergeSettings:
    """Let a range of its own begin at a frame, with the look it has; nothing changes where one begins already."""
    return _with(settings, {**_looks(settings), frame: settings.look_at(frame)})


def remove_key(settings: MergeSettings, frame: int) -> MergeSettings:
    """Take away the key whose look holds at a frame: the range before goes on. The first range stays."""
    first = held_since(settings, frame)
    return _with(settings, _without(_looks(settings), [first] if first > 1 else []))


def copy_to_all_before(settings: MergeSettings, frame: int) -> MergeSettings:
    """Let the look of a frame hold from the first frame on."""
    looks = _looks(settings)
    kept = _without(looks, [first for first in looks if first <= frame])
    return _with(settings, {1: settings.look_at(frame), **kept})


def copy_to_all_after(settings: MergeSettings, frame: int) -> MergeSettings:
    """Let the look of a frame hold to the end."""
    looks = _looks(settings)
    return _with(settings, _without(looks, [first for first in looks if first > frame]))


def copy_to_next(settings: MergeSettings, frame: int) -> MergeSettings:
    """Give the next frame, and no other, the look of a frame."""
    looks = _looks(settings)
    following = looks.pop(frame + 1, None)
    if following is not None:
        looks.setdefault(frame + 2, following)
    return _with(settings, looks)


def copy_to_previous(settings: MergeSettings, frame: int) -> MergeSettings:
    """Give the previous frame, and no other, the look of a frame."""
    looks = _looks(settings)
    if frame > 1 and frame in looks:
        looks[frame - 1] = looks.pop(frame)
    return _with(settings, looks)


def next_change(settings: MergeSettings, frame: int) -> int | None:
    """First frame behind a frame at which another look begins; None when there is none."""
    return min((key.frame for key in settings.keys if key.frame > frame), default=None)


def previous_change(settings: MergeSettings, frame: int) -> int | None:
    """Last frame before a frame at which a look begins, 1 included; None at the first frame."""
    return max((first for first in _looks(settings) if first < frame), default=None)


def _looks(settings: MergeSettings) -> dict[int, MergeLook]:
    """First frame of each range -> its look, in order."""
    return {1: settings.look, **{key.frame: key.look for key in settings.keys}}


def _without(looks: Mapping[int, MergeLook], frames: Iterable[int]) -> dict[int, MergeLook]:
    gone = set(frames)
    return {first: look for first, look in looks.items() if first not in gone}


def _with(settings: MergeSettings, looks: Mapping[int, MergeLook]) -> MergeSettings:
    keys = tuple(MergeKey(frame=first, look=looks[first]) for first in sorted(looks) if first > 1)
    base = {name: getattr(looks[1], name) for name in MergeLook.model_fields}
    return settings.model_copy(update={**base, "keys": keys})
