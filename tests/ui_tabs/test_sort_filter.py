"""Filters of the Sort tab: each condition, all of them together, and what faces leave behind."""

from __future__ import annotations

import math

import numpy as np
import pytest

from backend.core.faces import FILLED, MANUAL
from tests.ui_tabs.shelves import record, shelf_of
from ui_tabs.sort_filter import FaceFilter, numbers_of
from ui_tabs.sort_shelf import COLUMNS, NOBODY, ROWS, ShelfPictures, caption, pose_cells

MASK = np.array([137, 80], np.uint8)
SQUARE = np.zeros((4, 2), np.float32)

SHELF = shelf_of(
    record("a", 40, sharpness=10.0, score=0.99, track=3, frame="1.png"),
    record("b", -40, sharpness=20.0, score=0.6, track=3, frame="1.png", xseg_mask=MASK),
    record("c", 0, sharpness=30.0, track=7, origin=FILLED, seg_ie_polys=((1, SQUARE),)),
    record("d", None, sharpness=None, origin=MANUAL, score=0.8),
    persons={"a.jpg": 0, "b.jpg": 1, "c.jpg": 0},
)


def shown(**conditions):
    """Stems of what a filter leaves."""
    places = FaceFilter(**conditions).matches(SHELF).nonzero()[0]
    return "".join(SHELF.names[place][0] for place in places)


@pytest.mark.parametrize(
    ("conditions", "left"),
    [
        ({}, "abcd"),
        ({"tracks": frozenset({3})}, "ab"),
        ({"tracks": frozenset({3, 7})}, "abc"),
        ({"persons": frozenset({0})}, "ac"),
        ({"mask": "with"}, "bc"),
        ({"mask": "without"}, "ad"),
        ({"mask": "xseg"}, "b"),
        ({"mask": "polygons"}, "c"),
        ({"origin": "networks"}, "ab"),
        ({"origin": "filled"}, "c"),
        ({"origin": "manual"}, "d"),
        ({"several": True}, "ab"),
        ({"score": 0.8}, "bd"),
        ({"unknown_pose": True}, "d"),
        ({"blur": "blurriest", "percent": 10}, "a"),
        ({"blur": "sharpest", "percent": 50}, "bc"),
        ({"tracks": frozenset({3}), "mask": "with"}, "b"),
        ({"persons": frozenset({1}), "origin": "manual"}, ""),
    ],
)
def test_conditions(conditions, left):
    assert shown(**conditions) == left


def test_cells_of_the_pose_map():
    assert shown(cells=frozenset({int(SHELF.cell[0])})) == "a"
    assert shown(cells=frozenset(SHELF.cell[:2].tolist())) == "ab"
    assert SHELF.cell[3] == NOBODY


def test_nothing_is_sharp_where_nothing_was_measured():
    blank = shelf_of(record("a"), record("b"))
    assert not FaceFilter(blur="sharpest").matches(blank).any()


def test_a_percentage_alone_filters_nothing():
    assert not FaceFilter(percent=30).active
    assert FaceFilter(blur="sharpest").active


@pytest.mark.parametrize(
    ("yaw", "pitch", "row", "column"),
    [
        (0, 0, ROWS // 2, COLUMNS // 2),
        (74, 0, ROWS // 2, 0),
        (200, 0, ROWS // 2, 0),
        (-200, -200, ROWS - 1, COLUMNS - 1),
        (0, 44, 0, COLUMNS // 2),
        (12, 0, ROWS // 2, COLUMNS // 2 - 1),
        (-12, 0, ROWS // 2, COLUMNS // 2 + 1),
    ],
)
def test_left_is_left_and_up_is_up(yaw, pitch, row, column):
    cell = pose_cells(np.array([float(yaw)]), np.array([float(pitch)]))
    assert divmod(int(cell[0]), COLUMNS) == (row, column)


def test_a_pose_that_was_not_measured_has_no_cell():
    assert pose_cells(np.array([math.nan]), np.array([0.0]))[0] == NOBODY


def test_counts_come_with_the_largest_first():
    assert SHELF.counts(SHELF.track) == [(3, 2), (7, 1)]
    assert SHELF.counts(SHELF.person) == [(0, 2), (1, 1)]
    assert SHELF.unknown_poses == 1
    assert SHELF.pose_counts.sum() == 3


def test_faces_that_are_taken_leave_everything_in_step():
    left = SHELF.without({"a.jpg"}, "later")
    again = shelf_of(*SHELF.records[1:], persons={"b.jpg": 1, "c.jpg": 0})
    assert left.stamp == "later"
    assert (left.names, left.place) == (again.names, again.place)
    for name in ("yaw_deg", "sharpness", "cell", "track", "person", "in_frame", "xseg", "filled"):
        np.testing.assert_array_equal(getattr(left, name), getattr(again, name), err_msg=name)


def test_pictures_are_made_page_by_page():
    pictures = ShelfPictures(SHELF, np.array([1, 3]))
    assert len(pictures) == 2
    assert [picture.name for picture in pictures[0:60]] == ["b.jpg", "d.jpg"]
    assert pictures[1].name == "d.jpg"


@pytest.mark.parametrize(
    ("by", "value", "words"),
    [
        ("yaw", math.radians(12), "12\u00b0 left"),
        ("pitch", math.radians(-3), "3\u00b0 down"),
        ("blur", 0.456, "sharpness 0.46"),
        ("best", 0.00312, "sharpness 0.0031"),
        ("mask", 0.5, "50 % kept"),
        ("hist", 3.0, "a"),
        ("name", 3.0, "a"),
    ],
)
def test_captions_tell_what_the_order_measured(by, value, words):
    assert caption(shelf_of(record("a"), order_by=by, values={"a.jpg": value}), 0) == words


def test_captions_without_a_stored_value():
    assert caption(shelf_of(record("a", 20), order_by="yaw"), 0) == "20\u00b0 left"
    assert caption(shelf_of(record("a", None), order_by="yaw"), 0) == "a"
    named = shelf_of(record("a"), order_by="person", persons={"a.jpg": 2}, titles={2: "Ann"})
    assert caption(named, 0) == "Ann"


def test_what_a_browser_sends_is_checked():
    assert numbers_of(["3", 5, "x", -1, None, [], "7"]) == {3, 5, 7}
