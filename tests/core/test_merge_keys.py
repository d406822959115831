"""Looks that hold from key frame to key frame."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from backend.core import merge_keys
from backend.core.settings import MergeKey, MergeLook, MergeSettings

LAST = 12


def look(number: int) -> MergeLook:
    return MergeLook(erode_mask=number)


def settings(base: int = 0, **keys: int) -> MergeSettings:
    """``f4=7``: from frame 4 on look 7."""
    made = tuple(MergeKey(frame=int(name[1:]), look=look(number)) for name, number in keys.items())
    return MergeSettings(erode_mask=base, model="anna", keys=made)


def numbers(made: MergeSettings) -> list[int]:
    """The look of every frame."""
    return [made.look_at(frame).erode_mask for frame in range(1, LAST + 1)]


def changed(found: list[int], **frames: int) -> list[int]:
    for name, number in frames.items():
        found[int(name[1:]) - 1] = number
    return found


def test_a_look_is_changed_where_it_holds() -> None:
    made = settings(0, f4=4, f8=8)
    assert numbers(merge_keys.with_look(made, 5, look(50))) == [0] * 3 + [50] * 4 + [8] * 5
    base = merge_keys.with_look(made, 2, look(20))
    assert numbers(base) == [20] * 3 + [4] * 4 + [8] * 5
    assert base.erode_mask == 20
    assert base.model == "anna"
    whole = merge_keys.with_look(made, 5, MergeSettings(erode_mask=50, model="other"))
    assert whole == merge_keys.with_look(made, 5, look(50))


def test_keys_come_and_go() -> None:
    made = merge_keys.add_key(settings(3), 5)
    assert [key.frame for key in made.keys] == [5]
    assert numbers(made) == [3] * LAST
    made = merge_keys.add_key(merge_keys.with_look(made, 9, look(9)), 5)
    assert numbers(made) == [3] * 4 + [9] * 8
    assert merge_keys.add_key(made, 1).keys == made.keys
    assert merge_keys.remove_key(made, 2) == made
    assert numbers(merge_keys.remove_key(made, 7)) == [3] * LAST


def test_a_look_is_copied_to_one_side() -> None:
    made = settings(0, f4=4, f8=8)
    assert numbers(merge_keys.copy_to_all_before(made, 5)) == [4] * 7 + [8] * 5
    assert numbers(merge_keys.copy_to_all_after(made, 5)) == [0] * 3 + [4] * 9
    assert merge_keys.copy_to_all_after(merge_keys.copy_to_all_before(made, 9), 9).keys == ()


def test_a_look_is_copied_to_one_frame() -> None:
    made = settings(0, f4=4, f6=6)
    assert numbers(merge_keys.copy_to_next(made, 3)) == changed(numbers(made), f4=0)
    assert numbers(merge_keys.copy_to_next(made, 5)) == changed(numbers(made), f6=4)
    assert merge_keys.copy_to_next(made, 4) == made
    assert numbers(merge_keys.copy_to_previous(made, 4)) == changed(numbers(made), f3=4)
    assert merge_keys.copy_to_previous(made, 5) == made
    assert merge_keys.copy_to_previous(made, 1) == made
    close = settings(0, f2=2, f3=3)
    assert numbers(merge_keys.copy_to_previous(close, 3)) == changed(numbers(close), f2=3)
    assert numbers(merge_keys.copy_to_next(close, 1)) == changed(numbers(close), f2=0)
    first = merge_keys.copy_to_previous(close, 2)
    assert first.erode_mask == 2
    assert numbers(first) == changed(numbers(close), f1=2)


def test_changes_are_found() -> None:
    made = settings(0, f4=4, f8=8)
    assert [merge_keys.next_change(made, frame) for frame in (1, 3, 4, 7, 8)] == [4, 4, 8, 8, None]
    assert [merge_keys.previous_change(made, frame) for frame in (1, 2, 4, 5, 9)] == [None, 1, 1, 4, 8]
    assert [tuple(part[:2]) for part in merge_keys.ranges(made)] == [(1, 3), (4, 7), (8, 0)]
    assert [part.look.erode_mask for part in merge_keys.ranges(made)] == [0, 4, 8]
    assert [merge_keys.held_since(made, frame) for frame in (1, 3, 4, 12)] == [1, 1, 4, 8]


def test_a_key_on_the_first_frame_becomes_the_base() -> None:
    made = settings(5, f1=1, f4=4)
    assert numbers(made) == [1] * 3 + [4] * 9
    assert merge_keys.add_key(made, 9).erode_mask == 1
    assert [part.first for part in merge_keys.ranges(made)] == [1, 4]


ACTS: tuple[Callable[[MergeSettings, int], MergeSettings], ...] = (
    merge_keys.add_key,
    merge_keys.remove_key,
    merge_keys.copy_to_all_before,
    merge_keys.copy_to_all_after,
    merge_keys.copy_to_next,
    merge_keys.copy_to_previous,
)


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_done_makes_settings_that_can_be_read_again(seed: int) -> None:
    chance = random.Random(seed)
    made = settings()
    for number in range(30):
        made = chance.choice(ACTS)(made, chance.randint(1, LAST))
        made = merge_keys.with_look(made, chance.randint(1, LAST), look(number))
        assert MergeSettings.model_validate(made.model_dump(mode="json")) == made
