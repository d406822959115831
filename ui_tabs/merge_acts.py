"""What the Merge tab's viewer can ask for: another frame, key frames, and settings changed by keys. Pure functions."""

from __future__ import annotations

import typing
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from backend.core.errors import BadInputError
from backend.core.merge_keys import (
    add_key,
    copy_to_all_after,
    copy_to_all_before,
    copy_to_next,
    copy_to_previous,
    next_change,
    previous_change,
    ranges,
    remove_key,
    with_look,
)
from backend.core.settings import MergeLook, MergeSettings, bounds_of
from ui_tabs.labels import choice_label, label_of

STEPPED = (
    "hist_match_threshold",
    "erode_mask",
    "blur_mask",
    "motion_blur",
    "super_resolution",
    "sharpen_amount",
    "face_scale",
    "denoise",
    "bicubic_degrade",
    "color_degrade",
)
"""Settings that keys change step by step."""


@dataclass(frozen=True)
class Desk:
    """What one browser tab looks at, and the plan.

    Attributes:
        plan: the settings with key frames.
        frame: the shown one, counted from 1.
        last: last frame of the clip.
        masks: mask modes that can be chosen.
        enhancer: whether one is installed.
        said: what came of it, for the user.
    """

    plan: MergeSettings
    frame: int
    last: int
    masks: tuple[str, ...] = ()
    enhancer: bool = False
    said: str = ""


Act = Callable[[Desk, Mapping[str, Any]], Desk]


def act(desk: Desk, asked: Mapping[str, Any]) -> Desk:
    """Do what was asked for.

    Args:
        asked: {"do": a key of ACTS, ...}.

    Raises:
        BadInputError: it cannot be done; the sentence says why.
        KeyError, ValueError, TypeError: it makes no sense.
    """
    return ACTS[str(asked["do"])](replace(desk, said=""), asked)


def range_at(plan: MergeSettings, frame: int, last: int) -> tuple[int, int]:
    """First and last frame of the look that holds at a frame; ``last`` is the last frame of the clip."""
    held = [each for each in ranges(plan) if each.first <= frame][-1]
    return held.first, min(held.last or last, last)


def look_words(plan: MergeSettings, frame: int, last: int) -> str:
    """Which frames the shown look belongs to."""
    first, until = range_at(plan, frame, last)
    if (first, until) == (1, last):
        return f"Look of all {last:,} frames"
    return f"Look of frame {first:,}" if first == until else f"Look of frames {first:,} to {until:,}"


def flattened(plan: MergeSettings, frame: int) -> MergeSettings:
    """The settings with which one frame is merged: the look in force there, without key frames."""
    held = plan.look_at(frame)
    return plan.model_copy(update={**{name: getattr(held, name) for name in MergeLook.model_fields}, "keys": ()})


def changed(plan: MergeSettings, frame: int, changes: Mapping[str, Any]) -> MergeSettings:
    """The plan with other values: those of a look for the range of a frame, all others for the whole merge.

    Raises:
        pydantic.ValidationError: they contradict each other.
    """
    ours = {name: value for name, value in changes.items() if name in MergeLook.model_fields}
    rest = {name: value for name, value in changes.items() if name not in MergeLook.model_fields}
    if rest:
        given = {name: getattr(plan, name) for name in MergeSettings.model_fields}
        plan = MergeSettings.model_validate({**given, **rest})
    if not ours:
        return plan
    held = plan.look_at(frame)
    look = {name: getattr(held, name) for name in MergeLook.model_fields}
    return with_look(plan, frame, MergeLook.model_validate({**look, **ours}))


def _go(desk: Desk, asked: Mapping[str, Any]) -> Desk:
    return replace(desk, frame=min(max(int(asked["frame"]), 1), desk.last))


def _change(desk: Desk, asked: Mapping[str, Any]) -> Desk:
    ahead = int(asked["step"]) > 0
    found = (next_change if ahead else previous_change)(desk.plan, desk.frame)
    if found is None or found > desk.last:
        raise BadInputError(f"No other look begins {'behind' if ahead else 'before'} this frame.")
    return replace(desk, frame=found)


def _key(desk: Desk, asked: Mapping[str, Any]) -> Desk:
    plan = add_key(desk.plan, desk.frame)
    if plan == desk.plan:
        raise BadInputError(f"A look begins at frame {desk.frame:,} already.")
    return replace(desk, plan=plan, said=f"A new look begins at frame {desk.frame:,}. Change it as you like.")


