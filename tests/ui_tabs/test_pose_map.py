"""The map of head poses: one scale for both sides, and what one of them lacks."""

from __future__ import annotations

import re

import numpy as np

from tests.ui_tabs.shelves import record, shelf_of
from ui_tabs.pose_map import UNMEASURED, cell_words, coverage, pose_map_html
from ui_tabs.sort_shelf import COLUMNS, ROWS

SRC = shelf_of(*(record(f"s{n}", 0) for n in range(9)), record("t", -30))
DST = shelf_of(record("d", 0), record("e", 30), record("f", 30), record("g", None))
HTML = pose_map_html({"src": SRC, "dst": DST}, {int(DST.cell[1])})


def cell_of(side, cell):
    """Attributes of one cell."""
    part = HTML.split(f'data-side="{side}"')[1]
    found = re.search(rf'<button type="button" data-cell="{cell}" ([^>]*)>', part)
    assert found
    return found[1]


def shade(text):
    """How full a cell looks, 0..1."""
    found = re.search(r"--n:([0-9.]+)", text)
    return float(found[1]) if found else 0.0


def test_both_maps_have_all_cells():
    assert HTML.count("data-cell=") == 2 * ROWS * COLUMNS
    assert HTML.count('tabindex="0"') == 2


def test_shades_share_one_scale():
    front = int(SRC.cell[0])
    assert shade(cell_of("src", front)) == 1
    assert 0 < shade(cell_of("dst", front)) < shade(cell_of("dst", int(DST.cell[1]))) < 1


def test_what_one_side_lacks_is_marked_on_that_side_only():
    assert "data-lacking" in cell_of("src", int(DST.cell[1]))
    assert "data-lacking" in cell_of("dst", int(SRC.cell[9]))
    assert "data-lacking" not in cell_of("dst", int(DST.cell[1]))
    assert "data-lacking" not in cell_of("src", 0)


def test_chosen_cells_are_pressed_on_both_maps():
    assert HTML.count('aria-pressed="true"') == 2
    assert 'aria-pressed="true"' in cell_of("src", int(DST.cell[1]))


def test_the_summary_counts_poses_and_faces():
    assert "1 of the 2 poses of the destination; 2 destination faces" in HTML
    assert "every pose of the destination, 1 in all" in coverage(np.array([1, 2]), np.array([0, 5]))
    assert "Once both sides" in coverage(np.array([0, 0]), np.array([0, 5]))


def test_unmeasured_poses_are_told():
    assert "1 of the destination" in HTML
    assert UNMEASURED in HTML
    nothing = pose_map_html({"src": shelf_of(), "dst": shelf_of(record("a", None))}, ())
    assert "data-cell" not in nothing
    assert UNMEASURED in nothing


def test_cells_have_words():
    assert cell_words(0) == "65\u00b0 or more left, 35\u00b0 or more up"
    assert (
        cell_words(ROWS // 2 * COLUMNS + COLUMNS // 2)
        == "less than 5\u00b0 left or right, less than 5\u00b0 up or down"
    )
    assert cell_words(ROWS * COLUMNS - 2) == "55 to 65\u00b0 right, 35\u00b0 or more down"
