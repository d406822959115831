from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from backend.core.faces import FILLED, MANUAL, FaceType
from backend.storage.face_file import write_face_image
from backend.storage.faceset_facts import EXTRACTION_REPORT, covered, facts_of, pose_cells, spread
from backend.storage.image import write_image
from backend.storage.project import SideFiles
from tests.storage.faces import make_face, picture


@pytest.fixture
def side(tmp_path: Path) -> SideFiles:
    found = SideFiles(tmp_path, "src")
    found.aligned_dir.mkdir(parents=True)
    return found


def put(side: SideFiles, name: str, source: str, side_px: int = 64, **facts) -> None:
    face = dataclasses.replace(make_face(source), **facts)
    write_face_image(side.aligned_dir / name, picture(side_px), face)


def test_everything_is_counted(side: SideFiles) -> None:
    turned = np.radians([10, -50, 0])
    put(side, "a_0.jpg", "a.png", track=0, score=0.9, sharpness=5.0, pose_rad=tuple(turned), detector="mtcnn")
    put(side, "a_1.jpg", "a.png", track=1, score=0.5, sharpness=15.0, detector="mtcnn", origin=MANUAL)
    put(side, "b_0.jpg", "b.png", 96, track=0, origin=FILLED, face_type=FaceType.FULL)
    put(side, "c_0.jpg", "c.png", xseg_mask=np.arange(9, dtype=np.uint8), seg_ie_polys=((1, np.ones((3, 2))),))
    (side.aligned_dir / "broken.jpg").write_bytes(b"no picture")
    for stem in "abcde":
        write_image(side.frames_dir / f"{stem}.png", picture(8))
    side.faceset().set_persons({"a_0.jpg": 3, "b_0.jpg": 3, "c_0.jpg": 8, "gone.jpg": 9}, "looks")
    (side.aligned_dir / EXTRACTION_REPORT).write_text(json.dumps({"jitter": 0.002, "jitter_before": 0.008}))
    facts = facts_of(side)
    assert (facts.faces, facts.damaged, facts.tracks) == (4, 1, 2)
    assert facts.persons == (2, 1)
    assert dict(facts.types) == {"whole_face": 3, "full_face": 1}
    assert dict(facts.sizes) == {"64": 3, "96": 1}
    assert dict(facts.detectors) == {"mtcnn": 2, "": 2}
    assert (facts.filled, facts.manual, facts.masked, facts.drawn) == (1, 1, 1, 1)
    assert (facts.frames, facts.frames_without_face) == (5, 2)
    assert dict(facts.per_frame) == {1: 2, 2: 1}
    assert facts.score is not None
    assert (facts.score.known, facts.score.median) == (2, pytest.approx(0.7))
    assert facts.sharpness is not None
    assert sum(facts.sharpness.counts) == 2
    assert facts.yaw_deg is not None
    assert (facts.yaw_deg.known, facts.yaw_deg.median) == (1, pytest.approx(-50))
    assert facts.poses.sum() == 1
    assert facts.poses[4, 1] == 1
    assert facts.jitter == (0.008, 0.002)
    assert facts.bytes == sum(p.stat().st_size for p in side.aligned_dir.iterdir() if p.name[0] != ".")


def test_an_empty_side(tmp_path: Path) -> None:
    facts = facts_of(SideFiles(tmp_path, "dst"))
    assert (facts.faces, facts.bytes, facts.frames, facts.persons) == (0, 0, 0, ())
    assert facts.sharpness is facts.yaw_deg is None
    assert facts.poses.shape == (8, 10)
    assert facts.jitter == (None, None)


def test_spread_puts_what_lies_beyond_into_the_ends() -> None:
    found = spread([-5.0, 0.1, 0.9, 7.0, 0.5], 0.0, 1.0, 2)
    assert found is not None
    assert found.counts == (2, 3)
    assert found.median == 0.5
    assert spread([], 0, 1) is None


def test_poses_beyond_the_map_are_in_its_outermost_cells() -> None:
    cells = pose_cells(np.array([[-89.0, -89.0], [89.0, 89.0], [0.1, 0.1]]))
    assert cells[0, 0] == cells[-1, -1] == cells[4, 5] == 1


def test_coverage_counts_the_faces_of_the_other_side() -> None:
    mine = pose_cells(np.array([[1.0, 1.0]]))
    theirs = pose_cells(np.array([[2.0, 2.0], [2.0, 3.0], [2.0, 3.0], [40.0, 2.0]]))
    assert covered(mine, theirs) == 0.75
    assert covered(theirs, mine) == 1.0
    assert covered(mine, np.zeros_like(mine)) is None


def test_golden_faceset(golden: Path, tmp_path: Path) -> None:
    side = SideFiles(tmp_path, "src")
    side.aligned_dir.mkdir(parents=True)
    for path in (golden / "dfl_faceset").glob("*.jpg"):
        shutil.copy(path, side.aligned_dir)
    facts = facts_of(side)
    assert facts.faces == 12
    assert dict(facts.sizes) == {"192": 12}
    assert (facts.masked, facts.drawn) == (1, 1)
    assert set(side.faceset().sizes().values()) == {(192, 192)}