def _unkey(desk: Desk, asked: Mapping[str, Any]) -> Desk:
    first, _ = range_at(desk.plan, desk.frame, desk.last)
    plan = remove_key(desk.plan, desk.frame)
    if plan == desk.plan:
        raise BadInputError("This is the first look; there is no key frame to remove.")
    return replace(desk, plan=plan, said=f"The key frame at {first:,} is gone; the look before it holds on.")


def _before(desk: Desk, asked: Mapping[str, Any]) -> Desk:
    plan = copy_to_all_before(desk.plan, desk.frame)
    return replace(desk, plan=plan, said="This look holds from the first frame on.")


def _after(desk: Desk, asked: Mapping[str, Any]) -> Desk:
    plan = copy_to_all_after(desk.plan, desk.frame)
    return replace(desk, plan=plan, said="This look holds up to the last frame.")


def _copy(desk: Desk, asked: Mapping[str, Any]) -> Desk:
    target = desk.frame + (1 if int(asked["step"]) > 0 else -1)
    if not 1 <= target <= desk.last:
        raise BadInputError(f"There is no {'next' if target > desk.frame else 'previous'} frame.")
    plan = (copy_to_next if target > desk.frame else copy_to_previous)(desk.plan, desk.frame)
    return replace(desk, plan=plan, frame=target, said=f"Frame {target:,} has this look too.")


def _nudge(desk: Desk, asked: Mapping[str, Any]) -> Desk:
    name = str(asked["field"])
    if name not in STEPPED:
        raise KeyError(name)
    if name == "super_resolution" and not desk.enhancer:
        raise BadInputError("No enhancer is installed; the group Finish says where it belongs.")
    low, high, _ = bounds_of(MergeLook.model_fields[name])
    assert low is not None and high is not None
    value = int(min(max(getattr(desk.plan.look_at(desk.frame), name) + int(asked["by"]), low), high))
    said = f"{label_of('merge', name)}: {value}."
    if name == "sharpen_amount" and desk.plan.look_at(desk.frame).sharpen_mode == "none":
        said += " It acts once a kernel is chosen (N)."
    return replace(desk, plan=changed(desk.plan, desk.frame, {name: value}), said=said)


def _mode(desk: Desk, asked: Mapping[str, Any]) -> Desk:
    return _set(desk, "mode", str(asked["mode"]))


def _cycle(desk: Desk, asked: Mapping[str, Any]) -> Desk:
    name = str(asked["field"])
    choices = _choices(desk, name)
    now = getattr(desk.plan.look_at(desk.frame), name)
    at = choices.index(now) if now in choices else -1
    return _set(desk, name, choices[(at + 1) % len(choices)])


def _toggle(desk: Desk, asked: Mapping[str, Any]) -> Desk:
    now = desk.plan.look_at(desk.frame).masked_hist_match
    return _set(desk, "masked_hist_match", not now)


def _again(desk: Desk, asked: Mapping[str, Any]) -> Desk:
    return desk


def _set(desk: Desk, name: str, value: Any) -> Desk:
    plan = changed(desk.plan, desk.frame, {name: value})
    words = ("on" if value else "off") if isinstance(value, bool) else choice_label(name, value)
    return replace(desk, plan=plan, said=f"{label_of('merge', name)}: {words}.")


def _choices(desk: Desk, name: str) -> list[str]:
    if name not in ("mask_mode", "color_transfer", "sharpen_mode"):
        raise KeyError(name)
    return mask_modes(desk.masks) if name == "mask_mode" else values_of(name)


def values_of(name: str) -> list[str]:
    """All values of a setting of the look that is a choice."""
    return list(typing.get_args(MergeLook.model_fields[name].annotation))


def mask_modes(present: Collection[str]) -> list[str]:
    """The mask modes that can be chosen, in their order; all when nothing is known."""
    return [mode for mode in values_of("mask_mode") if not present or mode in present]


ACTS: Mapping[str, Act] = MappingProxyType(
    {
        "go": _go,
        "change": _change,
        "key": _key,
        "unkey": _unkey,
        "before": _before,
        "after": _after,
        "copy": _copy,
        "nudge": _nudge,
        "mode": _mode,
        "cycle": _cycle,
        "toggle": _toggle,
        "again": _again,
    }
)
