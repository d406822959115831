from __future__ import annotations

import json
import time
from fractions import Fraction
from pathlib import Path

import pytest

from backend.core.frames import FrameRef, FrameTable, VideoInfo
from backend.core.settings import FaceRule, MergeKey, MergeLook, MergeSettings
from backend.storage.frame_table import save_frame_table
from backend.storage.merge_ledger import (
    LEDGER_FILE,
    MergedRecord,
    MergeLedger,
    StaleFrames,
    digest,
    look_digest,
    rules_digest,
    run_words,
    stale_frames,
)
from backend.storage.workspace import Project, Workspace

SETTINGS = MergeSettings(model="anna")


def record(stem: str, settings: MergeSettings = SETTINGS, faces: bool = True, stamp: str = "7-abc") -> MergedRecord:
    look = look_digest(settings.look_at(int(stem))) if faces else ""
    models = {"anna": stamp} if faces else {}
    rules = rules_digest(settings) if faces else ""
    return MergedRecord(stem, "key", look, rules, run_words(settings, faces), models, ("merged",))


def make(tmp_path: Path, count: int) -> Project:
    """A project with a table, a model of stamp 7-abc, and a merged picture of each frame."""
    (tmp_path / "workspace").mkdir()
    project = Workspace(tmp_path / "workspace").create("film", "", "")
    refs = tuple(FrameRef(file=f"{n + 1:05d}.png", index=n, time_s=n / 25) for n in range(count))
    video = VideoInfo(path=tmp_path, width=8, height=8, fps=Fraction(25), frame_count=count, duration_s=count / 25)
    save_frame_table(project.side("dst"), FrameTable(video=video, frames=refs, end_s=count / 25))
    saved = project.model_dir("anna") / "generations" / "000000007-0"
    saved.mkdir(parents=True)
    (saved / "state.json").write_text(json.dumps({"iteration": 7, "checksums": {"weights": "abc"}}))
    project.merged_dir.mkdir(parents=True)
    for ref in refs:
        (project.merged_dir / ref.file).touch()
    return project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = make(tmp_path, 6)
    with MergeLedger(made.merged_dir) as ledger:
        for number in range(1, 7):
            ledger.append(record(f"{number:05d}", faces=number != 3))
    return made


def test_the_newest_record_counts_and_broken_lines_do_not(tmp_path: Path) -> None:
    ledger = MergeLedger(tmp_path)
    assert ledger.read() == {}
    for key in ("old", "new"):
        with ledger:
            ledger.append(MergedRecord("00001", key))
    with (tmp_path / LEDGER_FILE).open("ab") as file:
        file.write(b'[1]\n{"stem":"00002","unknown":1}\n\xff\xfe\n{"stem":"00003","key":"cut')
    with ledger:
        ledger.append(MergedRecord("00004", "whole", models={"anna": "1-a"}, outcomes=("merged",)))
    read = ledger.read()
    assert {stem: found.key for stem, found in read.items()} == {"00001": "new", "00004": "whole"}
    assert read["00004"].models == {"anna": "1-a"}
    ledger.keep([read["00004"]])
    assert list(ledger.read()) == ["00004"]


def test_nothing_is_stale_right_after_merging(project: Project) -> None:
    assert stale_frames(project, SETTINGS) == StaleFrames(6, 6, 0, 0, 0)
    assert stale_frames(project).stale == 0


def test_missing_frames_are_counted_with_their_ranges(project: Project) -> None:
    for number in (1, 2, 5):
        (project.merged_dir / f"{number:05d}.png").unlink()
    found = stale_frames(project, SETTINGS)
    assert (found.merged, found.missing, found.stale) == (3, 3, 0)
    assert found.ranges == ((1, 2), (5, 5))


def test_a_trained_model_makes_its_frames_stale(project: Project) -> None:
    newer = project.model_dir("anna") / "generations" / "000000009-0"
    newer.mkdir()
    (newer / "state.json").write_text(json.dumps({"iteration": 9, "checksums": {"weights": "def"}}))
    found = stale_frames(project)
    assert (found.trained, found.changed, found.ranges) == (5, 0, ((1, 2), (4, 6)))


@pytest.mark.parametrize(
    ("change", "ranges"),
    [
        ({"blur_mask": 3}, ((1, 2), (4, 6))),
        ({"keys": (MergeKey(frame=5, look=MergeLook(mode="seamless")),)}, ((5, 6),)),
        ({"keys": (MergeKey(frame=5, look=MergeLook()), MergeKey(frame=900, look=MergeLook(blur_mask=1)))}, ()),
        ({"faces": (FaceRule(track=1, action="leave"),)}, ((1, 2), (4, 6))),
        ({"model": "bert"}, ((1, 2), (4, 6))),
        ({"smooth_mask": 9}, ((1, 2), (4, 6))),
        ({"alpha_png": True}, ((1, 6),)),
        ({"redo": True, "workers": 3, "first_frame": 2}, ()),
    ],
)
def test_changed_settings_make_the_frames_stale_that_depend_on_them(
    project: Project, change: dict[str, object], ranges: tuple[tuple[int, int], ...]
) -> None:
    found = stale_frames(project, SETTINGS.model_copy(update=change))
    assert found.ranges == ranges
    assert found.stale == found.changed


def test_frames_of_other_programs_are_only_stale_against_settings(project: Project) -> None:
    (project.merged_dir / LEDGER_FILE).unlink()
    assert stale_frames(project).stale == 0
    assert stale_frames(project, SETTINGS).changed == 6


def test_digests_keep_parts_apart() -> None:
    assert digest("ab", "c") != digest("a", "bc")
    assert digest("a") == digest(b"a")


def test_a_long_clip_is_answered_quickly(tmp_path: Path) -> None:
    made = make(tmp_path, 4_000)
    MergeLedger(made.merged_dir).keep(record(f"{n:05d}") for n in range(1, 4_001))
    began = time.process_time()
    assert stale_frames(made, SETTINGS).ranges == ()
    assert time.process_time() - began < 0.8
