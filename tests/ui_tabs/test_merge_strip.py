"""The strip of the Merge tab, and how the merged frames stand."""

from __future__ import annotations

from backend.core.settings import MergeSettings
from backend.storage.merge_ledger import StaleFrames
from backend.storage.workspace import Workspace
from ui_tabs.merge_clip import MergeClip
from ui_tabs.merge_strip import MERGED, STALE, TILES, MergedFrames, runs, standing_words, tiles


def test_tiles_are_spread_over_the_clip_with_both_ends():
    assert tiles(1) == [1]
    assert tiles(3) == [1, 2, 3]
    many = tiles(1000)
    assert (many[0], many[-1], len(many)) == (1, 1000, TILES)
    assert tiles(0) == []


def test_frames_that_stand_alike_are_one_run():
    stems = [f"{n:05d}" for n in range(1, 9)]
    merged = {stems[n - 1] for n in (1, 2, 3, 5, 6, 8)}
    assert runs(stems, merged, {stems[2], stems[7], stems[3]}) == [
        (1, 2, MERGED),
        (3, 3, STALE),
        (5, 6, MERGED),
        (8, 8, STALE),
    ]


def test_words_say_why_frames_are_out_of_date():
    assert standing_words(StaleFrames(9, 0, 9, 0, 0)) == ""
    words = standing_words(StaleFrames(1200, 1100, 100, 40, 3))
    assert words.startswith("1,100 of 1,200 frames are merged. 40 of them with a model that has learned more since")
    assert words.endswith("3 of them with other settings.")


def test_merged_frames_are_looked_at_again_when_the_folder_changes(tmp_path, monkeypatch):
    project = Workspace(tmp_path).create("film", "yes")
    frames = project.side("dst").frames_dir
    for n in (1, 2):
        (frames / f"{n}.png").write_bytes(b"x")
    clip = MergeClip(("1", "2"), (None, None), {}, {}, {}, (1,))
    merged = MergedFrames()
    monkeypatch.setattr("ui_tabs.merge_strip.REST", 0.0)
    plan = MergeSettings()
    assert merged.standing(project, clip, plan).runs == ()
    project.merged_dir.mkdir(parents=True)
    (project.merged_dir / "2.png").write_bytes(b"x")
    standing = merged.standing(project, clip, plan)
    assert standing.runs == ((2, 2, STALE),)  # nobody knows what made it
    assert (standing.facts.merged, standing.facts.stale) == (1, 1)
    assert merged.standing(project, clip, plan) is standing
