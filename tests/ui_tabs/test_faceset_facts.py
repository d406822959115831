"""The statistics of a faceset as markup."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from backend.storage.face_file import read_face, write_face
from backend.storage.faceset_facts import facts_of
from backend.storage.project import SideFiles
from tests.drawn_faces import write_faceset
from tests.ui_tabs.tools_page import make_tools
from ui_tabs.context import View
from ui_tabs.faceset_facts import facts_html


@pytest.fixture
def sides(tmp_path: Path) -> tuple[SideFiles, SideFiles]:
    return SideFiles(tmp_path, "src"), SideFiles(tmp_path, "dst")


def posed(side: SideFiles, degrees: list[tuple[int, int]]) -> None:
    """Faces with these pitches and yaws."""
    for path, (pitch, yaw) in zip(write_faceset(side.aligned_dir, len(degrees)), degrees, strict=True):
        pose = (float(np.radians(pitch)), float(np.radians(yaw)), 0.0)
        write_face(path, dataclasses.replace(read_face(path), pose_rad=pose, sharpness=20.0))


def test_nothing_yet(sides) -> None:
    src, dst = map(facts_of, sides)
    assert "appear here" in facts_html("src", src, dst)


def test_figures_and_lists(sides) -> None:
    posed(sides[0], [(0, 0), (5, 20)])
    text = facts_html("src", *map(facts_of, sides))
    assert "<b>2</b><span>faces</span>" in text
    assert "128 px" in text
    assert "whole face" in text
    assert "drawn" in text
    assert "median 20" in text
    assert "Confidence" not in text
    assert "trembl" not in text


def test_what_was_never_measured_is_said(sides) -> None:
    write_faceset(sides[0].aligned_dir, 1)
    assert "Sharpness and poses are not known" in facts_html("src", *map(facts_of, sides))


def test_poses_that_only_the_other_side_has(sides) -> None:
    posed(sides[0], [(0, 0), (0, 5)])
    posed(sides[1], [(0, 3), (0, 4), (40, 0), (2, 2)])
    src, dst = map(facts_of, sides)
    text = facts_html("src", src, dst)
    assert "75% of the destination faces have a pose that is here too; 1 face looks" in text
    assert len(re.findall('class="lacks"', text)) == 1
    lacking = re.search(r'class="lacks" x="(\d+)" y="(\d+)"', text)
    assert lacking is not None
    assert int(lacking[2]) < 4 * 14, "looking up is in the upper half"
    assert "Every pose" in facts_html("dst", dst, src)


def test_left_is_left(sides) -> None:
    posed(sides[0], [(0, 60), (0, 61), (0, 0)])
    text = facts_html("src", *map(facts_of, sides))
    assert "median 60° left" in text
    place = re.search(r'class="has" x="(\d+)"', text[text.index("lk-set-poses") :])
    assert place is not None
    chart = text[text.index("Head turn") :]
    first = re.search(r'<rect x="([\d.]+)"', chart)
    assert first is not None
    assert float(first[1]) < 88, "those that look left are in the left half"


def test_the_numbers_follow_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ui_tabs.faceset_facts._PATIENCE", 0.0)
    tools, workspace = make_tools(tmp_path)
    view, side = View(project="film"), workspace.open("film").side("src")
    assert "appear here" in tools.facts.tick(view)[tools.facts.box]
    write_faceset(side.aligned_dir, 2)
    assert "<b>2</b><span>faces</span>" in tools.facts.tick(view)[tools.facts.box]
    assert tools.facts.tick(view) == {}
