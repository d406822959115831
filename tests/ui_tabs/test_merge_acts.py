"""What the Merge tab's viewer can ask for, and which frames a change belongs to."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import ValidationError

from backend.core.errors import BadInputError
from backend.core.settings import MergeKey, MergeLook, MergeSettings
from ui_tabs.merge_acts import STEPPED, Desk, act, changed, look_words, mask_modes, range_at

SEAMLESS = MergeLook(mode="seamless")
PLAN = MergeSettings(keys=(MergeKey(frame=5, look=SEAMLESS), MergeKey(frame=8, look=MergeLook(erode_mask=3))))


def desk(frame=1, plan=PLAN, **facts):
    return Desk(plan, frame, 10, **facts)


@pytest.mark.parametrize(
    ("frame", "words"),
    [(1, "Look of frames 1 to 4"), (6, "Look of frames 5 to 7"), (10, "Look of frames 8 to 10")],
)
def test_words_name_the_frames_of_a_look(frame, words):
    assert look_words(PLAN, frame, 10) == words


def test_words_for_one_look_and_for_one_frame():
    assert look_words(MergeSettings(), 3, 1200) == "Look of all 1,200 frames"
    assert look_words(PLAN, 6, 6) == "Look of frames 5 to 6"  # the clip has become shorter
    assert look_words(MergeSettings(keys=(MergeKey(frame=10, look=SEAMLESS),)), 10, 10) == "Look of frame 10"
    assert range_at(PLAN, 4, 10) == (1, 4)


def test_going_stays_inside_the_clip():
    assert act(desk(), {"do": "go", "frame": 99}).frame == 10
    assert act(desk(), {"do": "go", "frame": -3}).frame == 1
    with pytest.raises(ValueError, match="NaN"):
        act(desk(), {"do": "go", "frame": float("nan")})


def test_jumps_to_the_changes_and_says_when_there_is_none():
    assert [act(desk(frame), {"do": "change", "step": 1}).frame for frame in (1, 5)] == [5, 8]
    assert [act(desk(frame), {"do": "change", "step": -1}).frame for frame in (9, 8, 5)] == [8, 5, 1]
    with pytest.raises(BadInputError, match="behind this frame"):
        act(desk(8), {"do": "change", "step": 1})
    with pytest.raises(BadInputError, match="before this frame"):
        act(desk(1), {"do": "change", "step": -1})


def test_a_change_behind_the_end_of_the_clip_is_none():
    with pytest.raises(BadInputError, match="behind"):
        act(replace(desk(6), last=7), {"do": "change", "step": 1})


def test_key_frames_are_added_and_removed():
    made = act(desk(3), {"do": "key"})
    assert [key.frame for key in made.plan.keys] == [3, 5, 8]
    assert "begins at frame 3" in made.said
    gone = act(replace(made, frame=4), {"do": "unkey"})
    assert gone.plan == PLAN
    with pytest.raises(BadInputError, match="already"):
        act(desk(5), {"do": "key"})
    with pytest.raises(BadInputError, match="first look"):
        act(desk(2), {"do": "unkey"})


def test_a_look_is_copied_to_all_before_and_after():
    before = act(desk(6), {"do": "before"}).plan
    assert (before.mode, [key.frame for key in before.keys]) == ("seamless", [8])
    after = act(desk(6), {"do": "after"}).plan
    assert [key.frame for key in after.keys] == [5]


def test_a_look_is_taken_along_to_the_neighbour():
    on = act(desk(4), {"do": "copy", "step": 1})
    assert (on.frame, on.plan.look_at(5).mode, on.plan.look_at(6).mode) == (5, "overlay", "seamless")
    back = act(desk(5), {"do": "copy", "step": -1})
    assert (back.frame, back.plan.look_at(4).mode, back.plan.look_at(3).mode) == (4, "seamless", "overlay")
    with pytest.raises(BadInputError, match="previous"):
        act(desk(1), {"do": "copy", "step": -1})


def test_steps_change_the_look_of_the_range_and_stop_at_the_ends():
    made = act(desk(6), {"do": "nudge", "field": "erode_mask", "by": 5})
    assert [made.plan.look_at(frame).erode_mask for frame in (4, 5, 7, 8)] == [0, 5, 5, 3]
    assert made.said == "Erode mask: 5."
    assert act(desk(6), {"do": "nudge", "field": "blur_mask", "by": -999}).plan.look_at(6).blur_mask == 0


def test_super_resolution_needs_an_enhancer():
    asked = {"do": "nudge", "field": "super_resolution", "by": 1}
    with pytest.raises(BadInputError, match="No enhancer"):
        act(desk(), asked)
    assert act(desk(enhancer=True), asked).plan.super_resolution == 1


def test_only_settings_with_keys_are_stepped():
    assert all(name in MergeLook.model_fields for name in STEPPED)
    for asked in ({"do": "nudge", "field": "model", "by": 1}, {"do": "cycle", "field": "device"}, {"do": "quit"}):
        with pytest.raises(KeyError):
            act(desk(), asked)


def test_choices_go_round():
    plan = act(desk(1), {"do": "cycle", "field": "color_transfer"}).plan
    assert plan.color_transfer == "lct"
    last = act(desk(1, MergeSettings(color_transfer="mix-m")), {"do": "cycle", "field": "color_transfer"})
    assert (last.plan.color_transfer, last.said) == ("none", "Colour transfer: none.")
    only = desk(1, MergeSettings(mask_mode="dst"), masks=("full", "dst"))
    assert act(only, {"do": "cycle", "field": "mask_mode"}).plan.mask_mode == "full"
    assert act(desk(), {"do": "toggle"}).plan.masked_hist_match is False
    with pytest.raises(ValidationError):
        act(desk(), {"do": "mode", "mode": "upside-down"})


def test_changes_of_the_form_go_to_the_range_or_to_the_whole_merge():
    made = changed(PLAN, 6, {"erode_mask": 7, "last_frame": 9, "model": "bert"})
    assert (made.erode_mask, made.look_at(6).erode_mask, made.look_at(6).mode) == (0, 7, "seamless")
    assert (made.last_frame, made.model, len(made.keys)) == (9, "bert", 2)
    with pytest.raises(ValidationError, match="last frame"):
        changed(PLAN, 6, {"first_frame": 9, "last_frame": 2})


def test_mask_modes_keep_their_order():
    assert mask_modes(()) == list(mask_modes(set(mask_modes(()))))
    assert mask_modes(("dst", "full")) == ["full", "dst"]
